//! A conversation as its client has it, which is less than what the model saw; and what the model
//! has to see nevertheless.

use std::sync::Arc;

use serde_json::{Value, json};

use super::provider::Said;
use crate::support::dice::Dice;

#[derive(Clone)]
pub enum Item {
    /// A message of the user's, as it is sent.
    User(String),
    Text(Text),
    Turn(Turn),
}

/// A final text.
#[derive(Clone)]
pub struct Text {
    /// What ran in its request, which the client knows nothing of.
    pub before: Vec<String>,
    pub said: Arc<Said>,
    /// The text as the client got it.
    pub got: String,
    /// Whether a turn before it was kept, so that there is a place for what ran.
    pub is_kept: bool,
}

/// A turn that has calls of the client's.
#[derive(Clone)]
pub struct Turn {
    pub before: Vec<String>,
    pub said: Arc<Said>,
    pub got: Option<String>,
    pub calls: Vec<OwnCall>,
    /// Whether its calls came under ids of the layer's.
    pub is_kept: bool,
}

#[derive(Clone)]
pub struct OwnCall {
    /// The id under which it came, and its place in the turn that the model said.
    pub id: String,
    pub place: usize,
    pub name: String,
    pub arguments: String,
    /// The text of the client's answer.
    pub answer: Option<String>,
}

/// What has to stand in the model's messages.
pub enum Expect {
    /// These bytes.
    Exact(String),
    /// The message that was said, byte for byte.
    Said(Arc<Said>),
    /// The client's own bytes of a text, or the message that was said.
    Either(String, Arc<Said>),
    /// The result of a call of ours; `must_run` where it cannot have been left open.
    Result {
        said: Arc<Said>,
        place: usize,
        must_run: bool,
    },
    /// Anything that answers the call which the client did not answer.
    NoAnswer { id: String },
}

/// The message with which a client answers a call.
fn answer(id: &str, text: &str) -> String {
    let (id, text) = (json!(id), json!(text));
    format!(r#"{{"role": "tool","tool_call_id":{id}, "content" : {text}}}"#)
}

/// What has to be seen of these.
pub fn expected(items: &[Item]) -> Vec<Expect> {
    let mut all = Vec::new();
    let mut faithful = Dice(0);
    for item in items {
        match item {
            Item::User(message) => all.push(Expect::Exact(message.clone())),
            Item::Text(text) => all.extend(text.expected()),
            Item::Turn(turn) if turn.is_kept => all.extend(turn.expected()),
            Item::Turn(turn) => {
                let messages = turn.rendered(&mut faithful).into_iter();
                all.extend(messages.map(Expect::Exact));
            }
        }
    }
    all
}

/// The messages that the client sends, each time as another framework would.
pub fn rendered(items: &[Item], dice: &mut Dice) -> Vec<String> {
    let messages = items.iter().flat_map(|item| match item {
        Item::User(message) => vec![message.clone()],
        Item::Text(text) => vec![text.rendered()],
        Item::Turn(turn) => turn.rendered(dice),
    });
    messages.collect()
}

impl Text {
    fn rendered(&self) -> String {
        json!({"role": "assistant", "content": self.got}).to_string()
    }

    fn expected(&self) -> Vec<Expect> {
        match (self.before.is_empty(), self.is_kept) {
            (true, _) => vec![Expect::Either(self.rendered(), self.said.clone())],
            (false, true) => {
                let before = self.before.iter().cloned().map(Expect::Exact);
                before.chain([Expect::Said(self.said.clone())]).collect()
            }
            (false, false) => vec![Expect::Exact(self.rendered())],
        }
    }
}

impl Turn {
    pub fn is_answered(&self) -> bool {
        self.calls.iter().any(|call| call.answer.is_some())
    }

    fn expected(&self) -> Vec<Expect> {
        let before = self.before.iter().cloned().map(Expect::Exact);
        let mut all: Vec<_> = before.chain([Expect::Said(self.said.clone())]).collect();
        let must_run = self.is_answered();
        for (place, call) in self.said.say.calls.iter().enumerate() {
            let own = self.calls.iter().find(|own| own.place == place);
            all.push(match own.map(|own| &own.answer) {
                None => Expect::Result {
                    said: self.said.clone(),
                    place,
                    must_run,
                },
                Some(None) => Expect::NoAnswer {
                    id: call.id.clone(),
                },
                Some(Some(text)) => Expect::Exact(answer(&call.id, text)),
            });
        }
        all
    }

    fn rendered(&self, dice: &mut Dice) -> Vec<String> {
        if !self.is_kept {
            let message = assistant(self.got.as_deref(), &self.calls, &mut Exactly);
            let answers = self.calls.iter().filter_map(OwnCall::answered);
            return [message].into_iter().chain(answers).collect();
        }
        if self.calls.len() > 1 && dice.roll(3) == 0 {
            return self.split(dice);
        }
        let message = assistant(self.got.as_deref(), &self.calls, dice);
        let mut answers: Vec<_> = self.calls.iter().filter_map(OwnCall::answered).collect();
        if dice.roll(2) == 0 {
            answers.reverse();
        }
        if let (0, Some(call)) = (dice.roll(10), answers.first().cloned()) {
            let call: Value = serde_json::from_str(&call).unwrap();
            answers.push(answer(call["tool_call_id"].as_str().unwrap(), "once more"));
        }
        [message].into_iter().chain(answers).collect()
    }

    /// Each call in a message of its own, with its answer behind it.
    fn split(&self, dice: &mut Dice) -> Vec<String> {
        let mut content = self.got.as_deref();
        let messages = self.calls.iter().flat_map(|call| {
            let message = assistant(content.take(), std::slice::from_ref(call), dice);
            [Some(message), call.answered()].into_iter().flatten()
        });
        messages.collect()
    }
}

impl OwnCall {
    fn answered(&self) -> Option<String> {
        self.answer.as_deref().map(|text| answer(&self.id, text))
    }
}

/// Chooses how a message is written.
trait Choose {
    fn choose(&mut self, choices: u64) -> u64;
}

/// As it came.
struct Exactly;

impl Choose for Exactly {
    fn choose(&mut self, _: u64) -> u64 {
        0
    }
}

impl Choose for Dice {
    fn choose(&mut self, choices: u64) -> u64 {
        self.roll(choices)
    }
}

/// A turn as a framework gives it back.
fn assistant(content: Option<&str>, calls: &[OwnCall], dice: &mut impl Choose) -> String {
    let calls = calls.iter().map(|call| {
        let parsed: Value = serde_json::from_str(&call.arguments).unwrap();
        let arguments = match dice.choose(4) {
            0 => call.arguments.clone(),
            1 => parsed.to_string(),
            2 => parsed.to_string().replace("\"n\":1.0", "\"n\":1"),
            _ => serde_json::to_string_pretty(&parsed).unwrap(),
        };
        let function = json!({"name": call.name, "arguments": arguments});
        match dice.choose(3) {
            1 => json!({"id": call.id, "function": function}),
            _ => json!({"id": call.id, "type": "function", "function": function}),
        }
    });
    let calls: Vec<_> = calls.collect();
    let mut message = json!({"role": "assistant", "tool_calls": calls});
    let text = content.filter(|text| !text.is_empty());
    match (text, dice.choose(4)) {
        (Some(text), 0 | 1) => message["content"] = text.into(),
        (Some(text), 2) => message["content"] = json!([{"type": "text", "text": text}]),
        (None, 0) => message["content"] = Value::Null,
        (None, 1) => message["content"] = "".into(),
        _ => {}
    }
    message.to_string()
}
