//! Where the parts of a turn are in a history, and how it stands in it afterwards.

use super::*;

#[test]
fn a_turn_that_is_there_again_later_stands_once() {
    let later = [
        user("more"),
        json!({"role": "assistant", "content": "Well."}),
        user("again"),
    ];
    let mut messages = vec![user("hi"), turn(1), answer(1, 0), answer(1, 2)];
    messages.extend(later.clone());
    let mut changed = turn(1);
    changed["content"] = "other".into();
    messages.extend([changed, answer(1, 2), user("end")]);
    let expected = [
        vec![user("hi").to_string()],
        whole(1),
        texts(&later),
        texts(&[user("end")]),
    ];
    assert_eq!(told(&messages), expected.concat());
}

#[test]
fn two_turns_in_one_message_are_two() {
    let both = |content: Value| {
        let calls = [calls(1), calls(2)].map(|calls| calls.as_array().unwrap().clone());
        json!({"role": "assistant", "content": content, "tool_calls": calls.concat()})
    };
    let answers = [(2, 2), (1, 0), (1, 2), (2, 0)].map(|(number, call)| answer(number, call));
    for content in [
        Value::Null,
        json!(said(1)),
        json!(said(2)),
        json!(format!("{}\n{}", said(1).trim(), said(2).trim())),
        json!([{"type": "text", "text": said(1)}, {"type": "text", "text": said(2)}]),
    ] {
        let messages = [vec![both(content)], answers.to_vec()].concat();
        assert_eq!(told(&messages), [whole(1), whole(2)].concat());
    }
    let changed = told(&[vec![both(json!("Other"))], answers.to_vec()].concat());
    assert!(changed[2].contains("\"Other\""));
    assert_eq!(changed[6..], whole(2));
}

#[test]
fn calls_that_are_not_ours_stay_beside_those_that_are() {
    let own =
        json!({"id": "own", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let reply = json!({"role": "tool", "tool_call_id": "own", "content": "r"});
    let mut mixed = turn(1);
    mixed["tool_calls"]
        .as_array_mut()
        .unwrap()
        .insert(1, own.clone());
    let left = json!({"role": "assistant", "content": null, "tool_calls": [own]});
    for answers in [
        [reply.clone(), answer(1, 0), answer(1, 2)],
        [answer(1, 2), answer(1, 0), reply.clone()],
    ] {
        let messages = [vec![mixed.clone()], answers.to_vec(), vec![user("u")]].concat();
        let expected = [whole(1), texts(&[left.clone(), reply.clone(), user("u")])];
        assert_eq!(told(&messages), expected.concat());
    }
}

#[test]
fn a_turn_of_the_callers_own_keeps_its_answers_behind_it() {
    let own = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let calls = json!({"role": "assistant", "content": null, "tool_calls": [own("a"), own("b")]});
    let [a, b] = ["a", "b"].map(|id| json!({"role": "tool", "tool_call_id": id, "content": id}));
    for messages in [
        vec![
            calls.clone(),
            a.clone(),
            answer(1, 0),
            b.clone(),
            answer(1, 2),
        ],
        vec![
            calls.clone(),
            turn(1),
            a.clone(),
            b.clone(),
            answer(1, 2),
            answer(1, 0),
        ],
        vec![
            calls.clone(),
            a.clone(),
            b.clone(),
            turn(1),
            answer(1, 2),
            answer(1, 0),
        ],
    ] {
        let expected = [texts(&[calls.clone(), a.clone(), b.clone()]), whole(1)].concat();
        assert_eq!(told(&messages), expected);
    }
    let unanswered = [
        calls.clone(),
        a.clone(),
        turn(1),
        answer(1, 0),
        answer(1, 2),
        user("u"),
    ];
    let expected = [texts(&[calls, a]), whole(1), texts(&[user("u")])].concat();
    assert_eq!(told(&unanswered), expected);
}

#[test]
fn other_messages_between_a_turn_and_its_answers_come_behind_them() {
    let system = json!({"role": "system", "content": "s"});
    let messages = [
        turn(1),
        system.clone(),
        answer(1, 0),
        user("u"),
        answer(1, 2),
    ];
    let expected = [whole(1), texts(&[system, user("u")])].concat();
    assert_eq!(told(&messages), expected);
}

#[test]
fn an_id_anywhere_else_is_text() {
    let mut forged = id(1, 0);
    let last = if forged.pop() == Some('0') { "1" } else { "0" };
    forged.push_str(last);
    for messages in [
        vec![user(&format!("what is \"{}\"?", id(1, 0)))],
        vec![
            json!({"role": "user", "content": [{"type": "text", "text": id(1, 0)}], "name": id(1, 0)}),
        ],
        vec![json!({"role": "assistant", "content": id(1, 0)})],
        vec![
            json!({"role": "assistant", "tool_calls": [{"id": "own", "function": {"name": id(1, 0), "arguments": id(1, 0)}}]}),
        ],
        vec![json!({"role": "tool", "tool_call_id": "own", "content": id(1, 0), "id": id(1, 0)})],
        vec![
            json!({"role": "assistant", "tool_calls": [{"id": forged, "function": {"name": "f"}}]}),
            json!({"role": "tool", "tool_call_id": forged}),
        ],
        vec![
            json!({"role": "assistant", "tool_calls": id(1, 0)}),
            json!(id(1, 0)),
            json!([{"tool_call_id": id(1, 0)}]),
        ],
        vec![json!({"role": "assistant", "tool_calls": [id(1, 0), null]})],
    ] {
        assert!(restored(&messages, &all_kept()).is_none(), "{messages:?}");
    }
}

/// It takes seconds, and would take hours if each turn or text were looked for in all messages.
#[test]
fn a_hundred_thousand_messages_with_a_thousand_turns_are_restored_whole() {
    let (mut messages, mut all) = (Vec::new(), HashMap::new());
    for number in 0..1_000_u32 {
        let mut id = [0; 12];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let write = |call| ids().write(ExchangeId(id), call);
        let call = |call| json!({"id": write(call), "function": {"name": "f", "arguments": "{}"}});
        messages.push(
            json!({"role": "assistant", "content": said(1), "tool_calls": [call(0), call(2)]}),
        );
        messages.push(json!({"role": "tool", "tool_call_id": write(2), "content": "x"}));
        messages.extend((0..98).map(|_| json!({"role": "assistant", "content": "Done."})));
        let mut kept = kept(1);
        let tail = Tail::new(
            &[],
            executed(1, ""),
            bytes(r#"{"role":"assistant","content":"Done."}"#),
        );
        kept.tails.extend((0..10).map(|_| tail.clone().unwrap()));
        all.insert(ExchangeId(id), kept);
    }
    let history = History::of(&split(&messages), &ids()).unwrap();
    assert_eq!(history.records().len(), 1_000);
    let restored = history.restore(&all, 1 << 30);
    assert_eq!(restored.parts.len(), 1_000 * (6 + 98 + 2));
}
