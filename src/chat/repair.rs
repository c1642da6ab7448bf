//! How a turn may be misshapen, and the turn that every provider takes instead.
//!
//! The form is that of OpenAI's reference: a role, a content (`null` beside calls), and calls that
//! each have an id of their own, `type: "function"`, and as `arguments` the text of a JSON object.
//! A turn that has it stays byte for byte; of another only that is changed. Whole answers and
//! streams, once they are assembled, come through here alike.
//!
//! | what is odd | what is made of it | where |
//! |---|---|---|
//! | arguments that are no object, but mean one | that object | `arguments.rs` |
//! | other arguments | they stay for the caller, and go back to the provider as `{}` with the error | [`executed`] |
//! | no `type`, `role` or `content` (langchain-ai/langchain-azure#35, langchain4j/langchain4j#540) | it is added | here |
//! | no id (mudler/LocalAI#9470) | a new one | here |
//! | one id twice (HKUDS/nanobot#4059, can1357/oh-my-pi#2055) | another for the second | here |
//! | `function_call`, the old form (run-llama/llama_index#18313) | a call | here |
//! | text and calls in several choices, a `message` in a stream | one choice, a delta | `choices.rs` |
//! | pieces of calls that no client could assemble | whole calls, in one delta | `pieces.rs` |
//!
//! Long ids stay: they may be what the provider itself needs back (BerriAI/litellm#37849).

use std::collections::HashSet;

use bytes::Bytes;

use super::{
    arguments::Arguments,
    tool_call::{CALLS_READ, ToolCall, is_function},
};
use crate::json::{Edit, Object, array, quoted};

/// The reasons for which a turn ends before the model is done, in the words of those who say them.
/// What is odd in a turn that broke off may be missing its end.
const CUT: [&str; 16] = [
    // OpenAI, Anthropic and Gemini (nearai/ironclaw#5665).
    "length",
    "content_filter",
    "max_tokens",
    "max_output_tokens",
    // Anthropic.
    "model_context_window_exceeded",
    "refusal",
    // Gemini.
    "safety",
    "recitation",
    "malformed_function_call",
    // Mistral, whose schema has both; OpenRouter has the second, too.
    "model_length",
    "error",
    // DeepSeek.
    "insufficient_system_resource",
    // Z.ai.
    "sensitive",
    "network_error",
    // vLLM and SGLang.
    "abort",
    "timeout",
];

/// Returns `true` if a turn that ended for this reason may be half of one.
pub(super) fn is_cut(finish_reason: &str) -> bool {
    CUT.iter()
        .any(|cut| finish_reason.eq_ignore_ascii_case(cut))
}

/// The message in the form that every provider takes, unless it has that already; and its calls.
///
/// `takes_old` says whether a call in the old form is one, `is_cut` that the turn may be half of one.
pub(super) fn taken(
    message: &Object<'_>,
    is_cut: bool,
    takes_old: bool,
) -> (Option<String>, Vec<ToolCall>) {
    let (calls, is_good) = read(message, is_cut);
    if calls.is_empty() && !takes_old {
        return (None, calls);
    }
    if is_good {
        return (None, calls);
    }
    let text = repaired(message, is_cut);
    let calls = Object::parse(&text).map(|message| read(&message, is_cut).0);
    (Some(text), calls.unwrap_or_default())
}

/// The calls of a message, and whether it has the form.
fn read(message: &Object<'_>, is_cut: bool) -> (Vec<ToolCall>, bool) {
    let elements = elements(message);
    let mut calls = Vec::with_capacity(elements.len());
    let mut is_good = true;
    for element in &elements {
        let Ok(call) = Object::parse(element) else {
            is_good = false;
            continue;
        };
        let (call, has_form) = ToolCall::read(&call, is_cut);
        is_good &= has_form;
        calls.push(call);
    }
    if calls.is_empty() {
        // Nothing goes back of a turn without calls.
        return (calls, old_call(message).is_none());
    }
    is_good &= message.get("role") == Some(ROLE) && message.get("content").is_some();
    if calls.len() > 1 {
        let mut ids = HashSet::with_capacity(calls.len());
        is_good &= calls.iter().all(|call| ids.insert(&*call.id));
    }
    (calls, is_good)
}

