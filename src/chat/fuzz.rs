//! Targets for what models answer.

use std::collections::HashSet;

use bytes::Bytes;
use serde_json::Value;

use super::{
    Arguments, Asked, Change, Chunk, Completion, ToolCall, Turn, assembly::Assembly, choices,
    executed, repair::is_cut, tool_call::CALLS_READ,
};
use crate::{
    fuzz_input::{halves, number, text},
    json::{Object, array, concat, is_object},
    sse::Parser,
};

const ASKED: Asked = Asked {
    one_choice: true,
    tools_only: true,
};

/// Asserts that an edit of a completion changes nothing else, and that its chunks mean the same.
pub(crate) fn answer(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    let Some(mut answer) = Completion::parse(&body) else {
        return;
    };
    let turn = answer.take_turn();
    goes_back(&turn);
    if let Some(mut joined) = Completion::answering(&body, ASKED) {
        goes_back(&joined.take_turn());
    }
    let told = concat(&answer.with(Some("{}"), Some("[1]")));
    let object = Object::parse(text(&told)).expect("what a caller gets is an object");
    assert_eq!(
        (object.get("usage"), object.get("mcp")),
        (Some("{}"), Some("[1]"))
    );
    if turn.calls.is_empty()
        && let (Ok(mut sent), Ok(mut told)) = (value(data), value(&told))
    {
        for member in ["usage", "mcp"] {
            sent[member] = Value::Null;
            told[member] = Value::Null;
        }
        // Of a name that is given twice a tree has the last, and we set the first.
        if object.doubled().is_none() {
            assert_eq!(sent, told);
        }
    }
    let mut assembly = Assembly::default();
    let chunks = answer.chunks();
    assert!(chunks.len() == 2 + usize::from(!turn.calls.is_empty()));
    for text in &chunks {
        let chunk = Chunk::parse(text).expect("a chunk is an object");
        assembly.add(chunk.delta().expect("a chunk has a delta"));
    }
    let Some(message) = &turn.message else {
        return;
    };
    let message = Object::parse(text(message));
    // Of a name that is given twice one may be read here, and the other there.
    let is_plain = |object: &Object<'_>| object.doubled().is_none();
    if let Ok(message) = message
        && is_plain(&message)
    {
        let calls = message
            .present("tool_calls")
            .and_then(|calls| array(calls, CALLS_READ));
        let mut calls = calls.into_iter().flatten();
        if !calls.all(|call| Object::parse(call).is_ok_and(|call| is_plain(&call))) {
            return;
        }
        let is_cut = turn.finish_reason.as_deref().is_some_and(is_cut);
        let (assembled, calls) = assembly.finish(is_cut, false);
        let assembled = Object::parse(text(&assembled)).expect("a message is an object");
        let text = |message: &Object<'_>| {
            let content = message.get("content").unwrap_or_default();
            content.starts_with('"').then(|| content.to_owned())
        };
        assert_eq!(text(&assembled), text(&message));
        let ids = |calls: &[ToolCall]| calls.iter().map(|call| call.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&calls), ids(&turn.calls));
    }
}

/// Asserts that a stream of chunks is assembled the same wherever it is cut, and that each change
/// does what it should.
pub(crate) fn chunks(data: &[u8]) {
    let (at, data) = number(data);
    let whole = assembled(&[Bytes::copy_from_slice(data)]);
    let cut = assembled(&halves(data, at));
    assert_eq!(
        (whole.bytes(), whole.has_calls()),
        (cut.bytes(), cut.has_calls())
    );
    let (message, calls, is_regular) = finished(whole);
    let (again, same, _) = finished(cut);
    if is_regular {
        assert_eq!((message, calls), (again, same), "cut at {at}");
    } else {
        // Those that had no id got one, which is another each time.
        assert_eq!(calls.len(), same.len());
    }
}

