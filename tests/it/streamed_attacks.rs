//! Streams that no documentation has, each as its upstream sends it, and what a caller sees of
//! them: no text is lost, nothing is told twice, and an end that is none does not look like one.

use bytes::Bytes;
use http_body::Frame;
use serde_json::{Value, json};

use crate::{
    streamed_faults::{done, echo},
    streamed_loop::{gateway, send, streamed},
    support::{
        events::{call, chunk, events, finish, raw_stream, stream_of, streams, usage},
        model::{Model, json_answer},
    },
};

fn own_tools() -> Value {
    json!([{"type": "function", "function": {"name": "lookup"}}, {"type": "function", "function": {"name": "find"}}])
}

/// A chunk with this delta that also says why the turn ended.
fn ending(delta: Value, reason: &str) -> Value {
    let mut chunk = chunk(delta);
    chunk["choices"][0]["finish_reason"] = reason.into();
    chunk
}

#[tokio::test]
async fn text_beside_and_behind_a_call_reaches_the_caller_and_the_model() {
    let mut beside = echo();
    beside["role"] = "assistant".into();
    beside["content"] = "Let me ".into();
    let turn = [
        chunk(beside),
        chunk(json!({"content": "see. ", "reasoning_content": "so"})),
        ending(json!({"content": "Now. "}), "tool_calls"),
        usage(1, 1),
    ];
    let gateway = gateway([streams(&turn), done()]).await;
    let told = send(&gateway, &streamed(json!({}))).await;
    assert_eq!(told.content, "Let me see. Now. done");
    assert_eq!((told.roles, told.calls.len()), (1, 0));
    assert_eq!(told.finish_reasons, ["stop"]);
    assert_eq!(told.with("reasoning_content")["reasoning_content"], "so");
    let message = gateway.model.asked()[1].json()["messages"][1].take();
    assert_eq!(message["content"], "Let me see. Now. ");
    assert_eq!(message["tool_calls"][0]["id"], "a");
}

#[tokio::test]
async fn text_beside_calls_that_are_told_anew_is_kept() {
    let mut beside =
        json!({"tool_calls": [{"id": "x", "function": {"name": "lookup", "arguments": "{}"}}]});
    beside["role"] = "assistant".into();
    beside["content"] = "Look.".into();
    let gateway = gateway([streams(&[ending(beside, "stop")])]).await;
    let told = send(&gateway, &streamed(json!({"tools": own_tools()}))).await;
    assert_eq!((told.content.as_str(), told.roles), ("Look.", 1));
    assert_eq!(told.calls[0]["function"]["name"], "lookup");
    assert_eq!(told.finish_reasons, ["tool_calls"]);
}

#[tokio::test]
async fn an_end_that_every_chunk_says_is_told_once() {
    let text = |text: &str| ending(json!({"role": "assistant", "content": text}), "stop");
    let gateway = gateway([streams(&[text("a"), text("b"), text("c"), finish("stop")])]).await;
    let told = send(&gateway, &streamed(json!({}))).await;
    assert_eq!((told.content.as_str(), told.roles), ("abc", 1));
    assert_eq!(told.finish_reasons, ["stop"]);
    assert!(told.is_done);

    let calls = [
        ending(call(0, "x", "lookup", &json!({})), "tool_calls"),
        ending(call(1, "y", "find", &json!({})), "tool_calls"),
        finish("stop"),
    ];
    let gateway = self::gateway([streams(&calls)]).await;
    let told = send(&gateway, &streamed(json!({"tools": own_tools()}))).await;
    assert_eq!(told.calls.len(), 2);
    assert_eq!(told.finish_reasons, ["tool_calls"]);
}

#[tokio::test]
async fn a_reason_that_is_empty_is_none() {
    // Held until the end it would arrive in one piece.
    let text = |text: &str| {
        Ok(Frame::data(Bytes::from(format!(
            "data: {}\n\n",
            ending(json!({"content": text}), "")
        ))))
    };
    let end = Ok(Frame::data(Bytes::from(events(&[finish("stop")]))));
    let frames = stream_of(vec![text("a"), text("b"), end]);
    let gateway = gateway([frames]).await;
    let told = send(&gateway, &streamed(json!({}))).await;
    assert_eq!(told.content, "ab");
    assert_eq!(told.finish_reasons, ["stop"]);
    // And one that never comes is an end that is missing.
    let endless = format!("data: {}\n\n", ending(json!({"content": "a"}), ""));
    let gateway = self::gateway([raw_stream(endless)]).await;
    let told = send(&gateway, &streamed(json!({}))).await;
    assert_eq!(told.errors.len(), 1);
    assert!(!told.is_done);
}

