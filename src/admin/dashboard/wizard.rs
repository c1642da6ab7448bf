//! Creating a server in four steps, on a draft that the store keeps: nothing is lost by going
//! back, by a reload, or by the trip to a provider.

use std::sync::Arc;

use askama::Template;
use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    response::Response,
};
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    super::{
        Admin,
        answer::{Answer, Named},
        fault::{Code, Fault},
        outside::Outside,
        tools::is_listed_for_callers,
    },
    connecting::{self, Connection},
    errors::Errors,
    fields::{Fields, drop_moved_secrets, read_auth, read_scope, read_tools},
    form::Form,
    list::auth,
    page::{Frame, Section, page, to},
    selection::Selection,
    text::Shown,
};
use crate::{
    name::ServerName,
    registry::{Error, Observation, Server, ServerStore, Source},
};

/// A step, as it is shown above the others.
struct Step {
    label: &'static str,
    class: &'static str,
    link: Option<String>,
}

const STEPS: [(&str, &str); 4] = [
    ("Server and scope", "server"),
    ("Authentication", "auth"),
    ("Tools", "tools"),
    ("Review", "review"),
];

/// The steps, of which `now` is shown; of a server that is there the others can be gone to.
fn steps(admin: &Admin, name: Option<&ServerName>, now: usize) -> Vec<Step> {
    let base = admin.hosts.base();
    let step = |(index, (label, path)): (usize, (&'static str, &str))| Step {
        label,
        class: match index.cmp(&now) {
            std::cmp::Ordering::Less => "done",
            std::cmp::Ordering::Equal => "now",
            std::cmp::Ordering::Greater => "",
        },
        link: name
            .filter(|_| index != now)
            .map(|name| format!("{base}/servers/{name}/setup/{path}")),
    };
    STEPS.into_iter().enumerate().map(step).collect()
}

#[derive(Template)]
#[template(path = "setup_server.html")]
struct ServerStep {
    frame: Frame,
    steps: Vec<Step>,
    errors: Errors,
    /// Of the draft; empty where there is none yet.
    name: String,
    fields: Fields,
}

#[derive(Template)]
#[template(path = "setup_auth.html")]
struct AuthStep {
    frame: Frame,
    steps: Vec<Step>,
    errors: Errors,
    name: String,
    fields: Fields,
    connection: Connection,
    has_moved: bool,
    more_rows: bool,
}

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
pub(super) struct Problem {
    pub(super) message: Shown,
    pub(super) advice: &'static str,
}

#[derive(Template)]
#[template(path = "setup_review.html")]
struct ReviewStep {
    frame: Frame,
    steps: Vec<Step>,
    errors: Errors,
    name: String,
    fields: Fields,
    display: Shown,
    auth: &'static str,
    is_unconnected: bool,
    tools: Option<Vec<(Shown, bool)>>,
    projects: Option<Vec<Shown>>,
    about: Option<Shown>,
}

/// `GET /servers/new`
pub(super) async fn begin(State(admin): State<Arc<Admin>>) -> Answer {
    let body = json!({"transport": "streamable_http", "projects": "all"});
    server_step(&admin, None, &body, Errors::default()).await
}

/// `POST /servers/new`
pub(super) async fn create(State(admin): State<Arc<Admin>>, form: Bytes) -> Answer {
    let form = Form::parse(&form)?;
    let mut body = json!({"name": form.trimmed("name"), "draft": true});
    read_scope(&form, &mut body);
    match admin.add(&body).await {
        Ok(server) => Ok(step(&admin, &server.name, "auth")),
        Err(fault) => server_step(&admin, None, &body, Errors::of(fault)?).await,
    }
}

/// `GET /servers/{name}/setup/server`
pub(super) async fn server(State(admin): State<Arc<Admin>>, Named(name): Named) -> Answer {
    let Some(draft) = admin.draft(&name).await? else {
        return Ok(done(&admin, &name));
    };
    let body = admin.record(&draft)?;
    server_step(&admin, Some(&name), &body, Errors::default()).await
}

/// `POST /servers/{name}/setup/server`
pub(super) async fn save_server(
    State(admin): State<Arc<Admin>>,
    Named(name): Named,
    form: Bytes,
) -> Answer {
    let Some(draft) = admin.draft(&name).await? else {
        return Ok(done(&admin, &name));
    };
    let form = Form::parse(&form)?;
    let mut body = admin.record(&draft)?;
    body["name"] = form.trimmed("name").into();
    read_scope(&form, &mut body);
    let has_moved = drop_moved_secrets(&mut body, &draft.url);
    let saved = match body["name"] == name.as_str() {
        true => admin.change(&body, &draft).await,
        false => admin.rename(&body, &draft).await,
    };
    match saved {
        Ok(server) if has_moved => Ok(step(&admin, &server.name, "auth?moved")),
        Ok(server) => Ok(step(&admin, &server.name, "auth")),
        Err(fault) => server_step(&admin, Some(&name), &body, Errors::of(fault)?).await,
    }
}

async fn server_step(
    admin: &Admin,
    draft: Option<&ServerName>,
    body: &Value,
    errors: Errors,
) -> Answer {
    let content = ServerStep {
        frame: Frame::of(admin, Section::Servers),
        steps: steps(admin, draft, 0),
        name: draft.map(ToString::to_string).unwrap_or_default(),
        fields: Fields::of(body, &*admin.choices().await?),
        errors,
    };
    page(status(&content.errors), &content)
}

/// `GET /servers/{name}/setup/auth`
pub(super) async fn auth_step(
    State(admin): State<Arc<Admin>>,
    Named(name): Named,
    outside: Outside,
    RawQuery(query): RawQuery,
) -> Answer {
    let Some(draft) = admin.draft(&name).await? else {
        return Ok(done(&admin, &name));
    };
    let query = query.unwrap_or_default();
    let body = admin.record(&draft)?;
    let mut content = admin
        .auth_content(&draft, &body, &outside, Errors::default())
        .await;
    content.has_moved = query == "moved";
    content.more_rows = query == "more";
    page(StatusCode::OK, &content)
}

/// `POST /servers/{name}/setup/auth`
pub(super) async fn save_auth(
    State(admin): State<Arc<Admin>>,
    Named(name): Named,
    outside: Outside,
    form: Bytes,
) -> Answer {
    let Some(draft) = admin.draft(&name).await? else {
        return Ok(done(&admin, &name));
    };
    let form = Form::parse(&form)?;
    let mut body = admin.record(&draft)?;
    read_auth(&form, &mut body);
    let server = match admin.change(&body, &draft).await {
        Ok(server) => server,
        Err(fault) => return wrong_auth(&admin, &draft, &body, &outside, fault).await,
    };
    match form.text("go") {
        "connect" => match connecting::going(&admin, &server, &outside).await {
            Ok(response) => Ok(response),
            Err(fault) => {
                let body = admin.record(&server)?;
                wrong_auth(&admin, &server, &body, &outside, fault).await
            }
        },
        "more" => Ok(step(&admin, &server.name, "auth?more")),
        _ => Ok(step(&admin, &server.name, "tools")),
    }
}

async fn wrong_auth(
    admin: &Admin,
    draft: &Server,
    body: &Value,
    outside: &Outside,
    fault: Fault,
) -> Answer {
    let errors = Errors::of(fault)?;
    let content = admin.auth_content(draft, body, outside, errors).await;
    page(StatusCode::BAD_REQUEST, &content)
}

impl Admin {
    async fn auth_content(
        &self,
        draft: &Server,
        body: &Value,
        outside: &Outside,
        errors: Errors,
    ) -> AuthStep {
        AuthStep {
            frame: Frame::of(self, Section::Servers),
            steps: steps(self, Some(&draft.name), 1),
            name: draft.name.to_string(),
            fields: Fields::of(body, &Default::default()),
            connection: Connection::of(self, draft, outside).await,
            has_moved: false,
            more_rows: false,
            errors,
        }
    }

    /// The draft of this name; `None`: it is a server that is finished.
    async fn draft(&self, name: &ServerName) -> Result<Option<Arc<Server>>, Fault> {
        let server = self.store.get(&self.organisation, name).await?;
        if server.source == Source::File {
            let name = name.clone();
            return Err(Error::Declared { name }.into());
        }
        Ok(Some(server).filter(|server| server.draft))
    }

    /// What is known of the tools of `server`, which is asked if it was not since it changed;
    /// and why it could not be asked.
    pub(super) async fn known_tools(
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
                message: Shown::short(fault.message(), 400),
                advice: match self.connections.is_authorized(server).await {
                    true => {
                        "Check the URL, the server type and the credentials in the steps before. An address within a private network has to be allowed by the gateway's egress rules."
                    }
                    false => {
                        "Connect the server in the step before: go back to Authentication and choose Connect now."
                    }
                },
            }),
            Err(fault) => return Err(fault),
        };
        Ok((self.observation(server).await?, problem))
    }
}

