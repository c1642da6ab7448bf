//! The third step: which tools are offered.

use std::sync::Arc;

use askama::Template;
use axum::{body::Bytes, extract::State};

use super::{
    super::{
        errors::Errors,
        fields::{every_tool, read_tools},
        form::Form,
        page::{Frame, Section, page},
        selection::Selection,
        text::{Shown, sentence},
    },
    Step, done, status, step, steps,
};
use crate::{
    admin::{
        Admin,
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
    /// Why the server's tools are not known.
    problem: Option<Problem>,
    is_passthrough: bool,
}

/// Why a server cannot be asked for its tools, and what to do about it.
pub(in super::super) struct Problem {
    pub(in super::super) message: Shown,
    pub(in super::super) advice: &'static str,
}

/// `GET /servers/{name}/setup/tools`
pub(in super::super) async fn tools(State(admin): State<Arc<Admin>>, Named(name): Named) -> Answer {
    let Some(draft) = admin.draft(&name).await? else {
        return Ok(done(&admin, &name));
    };
    tools_step(
        &admin,
        &draft,
        entered(&draft).get("tools"),
        Errors::default(),
    )
    .await
}

/// `POST /servers/{name}/setup/tools`
pub(in super::super) async fn save_tools(
    State(admin): State<Arc<Admin>>,
    Named(name): Named,
    form: Bytes,
) -> Answer {
    let Some(draft) = admin.draft(&name).await? else {
        return Ok(done(&admin, &name));
    };
    let form = Form::parse(&form)?;
    let mut given = entered(&draft);
    match form.text("go") {
        // Once more, whatever was chosen; it stays as it is stored.
        "again" => {
            // What is wrong is on the page that follows.
            let _ = admin.probe(&draft).await;
            return Ok(step(&admin, &name, "tools"));
        }
        "all" => {
            let tools = every_tool(&form, given.get("tools"));
            return tools_step(&admin, &draft, &tools, Errors::default()).await;
        }
        "clear" => {
            return tools_step(&admin, &draft, &Tree::List(Vec::new()), Errors::default()).await;
        }
        _ => {}
    }
    let saved = match read_tools(&form, &mut given) {
        Ok(()) => admin.change(&given, &draft).await,
        Err(fault) => Err(fault),
    };
    match saved {
        Ok(server) => Ok(step(&admin, &server.name, "review")),
        Err(fault) => tools_step(&admin, &draft, given.get("tools"), Errors::of(fault)?).await,
    }
}

async fn tools_step(admin: &Admin, draft: &Server, chosen: &Tree<'_>, errors: Errors) -> Answer {
    let (seen, problem) = admin.known_tools(draft).await?;
    let content = ToolsStep {
        frame: Frame::of(admin, Section::Servers),
        steps: steps(admin, Some(&draft.name), 2),
        name: draft.name.to_string(),
        selection: Selection::of(chosen, draft, &seen, &admin.left_out(draft).await),
        problem,
        is_passthrough: is_listed_for_callers(draft),
        errors,
    };
    page(status(&content.errors), &content)
}

impl Admin {
    /// What is known of the tools of `server`, which is asked if it was not since it changed;
    /// and why it could not be asked.
    pub(in super::super) async fn known_tools(
        &self,
        server: &Server,
    ) -> Result<(Observation, Option<Problem>), Fault> {
        let seen = self.observation(server).await?;
        let is_known = seen.listed_at.is_some() && seen.record_version == server.version;
        if is_known || is_listed_for_callers(server) {
            return Ok((seen, None));
        }
        let problem = match self.probe(server).await {
            Ok(()) => None,
            Err(fault) if fault.code() == Code::ServerInactive => Some(Problem {
                message: Shown::short(&sentence(fault.message()), 400),
                advice: match self.connections.is_authorized(server).await {
                    true => {
                        "Check the URL, the server type and the credentials. An address within a private network has to be allowed in the gateway's configuration."
                    }
                    false => "Connect the server first: choose Connect now under Authentication.",
                },
            }),
            Err(fault) => return Err(fault),
        };
        Ok((self.observation(server).await?, problem))
    }
}
