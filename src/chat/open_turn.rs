//! The assistant turn at the end of a request, if its caller wants to resume it.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
};

use bytes::Bytes;

use super::{ChatRequest, ToolCall};
use crate::json::Object;

/// An assistant turn at the end of a request, with the answers that the caller has added.
#[derive(Debug)]
pub(crate) struct OpenTurn {
    /// The number of messages up to and including the assistant's.
    pub(crate) kept: usize,
    pub(crate) calls: Vec<ToolCall>,
    /// The caller's own `tool` message for each call, if there is one.
    pub(crate) answered: Vec<Option<Bytes>>,
}

/// The reason why a request's last assistant turn cannot be resumed, and the parameter to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotResumable {
    pub(crate) param: String,
    pub(crate) reason: Cow<'static, str>,
}

impl OpenTurn {
    /// Finds the last assistant turn of `request`, if only `tool` messages follow it and it has at
    /// most `most` calls.
    pub(crate) fn of(request: &ChatRequest, most: usize) -> Result<Self, NotResumable> {
        match request.messages() {
            Some(messages) => Self::of_messages(&messages, most),
            None => Err(fault(
                "messages".into(),
                "is no list of messages, or has more of them than can be resumed",
            )),
        }
    }

    /// The same of a list of messages.
    pub(crate) fn of_messages(messages: &[Bytes], most: usize) -> Result<Self, NotResumable> {
        // From the end: a conversation can be long, and only its tail is read.
        let mut answers = VecDeque::new();
        let (turn, assistant) = loop {
            let Some(index) = messages.len().checked_sub(answers.len() + 1) else {
                return Err(fault(
                    "messages".into(),
                    "has no assistant message with tool calls to resume",
                ));
            };
            let message = read(&messages[index]);
            let role = message.as_ref().and_then(|message| message.string("role"));
            match &*role.unwrap_or_default() {
                "assistant" => break (index, message),
                "tool" => answers.push_front(message),
                _ => {
                    return Err(fault(
                        format!("messages[{index}]"),
                        "is not a tool message; only those may follow the assistant message to resume",
                    ));
                }
            }
        };
        let calls = assistant
            .as_ref()
            .map(|message| ToolCall::of_message(message, most.saturating_add(1)))
            .unwrap_or_default();
        if calls.len() > most {
            let reason = format!("has more than the {most} tool calls that a turn may have");
            return Err(NotResumable {
                param: format!("messages[{turn}].tool_calls"),
                reason: reason.into(),
            });
        }
        if calls.is_empty() {
            return Err(fault(
                format!("messages[{turn}]"),
                "is the assistant message to resume, and has no tool calls",
            ));
        }
        let mut answered = vec![None; calls.len()];
        // An id that is given twice is answered once for each call.
        let mut open = HashMap::<&str, VecDeque<usize>>::new();
        for (index, call) in calls.iter().enumerate() {
            open.entry(&call.id).or_default().push_back(index);
        }
        for (index, answer) in (turn + 1..).zip(&answers) {
            let id = answer
                .as_ref()
                .and_then(|answer| answer.string("tool_call_id"))
                .unwrap_or_default();
            let Some(call) = open.get_mut(&*id).and_then(VecDeque::pop_front) else {
                return Err(fault(
                    format!("messages[{index}].tool_call_id"),
                    "answers no open call of the assistant message that is resumed",
                ));
            };
            answered[call] = Some(messages[index].clone());
        }
        Ok(Self {
            kept: turn + 1,
            calls,
            answered,
        })
    }
}

fn fault(param: String, reason: &'static str) -> NotResumable {
    NotResumable {
        param,
        reason: reason.into(),
    }
}

fn read(message: &Bytes) -> Option<Object<'_>> {
    Object::parse(std::str::from_utf8(message).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn request(value: Value) -> ChatRequest {
        ChatRequest::parse(value.to_string().into()).unwrap()
    }

    #[test]
    fn an_open_turn_is_the_last_assistant_message_with_only_answers_behind_it() {
        let calls =
            json!([{"id": "a", "function": {"name": "f"}}, {"id": "b", "function": {"name": "g"}}]);
        let assistant = json!({"role": "assistant", "tool_calls": calls});
        let answer = |id: &str| json!({"role": "tool", "tool_call_id": id});
        let open =
            |messages: Value| OpenTurn::of(&request(json!({"mcp": {}, "messages": messages})), 2);

        let turn = open(json!([{"role": "user"}, assistant, answer("b")])).unwrap();
        assert_eq!(turn.kept, 2);
        assert_eq!(
            turn.answered
                .iter()
                .map(Option::is_some)
                .collect::<Vec<_>>(),
            [false, true]
        );

        for (messages, param) in [
            (json!([]), "messages"),
            (
                json!([{"role": "assistant", "tool_calls": [calls[0], calls[0], calls[0]]}]),
                "messages[0].tool_calls",
            ),
            (json!([{"role": "user"}]), "messages[0]"),
            (json!([assistant, {"role": "user"}]), "messages[1]"),
            (
                json!([{"role": "assistant", "content": "hi"}]),
                "messages[0]",
            ),
            (json!([assistant, answer("c")]), "messages[1].tool_call_id"),
            (
                json!([assistant, answer("a"), answer("a")]),
                "messages[2].tool_call_id",
            ),
        ] {
            assert_eq!(open(messages).unwrap_err().param, param);
        }
    }

    #[test]
    fn very_many_answers_find_their_calls() {
        let calls: Vec<_> = (0..50_000)
            .map(|i| json!({"id": i.to_string(), "function": {"name": "f"}}))
            .collect();
        let mut messages = vec![json!({"role": "assistant", "tool_calls": calls})];
        messages
            .extend((0..50_000).map(|i| json!({"role": "tool", "tool_call_id": i.to_string()})));
        let turn =
            OpenTurn::of(&request(json!({"mcp": {}, "messages": messages})), 50_000).unwrap();
        assert!(turn.answered.iter().all(Option::is_some));
    }

    #[test]
    fn calls_that_share_an_id_are_answered_one_after_the_other() {
        let call = json!({"id": "a", "function": {"name": "f"}});
        let answer = |text: &str| json!({"role": "tool", "tool_call_id": "a", "content": text});
        let messages = json!([{"role": "assistant", "tool_calls": [call, call]}, answer("1")]);
        let turn = OpenTurn::of(&request(json!({"mcp": {}, "messages": messages})), 9).unwrap();
        assert!(turn.answered[0].is_some() && turn.answered[1].is_none());
    }
}
