//! An agent framework that knows nothing of the layer, and a model's service as strict as OpenAI's.

use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use super::events::{assembled, call, chunk, finish, streams, usage};
use super::gateway::{Gateway, Reply, auto, chat};
use super::model::{Answer, Asked, called, json_answer, said};

/// A call of our tool.
pub fn echo(text: &str) -> (&'static str, Value) {
    ("s__echo", json!({"text": text}))
}

/// A call of the framework's own tool.
pub fn lookup(what: &str) -> (&'static str, Value) {
    ("lookup", json!({"what": what}))
}

/// A turn of the model, whole or streamed: a text, empty for none, and calls.
pub fn turn(stream: bool, text: &str, tools: &[(&str, Value)]) -> Answer {
    if !stream {
        let mut body = match tools {
            [] => said(text),
            tools => called(tools),
        };
        if !text.is_empty() {
            body["choices"][0]["message"]["content"] = text.into();
        }
        return json_answer(200, &body);
    }
    let mut chunks = vec![chunk(json!({"role": "assistant", "content": ""}))];
    if !text.is_empty() {
        chunks.push(chunk(json!({"content": text})));
    }
    for (index, (name, arguments)) in tools.iter().enumerate() {
        chunks.push(chunk(call(
            index,
            &format!("call_{index}"),
            name,
            arguments,
        )));
    }
    chunks.push(finish(if tools.is_empty() {
        "stop"
    } else {
        "tool_calls"
    }));
    chunks.push(usage(10, 2));
    streams(&chunks)
}

/// A conversation as a framework keeps it: of an assistant's message it knows role, content and
/// calls, and of those id, type, name and arguments.
#[derive(Clone)]
pub struct Framework {
    /// The request but for its messages.
    pub request: Value,
    pub messages: Vec<Value>,
    pub headers: Vec<(&'static str, String)>,
}

impl Framework {
    /// With the own tools `lookup` and `ask`, beside those of the server `s`.
    pub fn new(stream: bool) -> Self {
        let tool = |name| json!({"type": "function", "function": {"name": name}});
        let mut request = auto(json!({"tools": [tool("lookup"), tool("ask")]}));
        if stream {
            request["stream"] = true.into();
            request["mcp"]["on_stream"] = "execute".into();
        }
        Self {
            request,
            messages: vec![json!({"role": "user", "content": "hi"})],
            headers: Vec::new(),
        }
    }

    /// Sends the conversation; what comes back is not yet in it.
    pub async fn ask(&self, gateway: &Gateway) -> (Reply, Value) {
        let mut body = self.request.clone();
        body["messages"] = self.messages.clone().into();
        let mut request: Request<Full<bytes::Bytes>> = chat(body.to_string());
        for (name, value) in &self.headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let reply = gateway.request(request).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        let message = if body["stream"] == true {
            let told = assembled(&reply.body);
            assert_eq!(told.errors, Vec::<Value>::new());
            json!({"content": told.content, "tool_calls": told.calls, "finish": told.finish_reasons})
        } else {
            let choice = &reply.json()["choices"][0];
            let mut message = choice["message"].clone();
            message["finish"] = json!([choice["finish_reason"]]);
            message
        };
        (reply, message)
    }

    /// Sends the conversation, and adds the answer; returns its calls.
    pub async fn turn(&mut self, gateway: &Gateway) -> Vec<Value> {
        let (_, message) = self.ask(gateway).await;
        self.add(&message)
    }

    /// Adds an answer as a framework keeps it.
    pub fn add(&mut self, message: &Value) -> Vec<Value> {
        let calls = message["tool_calls"].as_array().cloned();
        let calls = calls.unwrap_or_default();
        let finish = if calls.is_empty() {
            "stop"
        } else {
            "tool_calls"
        };
        assert_eq!(message["finish"], json!([finish]), "{message}");
        let mut kept = json!({"role": "assistant", "content": message["content"]});
        if !calls.is_empty() {
            let calls = calls.iter().map(|call| {
                let function = &call["function"];
                json!({"type": "function", "id": call["id"],
                    "function": {"name": function["name"], "arguments": function["arguments"]}})
            });
            kept["tool_calls"] = calls.collect();
        }
        self.messages.push(kept);
        calls
    }

    /// Answers these calls of its own tools.
    pub fn answer(&mut self, calls: &[Value]) {
        for call in calls {
            let name = call["function"]["name"].as_str().unwrap();
            assert!(["lookup", "ask"].contains(&name), "Tool {name} not found");
            let text = format!(
                "{name} says {}",
                call["function"]["arguments"].as_str().unwrap()
            );
            self.messages
                .push(json!({"role": "tool", "tool_call_id": call["id"], "content": text}));
        }
    }

    /// Adds what the user says.
    pub fn user(&mut self, text: &str) {
        self.messages.push(json!({"role": "user", "content": text}));
    }

    /// Goes on until a final text, which is returned.
    pub async fn run(&mut self, gateway: &Gateway) -> String {
        loop {
            let calls = self.turn(gateway).await;
            if calls.is_empty() {
                let last = self.messages.last().unwrap();
                return last["content"].as_str().unwrap().to_owned();
            }
            self.answer(&calls);
        }
    }
}

/// The messages of each request that the model got, as they were sent, once they are such as
/// OpenAI takes: each call is answered once, right behind its turn, and nothing of ours is to be
/// seen.
pub fn strict(asked: &[Asked]) -> Vec<Vec<String>> {
    let messages = asked.iter().map(|asked| {
        let body = std::str::from_utf8(&asked.body).unwrap();
        assert!(!has_id(body), "an id of ours: {body}");
        assert!(!body.contains("\"mcp\""), "{body}");
        let request: Raw<'_> = serde_json::from_str(body).unwrap();
        let texts: Vec<String> = request
            .messages
            .iter()
            .map(|m| m.get().to_owned())
            .collect();
        pairs(&texts);
        texts
    });
    messages.collect()
}

/// Returns `true` if a text has an id of ours: `mcp_` and 22 letters or digits.
fn has_id(text: &str) -> bool {
    let mut behind = text.split("\"mcp_").skip(1);
    behind.any(|text| text.find('"') == Some(22) && !text[..22].contains('_'))
}

#[derive(serde::Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    messages: Vec<&'a serde_json::value::RawValue>,
}

fn pairs(messages: &[String]) {
    let mut open: Vec<String> = Vec::new();
    for text in messages {
        let message: Value = serde_json::from_str(text).unwrap();
        if message["role"] == "tool" {
            let id = message["tool_call_id"].as_str().unwrap();
            let place = open.iter().position(|open| open == id);
            let place = place.unwrap_or_else(|| panic!("answers no call: {text} in {messages:#?}"));
            open.remove(place);
            continue;
        }
        assert!(open.is_empty(), "{open:?} without answers in {messages:#?}");
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        open.extend(calls.map(|call| call["id"].as_str().unwrap().to_owned()));
    }
    assert!(open.is_empty(), "{open:?} without answers in {messages:#?}");
}

/// Each request to the model continues the one before, byte for byte.
pub fn grows(asked: &[Asked]) -> Vec<Vec<String>> {
    let all = strict(asked);
    for pair in all.windows(2) {
        assert_eq!(pair[1][..pair[0].len()], pair[0][..]);
    }
    all
}

/// The texts of a request's tool messages.
pub fn results(messages: &[String]) -> Vec<String> {
    let messages = messages
        .iter()
        .map(|text| serde_json::from_str::<Value>(text).unwrap());
    let answers = messages.filter(|message| message["role"] == "tool");
    answers
        .map(|message| message["content"].as_str().unwrap().to_owned())
        .collect()
}
