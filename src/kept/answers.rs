//! The answers to the calls of a turn, in their order: the caller's, ours, and a fixed sentence for
//! each that is missing.

use bytes::Bytes;

use super::{
    history::{History, Seen, SeenAnswer},
    output::{Answers, Part},
    turn::{KeptCall, KeptTurn},
};
use crate::{
    chat::{ToolCall, tool_message},
    json::{Edit, quoted},
};

/// Stands in for the caller's answer to a call of its own tools.
pub(super) const NO_ANSWER: &str = "No result: the client did not answer this call.";

/// Stands in for the result of a call of ours in a turn of which the caller answered no call.
const NOT_RUN: &str = "This call did not run: the client answered no call of this turn.";

/// Stands in for the result of a call whose process died while it ran.
const LOST: &str = "No result: the gateway was lost while this call ran. Nobody knows whether it was done: look before you call again.";

/// Returns what follows the message of a kept turn with these calls.
pub(super) fn answers(
    history: &History,
    kept: &KeptTurn,
    seen: &Seen,
    calls: Vec<ToolCall>,
) -> Vec<Part> {
    let said = |place: usize| seen.of(place)?.answer.as_ref();
    let is_answered = |(place, call): (usize, &KeptCall)| !call.is_ours && said(place).is_some();
    let runs = kept.asks_first || kept.calls.iter().enumerate().any(is_answered);
    let answers = calls.iter().zip(&kept.calls).enumerate();
    let answers = answers.map(|(place, (call, kept_call))| {
        if let Some(result) = &kept_call.result {
            return Some(result.clone());
        }
        if kept_call.has_begun {
            return Some(tool_message(call, LOST));
        }
        let said = said(place).filter(|_| !kept_call.is_ours || kept.asks_first);
        match said {
            Some(said) => Some(answer(history, said, &call.id)),
            None if !kept_call.is_ours => Some(tool_message(call, NO_ANSWER)),
            None => (!runs).then(|| tool_message(call, NOT_RUN)),
        }
    });
    let answers: Vec<Option<Bytes>> = answers.collect();
    if answers.iter().all(Option::is_some) {
        let answers = answers.into_iter().flatten();
        let all = answers.chain(kept.media.iter().cloned());
        return all.map(Part::Message).collect();
    }
    vec![Part::Answers(Answers {
        record: seen.record,
        asks_first: kept.asks_first,
        calls,
        answers,
    })]
}

/// Returns the caller's answer to a call under the id that the model knows.
pub(super) fn answer(history: &History, seen: &SeenAnswer, id: &str) -> Bytes {
    let message = &history.messages[seen.message];
    let role = (!seen.is_tool).then_some("\"tool\"");
    let edits = seen.places.set([Some(&quoted(id)), role]);
    match std::str::from_utf8(message) {
        Ok(text) => Edit::apply_to_text(text, edits).into(),
        Err(_) => message.clone(),
    }
}