/// `GET /servers/{name}/setup/tools`
pub(super) async fn tools(State(admin): State<Arc<Admin>>, Named(name): Named) -> Answer {
    let Some(draft) = admin.draft(&name).await? else {
        return Ok(done(&admin, &name));
    };
    let chosen = admin.record(&draft)?["tools"].take();
    tools_step(&admin, &draft, &chosen, Errors::default()).await
}

/// `POST /servers/{name}/setup/tools`
pub(super) async fn save_tools(
    State(admin): State<Arc<Admin>>,
    Named(name): Named,
    form: Bytes,
) -> Answer {
    let Some(draft) = admin.draft(&name).await? else {
        return Ok(done(&admin, &name));
    };
    let form = Form::parse(&form)?;
    let mut body = admin.record(&draft)?;
    match form.text("go") {
        // Once more, whatever was chosen; it stays as it is stored.
        "again" => {
            // What is wrong is on the page that follows.
            let _ = admin.probe(&draft).await;
            return Ok(step(&admin, &name, "tools"));
        }
        "all" => {
            let names: Vec<&str> = form.all("tool_name").collect();
            return tools_step(&admin, &draft, &json!(names), Errors::default()).await;
        }
        "clear" => return tools_step(&admin, &draft, &json!([]), Errors::default()).await,
        _ => {}
    }
    let saved = match read_tools(&form, &mut body) {
        Ok(()) => admin.change(&body, &draft).await,
        Err(fault) => Err(fault),
    };
    match saved {
        Ok(server) => Ok(step(&admin, &server.name, "review")),
        Err(fault) => tools_step(&admin, &draft, &body["tools"], Errors::of(fault)?).await,
    }
}