const ROLE: &str = r#""assistant""#;
const FUNCTION: &str = r#""function""#;

pub(super) fn elements<'a>(message: &Object<'a>) -> Vec<&'a str> {
    let calls = message.present("tool_calls");
    calls
        .and_then(|calls| array(calls, CALLS_READ))
        .unwrap_or_default()
}

/// The call in the old form, if there is one with a name and none in the new form.
fn old_call<'a>(message: &Object<'a>) -> Option<&'a str> {
    let function = message.present("function_call")?;
    let name = Object::parse(function).ok()?.string("name")?;
    (!name.trim().is_empty() && elements(message).is_empty()).then_some(function)
}

fn repaired(message: &Object<'_>, is_cut: bool) -> String {
    let old = old_call(message).map(|function| format!(r#"{{"function":{function}}}"#));
    let elements = match &old {
        Some(call) => vec![&**call],
        None => elements(message),
    };
    let mut known = HashSet::new();
    let calls = elements.iter().enumerate();
    let calls = calls.filter_map(|(index, call)| repaired_call(call, index, is_cut, &mut known));
    let calls = format!("[{}]", calls.collect::<Vec<_>>().join(","));
    let mut members = vec![("tool_calls", &*calls)];
    if message.get("role") != Some(ROLE) {
        members.push(("role", ROLE));
    }
    if message.get("content").is_none() {
        members.push(("content", "null"));
    }
    match old {
        Some(_) => with(&without(message, "function_call"), &members),
        None => message.edited(message.set(&members)),
    }
}

/// The members of an object but for one. They stay text, since a lone surrogate, where a model was
/// cut off, fits into no tree.
pub(super) fn without(object: &Object<'_>, left_out: &str) -> String {
    let members = object.iter().filter(|(name, _)| *name != left_out);
    let members = members.map(|(name, value)| format!("{}:{value}", quoted(name)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// The object that `text` is, with these members.
pub(super) fn with(text: &str, members: &[(&str, &str)]) -> String {
    match Object::parse(text) {
        Ok(object) => object.edited(object.set(members)),
        Err(_) => text.to_owned(),
    }
}

/// A call in the right form; `None` for what is no object. `known` has the ids of those before it.
fn repaired_call(
    text: &str,
    index: usize,
    is_cut: bool,
    known: &mut HashSet<String>,
) -> Option<String> {
    let call = Object::parse(text).ok()?;
    let (read, _) = ToolCall::read(&call, is_cut);
    let mut edits = Vec::new();
    if read.id.is_empty() || !known.insert(read.id.clone()) {
        edits.extend(call.set(&[("id", &quoted(&new_call_id(index)))]));
    }
    if let Some(function) = call.present("function").and_then(|f| Object::parse(f).ok()) {
        if !is_function(&call) {
            edits.extend(call.set(&[("type", FUNCTION)]));
        }
        edits.extend(call.within(function.text(), spelt(&function, &read)));
    }
    Some(call.edited(edits))
}

/// The edits of a function that spell its name and arguments as they were read.
fn spelt(function: &Object<'_>, read: &ToolCall) -> Vec<Edit> {
    let name = read.function.as_deref().unwrap_or_default();
    let said = function.string("name");
    let name = said.filter(|said| said != name).map(|_| quoted(name));
    let arguments = match &read.arguments {
        Arguments::Text(text) => Some(text),
        _ => None,
    };
    let said = function.string("arguments");
    let arguments = arguments.filter(|text| said.as_deref() != Some(&**text));
    let arguments = arguments.map(|text| quoted(text));
    let members = [("name", name), ("arguments", arguments)];
    let members = members
        .iter()
        .filter_map(|(name, text)| Some((*name, text.as_deref()?)));
    function.set(&members.collect::<Vec<_>>())
}

/// Creates an id for the call at this index of a message. Ids only have to differ between the turns
/// of a conversation.
fn new_call_id(index: usize) -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("call_{:016x}_{index}", RandomState::new().hash_one(()))
}

/// The message of a turn whose calls were all answered here, as it goes back to the provider: with
/// no arguments where those of a call are no object, which its answer tells, and with names that
/// providers take (MoonshotAI/kimi-cli#2165, router-for-me/CLIProxyAPI#2001). One that needs none
/// of this is not read again.
pub(crate) fn executed<'a>(
    message: Bytes,
    calls: impl Iterator<Item = &'a ToolCall> + Clone,
) -> Bytes {
    if is_sendable(calls.clone()) {
        return message;
    }
    let text = String::from_utf8_lossy(&message);
    let Ok(object) = Object::parse(&text) else {
        return message;
    };
    let edited = elements(&object).into_iter().zip(calls);
    let edited = edited.map(|(text, call)| match call.through {
        Some(_) => text.to_owned(),
        None => sendable(text, call),
    });
    let list = format!("[{}]", edited.collect::<Vec<_>>().join(","));
    object.edited(object.set(&[("tool_calls", &list)])).into()
}

/// Returns `true` if a message with these calls goes back as it is.
pub(crate) fn is_sendable<'a>(mut calls: impl Iterator<Item = &'a ToolCall>) -> bool {
    // One through another tool was read from an object, and under the name of that.
    calls.all(|call| call.through.is_some() || has_object(call) && is_named(call))
}

fn has_object(call: &ToolCall) -> bool {
    matches!(call.arguments, Arguments::Text(_))
}

fn is_named(call: &ToolCall) -> bool {
    call.name_back().as_deref() == call.function.as_deref()
}

fn sendable(text: &str, read: &ToolCall) -> String {
    let Ok(call) = Object::parse(text) else {
        return text.to_owned();
    };
    let Some(function) = call.present("function").and_then(|f| Object::parse(f).ok()) else {
        return text.to_owned();
    };
    let name = quoted(&read.name_back().unwrap_or_default());
    let mut members = Vec::new();
    if !is_named(read) {
        members.push(("name", &*name));
    }
    if !has_object(read) {
        members.push(("arguments", r#""{}""#));
    }
    call.edited(call.within(function.text(), function.set(&members)))
}

/// The calls of `message` as one delta of a stream, each whole and with its index.
pub(super) fn calls_delta(message: &Object<'_>) -> String {
    let calls = elements(message).into_iter().enumerate();
    let calls = calls.map(|(index, text)| match Object::parse(text) {
        Ok(call) => call.edited(call.set(&[("index", &index.to_string())])),
        Err(_) => text.to_owned(),
    });
    let calls = calls.collect::<Vec<_>>().join(",");
    format!(r#"{{"tool_calls":[{calls}]}}"#)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::chat::{Asked, Chunk, Completion, StreamReader};

    const ASKED: Asked = Asked {
        one_choice: true,
        tools_only: true,
    };

    /// SplitMix64.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % sides
        }

        fn of<T: Copy>(&mut self, choices: &[T]) -> T {
            choices[usize::try_from(self.roll(choices.len() as u64)).unwrap()]
        }
    }

    const BLANKS: [&str; 6] = ["", "", "", " ", "\n", "\t "];
    const ARGUMENTS: [&str; 10] = [
        "{}",
        "{ }",
        r#"{"a":1}"#,
        " {\"a\" : 1.50}\n",
        r#"{"a":{"b":[{"c":"}{"}]}}"#,
        r#"{"q":"\"null\" {\"a\":1}","n":null}"#,
        r#"{"text":"Grüße \u00e9 👋 \ud83d\udc4b \n```json"}"#,
        r#"{"id":123456789012345678901234567890}"#,
        r#"{"a":"{}{}","a b":[],"c":-0.0e-7}"#,
        r#"{"code":"x = None\\n\\tTrue"}"#,
    ];
    const REASONS: [&str; 5] = [
        "tool_calls",
        "stop",
        "length",
        "content_filter",
        "function_call",
    ];

    /// A call as it should be: id, name and arguments.
    type Call = (String, String, &'static str);

    fn turn(dice: &mut Dice) -> Vec<Call> {
        let calls = 1 + dice.roll(4);
        let call = |index| {
            let id = format!(
                "{}{index}",
                dice.of(&["call_", "functions.f:", "toolu_01-", "9"])
            );
            let name = dice.of(&["s__echo", "lookup", "a-b_C9", "get.it"]);
            (id, name.to_owned(), dice.of(&ARGUMENTS))
        };
        (0..calls).map(call).collect()
    }

    /// The answer with these calls, its members in any order and with any blanks between them.
    fn answer(calls: &[Call], dice: &mut Dice) -> String {
        let calls: Vec<_> = calls
            .iter()
            .map(|(id, name, arguments)| {
                let function = object(
                    &[("name", quoted(name)), ("arguments", quoted(arguments))],
                    dice,
                );
                let more = dice.of(&["1.50", "{\"sig\":\"x\"}", "null"]);
                let members = [
                    ("id", quoted(id)),
                    ("type", FUNCTION.to_owned()),
                    ("function", function),
                    ("extra_content", more.to_owned()),
                ];
                object(&members[..3 + usize::from(dice.roll(2) == 0)], dice)
            })
            .collect();
        let content = dice.of(&[
            "null",
            "\"\"",
            "\"text \\ud83d\"",
            "[{\"type\":\"text\",\"text\":\"x\"}]",
        ]);
        let members = [
            ("role", ROLE.to_owned()),
            ("content", content.to_owned()),
            ("tool_calls", format!("[{}]", calls.join(","))),
            ("reasoning_details", "[ 1.50 ]".to_owned()),
            ("refusal", "null".to_owned()),
        ];
        let message = object(&members[..3 + usize::try_from(dice.roll(3)).unwrap()], dice);
        let reason = quoted(dice.of(&REASONS));
        let choice = [
            ("index", "0".to_owned()),
            ("message", message),
            ("finish_reason", reason),
            ("logprobs", "null".to_owned()),
        ];
        let choices = format!("[{}]", object(&choice, dice));
        object(&[("id", quoted("x")), ("choices", choices)], dice)
    }

    fn object(members: &[(&str, String)], dice: &mut Dice) -> String {
        let first = usize::try_from(dice.roll(members.len() as u64)).unwrap();
        let rotated = members[first..].iter().chain(&members[..first]);
        let members = rotated.map(|(name, value)| {
            let [a, b, c, d] = [(); 4].map(|()| dice.of(&BLANKS));
            format!("{a}{}{b}:{c}{value}{d}", quoted(name))
        });
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    }

    /// The same calls in the chunks of a stream, cut anywhere.
    fn chunks(calls: &[Call], dice: &mut Dice) -> Vec<Value> {
        let mut deltas = Vec::new();
        for (index, (id, name, arguments)) in calls.iter().enumerate() {
            let mut rest = *arguments;
            let mut first = json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""}});
            if dice.roll(3) == 0 {
                first["function"]["arguments"] = rest.into();
                rest = "";
            }
            deltas.push(first);
            while !rest.is_empty() {
                let length = 1 + usize::try_from(dice.roll(8)).unwrap();
                let (piece, behind) = rest.split_at(rest.ceil_char_boundary(length));
                let mut delta = json!({"index": index, "function": {"arguments": piece}});
                match dice.roll(6) {
                    0 => delta["id"] = id.clone().into(),
                    1 => delta["function"]["name"] = name.clone().into(),
                    2 => delta["id"] = "".into(),
                    _ => {}
                }
                deltas.push(delta);
                rest = behind;
            }
        }
        let reason = dice.of(&REASONS);
        let chunk = |delta| json!({"choices": [{"index": 0, "delta": {"tool_calls": [delta]}}]});
        let last = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]});
        deltas.into_iter().map(chunk).chain([last]).collect()
    }

    /// As many as `MCP_LAYER_CASES` says.
    fn cases() -> u64 {
        let cases = std::env::var("MCP_LAYER_CASES");
        cases.map_or(20_000, |cases| cases.parse().unwrap())
    }

    #[test]
    fn a_well_formed_turn_stays_byte_for_byte() {
        let mut dice = Dice(15);
        for case in 0..cases() {
            let said = turn(&mut dice);
            let body = answer(&said, &mut dice);
            let bytes = Bytes::from(body.clone());
            let mut read = Completion::answering(&bytes, ASKED).unwrap();
            let turn = read.take_turn();
            let message = turn.message.unwrap();
            // It is a part of the answer's own bytes.
            assert!(
                bytes.as_ptr_range().contains(&message.as_ptr()),
                "{case}: {body}"
            );
            for (read, (id, name, arguments)) in turn.calls.iter().zip(&said) {
                assert_eq!(read.id, *id);
                assert_eq!(read.function.as_ref(), Some(name));
                assert_eq!(read.arguments.text(), Some(*arguments));
            }
            assert_eq!(turn.calls.len(), said.len());
            if said.iter().all(|(_, name, _)| !name.contains('.')) {
                assert_eq!(
                    executed(message.clone(), turn.calls.iter()).as_ptr(),
                    message.as_ptr()
                );
            }
        }
    }

    #[test]
    fn a_well_formed_stream_is_put_together_to_what_was_said() {
        let mut dice = Dice(51);
        for case in 0..cases() {
            let said = turn(&mut dice);
            let mut reader = StreamReader::answering(usize::MAX, ASKED);
            let chunks = chunks(&said, &mut dice);
            for chunk in &chunks {
                let text = chunk.to_string();
                let chunk = Chunk::parse(&text).unwrap();
                assert!(!chunk.is_odd());
                reader.add(&chunk);
            }
            let turn = reader.finish();
            assert!(reader.assembly().is_regular(), "{case}: {chunks:?}");
            let calls: Vec<_> = turn
                .calls
                .iter()
                .map(|call| {
                    (
                        &*call.id,
                        call.function.as_deref().unwrap(),
                        call.arguments.text().unwrap(),
                    )
                })
                .collect();
            let said: Vec<_> = said
                .iter()
                .map(|(id, name, text)| (&**id, &**name, *text))
                .collect();
            assert_eq!(calls, said, "{case}: {chunks:?}");
        }
    }

    /// A message with any faults.
    fn odd(dice: &mut Dice) -> String {
        let mut message = json!({"role": "assistant", "content": null, "x": [1.5]});
        let calls = (0..1 + dice.roll(3)).map(|index| {
            let mut call = json!({"id": format!("c{index}"), "type": "function", "function": {"name": "f", "arguments": "{}"}});
            let odd = dice.of(&["", "null", "\"{}\"", "{}{\"a\":1}", "{'", "7", "{\"a\":\"\n\"}"]);
            match dice.roll(9) {
                0 => call["id"] = dice.of(&["", "c0"]).into(),
                1 => call["id"] = Value::Null,
                2 => call["type"] = dice.of(&["", "custom"]).into(),
                3 => call["function"]["arguments"] = odd.into(),
                4 => call["function"]["arguments"] = json!({"a": 1}),
                5 => call["function"] = json!({"name": dice.of(&["", " f ", "a.b"])}),
                6 => call = Value::Null,
                7 => call["function"] = Value::Null,
                _ => {}
            }
            call
        });
        message["tool_calls"] = calls.collect();
        match dice.roll(6) {
            0 => message["role"] = Value::Null,
            1 => drop(message.as_object_mut().unwrap().remove("content")),
            2 => {
                message["function_call"] = json!({"name": "g", "arguments": ""});
                message["tool_calls"] = Value::Null;
            }
            _ => {}
        }
        message.to_string()
    }

    #[test]
    fn a_repaired_turn_repaired_again_stays_the_same() {
        let mut dice = Dice(7);
        let mut repaired = 0;
        for _ in 0..cases() {
            let (text, is_cut) = (odd(&mut dice), dice.roll(4) == 0);
            let (once, calls) = taken(&Object::parse(&text).unwrap(), is_cut, true);
            let once = once.map_or(text, |once| {
                repaired += 1;
                once
            });
            let (again, same) = taken(&Object::parse(&once).unwrap(), is_cut, true);
            assert_eq!((again, &same), (None, &calls), "{once}");
            let sent = executed(once.into(), calls.iter());
            let text = std::str::from_utf8(&sent).unwrap();
            let (again, same) = taken(&Object::parse(text).unwrap(), false, true);
            assert_eq!(again, None, "{text}");
            assert_eq!(executed(sent.clone(), same.iter()), sent);
        }
        assert!(repaired > cases() / 2, "{repaired}");
    }
}
