//! The tools of a server that is there: which are offered, and what has changed.

use askama::Template;
use axum::{
    body::Bytes,
    extract::{RawQuery, State},
};
use http::StatusCode;

use super::{
    super::{
        answer::{Answer, Named},
        fault::{Code, Fault},
        tool_view::{InstructionsView, ToolView},
        tools::is_listed_for_callers,
        view::entered,
    },
    diff::{self, Line},
    editing::Top,
    errors::Errors,
    fields::{every_tool, read_tools},
    form::Form,
    page::{Frame, page},
    selection::{Selection, badge, effect, pretty},
    server_pages::ServerPages,
    text::Shown,
    wizard::{Problem, known_tools, status},
};
use crate::registry::{Fingerprint, Observation, Pins, Server, Source, ToolState, members::Tree};

/// Lines of a difference that are shown.
const LINES: usize = 1500;

#[derive(Template)]
#[template(path = "tools.html")]
struct Tools {
    frame: Frame,
    top: Top,
    name: String,
    errors: Errors,
    version: u64,
    selection: Selection,
    changes: Vec<Change>,
    problem: Option<Problem>,
    is_passthrough: bool,
    can_accept: bool,
    done: Option<&'static str>,
}

/// A tool that is not as it was accepted.
struct Change {
    name: String,
    label: Shown,
    badge: (&'static str, &'static str),
    effect: Option<(&'static str, &'static str)>,
    says: &'static str,
    /// The fingerprint that is accepted; empty accepts that the tool is gone.
    fingerprint: String,
    lines: Vec<(&'static str, &'static str, Shown)>,
}

/// `GET /servers/{name}/tools`
pub(super) async fn show(
    State(pages): State<ServerPages>,
    Named(name): Named,
    RawQuery(query): RawQuery,
) -> Answer {
    let server = pages.store.get(&name).await?;
    if server.draft {
        return Ok(pages.to(&format!("/servers/{name}/setup/tools")));
    }
    let mut content = content(
        &pages,
        &server,
        entered(&server).get("tools"),
        Errors::default(),
    )
    .await?;
    let query = query.unwrap_or_default();
    content.done = match Form::parse(query.as_bytes())?.text("done") {
        "saved" => Some("Saved. Requests that come now get these tools."),
        "accepted" => Some("Accepted. Models get the tools as they are now."),
        _ => None,
    };
    page(StatusCode::OK, &content)
}

/// `POST /servers/{name}/tools`
pub(super) async fn save(
    State(pages): State<ServerPages>,
    Named(name): Named,
    form: Bytes,
) -> Answer {
    let server = pages.store.get(&name).await?;
    let form = Form::parse(&form)?;
    let mut given = entered(&server);
    given.set("version", form.text("version").parse::<u64>().ok());
    let unsaved = match form.text("go") {
        "again" => {
            // What is wrong is on the page that follows.
            let _ = pages.tools.probe(&server).await;
            return Ok(pages.to(&format!("/servers/{name}/tools")));
        }
        "all" => Some(every_tool(&form, given.get("tools"))),
        "clear" => Some(Tree::List(Vec::new())),
        _ => None,
    };
    if let Some(chosen) = unsaved {
        let mut content = content(&pages, &server, &chosen, Errors::default()).await?;
        content.selection = content.selection.with_instructions(&form);
        return page(StatusCode::OK, &content);
    }
    let saved = match read_tools(&form, &mut given) {
        Ok(()) => pages.records.change(&given, &server).await,
        Err(fault) => Err(fault.into()),
    };
    match saved {
        Ok(_) => Ok(pages.to(&format!("/servers/{name}/tools?done=saved"))),
        Err(faults) => {
            let errors = match faults.as_first().code() {
                Code::StaleVersion => {
                    let message = "Somebody else saved this server meanwhile. Look at your \
                                   selection once more, and save it over theirs";
                    Errors::of(Fault::new(Code::Conflict, message).at("tools"))?
                }
                _ => Errors::of(faults)?,
            };
            let mut content = content(&pages, &server, given.get("tools"), errors).await?;
            content.selection = content.selection.with_instructions(&form);
            page(status(&content.errors), &content)
        }
    }
}

