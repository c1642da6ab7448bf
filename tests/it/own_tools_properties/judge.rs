//! Compares what the model was sent with what it had to be sent.

use std::{collections::HashMap, sync::Arc};

use serde_json::Value;

use super::{
    history::Expect,
    plan::Say,
    provider::{Ask, Said},
};
use crate::support::counting::{Counting, result};

/// One caller's judge.
pub struct Judge {
    tools: Counting,
    /// The message of each result, by its token: every later one is the same.
    results: HashMap<String, String>,
}

type Verdict = Result<(), String>;

impl Judge {
    pub fn new(tools: Counting) -> Self {
        let results = HashMap::new();
        Self { tools, results }
    }

    /// The last of these questions of one request: its history, and the turns since.
    pub fn check(&mut self, asks: &[Ask], history: &[Expect]) -> Verdict {
        let Some((ask, earlier)) = asks.split_last() else {
            return Ok(());
        };
        if ask.view.len() < history.len() {
            return Err(format!("{} messages are too few", ask.view.len()));
        }
        for (place, (message, expect)) in ask.view.iter().zip(history).enumerate() {
            let verdict = self.meets(message, expect);
            verdict.map_err(|fault| format!("message {place}: {fault}"))?;
        }
        let mut at = history.len();
        while at < ask.view.len() {
            at = self.turn(&ask.view, at, earlier)?;
        }
        Ok(())
    }

    /// A turn that was executed in this request; the place behind it.
    fn turn(&mut self, view: &[String], at: usize, earlier: &[Ask]) -> Result<usize, String> {
        let said = earlier.iter().filter(|ask| ask.view == view[..at]);
        let said = said.filter_map(|ask| ask.said.as_ref());
        let found = said.into_iter().find(|said| is_said(&view[at], said));
        let said = found.ok_or_else(|| format!("message {at}: nobody said this"))?;
        if said.say.calls.is_empty() || said.say.calls.iter().any(|call| !call.is_ours) {
            return Err(format!("message {at}: this turn was not to be executed"));
        }
        for place in 0..said.say.calls.len() {
            let message = view.get(at + 1 + place).ok_or("a result is lost")?;
            let expect = Expect::Result {
                said: said.clone(),
                place,
                must_run: true,
            };
            let verdict = self.meets(message, &expect);
            verdict.map_err(|fault| format!("message {}: {fault}", at + 1 + place))?;
        }
        Ok(at + 1 + said.say.calls.len())
    }

    fn meets(&mut self, message: &str, expect: &Expect) -> Verdict {
        let is_met = match expect {
            Expect::Exact(bytes) => message == bytes,
            Expect::Said(said) => is_said(message, said),
            Expect::Either(bytes, said) => message == bytes || is_said(message, said),
            Expect::NoAnswer { id } => {
                let message: Value = serde_json::from_str(message).unwrap();
                message["role"] == "tool" && message["tool_call_id"] == **id
            }
            Expect::Result {
                said,
                place,
                must_run,
            } => {
                return self.is_result(message, said, *place, *must_run);
            }
        };
        let expected = || match expect {
            Expect::Exact(bytes) | Expect::Either(bytes, _) => bytes.clone(),
            Expect::Said(said) => said
                .message
                .get()
                .cloned()
                .unwrap_or_else(|| said.say.message()),
            Expect::NoAnswer { id } => format!("a tool message for {id}"),
            Expect::Result { .. } => unreachable!(),
        };
        match is_met {
            true => Ok(()),
            false => Err(format!("{message}\n  is not\n  {}", expected())),
        }
    }

    fn is_result(&mut self, text: &str, said: &Arc<Said>, place: usize, must_run: bool) -> Verdict {
        let call = &said.say.calls[place];
        let message: Value = serde_json::from_str(text).unwrap();
        if message["role"] != "tool" || message["tool_call_id"] != *call.id {
            return Err(format!("{text}\n  is no result of {}", call.token));
        }
        let content = message["content"].as_str().unwrap_or_default();
        if !content.contains(&result(&call.token)) {
            let has_run = self.tools.runs(&call.token).begun > 0;
            return match must_run || has_run {
                true => Err(format!("the result of {} is lost: {text}", call.token)),
                false => Ok(()),
            };
        }
        let known = self.results.entry(call.token.clone());
        match known.or_insert_with(|| text.to_owned()) == text {
            true => Ok(()),
            false => Err(format!("the result of {} was another", call.token)),
        }
    }
}

/// Whether the message is what was said: byte for byte, as soon as the bytes are known.
fn is_said(message: &str, said: &Said) -> bool {
    match said.message.get() {
        Some(known) => message == known,
        None if is_same(message, &said.say) => {
            said.message.get_or_init(|| message.to_owned());
            true
        }
        None => false,
    }
}

/// Whether a message that was put together of a stream is this turn.
fn is_same(message: &str, say: &Say) -> bool {
    let message: Value = serde_json::from_str(message).unwrap();
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    let calls = calls.map(|call| {
        let function = &call["function"];
        [&call["id"], &function["name"], &function["arguments"]].map(Value::as_str)
    });
    let said = say.calls.iter();
    let said = said.map(|call| [&*call.id, call.name, &*call.arguments].map(Some));
    let content = message["content"].as_str().unwrap_or_default();
    message["role"] == "assistant"
        && content == say.content.as_deref().unwrap_or_default()
        && calls.eq(said)
}
