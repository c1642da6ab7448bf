//! Targets for what clients send back, and for what is stored.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::{CallIds, History, KeptCall, KeptTurn, Part, Tail};
use crate::{
    fuzz_input::{number, text},
    registry::ExchangeId,
};

const TURN: &str = r#"{"role":"assistant","content":"Text","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1.0}"}},{"id":"b","type":"function","function":{"name":"s__f","arguments":"{"}},{"id":"c","type":"custom","custom":{}}]}"#;

fn message(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn kept() -> KeptTurn {
    let call = |id: &str| KeptCall {
        is_ours: id == "b",
        ..KeptCall::default()
    };
    let said = message(r#"{"role":"assistant","content":"Done."}"#);
    KeptTurn {
        before: vec![said.clone()],
        turn: message(TURN),
        calls: ["a", "b", "c"].map(call).into(),
        tails: Tail::new(&[], vec![said.clone()], said)
            .into_iter()
            .collect(),
        ..KeptTurn::default()
    }
}

/// Reads a message from each line, in which `#12` is the id of the third call of the second record,
/// and asserts that no such id is left, and that no turn is there twice. The first byte says what is
/// kept, what has run and what asks first.
pub(crate) fn history(data: &[u8]) {
    let (choice, data) = number(data);
    let ids = CallIds::new([7; 32]);
    let mut input = text(data).to_owned();
    let mut all = HashMap::new();
    for number in 0..3_u8 {
        let record = ExchangeId([number; 12]);
        for call in 0..4 {
            input = input.replace(&format!("#{number}{call}"), &ids.write(record, call));
        }
        let mut kept = kept();
        kept.asks_first = choice & 8 != 0;
        let result = message(r#"{"role":"tool","tool_call_id":"b","content":"ours"}"#);
        kept.calls[1].result = (choice & 16 != 0).then_some(result);
        if choice >> number & 1 == 0 {
            all.insert(record, kept);
        }
    }
    let messages: Vec<Bytes> = input
        .lines()
        .map(|line| Bytes::from(line.to_owned()))
        .collect();
    let Some(history) = History::of(&messages, &ids) else {
        return;
    };
    let records = history.records();
    let restored = history.restore(&all, 1 << 20);
    let is_gone = records.iter().any(|record| !all.contains_key(record));
    assert_eq!(restored.is_incomplete, is_gone);
    let last = records.iter().rfind(|record| all.contains_key(record));
    assert_eq!(restored.last.as_ref(), last);
    let mut told = messages[..restored.untouched].to_vec();
    let mut open = HashSet::new();
    for part in restored.parts {
        match part {
            Part::Message(message) => told.push(message),
            Part::Answers(answers) => {
                assert!(open.insert(answers.record), "it is there twice");
                assert_eq!(answers.calls.len(), answers.answers.len());
                assert!(answers.answers.contains(&None) && choice & 16 == 0);
                told.extend(answers.answers.into_iter().flatten());
            }
        }
    }
    assert!(History::of(&told, &ids).is_none(), "an id is left");
}

/// Reads a stored text, and asserts that it is written as it was read, in as many bytes as it takes.
pub(crate) fn turn(data: &[u8]) {
    let Some(mut turn) = KeptTurn::read(text(data)) else {
        return;
    };
    let text = turn.to_text();
    assert_eq!(KeptTurn::read(&*text).as_ref(), Some(&turn));
    let size = turn.size();
    assert!(text.len() <= size, "{} {size}", text.len());
    turn.fit(size / 2);
    assert!(turn.size() <= size);
    assert!(KeptTurn::read(turn.to_text()).is_some());
}