/// `POST /servers/{name}/tools/accept`
pub(super) async fn accept(
    State(pages): State<ServerPages>,
    Named(name): Named,
    form: Bytes,
) -> Answer {
    let server = pages.store.get(&name).await?;
    if server.source == Source::File && server.pins.is_some() {
        return Err(pages.store.declared().fault(&name));
    }
    let form = Form::parse(&form)?;
    let named = form.all("tool").zip(form.all("fingerprint"));
    let tools: Result<Vec<_>, Fault> = named.map(meant).collect();
    let tools = tools?;
    pages.tools.accept(&server, &tools).await?;
    tracing::info!(action = "accept", server = %name, tools = tools.len(), "tools were accepted");
    Ok(pages.to(&format!("/servers/{name}/tools?done=accepted")))
}

/// A tool, with what it is to be accepted as.
fn meant((tool, fingerprint): (&str, &str)) -> Result<(String, Option<Fingerprint>), Fault> {
    let fingerprint = match fingerprint {
        "" => None,
        text => Some(text.parse().map_err(|_| {
            Fault::of(Code::InvalidRequest, "fingerprint", "must be 64 hex digits")
        })?),
    };
    Ok((tool.to_owned(), fingerprint))
}

async fn content(
    pages: &ServerPages,
    server: &Server,
    chosen: &Tree<'_>,
    errors: Errors,
) -> Result<Tools, Fault> {
    let (seen, problem) = known_tools(pages, server).await?;
    // What was just found out may be in the record by now.
    let server = pages.store.get(&server.name).await?;
    let is_declared = server.source == Source::File;
    Ok(Tools {
        frame: pages.frame(),
        top: Top::of(pages, &server).await?,
        name: server.name.to_string(),
        version: server.version,
        selection: Selection::of(chosen, &server, &seen, &pages.tools.left_out(&server).await),
        changes: changes(&server, &seen),
        problem,
        is_passthrough: is_listed_for_callers(&server),
        can_accept: !is_declared || server.pins.is_none(),
        done: None,
        errors,
    })
}

fn changes(server: &Server, seen: &Observation) -> Vec<Change> {
    let views = ToolView::all(server, seen);
    let instructions = InstructionsView::of(server, seen);
    let instructions = instructions.and_then(|view| Change::of_instructions(&view, seen, server));
    let tools = views.iter().filter_map(Change::of);
    tools.chain(instructions).collect()
}

impl Change {
    /// Instructions that wait to be accepted. They stand for a tool without a name.
    fn of_instructions(
        view: &InstructionsView,
        seen: &Observation,
        server: &Server,
    ) -> Option<Self> {
        let badge = badge(view.state)?;
        let pins = server.pins.as_deref().or(seen.pins.as_deref());
        let accepted = pins.and_then(Pins::instructions);
        let old = accepted.and_then(|old| seen.definitions.get(&old));
        let old: Option<String> = old.and_then(|text| serde_json::from_str(text).ok());
        Some(Self {
            name: String::new(),
            label: Shown::of("Instructions of the server"),
            badge,
            effect: None,
            says: "What the server says of how to use its tools is not what was accepted.",
            fingerprint: view.fingerprint.to_string(),
            lines: differences(&old.unwrap_or_default(), &view.text),
        })
    }

    fn of(view: &ToolView<'_>) -> Option<Self> {
        let badge = badge(view.state)?;
        let says = match view.state {
            ToolState::Changed => "What the server says about this tool is not what was accepted.",
            ToolState::New => {
                "This tool appeared after the others were accepted. This is all that its server says of it."
            }
            _ => "The server does not list this tool any more.",
        };
        let text = |json: Option<&serde_json::value::RawValue>| {
            json.map(|json| pretty(json.get())).unwrap_or_default()
        };
        let (old, new) = (text(view.approved_definition), text(view.definition));
        Some(Self {
            name: view.name.to_owned(),
            label: Shown::of(view.name),
            badge,
            effect: effect(view),
            says,
            fingerprint: view
                .fingerprint
                .map(|now| now.to_string())
                .unwrap_or_default(),
            lines: differences(&old, &new),
        })
    }
}

/// The lines of two texts, with what is gone and what has come.
fn differences(old: &str, new: &str) -> Vec<(&'static str, &'static str, Shown)> {
    let lines = diff::lines(old, new).into_iter().take(LINES);
    let lines = lines.map(|line| match line {
        Line::Same(text) => ("", " ", Shown::of(text)),
        Line::Gone(text) => ("del", "−", Shown::of(text)),
        Line::Come(text) => ("ins", "+", Shown::of(text)),
    });
    lines.collect()
}
