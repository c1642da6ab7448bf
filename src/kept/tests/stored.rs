//! What is stored of a turn, and what the caller gets of it.

use super::*;

#[test]
fn a_caller_gets_its_calls_under_ids_of_ours_and_otherwise_as_they_are() {
    let kept = kept(1);
    let own = |place: usize| (place != 1).then(|| format!("mcp_{place}"));
    let calls = handed_back(&kept.turn, own, false).unwrap();
    let whole = text(&kept.turn);
    let expected = whole
        .replace("\"c10\"", "\"mcp_0\"")
        .replace("\"c12\"", "\"mcp_2\"");
    let (first, last) = (
        expected.find("{ \"index\":0").unwrap(),
        expected.find("{ \"index\":2").unwrap(),
    );
    let middle = expected.find(" , { \"index\":1").unwrap();
    let end = expected.rfind("] }").unwrap();
    assert_eq!(
        calls,
        format!("[{},{}]", &expected[first..middle], &expected[last..end])
    );
    let indexed: Value =
        serde_json::from_str(&handed_back(&kept.turn, own, true).unwrap()).unwrap();
    assert_eq!(
        [&indexed[0]["index"], &indexed[1]["index"]],
        [&json!(0), &json!(1)]
    );
    assert_eq!(handed_back(&bytes("[]"), own, false), None);
    assert_eq!(handed_back(&bytes("{}"), own, false).as_deref(), Some("[]"));
}

#[test]
fn a_kept_turn_is_read_as_it_was_written_and_takes_what_it_says() {
    let mut turn = kept(1);
    turn.servers = vec!["a\"b".into(), "c".into()];
    let last = bytes(r#"{"role":"assistant","content":"Done."}"#);
    turn.media = vec![bytes(r#"{"role":"user","content":[ 1 ]}"#)];
    turn.tails = vec![Tail::new(&[], executed(1, "x"), last).unwrap()];
    for (asks_first, tools) in [
        (false, None),
        (true, Some(vec![])),
        (true, Some(vec!["a__b".to_owned()])),
    ] {
        (turn.asks_first, turn.tools) = (asks_first, tools);
        let text = turn.to_text();
        assert_eq!(KeptTurn::read(&*text).as_ref(), Some(&turn));
        assert!(
            (text.len()..text.len() + 600).contains(&turn.size()),
            "{} {}",
            text.len(),
            turn.size()
        );
    }
    for text in ["", "{}", "null", "[1]"] {
        assert_eq!(KeptTurn::read(text), None, "{text}");
    }
}

#[test]
fn what_is_too_large_loses_its_oldest_results_first_and_images_before_texts() {
    let long = "x".repeat(1000);
    let result = |content: Value| {
        Some(bytes(
            &json!({"role": "tool", "content": content}).to_string(),
        ))
    };
    let image = json!([{"type": "image_url", "image_url": {"url": long}}, {"type": "text", "text": "seen"}]);
    let mut turn = kept(1);
    turn.before[1] = result(json!(long)).unwrap();
    turn.calls[0].result = result(json!(long));
    turn.calls[1].result = result(image);
    let is_long = |turn: &KeptTurn| {
        [
            Some(&turn.before[1]),
            turn.calls[0].result.as_ref(),
            turn.calls[1].result.as_ref(),
        ]
        .map(|message| message.is_some_and(|message| message.len() > 1000))
    };
    let (said, size) = (turn.turn.clone(), turn.size());
    turn.fit(size);
    assert_eq!(is_long(&turn), [true, true, true]);
    for (most, left) in [
        (size - 1, [true, true, false]),
        (size - 1_100, [false, true, false]),
        (size - 2_000, [false, false, false]),
    ] {
        turn.fit(most);
        assert_eq!(is_long(&turn), left);
        assert!(turn.size() <= most);
    }
    let seen = text(turn.calls[1].result.as_ref().unwrap());
    assert!(seen.contains("seen") && seen.contains("left out"), "{seen}");
    assert_eq!(turn.turn, said);
}

#[test]
fn what_has_no_results_to_cut_loses_its_oldest_tails() {
    let last = bytes(r#"{"role":"assistant","content":"Done."}"#);
    let tail = Tail::new(&[], executed(1, "x"), last).unwrap();
    let mut turn = kept(1);
    turn.tails = vec![tail; 3];
    let (said, size) = (turn.turn.clone(), turn.size());
    turn.fit(size - 1);
    assert!(turn.tails.len() == 2 && turn.size() < size);
    turn.fit(0);
    assert!(turn.tails.is_empty());
    assert_eq!(turn.turn, said);
}

#[test]
fn what_shrinks_loses_results_and_nothing_else() {
    let last = bytes(r#"{"role":"assistant","content":"Done."}"#);
    let long = json!({"role": "tool", "content": "x".repeat(1000)}).to_string();
    let mut turn = kept(1);
    turn.tails = vec![Tail::new(&[], executed(1, "x"), last).unwrap()];
    turn.calls[1].result = Some(bytes(&long));
    let tails = turn.tails.len();
    let size = turn.size();
    assert!(turn.shrink() && turn.size() < size - 800);
    while turn.shrink() {}
    assert_eq!(turn.tails.len(), tails);
    assert!(KeptTurn::read(turn.to_text()).is_some());
}