async fn tools_step(admin: &Admin, draft: &Server, chosen: &Value, errors: Errors) -> Answer {
    let (seen, problem) = admin.known_tools(draft).await?;
    let content = ToolsStep {
        frame: Frame::of(admin, Section::Servers),
        steps: steps(admin, Some(&draft.name), 2),
        name: draft.name.to_string(),
        selection: Selection::of(chosen, draft, &seen),
        problem,
        is_passthrough: is_listed_for_callers(draft),
        errors,
    };
    page(status(&content.errors), &content)
}

/// `GET /servers/{name}/setup/review`
pub(super) async fn review(State(admin): State<Arc<Admin>>, Named(name): Named) -> Answer {
    let Some(draft) = admin.draft(&name).await? else {
        return Ok(done(&admin, &name));
    };
    review_step(&admin, &draft, Errors::default()).await
}

/// `POST /servers/{name}/setup/review`
pub(super) async fn finish(State(admin): State<Arc<Admin>>, Named(name): Named) -> Answer {
    let Some(draft) = admin.draft(&name).await? else {
        return Ok(done(&admin, &name));
    };
    let mut body = admin.record(&draft)?;
    body["draft"] = false.into();
    match admin.change(&body, &draft).await {
        Ok(server) => Ok(to(
            &admin,
            &format!("/servers?done=created&server={}", server.name),
        )),
        Err(fault) => review_step(&admin, &draft, Errors::of(fault)?).await,
    }
}

async fn review_step(admin: &Admin, draft: &Server, errors: Errors) -> Answer {
    let body = admin.record(draft)?;
    let tools = body["tools"].as_array().map(|tools| {
        let tools = tools.iter().map(|tool| match tool.as_str() {
            Some(name) => (Shown::of(name), false),
            None => (Shown::of(tool["name"].as_str().unwrap_or_default()), true),
        });
        tools.collect()
    });
    let projects = body["projects"].as_array().map(|projects| {
        let projects = projects.iter().filter_map(Value::as_str);
        projects.map(Shown::of).collect()
    });
    let content = ReviewStep {
        frame: Frame::of(admin, Section::Servers),
        steps: steps(admin, Some(&draft.name), 3),
        name: draft.name.to_string(),
        fields: Fields::of(&body, &Default::default()),
        display: Shown::of(draft.display_name()),
        auth: auth(draft.auth.kind()),
        is_unconnected: !admin.connections.is_authorized(draft).await,
        about: draft.description.as_deref().map(Shown::of),
        tools,
        projects,
        errors,
    };
    page(status(&content.errors), &content)
}

/// `POST /servers/{name}/discard`
pub(super) async fn discard(State(admin): State<Arc<Admin>>, Named(name): Named) -> Answer {
    if admin.draft(&name).await?.is_none() {
        return Ok(done(&admin, &name));
    }
    admin.store.remove(&admin.organisation, &name).await?;
    tracing::info!(action = "remove", server = %name, "a draft was discarded");
    Ok(to(
        &admin,
        &format!("/servers?done=discarded&server={name}"),
    ))
}

/// On to a step.
fn step(admin: &Admin, name: &ServerName, step: &str) -> Response {
    to(admin, &format!("/servers/{name}/setup/{step}"))
}

/// There is nothing left to set up.
fn done(admin: &Admin, name: &ServerName) -> Response {
    to(admin, &format!("/servers/{name}"))
}

pub(super) fn status(errors: &Errors) -> StatusCode {
    match errors.all() {
        [] => StatusCode::OK,
        _ => StatusCode::BAD_REQUEST,
    }
}
