//! The form that makes an API key, and the only page that has it.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use askama::Template;
use axum::{body::Bytes, extract::State};
use http::StatusCode;
use secrecy::ExposeSecret;

use super::pages::KeyPages;
use crate::{
    admin::{
        answer::Answer,
        api_keys::{self, Entered},
        callers_url::CallersUrl,
        dashboard::{
            control::number,
            errors::{Errors, field},
            form::Form,
            page::{Frame, page},
            projects::label,
            text::Shown,
            when::When,
        },
        fault::{Code, Fault, Faults},
        time::from_date,
    },
    registry::{ApiKeyId, CallLimit, CallLimits, members::Tree},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The lives to choose from, in days; the second is chosen at first.
const LIVES: [&str; 3] = ["30", "90", "365"];

#[derive(Template)]
#[template(path = "api_key_new.html")]
struct New {
    frame: Frame,
    refusal: Option<Shown>,
    errors: Errors,
    /// The id of the key that this form makes: sent twice, it makes no second one.
    id: String,
    name: String,
    project: String,
    projects: Arc<BTreeSet<String>>,
    expires: String,
    expires_on: String,
    limits: Vec<Limit>,
    /// `true` if requests have wanted no key up to now.
    is_first: bool,
}

/// The field of a limit of calls.
struct Limit {
    name: &'static str,
    id: String,
    label: &'static str,
    calls: String,
}

#[derive(Template)]
#[template(path = "api_key_made.html")]
struct Made<'a> {
    frame: Frame,
    name: Shown,
    project: Shown,
    key: &'a str,
    expires: Option<When>,
    gateway: &'a CallersUrl,
}

/// `GET /api-keys/new`
pub(in super::super) async fn ask(State(pages): State<KeyPages>) -> Answer {
    let empty = Form::parse(b"expires=90")?;
    asked(&pages, &empty, StatusCode::OK, Errors::default()).await
}

/// `POST /api-keys`
///
/// It answers with the key at once, and not with an address to go to: no address may lead to it.
pub(in super::super) async fn make(State(pages): State<KeyPages>, form: Bytes) -> Answer {
    let form = Form::parse(&form)?;
    let id = form.text("id").parse();
    let id = id.unwrap_or_else(|_| ApiKeyId::random());
    let made = match entered(&form, pages.keys.now()) {
        Ok(entered) => pages.keys.make(id, &entered).await.map_err(Faults::from),
        Err(faults) => Err(faults),
    };
    let (made, secret) = match made {
        Ok(made) => made,
        Err(faults) if faults.as_first().code() == Code::InvalidRequest => {
            let status = faults.as_first().status();
            return asked(&pages, &form, status, errors(faults)?).await;
        }
        Err(faults) => return Err(faults.into()),
    };
    let key = &made.key;
    pages.projects.note_named(key.project.name());
    let content = Made {
        frame: pages.frame(),
        name: Shown::of(&key.name),
        project: Shown::of(key.project.name()),
        key: secret.expose_secret(),
        expires: key.expires_at.map(|at| When::until(at, pages.keys.now())),
        gateway: &pages.callers_url,
    };
    page(StatusCode::OK, &content)
}

async fn asked(pages: &KeyPages, form: &Form, status: StatusCode, errors: Errors) -> Answer {
    let content = New {
        frame: pages.frame(),
        refusal: pages.keys.refusal().map(Shown::of),
        errors,
        id: ApiKeyId::random().to_string(),
        name: form.text("name").to_owned(),
        project: form.text("project").to_owned(),
        projects: pages.projects.choices().await?,
        expires: form.text("expires").to_owned(),
        expires_on: form.text("expires_on").to_owned(),
        limits: Vec::from(CallLimit::ALL.map(|of| Limit {
            name: of.as_str(),
            id: field(of.as_str()),
            label: label(of),
            calls: form.text(of.as_str()).to_owned(),
        })),
        is_first: !pages.keys.are_wanted()?,
    };
    page(status, &content)
}

fn entered(form: &Form, now: SystemTime) -> Result<Entered, Faults> {
    let [name, project] = ["name", "project"].map(|field| form.trimmed(field).to_owned());
    let mut faults = Vec::new();
    for (field, text) in [("name", &name), ("project", &project)] {
        faults.extend(api_keys::check(field, text).err());
    }
    let expires_at = expiry(form.text("expires"), form.trimmed("expires_on"), now);
    let expires_at = expires_at.unwrap_or_else(|fault| {
        faults.push(fault);
        None
    });
    let typed = CallLimit::ALL.into_iter().fold(Tree::new(), |typed, of| {
        typed.with(of.as_str(), number(form.trimmed(of.as_str())))
    });
    let limits = api_keys::limits_entered(&typed).unwrap_or_else(|fault| {
        faults.push(fault);
        CallLimits::default()
    });
    let entered = Entered {
        name,
        project,
        expires_at,
        limits,
    };
    Faults::unless(faults, entered)
}

/// When a key expires: after so many days, at the end of a date in UTC, or never.
fn expiry(choice: &str, date: &str, now: SystemTime) -> Result<Option<SystemTime>, Fault> {
    let wrong = |reason| Err(Fault::of(Code::InvalidRequest, "expires_at", reason));
    match choice {
        "never" => Ok(None),
        "date" => match from_date(date) {
            Some(begins) => Ok(Some(UNIX_EPOCH + begins + DAY)),
            None => wrong("needs a date such as 2030-01-31"),
        },
        days if LIVES.contains(&days) => Ok(days.parse().ok().map(|days: u32| now + DAY * days)),
        _ => wrong("must be one of the choices"),
    }
}

/// The errors of the form, each beside its field and in its words.
fn errors(faults: Faults) -> Result<Errors, Fault> {
    Errors::of(faults.map(in_words))
}

fn in_words(fault: Fault) -> Fault {
    let param = fault.param().unwrap_or_default();
    let limit = CallLimit::ALL
        .into_iter()
        .find(|limit| limit.as_str() == param);
    let label = match (param, limit) {
        ("name", _) => "Name",
        ("project", _) => "Project",
        ("expires_at", _) => "The expiry",
        (_, Some(limit)) => label(limit),
        _ => return fault,
    };
    let rest = fault.message().strip_prefix(param).unwrap_or_default();
    let rest = rest.replace("leave it out", "leave the field empty");
    let words = format!("{label} {}.", rest.trim_start_matches([':', ' ']));
    fault.with_page(Some(words.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::time::rfc3339;

    #[test]
    fn a_key_lives_for_days_to_the_end_of_a_date_or_forever() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let at = |choice, date| expiry(choice, date, now).ok();
        assert_eq!(at("never", ""), Some(None));
        assert_eq!(at("30", ""), Some(Some(now + DAY * 30)));
        let ends = at("date", "2030-01-31").flatten().map(rfc3339);
        assert_eq!(ends.as_deref(), Some("2030-02-01T00:00:00.000Z"));
        for (choice, date) in [("date", ""), ("date", "31.1.2030"), ("31", ""), ("", "")] {
            assert_eq!(at(choice, date), None, "{choice} {date}");
        }
    }
}
