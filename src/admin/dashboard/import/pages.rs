//! The pages of an import.

use std::sync::Arc;

use askama::Template;
use axum::{
    body::Bytes,
    extract::{FromRef, State},
};
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use secrecy::ExposeSecret;

use super::{
    super::{
        form::Form,
        page::{Frame, Section, page, to},
        text::{Shown, sentence},
    },
    upload,
};
use crate::{
    admin::{
        answer::Answer,
        carried::Carried,
        fault::{Code, Fault, Faults},
        hosts::Hosts,
        import::{Draft, Imports, Plan, Rest},
        media_type::UPLOAD,
        parts::Parts,
    },
    registry::{
        AuthKind,
        members::{Word, method},
    },
};

/// The longest text, which the preview carries in a form of its own: sealed and encoded it is a
/// third longer, and a form takes 1 MiB.
const LONGEST: usize = 512 << 10;
/// The most faults that are listed; whoever has mended so many sends the file again.
const FAULTS: usize = 50;

/// The parts that these pages are made of.
#[derive(Clone)]
pub(in super::super) struct ImportPages {
    hosts: Arc<Hosts>,
    imports: Imports,
    carried: Carried,
}

impl FromRef<Parts> for ImportPages {
    fn from_ref(parts: &Parts) -> Self {
        Self {
            hosts: parts.hosts.clone(),
            imports: parts.imports.clone(),
            carried: parts.carried.clone(),
        }
    }
}

#[derive(Template)]
#[template(path = "import.html")]
struct Asked {
    frame: Frame,
    faults: Vec<Shown>,
    more_faults: usize,
}

#[derive(Template)]
#[template(path = "import_preview.html")]
struct Preview {
    frame: Frame,
    drafts: Vec<DraftRow>,
    rest: Vec<RestRow>,
    /// The file, for the next form.
    sealed: String,
}

struct DraftRow {
    name: String,
    from: Shown,
    renamed: Option<String>,
    url: Shown,
    is_sse: bool,
    auth: &'static str,
    headers: Vec<String>,
    to_enter: Vec<(String, String)>,
    is_disabled: bool,
    unread: Vec<Shown>,
}

struct RestRow {
    from: Shown,
    reason: Shown,
    command: Option<String>,
    url: Option<String>,
    env: Vec<Shown>,
    is_disabled: bool,
}

/// `GET /import`
pub(in super::super) async fn ask(State(pages): State<ImportPages>) -> Answer {
    asked(&pages, StatusCode::OK, Vec::new())
}

/// `POST /import`
pub(in super::super) async fn preview(
    State(pages): State<ImportPages>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default();
    // Of a browser it always is a form with a file, even if none was chosen.
    let form = Form::parse(if is_upload(kind) { b"" } else { &body })?;
    let text = match is_upload(kind) {
        true => sent(kind, &body)?,
        false => form.text("text").as_bytes(),
    };
    if text.trim_ascii().is_empty() {
        let fault = Fault::new(Code::InvalidRequest, "choose a file, or paste its text");
        return asked(&pages, StatusCode::BAD_REQUEST, vec![fault]);
    }
    if text.len() > LONGEST {
        let message = format!(
            "the file has more than {} KiB, which is more than a page takes; import it over REST",
            LONGEST >> 10
        );
        let fault = Fault::new(Code::RequestTooLarge, message);
        return asked(&pages, StatusCode::PAYLOAD_TOO_LARGE, vec![fault]);
    }
    match pages.imports.plan(text).await {
        Ok(plan) => previewed(&pages, &plan, text),
        Err(faults) => refused(&pages, faults),
    }
}

