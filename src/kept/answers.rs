//! The answers to the calls of a turn, in their order: the caller's, ours, and a fixed sentence for
//! each that is missing.

use bytes::Bytes;

use super::{
    changed::Changed,
    history::{History, Seen, SeenAnswer},
    known::Known,
    output::{Answers, Part},
    said::read,
    turn::KeptCall,
};
use crate::{chat::tool_message, json::quoted};

/// Stands in for the caller's answer to a call of its own tools.
pub(super) const NO_ANSWER: &str = "No result: the client did not answer this call.";

/// Stands in for the result of a call of ours in a turn of which the caller answered no call.
const NOT_RUN: &str = "This call did not run: the client answered no call of this turn.";

/// Stands in for the result of a call whose process died while it ran.
const LOST: &str = "No result: the gateway was lost while this call ran. Nobody knows whether it was done: look before you call again.";

/// Returns what follows the message of a kept turn with these calls.
pub(super) fn answers(
    history: &History,
    known: &Known<'_>,
    seen: &Seen,
    turn: &Changed,
) -> Vec<Part> {
    let kept = known.kept;
    let said = |place: usize| seen.of(place)?.answer.as_ref();
    let is_answered = |(place, call): (usize, &KeptCall)| !call.is_ours && said(place).is_some();
    let runs = kept.asks_first || kept.calls.iter().enumerate().any(is_answered);
    let tell = |place: usize, content| {
        let call = turn.calls().get(place);
        call.map(|call| tool_message(call, content))
    };
    let answers = known.message.calls.iter().zip(&kept.calls).enumerate();
    let answers = answers.map(|(place, (call, kept_call))| {
        if let Some(result) = &kept_call.result {
            return Some(result.clone());
        }
        if kept_call.has_begun {
            return tell(place, LOST);
        }
        let said = said(place).filter(|_| !kept_call.is_ours || kept.asks_first);
        match said {
            Some(said) => Some(answer(history, said, &call.id())),
            None if !kept_call.is_ours => tell(place, NO_ANSWER),
            None if !runs => tell(place, NOT_RUN),
            None => None,
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
        calls: turn.calls().to_vec(),
        answers,
    })]
}

/// Returns the caller's answer to a call under the id that the model knows.
pub(super) fn answer(history: &History, seen: &SeenAnswer, id: &str) -> Bytes {
    let message = &history.messages[seen.message];
    let id = quoted(id);
    if seen.is_tool {
        let (before, behind) = (&message[..seen.id.start], &message[seen.id.end..]);
        return [before, id.as_bytes(), behind].concat().into();
    }
    match read(message) {
        Some(object) => {
            let members = [("tool_call_id", &*id), ("role", "\"tool\"")];
            object.edited(object.set(&members)).into()
        }
        None => message.clone(),
    }
}
