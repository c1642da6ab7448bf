//! The third step: which tools are offered.

use askama::Template;
use axum::{body::Bytes, extract::State};

use super::{
    super::{
        errors::Errors,
        fields::{every_tool, read_tools},
        form::Form,
        page::{Frame, page},
        selection::Selection,
        server_pages::ServerPages,
        text::{Shown, sentence},
    },
    step::{Step, done, status, step, steps},
};
use crate::{
    admin::{
        answer::{Answer, Named},
        fault::{Code, Fault},
        tools::is_listed_for_callers,
        view::entered,
    },
    registry::{Observation, Server, members::Tree},
};

#[derive(Template)]
#[template(path = "setup_tools.html")]
struct ToolsStep {
    frame: Frame,
    steps: Vec<Step>,
    errors: Errors,
    name: String,
    selection: Selection,
    /// The problem because of which the server's tools are not known.
    problem: Option<Problem>,
    is_passthrough: bool,
}

/// The reason why a server cannot list its tools, and the remedy.
pub(in super::super) struct Problem {
    pub(in super::super) message: Shown,
    pub(in super::super) advice: &'static str,
}

/// `GET /servers/{name}/setup/tools`
pub(in super::super) async fn tools(
    State(pages): State<ServerPages>,
    Named(name): Named,
) -> Answer {
    let Some(draft) = pages.records.draft(&name).await? else {
        return Ok(done(&pages, &name));
    };
    tools_step(
        &pages,
        &draft,
        (entered(&draft).get("tools"), None),
        Errors::default(),
    )
    .await
}

/// `POST /servers/{name}/setup/tools`
pub(in super::super) async fn save_tools(
    State(pages): State<ServerPages>,
    Named(name): Named,
    form: Bytes,
) -> Answer {
    let Some(draft) = pages.records.draft(&name).await? else {
        return Ok(done(&pages, &name));
    };
    let form = Form::parse(&form)?;
    let mut given = entered(&draft);
    match form.text("go") {
        // Once more, whatever was chosen; it stays as it is stored.
        "again" => {
            // What is wrong is on the page that follows.
            let _ = pages.tools.probe(&draft).await;
            return Ok(step(&pages, &name, "tools"));
        }
        "all" => {
            let tools = every_tool(&form, given.get("tools"));
            return tools_step(&pages, &draft, (&tools, Some(&form)), Errors::default()).await;
        }
        "clear" => {
            let none = Tree::List(Vec::new());
            return tools_step(&pages, &draft, (&none, Some(&form)), Errors::default()).await;
        }
        _ => {}
    }
    let saved = match read_tools(&form, &mut given) {
        Ok(()) => pages.records.change(&given, &draft).await,
        Err(fault) => Err(fault.into()),
    };
    match saved {
        Ok(server) => Ok(step(&pages, &server.name, "review")),
        Err(faults) => {
            let chosen = (given.get("tools"), Some(&form));
            tools_step(&pages, &draft, chosen, Errors::of(faults)?).await
        }
    }
}

/// The page with these tools chosen, and with the rest of a form that was sent.
async fn tools_step(
    pages: &ServerPages,
    draft: &Server,
    (chosen, form): (&Tree<'_>, Option<&Form>),
    errors: Errors,
) -> Answer {
    let (seen, problem) = known_tools(pages, draft).await?;
    let selection = Selection::of(chosen, draft, &seen, &pages.tools.left_out(draft).await);
    let content = ToolsStep {
        frame: pages.frame(),
        steps: steps(pages, Some(&draft.name), 2),
        name: draft.name.to_string(),
        selection: match form {
            Some(form) => selection.with_instructions(form),
            None => selection,
        },
        problem,
        is_passthrough: is_listed_for_callers(draft),
        errors,
    };
    page(status(&content.errors), &content)
}

/// The observation of `server`, which is asked for its tools if it was not since it changed; and
/// the problem, if it could not be asked.
pub(in super::super) async fn known_tools(
    pages: &ServerPages,
    server: &Server,
) -> Result<(Observation, Option<Problem>), Fault> {
    let seen = pages.store.observation(server).await?;
    let is_known = seen.listed_at.is_some() && seen.record_version == server.version;
    if is_known || is_listed_for_callers(server) {
        return Ok((seen, None));
    }
    let problem = match pages.tools.probe(server).await {
        Ok(()) => None,
        Err(fault) if fault.code() == Code::ServerInactive => Some(Problem {
            message: Shown::short(&sentence(fault.message()), 400),
            advice: match pages.statuses.is_authorized(server).await {
                true => {
                    "Check the URL, the server type and the credentials. An address within a private network has to be allowed in the gateway's configuration."
                }
                false => "Connect the server first: choose Connect now under Authentication.",
            },
        }),
        Err(fault) => return Err(fault),
    };
    Ok((pages.store.observation(server).await?, problem))
}
