//! Turns that are not kept any more.

use super::*;

#[test]
fn of_a_turn_that_is_gone_the_clients_part_stays_with_a_word_about_the_rest() {
    let none = HashMap::new();
    let look = |told: &[String]| -> Vec<Value> {
        told.iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect()
    };
    let mut messages = vec![user("hi"), turn(1), answer(1, 2), user("u")];
    messages[2]["content"] = json!([{"type": "text", "text": "a"}]);
    let told = look(&told_with(&messages, &none));
    assert_eq!(told.len(), 5);
    let calls = &told[1]["tool_calls"];
    assert_eq!(told[1]["content"], said(1));
    assert_eq!(calls[0]["function"], turn(1)["tool_calls"][0]["function"]);
    for (call, answer) in [(0, 2), (1, 3)] {
        let id = calls[call]["id"].as_str().unwrap();
        assert!(id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(told[answer]["tool_call_id"], id);
    }
    assert!(
        told[2]["content"]
            .as_str()
            .unwrap()
            .contains("did not answer")
    );
    assert_eq!(told[3]["content"][0], json!({"type": "text", "text": "a"}));
    let word = told[3]["content"][1]["text"].as_str().unwrap();
    assert!(word.contains("Do not repeat them"));
    assert!(restored(&messages, &none).unwrap().is_incomplete);
    assert_eq!(restored(&messages, &none).unwrap().last, None);

    for (sent, start) in [
        (json!("r\"é"), "r\"é\n\n["),
        (json!(""), "["),
        (Value::Null, "["),
        (json!({"a": 1}), "{\"a\":1}\n\n["),
    ] {
        let answer = json!({"role": "tool", "tool_call_id": id(1, 0), "content": sent});
        let told = look(&told_with(&[turn(1), answer], &none));
        assert!(
            told[1]["content"].as_str().unwrap().starts_with(start),
            "{told:?}"
        );
    }
    // Without the assistant's message, no provider would take the answers.
    let mut named = answer(1, 0);
    named["name"] = "look".into();
    let told = look(&told_with(&[named, answer(1, 2)], &none));
    assert_eq!(told.len(), 3);
    let names = [0, 1].map(|call| told[0]["tool_calls"][call]["function"]["name"].clone());
    assert_eq!(names, ["look", "unknown"]);
    // In two messages.
    let one = |call: usize| json!({"role": "assistant", "content": "x", "tool_calls": [self::call(1, call)]});
    let told = look(&told_with(
        &[one(0), one(2), answer(1, 0), answer(1, 2)],
        &none,
    ));
    assert_eq!(told[0]["tool_calls"].as_array().unwrap().len(), 2);
    assert_eq!(told.len(), 3);
}

#[test]
fn a_turn_that_is_gone_leaves_its_neighbours_whole() {
    let mut kept = all_kept();
    kept.remove(&record(2));
    let calls = [calls(1), calls(2)].map(|calls| calls.as_array().unwrap().clone());
    let both = json!({"role": "assistant", "content": said(1), "tool_calls": calls.concat()});
    let answers = [(2, 2), (1, 0), (1, 2), (2, 0)].map(|(number, call)| answer(number, call));
    let told = told_with(&[vec![both], answers.to_vec()].concat(), &kept);
    assert_eq!(told[..6], whole(1));
    let gone: Value = serde_json::from_str(&told[6]).unwrap();
    assert_eq!(gone["content"], Value::Null);
    assert_eq!(gone["tool_calls"].as_array().unwrap().len(), 2);
}

#[test]
fn of_more_than_there_is_room_for_the_oldest_are_gone() {
    let messages: Vec<Value> = (1..4)
        .flat_map(|number| {
            [
                turn(number),
                answer(number, 0),
                answer(number, 2),
                user("u"),
            ]
        })
        .collect();
    let size = kept(1).size();
    for (most, gone) in [(3 * size, 0), (3 * size - 1, 1), (size, 2), (0, 3)] {
        let history = History::of(&split(&messages), &ids()).unwrap();
        assert_eq!(history.records(), [1, 2, 3].map(record));
        let restored = history.restore(&all_kept(), most);
        assert_eq!(restored.is_incomplete, gone > 0);
        let told: Vec<_> = restored
            .parts
            .iter()
            .map(|part| match part {
                Part::Message(message) => text(message),
                Part::Answers(_) => panic!("nothing is open"),
            })
            .collect();
        let is_whole = [1, 2, 3].map(|number| told.contains(&text(&kept(number).turn)));
        assert_eq!(is_whole, [gone < 1, gone < 2, gone < 3]);
    }
}

#[test]
fn a_turn_whose_message_has_other_calls_than_are_kept_counts_as_gone() {
    let mut kept = all_kept();
    kept.get_mut(&record(1)).unwrap().calls.pop();
    let messages = [turn(1), answer(1, 0)];
    assert!(restored(&messages, &kept).unwrap().is_incomplete);
    let gone = told_with(&messages, &HashMap::new());
    assert_eq!(told_with(&messages, &kept), gone);
}
