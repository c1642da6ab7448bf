//! A chat to try: a model with servers, as a caller would ask it, and what came of it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use askama::Template;
use axum::{
    body::{Body, Bytes},
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};

use super::{
    super::{
        answer::Answer,
        audit::Change,
        chat::Chat,
        clock::Clock,
        fault::{Code, Fault},
        hosts::Hosts,
        organization::OrganizationStore,
    },
    form::Form,
    page::{Frame, Section, page},
    text::{Shown, sentence},
    when::span,
};
use crate::{
    project::Project,
    registry::{Filter, Page},
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

#[derive(Template)]
#[template(path = "chat.html")]
struct Chatting {
    frame: Frame,
    asked: Asked,
    /// The servers to choose from, with whether they are chosen.
    servers: Vec<(String, Shown, bool)>,
    is_there: bool,
    wrong: Option<&'static str>,
    outcome: Option<Outcome>,
    /// The same request for callers: where it is from, and the text.
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
pub(super) async fn show(
    State(hosts): State<Arc<Hosts>>,
    State(store): State<OrganizationStore>,
    State(chat): State<Option<Chat>>,
    RawQuery(query): RawQuery,
) -> Answer {
    let form = Form::parse(query.unwrap_or_default().as_bytes())?;
    let content = content(&hosts, &store, chat.is_some(), Asked::of(&form)).await?;
    page(StatusCode::OK, &content)
}

/// `POST /chat`: the whole answer, as a page.
pub(super) async fn run(
    State(hosts): State<Arc<Hosts>>,
    State(store): State<OrganizationStore>,
    State(chat): State<Option<Chat>>,
    State(clock): State<Clock>,
    form: Bytes,
) -> Answer {
    let asked = Asked::of(&Form::parse(&form)?);
    let mut content = content(&hosts, &store, chat.is_some(), asked).await?;
    content.wrong = content.asked.fault();
    let (Some(chat), None) = (chat, content.wrong) else {
        return page(StatusCode::BAD_REQUEST, &content);
    };
    let began = clock.now();
    let answer = ask(&chat, &store, &content.asked, false).await?;
    let took = clock.now().duration_since(began).unwrap_or_default();
    content.outcome = Some(Outcome::read(answer, took).await?);
    content.samples = content.asked.samples();
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

async fn content(
    hosts: &Hosts,
    store: &OrganizationStore,
    is_there: bool,
    asked: Asked,
) -> Result<Chatting, Fault> {
    let first = Page {
        limit: SERVERS,
        ..Page::default()
    };
    let listed = store.list(&Filter::default(), &first).await?;
    let servers = listed.servers.iter().map(|server| {
        let name = server.name.to_string();
        let is_chosen = asked.servers.contains(&name);
        (name, Shown::short(server.display_name(), 60), is_chosen)
    });
    Ok(Chatting {
        frame: Frame::of(hosts, Section::Traces),
        servers: servers.collect(),
        asked,
        is_there,
        wrong: None,
        outcome: None,
        samples: Vec::new(),
    })
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

    /// What is missing.
    fn fault(&self) -> Option<&'static str> {
        if self.model.is_empty() {
            return Some("name a model");
        }
        if self.message.trim().is_empty() {
            return Some("write a message");
        }
        self.servers.is_empty().then_some("choose a server")
    }

    fn body(&self, is_streamed: bool) -> Value {
        let mut body = json!({
            "model": self.model,
            "messages": [{"role": "user", "content": self.message}],
            "mcp": {"enabled": true, "servers": self.servers, "auto_execute_tools": true},
        });
        if is_streamed {
            body["stream"] = true.into();
            body["mcp"]["on_stream"] = "execute".into();
            body["mcp"]["events"] = true.into();
        }
        body
    }

    /// The request as callers make it. JSON is a Python literal but for `true`, which is said apart.
    fn samples(&self) -> Vec<(&'static str, Shown)> {
        let body = self.body(false);
        let pretty = serde_json::to_string_pretty(&body).unwrap_or_default();
        let mcp = &body["mcp"];
        let curl = format!(
            "curl -s http://YOUR-GATEWAY/v1/chat/completions \\\n  -H 'content-type: application/json' \
             -H \"authorization: Bearer $KEY\" \\\n  -d '{}'",
            pretty.replace('\'', "'\\''")
        );
        let python = format!(
            "from openai import OpenAI\n\nclient = OpenAI(base_url=\"http://YOUR-GATEWAY/v1\", \
             api_key=\"YOUR-KEY\")\nanswer = client.chat.completions.create(\n    model={},\n    \
             messages={},\n    extra_body={{\"mcp\": {{\"enabled\": True, \"servers\": {}, \
             \"auto_execute_tools\": True}}}},\n)\nprint(answer.choices[0].message.content)",
            body["model"], body["messages"], mcp["servers"]
        );
        let typescript = format!(
            "import OpenAI from \"openai\";\n\nconst client = new OpenAI({{ baseURL: \
             \"http://YOUR-GATEWAY/v1\", apiKey: \"YOUR-KEY\" }});\nconst answer = await \
             client.chat.completions.create({{\n  model: {},\n  messages: {},\n  // @ts-expect-error \
             beyond OpenAI's types\n  mcp: {mcp},\n}});\n\
             console.log(answer.choices[0].message.content);",
            body["model"], body["messages"]
        );
        vec![
            ("curl", Shown::of(&curl)),
            ("Python", Shown::of(&python)),
            ("TypeScript", Shown::of(&typescript)),
        ]
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
