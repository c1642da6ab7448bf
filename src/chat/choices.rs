//! Answers in several choices where one was asked for: the text in one of them, the calls in
//! another, as Copilot's API gives them (HKUDS/nanobot#1555, zeroclaw-labs/zeroclaw#2136); and
//! streams that say the whole `message` once more at their end (abundantbeing/hermes-browser-extension#11).

use super::{
    assembly::Assembly,
    repair::{is_cut, with, without},
    tool_call::CALLS_READ,
};
use crate::json::{Object, array, quoted};

/// The most choices of an answer that are read.
const CHOICES: usize = 128;

/// The most members of a message that is joined with others.
const MEMBERS: usize = 64;

/// The members that each chunk of a stream has, as long as they are short.
const SHARED: [&str; 5] = ["id", "object", "created", "model", "system_fingerprint"];
const SHORT: usize = 256;

/// The calls of each choice are numbered anew from here on, times its number: each counts its own
/// from 0.
const APART: u64 = 1 << 32;

/// Returns `true` if `choices`, which begin with `first`, have others besides it.
pub(super) fn are_several(choices: &str, first: &Object<'_>) -> bool {
    let end = first.text().as_ptr() as usize - choices.as_ptr() as usize + first.text().len();
    choices[end..].trim_start().starts_with(',')
}

/// The list of the one choice that these are together; `None` where no choice has calls, since then
/// nobody knows which one is meant, and where a message has more members than any model's.
pub(super) fn joined(choices: &str) -> Option<String> {
    let choices = array(choices, CHOICES)?;
    let choices: Vec<_> = choices
        .into_iter()
        .filter_map(|choice| Object::parse(choice).ok())
        .collect();
    let messages: Vec<_> = choices
        .iter()
        .filter_map(|choice| Object::parse(choice.present("message")?).ok())
        .collect();
    if messages
        .iter()
        .any(|message| message.iter().count() > MEMBERS)
    {
        return None;
    }
    let calls = messages.iter().filter_map(|message| {
        let calls = message.present("tool_calls")?.trim();
        let calls = calls.strip_prefix('[')?.strip_suffix(']')?.trim();
        (!calls.is_empty()).then_some(calls)
    });
    let calls = calls.collect::<Vec<_>>().join(",");
    let (first, choice) = (messages.first()?, choices.first()?);
    if calls.is_empty() {
        return None;
    }
    let calls = format!("[{calls}]");
    let mut members = vec![("tool_calls", &*calls)];
    for (name, value) in messages[1..].iter().flat_map(Object::iter) {
        let is_new = !members.iter().any(|(known, _)| *known == name);
        if is_new && says(value) && !first.get(name).is_some_and(says) {
            members.push((name, value));
        }
    }
    let message = first.edited(first.set(&members));
    let mut members = vec![("message", &*message)];
    let mut reasons = choices
        .iter()
        .filter_map(|choice| choice.present("finish_reason"));
    // A part that was cut short makes the whole so.
    let cut = reasons.find(|reason| is_cut(reason.trim_matches('"')));
    members.extend(cut.map(|reason| ("finish_reason", reason)));
    Some(format!("[{}]", choice.edited(choice.set(&members))))
}

fn says(value: &str) -> bool {
    !matches!(value, "null" | "\"\"" | "[]" | "{}")
}

/// Returns `true` if a chunk, whose first choice this is, is not one of a stream of one choice.
pub(super) fn are_odd(choices: &str, first: &Object<'_>) -> bool {
    let is_other = first.get("index").is_some_and(|index| index != "0");
    is_other
        || first.present("delta").is_none() && first.present("message").is_some()
        || are_several(choices, first)
}

/// An odd chunk as chunks of one choice each, the first; `said` is what came before it.
pub(super) fn apart(text: &str, said: &Assembly) -> Vec<String> {
    let Ok(chunk) = Object::parse(text) else {
        return Vec::new();
    };
    let choices = chunk
        .present("choices")
        .and_then(|list| array(list, CHOICES));
    let choices = choices.unwrap_or_default();
    let count = choices.len();
    let shared = chunk
        .iter()
        .filter(|(name, value)| SHARED.contains(name) && value.len() <= SHORT || *name == "usage");
    let shared = shared.map(|(name, value)| format!("{}:{value}", quoted(name)));
    let shared = format!("{{{}}}", shared.collect::<Vec<_>>().join(","));
    let single = |(place, choice): (usize, &str)| {
        let choice = single(&Object::parse(choice).ok()?, said);
        let choices = format!("[{choice}]");
        let mut members = vec![("choices", &*choices)];
        if place + 1 < count && chunk.present("usage").is_some() {
            members.push(("usage", "null"));
        }
        // What else the chunk has is said once.
        match place {
            0 => Some(chunk.edited(chunk.set(&members))),
            _ => Some(with(&shared, &members)),
        }
    };
    choices.into_iter().enumerate().filter_map(single).collect()
}

fn single(choice: &Object<'_>, said: &Assembly) -> String {
    let number = choice.get("index").and_then(|index| index.parse().ok());
    let delta = match (choice.present("delta"), choice.present("message")) {
        (Some(delta), _) => delta.to_owned(),
        (None, Some(message)) => unsaid(message, said),
        (None, None) => "{}".to_owned(),
    };
    let delta = numbered_apart(delta, number.unwrap_or(0));
    with(
        &without(choice, "message"),
        &[("index", "0"), ("delta", &delta)],
    )
}

/// The members of a whole message that a stream has not said before.
fn unsaid(message: &str, said: &Assembly) -> String {
    let Ok(message) = Object::parse(message) else {
        return "{}".to_owned();
    };
    let members = message.iter().filter(|(name, _)| !said.has(name));
    let members = members.map(|(name, value)| format!("{}:{value}", quoted(name)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// The delta of a choice with another number than the first, with its calls behind those of others.
fn numbered_apart(delta: String, choice: u64) -> String {
    let Some(calls) = Object::parse(&delta)
        .ok()
        .filter(|_| choice > 0)
        .and_then(|delta| array(delta.present("tool_calls")?, CALLS_READ))
    else {
        return delta;
    };
    let calls = calls.into_iter().map(|call| {
        let index = Object::parse(call)
            .ok()
            .and_then(|c| c.get("index")?.parse::<u64>().ok());
        let apart = |index: u64| {
            choice
                .saturating_mul(APART)
                .saturating_add(index)
                .to_string()
        };
        index.map_or_else(
            || call.to_owned(),
            |index| with(call, &[("index", &apart(index))]),
        )
    });
    let calls = format!("[{}]", calls.collect::<Vec<_>>().join(","));
    with(&delta, &[("tool_calls", &calls)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_of_another_choice_is_lost() {
        let call = |index| format!(r#"{{"index":{index},"id":"c{index}"}}"#);
        let calls: Vec<_> = (0..=CHOICES).map(call).collect();
        let apart = numbered_apart(format!(r#"{{"tool_calls":[{}]}}"#, calls.join(",")), 1);
        assert_eq!(apart.matches("\"id\"").count(), calls.len());
    }

    #[test]
    fn choices_of_very_many_members_take_no_longer_than_their_length() {
        let members: Vec<_> = (0..50_000).map(|i| format!("\"k{i}\":1")).collect();
        let calls = r#""tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]"#;
        let choices = format!(
            r#"[{{"message":{{{calls}}}}},{{"message":{{{}}}}}]"#,
            members.join(",")
        );
        let began = std::time::Instant::now();
        let _ = joined(&choices);
        assert!(began.elapsed().as_millis() < 4_000, "{:?}", began.elapsed());
    }
}
