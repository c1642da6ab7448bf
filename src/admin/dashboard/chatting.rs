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
        fault::{Code, Fault, Faults},
        hosts::Hosts,
        models::{ALIASES, Models, entries},
        organization::OrganizationStore,
        overview::{Asked as Range, Overviews, range, ranked},
        parts::Parts,
        projects::{self, Projects},
        standing::reason,
        statuses::Statuses,
    },
    errors::Errors,
    form::Form,
    page::{Frame, Section, page},
    samples::Request,
    text::{Shown, sentence},
    when::span,
};
use crate::{
    name::ServerName,
    project::Project,
    registry::{Error, Filter, NO_NAME, Page, Server, is_name},
    trace::TraceId,
};

/// The path that the script of the page asks.
pub(super) const STREAM: &str = "/chat/stream";

/// Returns `true` for the path whose answers a script reads, faults included.
pub(in super::super) fn answers_script(path: &str) -> bool {
    path == STREAM
}

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
    statuses: Statuses,
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
            statuses: parts.statuses.clone(),
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
    servers: Vec<Choice>,
    /// Suggestions, for what can be typed.
    models: Vec<String>,
    projects: Arc<BTreeSet<String>>,
    is_there: bool,
    errors: Errors,
    outcome: Option<Outcome>,
    /// The same request for callers: the language, and the text.
    samples: Vec<(&'static str, Shown)>,
}

/// A server to choose.
struct Choice {
    name: String,
    label: Shown,
    is_chosen: bool,
    is_inactive: bool,
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
    let mut asked = Asked::of(&form, "");
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
    let asked = Asked::sent(&Form::parse(&form)?);
    let models = pages.models().await?;
    let mut content = pages.content(asked, models).await?;
    if let Err(faults) = check(&pages.store, &content.asked).await {
        content.errors = Errors::of(faults)?;
        return page(StatusCode::BAD_REQUEST, &content);
    }
    let Some(chat) = &pages.chat else {
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
    let asked = Asked::sent(&Form::parse(&form)?);
    if let Err(faults) = check(&store, &asked).await {
        return Err(in_one(faults));
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

/// Checks what was asked. A server that is not there is left to the layer, whose answer callers get
/// as well; one of other projects is not, since an operator may see that it is there.
async fn check(store: &OrganizationStore, asked: &Asked) -> Result<(), Faults> {
    let mut faults = asked.missing();
    for name in &asked.servers {
        let Ok(name) = name.parse() else { continue };
        let server = match store.get(&name).await {
            Ok(server) => server,
            Err(Error::NotFound { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let elsewhere = projects::unavailable(&server, &asked.project);
        faults.extend(elsewhere.map(|words| wrong("project", words)));
        if server.auth.is_callers() {
            let words = format!(
                "{name} wants a token of each caller's own, which this page cannot send: ask as a caller does"
            );
            faults.push(wrong("servers", words));
        }
    }
    Faults::unless(faults, ())
}

/// All that is wrong with a form in one fault, for an answer that has room for one.
fn in_one(faults: Faults) -> Fault {
    if faults.as_first().code() != Code::InvalidRequest {
        return faults.into();
    }
    let all: Vec<_> = faults
        .into_iter()
        .map(|fault| fault.message().to_owned())
        .collect();
    Fault::new(Code::InvalidRequest, all.join("; "))
}

fn wrong(field: &str, words: impl Into<String>) -> Fault {
    Fault::new(Code::InvalidRequest, words).at(field)
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

    async fn content(&self, mut asked: Asked, models: Vec<String>) -> Result<Chatting, Fault> {
        let first = Page {
            limit: SERVERS,
            ..Page::default()
        };
        let listed = self.store.list(&Filter::default(), &first).await?;
        let now = self.clock.now();
        let statuses = self.statuses.each(&listed.servers).await?;
        let is_chosen = |server: &Server| {
            // Where there is one, there is no choice.
            listed.servers.len() == 1
                || asked
                    .servers
                    .iter()
                    .any(|name| name == server.name.as_str())
        };
        let servers = listed.servers.iter().zip(&statuses);
        let servers = servers.map(|(server, status)| Choice {
            name: server.name.to_string(),
            label: Shown::short(server.display_name(), 60),
            is_chosen: is_chosen(server),
            is_inactive: reason(server, status, now).is_some(),
        });
        let servers = servers.collect();
        if asked.project.is_empty() {
            let chosen = listed.servers.iter().find(|server| is_chosen(server));
            let project = chosen.map_or(projects::DEFAULT, |server| projects::usual(server));
            asked.project = project.to_owned();
        }
        Ok(Chatting {
            frame: Frame::of(&self.hosts, Section::Overview),
            servers,
            // What is not complete yet has placeholders, which the script fills as one types.
            samples: match asked.missing().is_empty() {
                false => Request::default().samples(&self.gateway),
                true => asked.request().samples(&self.gateway),
            },
            asked,
            models,
            projects: self.projects.choices().await?,
            is_there: self.chat.is_some(),
            errors: Errors::default(),
            outcome: None,
        })
    }
}

impl Asked {
    /// What was sent; without a project it is the default one's.
    fn sent(form: &Form) -> Self {
        Self::of(form, projects::DEFAULT)
    }

    fn of(form: &Form, default: &str) -> Self {
        let project = match form.trimmed("project") {
            "" => default,
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
    fn missing(&self) -> Vec<Fault> {
        let is_server = |name: &String| name.parse::<ServerName>().is_ok();
        let has_servers = !self.servers.is_empty() && self.servers.iter().all(is_server);
        let all = [
            (self.model.is_empty(), "model", "name a model"),
            (!is_name(&self.project), "project", NO_NAME),
            (!has_servers, "servers", "choose a server"),
            (self.message.trim().is_empty(), "message", "write a message"),
        ];
        let missing = all.into_iter().filter(|(is_missing, ..)| *is_missing);
        missing
            .map(|(_, field, words)| wrong(field, words))
            .collect()
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
            tokens: crate::chat::tokens(&body["usage"]["total_tokens"]),
            trace,
        })
    }
}
