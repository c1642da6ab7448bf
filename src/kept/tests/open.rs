//! Calls without an answer.

use super::*;

#[test]
fn own_calls_without_an_answer_are_told_to_be_so() {
    let told = told(&[turn(1), answer(1, 2), user("u")]);
    let whole = whole(1);
    assert_eq!((&told[..3], &told[4..6]), (&whole[..3], &whole[4..6]));
    let word: Value = serde_json::from_str(&told[3]).unwrap();
    assert_eq!(
        (&word["role"], &word["tool_call_id"], &word["name"]),
        (&json!("tool"), &json!("c10"), &json!("look"))
    );
    assert!(word["content"].as_str().unwrap().contains("did not answer"));
}

#[test]
fn calls_of_ours_are_open_once_one_of_the_callers_is_answered() {
    let mut kept = all_kept();
    kept.get_mut(&record(1)).unwrap().calls[1].result = None;
    let messages = [user("hi"), turn(1), answer(1, 2)];
    let restored = restored(&messages, &kept).unwrap();
    assert_eq!(restored.untouched, 1);
    assert_eq!(restored.last, Some(record(1)));
    let Some(Part::Answers(answers)) = restored.parts.last() else {
        panic!("nothing is open");
    };
    assert_eq!((answers.record, answers.asks_first), (record(1), false));
    let is_open = answers.answers.iter().map(Option::is_none);
    assert_eq!(is_open.collect::<Vec<_>>(), [false, true, false]);
    let names = answers.calls.iter().map(|call| call.function.as_deref());
    assert_eq!(
        names.collect::<Vec<_>>(),
        [Some("look"), Some("s__b"), Some("add")]
    );
    let told = told_with(&[user("hi"), turn(1), user("never mind")], &kept);
    assert_eq!(told.len(), 1 + 2 + 1 + 3 + 1);
    assert!(told[5].contains("did not run") && told[5].contains("c11"));
}

#[test]
fn a_turn_that_asks_first_is_open_unless_the_caller_declines() {
    let mut kept = all_kept();
    let turn = kept.get_mut(&record(1)).unwrap();
    turn.asks_first = true;
    turn.calls[1].result = None;
    let declined = json!({"role": "tool", "tool_call_id": id(1, 1), "content": "no"});
    let sent = |answers: &[Value]| [vec![self::turn(1)], answers.to_vec()].concat();
    let told = told_with(
        &sent(&[answer(1, 0), declined.clone(), answer(1, 2)]),
        &kept,
    );
    assert_eq!(
        told[4],
        r#"{"content":"no","role":"tool","tool_call_id":"c11"}"#
    );
    for answers in [vec![], vec![answer(1, 0), answer(1, 2)]] {
        assert_eq!(told_with(&sent(&answers), &kept)[4], "open");
    }
    // What has run has run.
    let ran = bytes(r#"{"role":"tool","tool_call_id":"c11","content":"ours"}"#);
    kept.get_mut(&record(1)).unwrap().calls[1].result = Some(ran.clone());
    let told = told_with(&sent(&[declined]), &kept);
    assert_eq!(told[4], text(&ran));
}
