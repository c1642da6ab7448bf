//! Properties of streamed loops, over many cases: 2,000 splits and 100 scripts, or as many splits
//! as `MCP_LAYER_CASES` says, and a twentieth of that in scripts.
//!
//! ```text
//! MCP_LAYER_CASES=100000 cargo test --all-features --test it streamed_properties  # some minutes
//! ```

use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::{
    streamed_loop::{execute, streamed},
    support::{
        dice::Dice,
        events::{assembled, call, chunk, finish, stream_of, streams, usage},
        gateway::{Gateway, auto, chat},
        model::{Answer, Model, json_answer},
    },
};
use mcp_layer::OwnTools;

fn cases() -> u64 {
    let cases = std::env::var("MCP_LAYER_CASES");
    cases.map_or(2000, |cases| cases.parse().unwrap())
}

/// Streams as they were recorded: what goes back to the caller, with other line ends and habits.
fn recorded() -> Vec<String> {
    let turn = [
        chunk(json!({"role": "assistant", "content": ""})),
        chunk(json!({"content": "Grüße, 世界 \u{1f44b}\u{1f3fd}"})),
        chunk(json!({"reasoning_content": "\u{0}\"\\\n"})),
        chunk(call(0, "own", "lookup", &json!({"é": "\u{1f30d}"}))),
        chunk(
            json!({"tool_calls": [{"index": 1, "id": "b", "function": {"name": "s__echo", "arguments": "{\"te"}}]}),
        ),
        chunk(json!({"tool_calls": [{"index": 1, "function": {"arguments": "xt\":\"ü\"}"}}]})),
        finish("tool_calls"),
        usage(7, 9),
    ];
    let text = |start: &str, end: &str| {
        let events = turn.iter().map(|chunk| format!("{start}{chunk}{end}"));
        events
            .chain([format!("{start}[DONE]{end}")])
            .collect::<String>()
    };
    let pretty = turn.iter().map(|chunk| {
        let text = serde_json::to_string_pretty(chunk).unwrap();
        text.lines()
            .map(|line| format!("data: {line}\r\n"))
            .collect::<String>()
            + "\r\n"
    });
    vec![
        text("data: ", "\n\n"),
        text(": ping\r\n\r\ndata:", "\r\n\r\n"),
        "\u{feff}".to_owned() + &text("data: ", "\r\r"),
        text("event: message\nid: é\ndata: ", "\n\n"),
        text("data: ", "\n"),
        pretty.collect::<String>(),
    ]
}

/// The bytes in pieces, cut anywhere.
fn split(bytes: &Bytes, dice: &mut Dice) -> Answer {
    // Pieces of all sizes; crumbs are dear, and not so often.
    let magnitude = match dice.roll(16) {
        0 => dice.roll(5),
        _ => 5 + dice.roll(7),
    };
    let largest = 1 + dice.roll(1 << magnitude);
    let mut rest = bytes.clone();
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let size = 1 + usize::try_from(dice.roll(largest)).unwrap();
        frames.push(Ok(Frame::data(rest.split_to(size.min(rest.len())))));
    }
    stream_of(frames)
}

async fn body(gateway: &Gateway, body: &Value) -> Bytes {
    let response = gateway.respond(chat(body.to_string())).await.unwrap();
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn a_stream_split_anywhere_is_the_same_stream() {
    let mut gateway = Gateway::new([])
        .await
        .layered(execute)
        .layered(|layer| layer.with_own_tools(OwnTools::Whole));
    let request = streamed(json!({
        "stream_options": {"include_usage": true},
        "tools": [{"type": "function", "function": {"name": "lookup"}}],
    }));
    let mut dice = Dice(6);
    let recorded = recorded();
    let each = cases() / recorded.len() as u64 + 1;
    for stream in recorded {
        let stream = Bytes::from(stream);
        gateway.model = Model::new([stream_of(vec![Ok(Frame::data(stream.clone()))])]);
        let expected = body(&gateway, &request).await;
        let told = assembled(&expected);
        assert_eq!(
            (told.calls.len(), told.usages.len(), told.errors.len()),
            (2, 1, 0)
        );
        assert!(told.is_done && told.content.ends_with("\u{1f44b}\u{1f3fd}"));
        for case in 0..each {
            gateway.model = Model::new([split(&stream, &mut dice)]);
            assert!(
                body(&gateway, &request).await == expected,
                "case {case} of {stream:?}"
            );
        }
    }
}

/// A turn of the model, told whole and told in pieces.
struct Turn {
    whole: Value,
    pieces: Vec<Value>,
}

/// Text of some words, one of them in several bytes.
fn words(dice: &mut Dice) -> String {
    let count = 1 + dice.roll(6);
    (0..count)
        .map(|_| *dice.of(&["a ", "wörd ", "\u{1f44b}", "\"q\" ", "\n"]))
        .collect()
}

/// The text in deltas that each have some characters of it.
fn pieces(text: &str, dice: &mut Dice) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for character in text.chars() {
        if dice.roll(3) == 0 {
            pieces.push(String::new());
        }
        pieces.last_mut().unwrap().push(character);
    }
    pieces
}

