//! A tool, tried by an operator: a form for its arguments, and what the call came to.

use askama::Template;
use axum::{
    body::Bytes,
    extract::{RawQuery, State},
};
use http::{HeaderMap, StatusCode};

use super::{
    super::{
        answer::{Answer, Named},
        calling::{Calling, Entered, NotCalled},
        fault::{Code, Fault},
        projects::{DEFAULT, usual},
        tool_view::ToolView,
        tools::is_listed_for_callers,
    },
    arguments::Arguments,
    editing::Top,
    form::Form,
    page::{Frame, page},
    selection::pretty,
    server_pages::ServerPages,
    text::{Shown, sentence},
    when::span,
};
use crate::{
    name::ServerName,
    registry::{NO_NAME, Server, ToolPolicy, is_name},
    tool_loop::SingleResult,
};

/// The most characters of a result that are shown; its trace has as many as are kept.
const RESULT: usize = 100_000;

#[derive(Template)]
#[template(path = "try.html")]
struct Trying {
    frame: Frame,
    top: Top,
    name: String,
    tool: String,
    label: Shown,
    about: Option<Shown>,
    /// Of the definition that the form is made from.
    fingerprint: String,
    asks_first: bool,
    is_passthrough: bool,
    /// The header of callers' own tokens.
    token_header: Option<String>,
    arguments: Arguments,
    project: String,
    wrong_project: Option<String>,
    outcome: Option<Outcome>,
    /// The same call over REST, once it was made.
    curl: Option<Shown>,
}

/// What a call came to.
enum Outcome {
    Result {
        is_error: bool,
        took: String,
        truncated: bool,
        text: Shown,
        trace: Option<String>,
    },
    Refused(Shown),
}

/// `GET /servers/{name}/try?tool=…`
pub(super) async fn show(
    State(pages): State<ServerPages>,
    Named(name): Named,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = query.unwrap_or_default();
    let form = Form::parse(query.as_bytes())?;
    let content = content(&pages, &name, form.text("tool")).await?;
    page(StatusCode::OK, &content)
}

/// `POST /servers/{name}/try`
pub(super) async fn run(
    State(pages): State<ServerPages>,
    State(calling): State<Calling>,
    Named(name): Named,
    form: Bytes,
) -> Answer {
    let form = Form::parse(&form)?;
    let mut content = content(&pages, &name, form.text("tool")).await?;
    content.arguments = content.arguments.entered(&form);
    form.trimmed("project").clone_into(&mut content.project);
    let project = Some(content.project.clone()).filter(|project| !project.is_empty());
    let is_wrong = project.as_ref().is_some_and(|project| !is_name(project));
    content.wrong_project = is_wrong.then(|| sentence(NO_NAME));
    let (Some(arguments), false) = (content.arguments.read(), is_wrong) else {
        return page(StatusCode::BAD_REQUEST, &content);
    };
    content.curl = Some(curl(&content, &arguments));
    let entered = Entered {
        arguments,
        project,
        // What is called is what was read: a definition that has changed since is not.
        fingerprint: form.text("fingerprint").parse().ok(),
    };
    let tool = content.tool.clone();
    let mut headers = HeaderMap::new();
    let called = calling.call(name, tool, entered, &mut headers);
    content.outcome = Some(match called.await {
        Ok(result) => Outcome::of(&result),
        Err(NotCalled::Refused(refusal)) => {
            Outcome::Refused(Shown::of(&sentence(&refusal.to_string())))
        }
        Err(NotCalled::Fault(fault)) => return Err(fault),
    });
    page(StatusCode::OK, &content)
}

async fn content(pages: &ServerPages, name: &ServerName, tool: &str) -> Result<Trying, Fault> {
    let server = pages.store.get(name).await?;
    let seen = pages.store.observation(&server).await?;
    let views = ToolView::all(&server, &seen);
    let view = views.iter().find(|view| view.name == tool);
    let Some(view) = view.filter(|view| view.fingerprint.is_some() && !server.draft) else {
        let message = "the server lists no tool of this name";
        return Err(Fault::new(Code::NotFound, message));
    };
    let schema = view.input_schema.map(|schema| schema.get());
    Ok(Trying {
        frame: pages.frame(),
        top: Top::of(pages, &server).await?,
        name: name.to_string(),
        tool: tool.to_owned(),
        label: Shown::short(tool, 100),
        about: view.description.as_deref().map(Shown::of),
        fingerprint: view
            .fingerprint
            .map(|now| now.to_string())
            .unwrap_or_default(),
        asks_first: asks_first(&server, tool),
        is_passthrough: is_listed_for_callers(&server),
        token_header: pages.calling.token_header(&server),
        arguments: Arguments::of(schema),
        project: usual(&server).to_owned(),
        wrong_project: None,
        outcome: None,
        curl: None,
    })
}

fn asks_first(server: &Server, tool: &str) -> bool {
    server.tools.policy(tool) == Some(ToolPolicy::AskFirst)
}

impl Outcome {
    fn of(result: &SingleResult) -> Self {
        Self::Result {
            is_error: result.is_error,
            took: span(result.duration),
            truncated: result.truncated,
            text: Shown::short(&pretty(&result.text), RESULT),
            trace: result.trace.map(|id| id.to_string()),
        }
    }
}

/// The call as a command for a shell; the token is in a variable.
fn curl(content: &Trying, arguments: &str) -> Shown {
    let mut body = format!("{{\"arguments\": {arguments}");
    if content.project != DEFAULT && !content.project.is_empty() {
        body += &format!(", \"project\": {}", crate::json::quoted(&content.project));
    }
    // Also where a guard asks.
    body += &format!(", \"fingerprint\": \"{}\"}}", content.fingerprint);
    let tool =
        percent_encoding::utf8_percent_encode(&content.tool, percent_encoding::NON_ALPHANUMERIC);
    let token = content.token_header.as_ref();
    let token = token.map(|header| format!("-H \"{header}: $TOKEN\" "));
    Shown::of(&format!(
        "curl -s -X POST YOUR-DASHBOARD{}/api/v1/servers/{}/tools/{tool}/call \\\n  \
         -H \"authorization: Bearer $ADMIN_TOKEN\" {}-H 'content-type: application/json' \\\n  \
         -d '{}'",
        content.frame.base,
        content.name,
        token.unwrap_or_default(),
        body.replace('\'', "'\\''"),
    ))
}
