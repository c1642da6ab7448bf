//! The last turn of a loop without those of its calls that the caller does not get.

use super::{
    Completion,
    repair::{calls_delta, elements, with, without},
};
use crate::json::{Object, quoted};

/// An assistant's message with some of its calls.
#[derive(Debug)]
pub(crate) struct PartialMessage {
    pub(crate) text: String,
    /// It has no calls, and says nothing.
    pub(crate) is_empty: bool,
}

impl PartialMessage {
    /// `message` with those of its calls that stay; `None` if it cannot be read.
    pub(crate) fn of(message: &[u8], stays: &[bool]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let object = Object::parse(text).ok()?;
        let calls = elements(&object).into_iter().zip(stays);
        let kept = calls.filter(|(_, stays)| **stays).map(|(call, _)| call);
        let kept: Vec<_> = kept.collect();
        let text = match kept.is_empty() {
            true => without(&object, "tool_calls"),
            false => {
                let list = format!("[{}]", kept.join(","));
                with(text, &[("tool_calls", &list)])
            }
        };
        let says = |name: &str| object.present(name).is_some_and(|it| !is_blank(it));
        Some(Self {
            text,
            is_empty: kept.is_empty() && !says("content") && !says("refusal"),
        })
    }

    /// The same, saying `content`.
    pub(crate) fn saying(self, content: &str) -> Self {
        Self {
            text: with(&self.text, &[("content", &quoted(content))]),
            is_empty: false,
        }
    }
}

/// Nothing that a person reads.
fn is_blank(value: &str) -> bool {
    let inner = value.trim_matches(['"', '[', ']']);
    inner.trim().is_empty()
}

/// The calls of an assistant's message as one delta of a stream; `None` if it has none.
pub(crate) fn delta_of_calls(message: &str) -> Option<String> {
    let message = Object::parse(message).ok()?;
    (!elements(&message).is_empty()).then(|| calls_delta(&message))
}

impl Completion {
    /// The answer with another message, and another reason to end, which is JSON text.
    pub(crate) fn ending(self, message: &str, finish_reason: &str) -> Self {
        let members = [("message", message), ("finish_reason", finish_reason)];
        self.with_choice(&members).unwrap_or(self)
    }
}