/// A turn with so many calls.
fn turn(number: usize, calls: usize, dice: &mut Dice) -> Turn {
    let mut message = json!({"role": "assistant", "content": null});
    let mut chunks = vec![chunk(json!({"role": "assistant"}))];
    for member in ["reasoning_content", "content"] {
        if dice.roll(2) == 0 && (calls > 0 || member != "content") {
            continue;
        }
        let text = words(dice);
        chunks.extend(
            pieces(&text, dice)
                .into_iter()
                .map(|piece| chunk(json!({member: piece}))),
        );
        message[member] = text.into();
    }
    let made = (0..calls).map(|index| {
        let (name, arguments) = match dice.roll(4) {
            0 => ("s__add", json!({"a": dice.roll(100), "b": 1})),
            1 => ("s__fail", json!({})),
            _ => ("s__echo", json!({"text": words(dice)})),
        };
        let id = format!("call_{number}_{index}");
        let arguments = arguments.to_string();
        let piece =
            |function: Value| json!({"tool_calls": [{"index": index, "function": function}]});
        let mut first = piece(json!({"name": name, "arguments": ""}));
        first["tool_calls"][0]["id"] = id.clone().into();
        first["tool_calls"][0]["type"] = "function".into();
        chunks.push(chunk(first));
        chunks.extend(
            pieces(&arguments, dice)
                .into_iter()
                .map(|part| chunk(piece(json!({"arguments": part})))),
        );
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
    });
    let made: Vec<_> = made.collect();
    let reason = if calls > 0 { "tool_calls" } else { "stop" };
    if calls > 0 {
        message["tool_calls"] = made.into();
    }
    let said = usage(dice.roll(1000), dice.roll(1000));
    chunks.push(finish(reason));
    chunks.push(said.clone());
    let choice = json!({"index": 0, "message": message, "finish_reason": reason});
    let whole = json!({"id": "x", "object": "chat.completion", "created": 1, "model": "scripted", "choices": [choice], "usage": said["usage"]});
    Turn {
        whole,
        pieces: chunks,
    }
}

/// What differs between two runs of anything.
fn timeless(mut receipt: Value) -> Value {
    for call in receipt["calls"].as_array_mut().unwrap() {
        call["duration_ms"] = 0.into();
    }
    receipt
}

#[tokio::test]
async fn any_script_gives_the_same_streamed_and_not() {
    let mut gateway = Gateway::new([]).await.layered(execute);
    let mut dice = Dice(66);
    let options = json!({"stream_options": {"include_usage": true}});
    for case in 0..cases() / 20 {
        let rounds = usize::try_from(dice.roll(4)).unwrap();
        let calls = |dice: &mut Dice| 1 + usize::try_from(dice.roll(3)).unwrap();
        let mut turns: Vec<_> = (0..rounds)
            .map(|number| (number, calls(&mut dice)))
            .collect();
        turns.push((rounds, 0));
        let turns: Vec<_> = turns
            .into_iter()
            .map(|(number, calls)| turn(number, calls, &mut dice))
            .collect();

        gateway.model = Model::new(turns.iter().map(|turn| json_answer(200, &turn.whole)));
        let whole: Value = serde_json::from_slice(&body(&gateway, &auto(json!({}))).await).unwrap();
        let asked = |model: &Model| {
            model
                .asked()
                .iter()
                .map(|asked| asked.json()["messages"].take())
                .collect::<Vec<_>>()
        };
        let expected = asked(&gateway.model);

        gateway.model = Model::new(turns.iter().map(|turn| streams(&turn.pieces)));
        let told = assembled(&body(&gateway, &streamed(options.clone())).await);
        assert_eq!(asked(&gateway.model), expected, "case {case}");
        assert_eq!(told.usages, [whole["usage"].clone()], "case {case}");
        assert_eq!(
            timeless(told.receipts[0].clone()),
            timeless(whole["mcp"].clone()),
            "case {case}"
        );
        // A stream has the texts of all turns, one behind the other.
        let texts = turns.iter().map(|turn| {
            turn.whole["choices"][0]["message"]["content"]
                .as_str()
                .unwrap_or_default()
        });
        assert_eq!(told.content, texts.collect::<String>(), "case {case}");
        assert_eq!(
            (told.finish_reasons.len(), told.roles, told.is_done),
            (1, 1, true),
            "case {case}"
        );
        assert!(
            told.content
                .ends_with(whole["choices"][0]["message"]["content"].as_str().unwrap())
        );
    }
}
