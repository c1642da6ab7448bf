//! A tool that asks for input before it answers (2026-07-28, basic/patterns/mrtr).
//!
//! There is no user to ask: we declare no elicitation, no sampling and no roots, so a server should
//! not do this. One that does is declined, after which most tools answer anyway.

use std::collections::BTreeMap;

use memchr::memmem;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::Error;

/// The number of times that a tool's request for input is declined before the call fails.
pub(super) const MAX_DECLINES: usize = 3;

/// What a model is told where a tool goes on asking.
pub(super) const NO_INPUT: &str = "the tool asks for input that is not available here";

/// Questions in one round. A form is one question, so this is plenty.
pub(super) const MAX_QUESTIONS: usize = 64;

/// The answers that go along when the call is sent again.
#[derive(Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reply {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    input_responses: BTreeMap<String, Decline>,
    /// The server's own note, byte for byte. It may be a secret: not for a model, not for a log.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_state: Option<Box<RawValue>>,
}

/// The answer no.
#[derive(Serialize, Clone, Copy, Debug)]
struct Decline {
    action: &'static str,
}

/// A result that asks for input.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InputRequired<'a> {
    #[serde(default)]
    input_requests: BTreeMap<String, IgnoredAny>,
    #[serde(borrow)]
    request_state: Option<&'a RawValue>,
}

/// Our answer, if `result` asks for input.
///
/// # Errors
///
/// [`ErrorKind::Protocol`](super::ErrorKind::Protocol) if it asks in a way that cannot be
/// answered.
pub(super) fn decline(result: &RawValue) -> Result<Option<Reply>, Error> {
    const MALFORMED: &str = "the server asks for input in a way that cannot be answered";
    const TYPE: &str = "input_required";
    // Nearly no result has the word in it, and those that do are seldom large.
    if memmem::find(result.get().as_bytes(), TYPE.as_bytes()).is_none() {
        return Ok(None);
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        result_type: Option<String>,
    }
    let typed = serde_json::from_str::<Typed>(result.get()).ok();
    if typed.and_then(|typed| typed.result_type).as_deref() != Some(TYPE) {
        return Ok(None);
    }
    let asked: InputRequired<'_> =
        serde_json::from_str(result.get()).map_err(|_| Error::protocol(MALFORMED))?;
    let state = asked.request_state;
    let is_string = state.is_none_or(|state| state.get().starts_with('"'));
    let questions = asked.input_requests.len();
    if !is_string || questions > MAX_QUESTIONS || (questions == 0 && state.is_none()) {
        return Err(Error::protocol(MALFORMED));
    }
    let no = Decline { action: "decline" };
    Ok(Some(Reply {
        input_responses: asked
            .input_requests
            .into_keys()
            .map(|id| (id, no))
            .collect(),
        request_state: state.map(ToOwned::to_owned),
    }))
}

impl Reply {
    /// Declines these questions of a task.
    pub(super) fn declining(questions: impl IntoIterator<Item = String>) -> Self {
        let no = Decline { action: "decline" };
        Self {
            input_responses: questions.into_iter().map(|id| (id, no)).collect(),
            request_state: None,
        }
    }

    /// Returns `true` if the server asked nothing and only wants to be called again.
    pub(super) fn is_only_state(&self) -> bool {
        self.input_responses.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Result<Option<String>, Error> {
        let result = RawValue::from_string(text.to_owned()).expect("JSON");
        let reply = decline(&result)?;
        Ok(reply.map(|reply| serde_json::to_string(&reply).expect("JSON")))
    }

    #[test]
    fn every_question_is_declined_and_the_state_comes_back_as_it_was() {
        let asked = r#"{"resultType":"input_required",
            "inputRequests":{"b":{"method":"elicitation/create"},"a":{}},"requestState":"\u0061\/"}"#;
        assert_eq!(
            reply(asked).expect("an answer").as_deref(),
            Some(
                r#"{"inputResponses":{"a":{"action":"decline"},"b":{"action":"decline"}},"requestState":"\u0061\/"}"#
            )
        );
        let state = r#"{"resultType":"input_required","requestState":""}"#;
        assert_eq!(
            reply(state).expect("an answer").as_deref(),
            Some(r#"{"requestState":""}"#)
        );
    }

    #[test]
    fn other_results_ask_for_nothing() {
        for text in [
            "{}",
            "1",
            r#"{"content":[{"type":"text","text":"input_required"}]}"#,
            r#"{"resultType":"complete","x":"input_required"}"#,
        ] {
            assert_eq!(reply(text).expect(text), None);
        }
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        for rest in [
            "",
            r#","inputRequests":{}"#,
            r#","inputRequests":[]"#,
            r#","requestState":{}"#,
            r#","inputRequests":{"a":{}},"requestState":7"#,
        ] {
            let text = format!(r#"{{"resultType":"input_required"{rest}}}"#);
            assert!(reply(&text).is_err(), "{text}");
        }
        let many: Vec<_> = (0..65).map(|n| format!(r#""{n}":{{}}"#)).collect();
        let many = many.join(",");
        let text = format!(r#"{{"resultType":"input_required","inputRequests":{{{many}}}}}"#);
        assert!(reply(&text).is_err());
    }
}
