//! The last turn of a loop, without the calls that the caller does not get.

use super::{
    Completion,
    repair::{calls_delta, elements, with, without},
};
use crate::json::{Object, array, quoted, string};

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
    match string(value) {
        Some(text) => text.trim().is_empty(),
        None => array(value, 1).is_some_and(|parts| parts.is_empty()),
    }
}

/// The calls of an assistant's message as one delta of a stream; `None` if it has none.
pub(crate) fn delta_of_calls(message: &str) -> Option<String> {
    let message = Object::parse(message).ok()?;
    (!elements(&message).is_empty()).then(|| calls_delta(&message))
}

impl Completion {
    /// Replaces the message, and the reason to end, which is JSON text.
    pub(crate) fn ending(self, message: &str, finish_reason: &str) -> Self {
        let members = [("message", message), ("finish_reason", finish_reason)];
        self.with_choice(&members).unwrap_or(self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn partial(message: &Value, stays: &[bool]) -> PartialMessage {
        PartialMessage::of(message.to_string().as_bytes(), stays).unwrap()
    }

    fn read(message: &PartialMessage) -> Value {
        serde_json::from_str(&message.text).unwrap()
    }

    #[test]
    fn calls_go_and_all_else_stays() {
        let message = |calls: Value| json!({"role": "assistant", "content": null, "x": [1.50], "tool_calls": calls});
        let (a, b) = (json!({"id": "a"}), json!({"id": "b"}));
        let both = message(json!([a, b]));
        let kept = partial(&both, &[false, true]);
        assert_eq!(read(&kept), message(json!([b])));
        assert!(!kept.is_empty);
        assert_eq!(
            delta_of_calls(&kept.text).unwrap(),
            r#"{"tool_calls":[{"id":"b","index":0}]}"#
        );
        let kept = partial(&both, &[false, false]);
        assert_eq!(
            read(&kept),
            json!({"role": "assistant", "content": null, "x": [1.50]})
        );
        assert!(kept.is_empty && delta_of_calls(&kept.text).is_none());
        assert_eq!(read(&kept.saying("\"no\""))["content"], "\"no\"");
    }

    #[test]
    fn a_message_that_says_something_is_not_empty() {
        for (content, is_empty) in [
            (json!("a"), false),
            (json!([{"type": "text", "text": "a"}]), false),
            (json!(" \t"), true),
            (json!([]), true),
            (Value::Null, true),
        ] {
            let message = partial(&json!({"content": content}), &[]);
            assert_eq!(message.is_empty, is_empty, "{content}");
        }
        assert!(!partial(&json!({"refusal": "no"}), &[]).is_empty);
    }

    #[test]
    fn an_answer_ends_with_another_message_and_reason() {
        let body = json!({"id": "x", "choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}]});
        let answer = Completion::parse(&body.to_string().into()).unwrap();
        let answer = answer.ending(r#"{"content":"b"}"#, r#""length""#);
        let answer = crate::json::concat(&answer.with(None, None));
        let expected = json!({"id": "x", "choices": [{"index": 0, "message": {"content": "b"}, "finish_reason": "length"}]});
        assert_eq!(serde_json::from_slice::<Value>(&answer).unwrap(), expected);
    }
}