/// `POST /import/confirm`
pub(in super::super) async fn confirm(State(pages): State<ImportPages>, body: Bytes) -> Answer {
    let form = Form::parse(&body)?;
    let Some(text) = pages.carried.open(form.text("file")) else {
        let message = "the file of the preview cannot be opened any more; send it again";
        let fault = Fault::new(Code::InvalidRequest, message);
        return asked(&pages, StatusCode::BAD_REQUEST, vec![fault]);
    };
    // Once more: meanwhile somebody may have taken one of the names.
    let plan = match pages.imports.plan(text.expose_secret().as_bytes()).await {
        Ok(plan) => plan,
        Err(faults) => return refused(&pages, faults),
    };
    let count = plan.drafts.len();
    pages.imports.carry_out(plan).await?;
    Ok(to(
        &pages.hosts,
        &format!("/servers?done=imported&count={count}"),
    ))
}

fn is_upload(kind: &str) -> bool {
    kind.get(..UPLOAD.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(UPLOAD))
}

/// The text of the file, or, if none was chosen, the one that was pasted.
fn sent<'b>(kind: &str, body: &'b [u8]) -> Result<&'b [u8], Fault> {
    let fields = upload::fields(kind, body)?;
    let of = |wanted: &str| {
        let mut found = fields.iter().filter(|(name, _)| *name == wanted);
        found.next().map_or(&b""[..], |(_, content)| *content)
    };
    Ok(match of("file") {
        [] => of("text"),
        file => file,
    })
}

fn refused(pages: &ImportPages, faults: Faults) -> Answer {
    let faults: Vec<_> = faults.into_iter().collect();
    // Nothing that is in a file can mend that.
    match faults.iter().find(|fault| fault.status().is_server_error()) {
        Some(fault) => Err(fault.clone()),
        None => asked(pages, StatusCode::BAD_REQUEST, faults),
    }
}

fn asked(pages: &ImportPages, status: StatusCode, faults: Vec<Fault>) -> Answer {
    let content = Asked {
        frame: Frame::of(&pages.hosts, Section::Servers),
        more_faults: faults.len().saturating_sub(FAULTS),
        faults: faults
            .iter()
            .take(FAULTS)
            .map(|fault| match fault.param() {
                // A name is written as it is in the file.
                Some(_) => Shown::of(&format!("{}.", fault.message())),
                None => Shown::of(&sentence(fault.message())),
            })
            .collect(),
    };
    page(status, &content)
}

fn previewed(pages: &ImportPages, plan: &Plan, text: &[u8]) -> Answer {
    let content = Preview {
        frame: Frame::of(&pages.hosts, Section::Servers),
        drafts: plan.drafts.iter().map(DraftRow::of).collect(),
        rest: plan.rest.iter().map(RestRow::of).collect(),
        sealed: pages.carried.seal(text),
    };
    page(StatusCode::OK, &content)
}

impl DraftRow {
    fn of(draft: &Draft) -> Self {
        let to_enter = draft.to_enter.iter().map(|open| {
            let header = open.member.strip_prefix("auth.headers[");
            let header = header.and_then(|rest| rest.split(']').next()?.parse::<usize>().ok());
            let named = header.and_then(|at| draft.headers.get(at));
            let what = match (named, &*open.member) {
                (Some(header), _) => header.clone(),
                (None, "auth.client_secret") => "Client secret".to_owned(),
                (None, _) => "Server URL".to_owned(),
            };
            (what, open.placeholders.join(", "))
        });
        Self {
            name: draft.name.to_string(),
            from: Shown::short(&draft.from, 80),
            renamed: draft.renamed.clone(),
            url: Shown::short(&draft.url, 200),
            is_sse: draft.transport == "sse",
            auth: AuthKind::of_word(draft.auth).map_or("", method),
            headers: draft.headers.clone(),
            to_enter: to_enter.collect(),
            is_disabled: draft.disabled,
            unread: draft
                .unread
                .iter()
                .map(|name| Shown::short(name, 40))
                .collect(),
        }
    }
}

impl RestRow {
    fn of(rest: &Rest) -> Self {
        Self {
            from: Shown::short(&rest.from, 80),
            reason: Shown::of(&sentence(&rest.reason)),
            command: rest.command.clone(),
            url: rest.url.clone(),
            env: rest.env.iter().map(|name| Shown::short(name, 80)).collect(),
            is_disabled: rest.disabled,
        }
    }
}