#[tokio::test]
async fn calls_that_have_neither_ids_nor_numbers_are_told_apart_by_their_names() {
    let piece = |name: &str, arguments: &str| json!({"tool_calls": [{"id": "", "type": "function", "function": {"name": name, "arguments": arguments}}]});
    let numbered = |mut piece: Value| {
        piece["tool_calls"][0]["index"] = 0.into();
        piece
    };
    let whole = vec![
        piece("s__echo", r#"{"text":"a"}"#),
        piece("s__echo", r#"{"text":"b"}"#),
        piece("s__add", r#"{"a":1,"b":2}"#),
    ];
    let pieces = vec![
        piece("s__echo", ""),
        piece("", r#"{"text""#),
        piece("s__echo", r#":"a"}"#),
        piece("s__echo", ""),
        piece("s__add", ""),
        piece("", r#"{"a":1,"b":2}"#),
    ];
    for (deltas, expected) in [
        (whole.clone(), vec!["a", "b", "3"]),
        (
            whole.into_iter().map(numbered).collect(),
            vec!["a", "b", "3"],
        ),
        (pieces, vec!["a", "3"]),
    ] {
        let mut turn: Vec<_> = deltas.into_iter().map(chunk).collect();
        turn.push(finish("stop"));
        let gateway = gateway([streams(&turn), done()]).await;
        let told = send(&gateway, &streamed(json!({}))).await;
        assert_eq!(told.content, "done");
        let messages = gateway.model.asked()[1].json()["messages"].take();
        let results = messages
            .as_array()
            .unwrap()
            .iter()
            .filter(|message| message["role"] == "tool");
        let results: Vec<_> = results
            .map(|message| message["content"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(results, expected);
    }
}

#[tokio::test]
async fn the_half_of_an_event_is_not_passed_on() {
    let whole = events(&[
        chunk(json!({"role": "assistant", "content": "a"})),
        finish("stop"),
    ]);
    let end = whole.find("[DONE]").unwrap() + "[DONE]".len();
    let mut gateway = gateway([]).await;
    for cut in 1..end {
        gateway.model = Model::new([raw_stream(whole[..cut].to_owned())]);
        // `assembled` takes nothing but JSON and the end.
        let told = send(&gateway, &streamed(json!({}))).await;
        let finished = told.finish_reasons == ["stop"];
        assert_eq!(told.is_done, finished, "{}", &whole[..cut]);
        assert_eq!(
            told.errors.len(),
            usize::from(!finished),
            "{}",
            &whole[..cut]
        );
    }
}

#[tokio::test]
async fn a_failure_in_any_form_is_an_error_in_openai_s() {
    let begun = || {
        streams(&[
            chunk(json!({"content": "a"})),
            chunk(echo()),
            finish("tool_calls"),
        ])
    };
    let named = "event: error\ndata: {\"message\":\"overloaded\"}\n\ndata: [DONE]\n\n";
    for (what, answer) in [
        (
            "a detail",
            json_answer(500, &json!({"detail": "Not Found"})),
        ),
        ("no message", json_answer(200, &json!({"choices": []}))),
        ("a named event", raw_stream(named)),
        ("nothing but the end", raw_stream("data: [DONE]\n\n")),
        ("nothing but usage", streams(&[usage(1, 1)])),
        ("nothing", raw_stream("")),
    ] {
        let gateway = gateway([begun(), answer])
            .await
            .layered(|layer| layer.with_turn_retries(0));
        let told = send(&gateway, &streamed(json!({}))).await;
        let [error] = &told.errors[..] else {
            panic!("{what}: {told:?}")
        };
        assert_eq!(error["error"]["code"], "upstream_error", "{what}");
        assert!(
            !error["error"]["message"].as_str().unwrap().is_empty(),
            "{what}"
        );
        assert_eq!(error["mcp"]["rounds"], 1, "{what}");
        assert!(!told.is_done && told.finish_reasons.is_empty(), "{what}");
    }
}

#[tokio::test]
async fn what_providers_add_to_a_message_is_in_the_next_turn() {
    let details = |kind: &str, name: &str, text: &str| json!({"reasoning_details": [{"index": 0, "type": kind, name: text}]});
    let part =
        |text: &str| json!({"type": "thinking", "thinking": [{"type": "text", "text": text}]});
    let turn = [
        chunk(json!({"role": "assistant", "content": [part("hm")]})),
        chunk(json!({"content": "So: "})),
        chunk(json!({"content": "this.", "refusal": "no"})),
        chunk(details("reasoning.text", "text", "a")),
        chunk(details("reasoning.text", "text", "b")),
        chunk(details("reasoning.encrypted", "data", "xyz")),
        chunk(json!({"refusal": "t that", "annotations": [{"type": "url_citation"}]})),
        chunk(echo()),
        finish("tool_calls"),
    ];
    let gateway = gateway([streams(&turn), done()]).await;
    let told = send(&gateway, &streamed(json!({}))).await;
    assert_eq!(told.content, "So: this.done");
    let mut message = gateway.model.asked()[1].json()["messages"][1].take();
    message.as_object_mut().unwrap().remove("tool_calls");
    assert_eq!(
        message,
        json!({
            "role": "assistant",
            "content": [part("hm"), {"type": "text", "text": "So: this."}],
            "refusal": "not that",
            "reasoning_details": [
                {"index": 0, "type": "reasoning.text", "text": "ab"},
                {"index": 0, "type": "reasoning.encrypted", "data": "xyz"},
            ],
            "annotations": [{"type": "url_citation"}],
        })
    );
}

#[tokio::test]
async fn members_of_every_chunk_survive_in_every_turn() {
    let tagged = |chunks: Vec<Value>, turn: &str| {
        let tag = |(number, mut chunk): (usize, Value)| {
            chunk["x_chunk"] = format!("{turn}{number}").into();
            chunk["service_tier"] = "flex".into();
            if let Some(choice) = chunk["choices"].get_mut(0) {
                choice["logprobs"] = json!({"content": null});
            }
            chunk
        };
        chunks.into_iter().enumerate().map(tag).collect::<Vec<_>>()
    };
    let first = tagged(
        vec![
            chunk(json!({"role": "assistant", "content": ""})),
            chunk(json!({"content": "x"})),
        ],
        "a",
    );
    let calls = [chunk(echo()), finish("tool_calls"), usage(1, 1)];
    let last = tagged(
        vec![
            chunk(json!({"role": "assistant", "content": ""})),
            chunk(json!({"content": "y"})),
            finish("stop"),
            usage(2, 2),
        ],
        "b",
    );
    let gateway = gateway([streams(&[&first[..], &calls].concat()), streams(&last)]).await;
    let told = send(
        &gateway,
        &streamed(json!({"stream_options": {"include_usage": true}})),
    )
    .await;
    let tags: Vec<_> = told
        .chunks
        .iter()
        .map(|chunk| chunk["x_chunk"].as_str().unwrap())
        .collect();
    assert_eq!(tags, ["a0", "a1", "b0", "b1", "b2", "b3"]);
    assert_eq!(told.roles, 1);
    assert_eq!(
        told.usages,
        [json!({"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6})]
    );
    assert!(
        told.chunks
            .iter()
            .all(|chunk| chunk["service_tier"] == "flex")
    );
    let with_choice = told
        .chunks
        .iter()
        .filter(|chunk| chunk["choices"].get(0).is_some());
    assert!(
        with_choice.clone().count() == 5
            && with_choice
                .clone()
                .all(|chunk| chunk["choices"][0]["logprobs"] == json!({"content": null}))
    );
}

#[tokio::test]
async fn several_choices_are_refused_and_a_resumed_turn_that_fails_keeps_its_receipt() {
    let gateway = gateway([json_answer(503, &json!({"error": {"message": "busy"}}))])
        .await
        .layered(|layer| layer.with_turn_retries(0));
    let several = streamed(json!({"n": 2}));
    assert_eq!(
        gateway.send(&several).await.error(),
        (400, "invalid_mcp_options".to_owned(), json!("n"))
    );

    let mut resumed = streamed(json!({}));
    resumed["messages"] = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "s__echo", "arguments": "{\"text\":\"hi\"}"}}]},
    ]);
    resumed["mcp"]["resume_tool_calls"] = true.into();
    let reply = gateway.send(&resumed).await;
    assert_eq!(
        (
            reply.status.as_u16(),
            reply.json()["error"]["upstream"]["error"]["message"].clone()
        ),
        (400, json!("busy"))
    );
    assert_eq!(reply.headers["x-should-retry"], "false");
    assert_eq!(reply.receipt()["calls"][0]["tool"], "echo");
    assert_eq!(reply.receipt()["messages"].as_array().unwrap().len(), 1);
}