fn finished(mut assembly: Assembly) -> (Bytes, Vec<ToolCall>, bool) {
    let had_calls = assembly.has_calls();
    let (message, calls) = assembly.finish(false, true);
    assert!(had_calls || calls.is_empty());
    let turn = Turn {
        message: Some(message.clone()),
        calls: calls.clone(),
        ..Turn::default()
    };
    let delta = turn.calls_delta().expect("a message is an object");
    assert!(Object::parse(&delta).is_ok(), "{delta}");
    goes_back(&turn);
    (message, calls, assembly.is_regular())
}

/// Asserts that a turn with calls has the form of OpenAI's reference: for the caller, but for
/// arguments that nobody can read, and for the provider altogether.
fn goes_back(turn: &Turn) {
    let Some(message) = turn.message.as_ref().filter(|_| !turn.calls.is_empty()) else {
        return;
    };
    let sent = executed(message.clone(), turn.calls.iter());
    for (message, is_executed) in [(message, false), (&sent, true)] {
        let message = Object::parse(text(message)).expect("a message with calls is an object");
        assert_eq!(message.string("role").as_deref(), Some("assistant"));
        assert!(message.get("content").is_some());
        let calls = message
            .present("tool_calls")
            .and_then(|calls| array(calls, CALLS_READ));
        let calls = calls.expect("the calls are a list");
        assert_eq!(calls.len(), turn.calls.len());
        let mut ids = HashSet::new();
        for (text, read) in calls.into_iter().zip(&turn.calls) {
            let call = Object::parse(text).expect("a call is an object");
            let id = call
                .string("id")
                .filter(|id| !id.is_empty())
                .expect("a call has an id");
            assert_eq!(id, read.id);
            assert!(ids.insert(id.into_owned()), "an id of its own");
            let Some(function) = call.present("function").and_then(|f| Object::parse(f).ok())
            else {
                continue;
            };
            assert_eq!(call.string("type").as_deref(), Some("function"));
            let arguments = function.string("arguments");
            if is_executed || matches!(read.arguments, Arguments::Text(_)) {
                assert!(is_object(&arguments.expect("arguments are a string")));
            }
        }
    }
}

fn assembled(frames: &[Bytes]) -> Assembly {
    let mut parser = Parser::new(1 << 20);
    let mut assembly = Assembly::default();
    let mut identity = None;
    for frame in frames {
        let mut frame = frame.clone();
        while let Ok(Some(event)) = parser.next(&mut frame) {
            let data = text(&event.data);
            let Some(chunk) = Chunk::parse(data) else {
                continue;
            };
            for text in choices::apart(data, &assembly) {
                let single = Chunk::parse(&text).expect("a part of a chunk is one");
                assert!(!single.is_odd(), "{text}");
            }
            let identity = identity.get_or_insert_with(|| chunk.identity());
            if let Some(delta) = chunk.delta() {
                assembly.add(delta);
            }
            let change = Change {
                identity: Some(identity),
                without_role: true,
                without_calls: true,
                finish_reason: Some("null"),
                members: &[("usage", "null"), ("mcp", "1")],
            };
            changed(data, &chunk, change);
            let own = identity.chunk(None, &[("usage", "{}")]);
            assert!(Object::parse(&own).is_ok(), "{own}");
        }
    }
    assembly
}

/// Asserts that a changed chunk is still a chunk, with unknown members untouched.
fn changed(chunk: &str, piece: &Chunk<'_>, change: Change<'_>) {
    const OURS: [&str; 7] = [
        "id",
        "created",
        "model",
        "system_fingerprint",
        "choices",
        "usage",
        "mcp",
    ];
    let text = piece.changed(change);
    let told = Chunk::parse(&text).expect("a changed chunk is one");
    assert!(!told.has_calls() && !told.says_role() && !told.is_finish());
    assert_eq!(
        (told.is_error(), told.has_choice()),
        (piece.is_error(), piece.has_choice())
    );
    assert_eq!(told.says_more(), piece.says_more());
    let members = |text: &str| -> Vec<_> {
        let object = Object::parse(text).expect("a chunk is an object");
        let members = object.iter().filter(|(name, _)| !OURS.contains(name));
        members
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    assert_eq!(members(chunk), members(&text));
}

fn value(bytes: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(bytes)
}
