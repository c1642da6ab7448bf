//! Turns that led to a text.

use super::*;

#[test]
fn turns_that_led_to_a_text_stand_before_it() {
    let last = bytes(r#"{"role":"assistant", "content":"Done: \u00e9 ", "reasoning":"x"}"#);
    let sent = [user("hi"), turn(1), answer(1, 0), answer(1, 2)];
    let tail = Tail::new(&split(&sent), executed(1, "I see. "), last.clone()).unwrap();
    let mut kept = all_kept();
    kept.get_mut(&record(1)).unwrap().tails = vec![tail];
    let with = |user_text: &str, content: Value| {
        let mut messages = sent.to_vec();
        messages[0] = user(user_text);
        messages.push(json!({"role": "assistant", "content": content}));
        messages.push(user("thanks"));
        messages
    };
    let mut expected = [vec![user("hi").to_string()], whole(1)].concat();
    expected.extend(executed(1, "I see. ").iter().chain([&last]).map(text));
    expected.push(user("thanks").to_string());
    for content in [
        json!("Done: é "),
        json!("Done: é"),
        json!([{"type": "text", "text": "Done: "}, {"type": "text", "text": "é"}]),
        json!("I see. Done: é "),
        json!("I see.\n\nDone: é"),
    ] {
        assert_eq!(told_with(&with("hi", content), &kept), expected);
    }
    // Of another conversation, or before the turn.
    for messages in [with("ho", json!("Done: é")), with("hi", json!("Done"))] {
        assert_eq!(told_with(&messages, &kept).len(), 1 + 6 + 2);
    }
    let early = [
        user("hi"),
        json!({"role": "assistant", "content": "Done: é"}),
        turn(1),
        answer(1, 0),
    ];
    assert_eq!(told_with(&early, &kept).len(), 2 + 6);
}

#[test]
fn each_of_two_equal_texts_has_its_own_turns() {
    let last = bytes(r#"{"role":"assistant","content":"Done."}"#);
    let done = json!({"role": "assistant", "content": "Done."});
    let mut messages = vec![turn(1), answer(1, 0), answer(1, 2), user("go")];
    let mut kept = all_kept();
    for number in 1..4 {
        let tail = Tail::new(&split(&messages), executed(number, ""), last.clone()).unwrap();
        let record = record(if number < 3 { 1 } else { 2 });
        kept.get_mut(&record).unwrap().tails.push(tail);
        messages.extend([done.clone(), user("go")]);
        if number == 2 {
            messages.extend([turn(2), answer(2, 0), answer(2, 2), user("go")]);
        }
    }
    let told = told_with(&messages, &kept);
    let places = [1, 2, 3].map(|number| {
        let call = text(&executed(number, "")[0]);
        told.iter().position(|text| *text == call).unwrap()
    });
    assert_eq!(places, [7, 11, 22]);
    // A text that is there again has none left.
    messages.extend([done, user("go")]);
    assert_eq!(told_with(&messages, &kept).len(), told.len() + 2);
}

#[test]
fn a_text_without_a_role_is_an_assistants() {
    let tail = Tail::new(&[], executed(1, ""), bytes(r#"{"content":"Done."}"#)).unwrap();
    let expected = r#"{"content":"Done.","role":"assistant"}"#;
    assert_eq!(text(&tail.last), expected);
}

#[test]
fn turns_that_led_to_no_text_stand_before_it_all_the_same() {
    let sent = [user("hi"), turn(1), answer(1, 0), answer(1, 2)];
    let last = bytes(r#"{"role":"assistant","content":null,"refusal":"no"}"#);
    let mut kept = all_kept();
    let tail = Tail::new(&split(&sent), executed(1, ""), last).unwrap();
    kept.get_mut(&record(1)).unwrap().tails = vec![tail];
    let empty = json!({"role": "assistant", "content": ""});
    let told = told_with(&[sent.to_vec(), vec![empty.clone()]].concat(), &kept);
    let ran = executed(1, "");
    let expected = ran.iter().map(text).chain([empty.to_string()]);
    assert_eq!(told[7..], expected.collect::<Vec<_>>());
}

#[test]
fn nothing_is_kept_where_nothing_was_executed_or_a_turn_is_not_at_its_end() {
    let said = bytes(r#"{"role":"assistant","content":"Done."}"#);
    assert!(Tail::new(&[], Vec::new(), said).is_none());
    let calls = bytes(r#"{"role":"assistant","content":"Done.","tool_calls":[{"id":"a"}]}"#);
    assert!(Tail::new(&[], executed(1, "x"), calls).is_none());
}
