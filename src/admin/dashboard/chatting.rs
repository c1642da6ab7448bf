//! A chat to try: a model with servers, as a caller would ask it, and what came of it.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use askama::Template;
use axum::{
    body::{Body, Bytes},
    extract::{FromRef, RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};

use super::{
    super::{
        answer::Answer,
        audit::Change,
        callers_url::CallersUrl,
        chat::Chat,
        clock::Clock,
        fault::{Code, Fault},
        hosts::Hosts,
        models::{ALIASES, Models, entries},
        organization::OrganizationStore,
        overview::{Asked as Range, Overviews, range, ranked},
        parts::Parts,
        projects::Projects,
    },
    form::Form,
    page::{Frame, Section, page},
    samples::Request,
    text::{Shown, sentence},
    when::span,
};
use crate::{
    name::ServerName,
    project::Project,
    registry::{Filter, Page, is_name},
    trace::TraceId,
};

/// Tells the page, and nobody else, which trace is that of the answer.
const TRACE: HeaderName = HeaderName::from_static("x-trace-id");
/// The most that is read of an answer: a model writes less.
const ANSWER: usize = 4 << 20;
/// The most characters of it that are shown.
const SHOWN: usize = 100_000;
/// Servers to choose from, and calls that are shown; a request has fewer.
const SERVERS: usize = 100;
const CALLS: usize = 100;
/// Models that are suggested, and the time in which those of requests are looked for.
const MODELS: usize = 20;
const LATELY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The parts that a chat is made of.
#[derive(Clone)]
pub(super) struct ChatPages {
    hosts: Arc<Hosts>,
    store: OrganizationStore,
    chat: Option<Chat>,
    clock: Clock,
    models: Models,
    overviews: Overviews,
    projects: Projects,
    gateway: CallersUrl,
}

impl FromRef<Parts> for ChatPages {
    fn from_ref(parts: &Parts) -> Self {
        Self {
            hosts: parts.hosts.clone(),
            store: parts.store.clone(),
            chat: parts.chat.clone(),
            clock: parts.clock.clone(),
            models: parts.models.clone(),
            overviews: parts.overviews.clone(),
            projects: parts.projects.clone(),
            gateway: parts.callers_url.clone(),
        }
    }
}

#[derive(Template)]
#[template(path = "chat.html")]
struct Chatting {
    frame: Frame,
    asked: Asked,
    /// The servers to choose from, with whether they are chosen.
    servers: Vec<(String, Shown, bool)>,
    /// Suggestions, for what can be typed.
    models: Vec<String>,
    projects: Arc<BTreeSet<String>>,
    is_there: bool,
    wrong: Option<&'static str>,
    outcome: Option<Outcome>,
    /// The same request for callers: the language, and the text.
    samples: Vec<(&'static str, Shown)>,
}

/// What an operator asks.
#[derive(Default)]
struct Asked {
    model: String,
    message: String,
    project: String,
    servers: Vec<String>,
}

/// What came of it.
struct Outcome {
    answer: Option<Shown>,
    /// The error, in the place of an answer.
    error: Option<Shown>,
    calls: Vec<CallRow>,
    took: String,
    tokens: Option<u64>,
    trace: Option<String>,
}

struct CallRow {
    server: Shown,
    tool: Shown,
    took: String,
    is_error: bool,
}

/// `GET /chat`
pub(super) async fn show(State(pages): State<ChatPages>, RawQuery(query): RawQuery) -> Answer {
    let form = Form::parse(query.unwrap_or_default().as_bytes())?;
    let mut asked = Asked::of(&form);
    let models = pages.models().await?;
    // The model that is asked most is the likeliest.
    if let ("", Some(model)) = (&*asked.model, models.first()) {
        asked.model.clone_from(model);
    }
    let content = pages.content(asked, models).await?;
    page(StatusCode::OK, &content)
}

/// `POST /chat`: the whole answer, as a page.
pub(super) async fn run(State(pages): State<ChatPages>, form: Bytes) -> Answer {
    let asked = Asked::of(&Form::parse(&form)?);
    let models = pages.models().await?;
    let mut content = pages.content(asked, models).await?;
    content.wrong = content.asked.fault();
    let (Some(chat), None) = (&pages.chat, content.wrong) else {
        return page(StatusCode::BAD_REQUEST, &content);
    };
    let began = pages.clock.now();
    let answer = ask(chat, &pages.store, &content.asked, false).await?;
    let took = pages.clock.now().duration_since(began).unwrap_or_default();
    content.outcome = Some(Outcome::read(answer, took).await?);
    page(StatusCode::OK, &content)
}

/// `POST /chat/stream`: the answer as it comes, for the script of the page.
pub(super) async fn stream(
    State(store): State<OrganizationStore>,
    State(chat): State<Option<Chat>>,
    form: Bytes,
) -> Answer {
    let asked = Asked::of(&Form::parse(&form)?);
    if let Some(wrong) = asked.fault() {
        return Err(Fault::new(Code::InvalidRequest, wrong));
    }
    let chat = chat.ok_or_else(absent)?;
    let answer = ask(&chat, &store, &asked, true).await?;
    let kind = answer.headers().get(CONTENT_TYPE).cloned();
    let trace = answer.headers().get(&TRACE).cloned();
    let mut response = (answer.status(), answer.into_body()).into_response();
    // Of the headers of a model's service only its type is ours to repeat.
    for (name, value) in [(CONTENT_TYPE, kind), (TRACE, trace)] {
        if let Some(value) = value {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// Asks, once the audit says so; the answer has the header [`TRACE`].
async fn ask(
    chat: &Chat,
    store: &OrganizationStore,
    asked: &Asked,
    is_streamed: bool,
) -> Result<Response<Body>, Fault> {
    let project = Project::new(&*asked.project).with_organization(store.organization().clone());
    let id = TraceId::new(SystemTime::now());
    // What is said is in the trace, if anywhere.
    let change = Change::new("chat.ask", &asked.model).after(&json!({
        "servers": asked.servers,
        "project": asked.project,
        "trace": id,
    }));
    let body = asked.body(is_streamed).to_string();
    let answer = store.audit().around(change, async {
        let answer = chat.ask(project, body.into(), id).await;
        answer.map_err(|error| {
            tracing::warn!(%error, "the model's service did not answer a chat");
            Fault::new(Code::ServerInactive, "the model's service did not answer")
        })
    });
    let mut answer = answer.await?;
    let id = HeaderValue::try_from(id.to_string());
    answer.headers_mut().extend(id.map(|id| (TRACE, id)));
    Ok(answer)
}

fn absent() -> Fault {
    let message = "this gateway has no chat to try: nobody told it about its model";
    Fault::new(Code::NotFound, message)
}

impl ChatPages {
    /// The models that are asked lately, most often first, and the aliases.
    async fn models(&self) -> Result<Vec<String>, Fault> {
        let now = self.clock.now();
        let asked = Range {
            range: range(now.checked_sub(LATELY), None, now)?,
            project: None,
        };
        let overview = self.overviews.read(&asked).await?;
        let (asked, _) = ranked(&overview.breakdown.models, MODELS, |model| model.exchanges);
        let asked = asked.into_iter().map(|(name, _)| name.to_owned());
        let mut models: Vec<_> = asked.filter(|name| !name.is_empty()).collect();
        let rules = self.models.in_force();
        for alias in entries(&rules, ALIASES).iter().take(MODELS) {
            let name = alias.get("name").as_text().unwrap_or_default();
            if !models.iter().any(|model| model == name) {
                models.push(name.to_owned());
            }
        }
        Ok(models)
    }

    async fn content(&self, asked: Asked, models: Vec<String>) -> Result<Chatting, Fault> {
        let first = Page {
            limit: SERVERS,
            ..Page::default()
        };
        let listed = self.store.list(&Filter::default(), &first).await?;
        let servers = listed.servers.iter().map(|server| {
            let name = server.name.to_string();
            // Where there is one, there is no choice.
            let is_chosen = asked.servers.contains(&name) || listed.servers.len() == 1;
            (name, Shown::short(server.display_name(), 60), is_chosen)
        });
        Ok(Chatting {
            frame: Frame::of(&self.hosts, Section::Overview),
            servers: servers.collect(),
            // What is not complete yet has placeholders, which the script fills as one types.
            samples: match asked.fault() {
                Some(_) => Request::default().samples(&self.gateway),
                None => asked.request().samples(&self.gateway),
            },
            asked,
            models,
            projects: self.projects.choices().await?,
            is_there: self.chat.is_some(),
            wrong: None,
            outcome: None,
        })
    }
}

impl Asked {
    fn of(form: &Form) -> Self {
        let project = match form.trimmed("project") {
            "" => "default",
            project => project,
        };
        Self {
            model: form.trimmed("model").to_owned(),
            message: form.text("message").to_owned(),
            project: project.to_owned(),
            servers: form
                .all("server")
                .take(SERVERS)
                .map(str::to_owned)
                .collect(),
        }
    }

    /// What is missing or wrong. What a caller may send is for the layer to refuse; this much is in
    /// the audit as well.
    fn fault(&self) -> Option<&'static str> {
        if self.model.is_empty() {
            return Some("name a model");
        }
        if self.message.trim().is_empty() {
            return Some("write a message");
        }
        if !is_name(&self.project) {
            return Some(
                "name a project with 1 to 100 characters, none of them a control character",
            );
        }
        let is_server = |name: &String| name.parse::<ServerName>().is_ok();
        let has_servers = !self.servers.is_empty() && self.servers.iter().all(is_server);
        (!has_servers).then_some("choose a server")
    }

    fn request(&self) -> Request<'_> {
        Request {
            model: &self.model,
            message: &self.message,
            servers: &self.servers,
        }
    }

    fn body(&self, is_streamed: bool) -> Value {
        let mut body = self.request().body();
        if is_streamed {
            body["stream"] = true.into();
            body["mcp"]["on_stream"] = "execute".into();
            body["mcp"]["events"] = true.into();
        }
        body
    }
}

impl Outcome {
    async fn read(answer: Response<Body>, took: Duration) -> Result<Self, Fault> {
        let trace = answer.headers().get(&TRACE);
        let trace = trace.and_then(|id| id.to_str().ok().map(str::to_owned));
        let body = Limited::new(answer.into_body(), ANSWER).collect().await;
        let body = body.map_err(|_| {
            Fault::new(
                Code::ServerInactive,
                "the answer broke off, or is too long to be shown",
            )
        })?;
        let body: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
        let content = body["choices"][0]["message"]["content"].as_str();
        let error = body["error"]["message"].as_str();
        let none = "there is no answer with a text";
        let error = error.or_else(|| content.is_none().then_some(none));
        let calls = body["mcp"]["calls"].as_array();
        let calls = calls.into_iter().flatten().take(CALLS).map(|call| CallRow {
            server: Shown::short(call["server"].as_str().unwrap_or("–"), 60),
            tool: Shown::short(call["tool"].as_str().unwrap_or("–"), 100),
            took: span(Duration::from_millis(
                call["duration_ms"].as_u64().unwrap_or_default(),
            )),
            is_error: call["is_error"] == true,
        });
        Ok(Self {
            answer: content.map(|text| Shown::short(text, SHOWN)),
            error: error.map(|text| Shown::short(&sentence(text), SHOWN)),
            calls: calls.collect(),
            took: span(took),
            tokens: body["usage"]["total_tokens"].as_u64(),
            trace,
        })
    }
}
