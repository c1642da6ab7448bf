//! The requests of a row, and what their answers must be.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use memchr::memmem;
use serde_json::{Value, json};

use crate::{
    doubles::{ANSWER, EVENTS, Length, Script},
    rows::{Floor, Ours, Row},
};

/// A request.
#[derive(Clone)]
pub struct Asked {
    pub body: Bytes,
    /// The caller's key, where one is wanted.
    pub key: Option<&'static str>,
}

/// What must be in an answer, and how often.
#[derive(Clone)]
pub struct Expected(Vec<(String, usize)>);

impl Row {
    /// What the floor is asked, and answers.
    pub fn of_floor(&self) -> (Asked, Expected) {
        match self.floor {
            Floor::Bare => self.asked_of(Ours::Passes),
            Floor::Loop => (asked(&self.request(self.script)), self.answered(None)),
            Floor::Proxy(ours) => self.asked_of(ours),
        }
    }

    /// What the proxy is asked, and answers.
    pub fn of_ours(&self) -> (Asked, Expected) {
        self.asked_of(self.ours)
    }

    fn asked_of(&self, ours: Ours) -> (Asked, Expected) {
        if ours == Ours::Passes {
            // Nobody adds tools.
            let script = Script {
                tools: 0,
                ..self.script
            };
            return (asked(&self.request(script)), self.answered(None));
        }
        let mut request = self.request(self.script);
        request["mcp"] = json!({"enabled": true, "servers": ["docs"], "auto_execute_tools": true});
        (asked(&request), self.answered(Some(self.script)))
    }

    fn request(&self, script: Script) -> Value {
        let message = |index: usize| {
            let role = if index.is_multiple_of(2) {
                "user"
            } else {
                "assistant"
            };
            let text = "How does a tower layer work, and what is it for? ".repeat(9);
            json!({"role": role, "content": text})
        };
        let messages: Vec<_> = (0..self.messages).map(message).collect();
        let mut request = json!({"model": script.to_string(), "messages": messages});
        if script.length != Length::Whole {
            request["stream"] = true.into();
        }
        request
    }

    /// The answer, with the receipt of what was executed.
    fn answered(&self, executed: Option<Script>) -> Expected {
        let mut parts = match self.script.length {
            Length::Whole => vec![(ANSWER.to_owned(), 1)],
            Length::Stream => vec![
                ("\"some words\"".to_owned(), EVENTS - 1),
                ("data: [DONE]".to_owned(), 1),
            ],
            Length::Open => vec![],
        };
        if let Some(Script { rounds, calls, .. }) = executed {
            parts.push((format!("\"rounds\":{rounds},"), 1));
            parts.push(("\"is_error\":false".to_owned(), rounds * calls));
        }
        Expected(parts)
    }
}

fn asked(request: &Value) -> Asked {
    Asked {
        body: request.to_string().into(),
        key: None,
    }
}

impl Expected {
    pub fn is_met(&self, answer: &[u8]) -> bool {
        let found = |part: &str| memmem::find_iter(answer, part).count();
        self.0.iter().all(|(part, times)| found(part) == *times)
    }
}

impl Asked {
    pub fn of(&self, address: SocketAddr) -> Request<Full<Bytes>> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri("/v1/chat/completions")
            .header(header::HOST, address.to_string())
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        request.body(Full::new(self.body.clone())).unwrap()
    }
}
