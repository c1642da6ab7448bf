//! A provider that goes on from what it sees: a tool of ours, then one of the caller's beside one of
//! ours, and so on; and that wants to see again, byte for byte, what it saw.

use std::sync::{Arc, Mutex};

use axum::{Json, Router, extract::State, routing::post};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::support::counting::result;

/// So many turns after a question, all but the last with calls.
pub const TURNS: usize = 10;

/// The provider; clones share it.
#[derive(Clone, Default)]
pub struct Scripted(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// The messages of the last question.
    last: Vec<String>,
    asked: usize,
    faults: Vec<String>,
}

#[derive(Deserialize)]
struct Question {
    messages: Vec<Box<RawValue>>,
}

impl Scripted {
    /// Starts it; the address is what a proxy takes for its upstream.
    pub async fn start(&self) -> String {
        let app = Router::new().route("/v1/chat/completions", post(answer));
        let app = app.with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        url
    }

    /// How often it was asked, if nothing was wrong.
    pub fn asked(&self) -> usize {
        let seen = self.0.lock().unwrap();
        assert!(seen.faults.is_empty(), "{}", seen.faults.join("\n"));
        seen.asked
    }
}

/// A call of ours beside the token that it carries: `TOKEN` or `TOKEN+MS`, and of `look` for `?TOKEN`.
fn ours(token: &str) -> Value {
    let (token, ms) = token.split_once('+').unwrap_or((token, "0"));
    let name = if token.starts_with('?') {
        "s__look"
    } else {
        "s__write"
    };
    let arguments = format!(r#"{{ "ms" : {ms}, "token": "{token}" }}"#);
    call(name, token, &arguments)
}

fn call(name: &str, id: &str, arguments: &str) -> Value {
    json!({"id": format!("call {id}"), "type": "function", "function": {"name": name, "arguments": arguments}})
}

async fn answer(State(scripted): State<Scripted>, body: String) -> Json<Value> {
    let question: Question = serde_json::from_str(&body).unwrap();
    let view = question
        .messages
        .iter()
        .map(|message| message.get().to_owned());
    let view: Vec<String> = view.collect();
    let messages = view
        .iter()
        .map(|message| serde_json::from_str(message).unwrap());
    let messages: Vec<Value> = messages.collect();
    let turn = messages
        .iter()
        .filter(|message| message["role"] == "assistant")
        .count();
    // The question is the token of the first call.
    let asked = messages[0]["content"].as_str().unwrap();
    scripted.0.lock().unwrap().see(view, &messages);
    let token = format!("{asked}.{turn}");
    let done = json!({"role": "assistant", "content": "done"});
    let own = || call("lookup", &format!("own {token}"), "{}");
    let message = match (asked.split_once(' '), turn) {
        // A slow call alone, or beside one of the caller's.
        (Some(("slow", token)), 0) => calls(vec![ours(token)]),
        (Some((_, token)), 0) => calls(vec![own(), ours(token)]),
        (Some(_), _) | (None, TURNS..) => done,
        (None, _) if turn.is_multiple_of(2) => calls(vec![ours(&token)]),
        (None, _) => calls(vec![own(), ours(&token)]),
    };
    let reason = if message.get("tool_calls").is_some() {
        "tool_calls"
    } else {
        "stop"
    };
    let choice = json!({"index": 0, "message": message, "finish_reason": reason});
    Json(
        json!({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}),
    )
}

fn calls(calls: Vec<Value>) -> Value {
    json!({"role": "assistant", "content": null, "tool_calls": calls})
}

impl Seen {
    fn see(&mut self, view: Vec<String>, messages: &[Value]) {
        self.asked += 1;
        let is_the_same = self.last.first() == view.first();
        if is_the_same && !view.starts_with(&self.last) {
            self.faults
                .push(format!("it saw {:#?}\nand now {view:#?}", self.last));
        }
        self.last = view;
        let calls = messages
            .iter()
            .flat_map(|message| message["tool_calls"].as_array());
        for call in calls.flatten() {
            let id = call["id"].as_str().unwrap();
            let answers = messages
                .iter()
                .filter(|message| message["tool_call_id"] == id);
            let answers: Vec<_> = answers
                .map(|message| message["content"].to_string())
                .collect();
            let token = id.strip_prefix("call ").unwrap();
            let is_own = token.starts_with("own");
            if answers.len() != 1
                || !is_own && !answers[0].contains(&result(token)[..4 + token.len()])
            {
                self.faults
                    .push(format!("{id} is answered with {answers:?}"));
            }
        }
    }
}
