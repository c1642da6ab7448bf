//! What clients drop of a turn, and what they change.

use super::*;

/// The first turn as a client sends it back after this edit, with its answers.
fn edited(edit: impl Fn(&mut Value)) -> Vec<Value> {
    let mut turn = turn(1);
    edit(&mut turn);
    vec![turn, answer(1, 0), answer(1, 2)]
}

/// The same with each call edited.
fn in_calls(edit: impl Fn(&mut Value)) -> Vec<Value> {
    edited(|turn| {
        let calls = turn["tool_calls"].as_array_mut();
        calls.unwrap().iter_mut().for_each(&edit);
    })
}

/// The same with these arguments of `look`.
fn arguments(arguments: Value) -> Vec<Value> {
    in_calls(|call| {
        if call["function"]["name"] == "look" {
            call["function"]["arguments"] = arguments.clone();
        }
    })
}

/// Asserts that the first turn is whole again in each of these histories.
fn assert_whole_again(cases: impl IntoIterator<Item = (&'static str, Vec<Value>)>) {
    let system = json!({"role": "system", "content": "be kind"});
    for (case, sent) in cases {
        let mut messages = vec![system.clone(), user("hi")];
        messages.extend(sent);
        messages.push(user("and now?"));
        let mut expected = texts(&messages[..2]);
        expected.extend(whole(1));
        expected.push(user("and now?").to_string());
        assert_eq!(told(&messages), expected, "{case}");
    }
}

#[test]
fn a_text_that_a_client_drops_or_spells_in_another_way_is_there_again() {
    assert_whole_again([
        ("as it came", edited(|_| {})),
        ("content null", edited(|turn| turn["content"] = Value::Null)),
        ("content empty", edited(|turn| turn["content"] = "".into())),
        (
            "content of blanks",
            edited(|turn| turn["content"] = " \n".into()),
        ),
        (
            "content absent",
            edited(|turn| drop(turn.as_object_mut().unwrap().remove("content"))),
        ),
        (
            "content trimmed",
            edited(|turn| turn["content"] = "Text 1: é.".into()),
        ),
        (
            "content no part",
            edited(|turn| turn["content"] = json!([])),
        ),
        (
            "content one part",
            edited(|turn| turn["content"] = json!([{"type": "text", "text": said(1)}])),
        ),
        (
            "content several parts",
            edited(|turn| {
                turn["content"] = json!([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": " Text 1"},
                {"type": "reasoning", "text": "hm"}, {"type": "output_text", "text": ": é."}, "\n"]);
            }),
        ),
        (
            "unknown members added",
            edited(|turn| turn["annotations"] = json!([])),
        ),
    ]);
}

#[test]
fn what_a_client_drops_of_calls_is_there_again() {
    assert_whole_again([
        (
            "type dropped",
            in_calls(|call| drop(call.as_object_mut().unwrap().remove("type"))),
        ),
        ("an index kept", in_calls(|call| call["index"] = 0.into())),
        ("arguments an object", arguments(json!({"a": "é", "b": 1}))),
        (
            "arguments null",
            in_calls(|call| call["function"]["arguments"] = Value::Null),
        ),
        (
            "arguments dropped",
            in_calls(|call| {
                drop(
                    call["function"]
                        .as_object_mut()
                        .unwrap()
                        .remove("arguments"),
                )
            }),
        ),
        (
            "arguments by another writer",
            arguments(r#"{"a":"é","b":1}"#.into()),
        ),
        (
            "arguments with spaces",
            arguments(r#" { "a" : "é" , "b" : 1.00 } "#.into()),
        ),
        (
            "no arguments as an object",
            in_calls(|call| {
                if call["function"]["name"] == "add" {
                    call["function"]["arguments"] = "{}".into();
                }
            }),
        ),
        (
            "function gone",
            in_calls(|call| drop(call.as_object_mut().unwrap().remove("function"))),
        ),
        (
            "calls in another order",
            edited(|turn| turn["tool_calls"] = json!([call(1, 2), call(1, 0)])),
        ),
        (
            "a call dropped",
            edited(|turn| turn["tool_calls"] = json!([call(1, 2)])),
        ),
        (
            "a call twice",
            edited(|turn| turn["tool_calls"] = json!([call(1, 0), call(1, 2), call(1, 0)])),
        ),
    ]);
}

#[test]
fn messages_that_a_client_drops_splits_or_moves_are_in_their_places_again() {
    let alone = |place: usize, content: Value| json!({"role": "assistant", "content": content, "tool_calls": [call(1, place)]});
    assert_whole_again([
        (
            "answers in another order",
            vec![turn(1), answer(1, 2), answer(1, 0)],
        ),
        (
            "the second answer to one call",
            vec![
                turn(1),
                answer(1, 0),
                answer(1, 2),
                json!({"role": "tool", "tool_call_id": id(1, 0), "content": "again"}),
            ],
        ),
        (
            "two messages, answers behind both",
            vec![
                alone(0, json!(said(1))),
                alone(2, Value::Null),
                answer(1, 0),
                answer(1, 2),
            ],
        ),
        (
            "two messages, each with its answer",
            vec![
                alone(0, Value::Null),
                answer(1, 0),
                alone(2, json!(said(1))),
                answer(1, 2),
            ],
        ),
        (
            "two messages with the text in both",
            vec![
                alone(0, json!(said(1))),
                answer(1, 0),
                alone(2, json!(said(1))),
                answer(1, 2),
            ],
        ),
        (
            "the text as a message of its own",
            vec![
                json!({"role": "assistant", "content": "Text 1: é."}),
                json!({"role": "assistant", "content": null, "tool_calls": calls(1)}),
                answer(1, 0),
                answer(1, 2),
            ],
        ),
        (
            "the calls dropped, and the text kept",
            vec![
                json!({"role": "assistant", "content": "Text 1: é."}),
                answer(1, 0),
                answer(1, 2),
            ],
        ),
        (
            "the assistant's message dropped",
            vec![answer(1, 0), answer(1, 2)],
        ),
        (
            "an answer before the message",
            vec![answer(1, 0), turn(1), answer(1, 2)],
        ),
    ]);
}

#[test]
fn answers_stay_as_the_client_sends_them_but_for_the_id() {
    let id = id(1, 0);
    for (sent, expected) in [
        (
            r#"{ "tool_call_id" : "ID", "role":"tool", "name":"look","content":[{"type":"text","text":"a"}]}"#,
            r#"{ "tool_call_id" : "c10", "role":"tool", "name":"look","content":[{"type":"text","text":"a"}]}"#,
        ),
        (
            r#"{"role":"tool","content":"\u00e9","x":1.0,"tool_call_id":"ID"}"#,
            r#"{"role":"tool","content":"\u00e9","x":1.0,"tool_call_id":"c10"}"#,
        ),
        (
            r#"{"role":"function","name":"look","content":"a","tool_call_id":"ID"}"#,
            r#"{"role":"tool","name":"look","content":"a","tool_call_id":"c10"}"#,
        ),
        (
            r#"{"content":null,"tool_call_id":"ID"}"#,
            r#"{"content":null,"tool_call_id":"c10","role":"tool"}"#,
        ),
    ] {
        let messages = [bytes(&turn(1).to_string()), bytes(&sent.replace("ID", &id))];
        let history = History::of(&messages, &ids()).unwrap();
        let restored = history.restore(&all_kept(), MOST);
        let Part::Message(told) = &restored.parts[3] else {
            panic!("nothing is open");
        };
        assert_eq!(text(told), expected);
    }
}

#[test]
fn what_a_caller_has_changed_is_the_callers() {
    let mut changed = turn(1);
    changed["content"] = json!([{"type": "text", "text": "Other"}]);
    changed["tool_calls"][0]["function"]["arguments"] = r#"{"a": "é", "b": 2}"#.into();
    changed["tool_calls"][1]["function"]["arguments"] = json!({"c": 3});
    let told = told(&[changed, answer(1, 0), answer(1, 2)]);
    let expected = whole(1)[2]
        .replace(
            r#"" Text 1: \u00e9.\n""#,
            r#"[{"text":"Other","type":"text"}]"#,
        )
        .replace(
            r#""{\"b\": 1.0, \"a\":\"\\u00e9\"}""#,
            r#""{\"a\": \"é\", \"b\": 2}""#,
        )
        .replace(r#""arguments":"""#, r#""arguments":"{\"c\":3}""#);
    assert_eq!(told[2], expected);
    assert_eq!(told[3..], whole(1)[3..]);
}

#[test]
fn a_text_that_was_streamed_with_that_of_the_turns_before_it_is_not_changed() {
    let mut kept = all_kept();
    let before = &mut kept.get_mut(&record(1)).unwrap().before;
    before[0] = bytes(r#"{"role":"assistant","content":"First. ","tool_calls":[{"id":"e"}]}"#);
    let zeroth = [
        r#"{"role":"assistant","content":"Zeroth.","tool_calls":[{"id":"d"}]}"#,
        r#"{"role":"tool","tool_call_id":"d","content":"done"}"#,
    ];
    before.splice(0..0, zeroth.map(bytes));
    let mut whole = whole(1);
    whole[0] = text(&before[2]);
    whole.splice(0..0, zeroth.map(str::to_owned));
    for said in [
        "Zeroth.First.  Text 1: é.\n",
        // The stream of a repeat, which goes on from the last finished step.
        "First.  Text 1: é.\n",
        "First.\n\nText 1: é.",
    ] {
        let mut turn = turn(1);
        turn["content"] = said.into();
        assert_eq!(told_with(&[turn, answer(1, 0), answer(1, 2)], &kept), whole);
    }
}

#[test]
fn a_turn_that_providers_would_refuse_goes_back_in_the_form_that_they_take() {
    let mut kept = all_kept();
    let turn = kept.get_mut(&record(1)).unwrap();
    let broken = text(&turn.turn).replace(r#""name":"s__b""#, r#""name":"functions.s__b""#);
    turn.turn = broken.replace(r#""{ \"x\":[1] }""#, r#""{\"x\"""#).into();
    let told = told_with(&[self::turn(1), answer(1, 0), answer(1, 2)], &kept);
    let calls: Value = serde_json::from_str(&told[2]).unwrap();
    assert_eq!(
        calls["tool_calls"][1]["function"],
        json!({"name": "s__b", "arguments": "{}"})
    );
    kept.get_mut(&record(1)).unwrap().calls[1].result = None;
    let restored = restored(&[self::turn(1), answer(1, 0)], &kept).unwrap();
    let Some(Part::Answers(answers)) = restored.parts.last() else {
        panic!("nothing is open");
    };
    assert_eq!(answers.calls[1].arguments.text(), Some(r#"{"x""#));
}
