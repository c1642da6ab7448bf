//! One round over what each provider answers, as `tests/it/providers` keeps it: the tool runs once with what the model
//! said, the turn goes back as `OpenAI`'s reference has it, and the usage is the sum.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::streamed_loop::{execute, streamed};
use crate::support::{
    events::{assembled, chunk, finish, raw_stream, streams, usage},
    gateway::{Gateway, auto},
    model::{Answer, raw_answer, says},
};

/// The tokens of a recorded turn, and of the one that ends the loop.
const TURN: u64 = 120;
const END: u64 = 12;

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/it/providers"))
}

/// All providers, each with the text of this file.
fn recorded(file: &str) -> Vec<(String, String)> {
    let mut all: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(path.join(file)).unwrap();
            (name, text)
        })
        .collect();
    all.sort();
    assert!(all.len() >= 15, "{}", folder().display());
    all
}

fn whole(text: &str) -> Answer {
    raw_answer(
        200,
        &[("content-type", "application/json")],
        [text.to_owned()],
    )
}

/// What is wrong with the second request: the turn that went back, and the tool's answer.
fn turn_faults(gateway: &Gateway) -> Vec<String> {
    let asked = gateway.model.asked();
    let Some(second) = asked.get(1) else {
        return vec!["the tool did not run".to_owned()];
    };
    let body = second.json();
    let [.., turn, answer] = body["messages"].as_array().unwrap().as_slice() else {
        return vec![format!("messages: {body}")];
    };
    let call = &turn["tool_calls"][0];
    let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
    let arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
    let right = [
        ("one assistant turn", turn["role"] == "assistant"),
        ("content", turn.get("content").is_some()),
        (
            "one call",
            turn["tool_calls"].as_array().map(Vec::len) == Some(1),
        ),
        ("type", call["type"] == "function"),
        ("name", call["function"]["name"] == "s__echo"),
        ("arguments", arguments == json!({"text": "tea"})),
        ("id", call["id"].as_str().is_some_and(|id| !id.is_empty())),
        ("the tool's answer", answer["role"] == "tool"),
        ("its id", answer["tool_call_id"] == call["id"]),
        ("its text", answer["content"] == "tea"),
    ];
    let wrong = right.iter().filter(|(_, is_right)| !is_right);
    wrong
        .map(|(what, _)| format!("{what}: {turn} {answer}"))
        .collect()
}

fn receipt_faults(receipt: &Value, usage: &Value) -> Vec<String> {
    let calls = receipt["calls"].as_array().map_or(0, Vec::len);
    let is_error = &receipt["calls"][0]["is_error"];
    let right = [
        ("one call", calls == 1),
        ("that worked", is_error == &json!(false)),
        ("usage", usage["total_tokens"] == TURN + END),
    ];
    let wrong = right.iter().filter(|(_, is_right)| !is_right);
    wrong
        .map(|(what, _)| format!("{what}: {usage} {receipt}"))
        .collect()
}

fn report(faults: Vec<(String, Vec<String>)>) {
    let wrong: Vec<_> = faults.iter().filter(|(_, all)| !all.is_empty()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_whole_answer_of_every_provider_runs_its_tool_once_and_goes_back_well_formed() {
    let mut faults = Vec::new();
    for (name, text) in recorded("whole.json") {
        let gateway = Gateway::new([whole(&text), says("done")]).await;
        let reply = gateway.send(&auto(json!({}))).await;
        let mut all = turn_faults(&gateway);
        if reply.status == 200 {
            all.extend(receipt_faults(&reply.receipt(), &reply.json()["usage"]));
        } else {
            all.push(format!("{:?}", reply.body));
        }
        faults.push((name, all));
    }
    report(faults);
}

#[tokio::test]
async fn a_stream_of_every_provider_runs_its_tool_once_and_goes_back_well_formed() {
    let mut faults = Vec::new();
    for (name, text) in recorded("stream.txt") {
        let end = [
            chunk(json!({"role": "assistant", "content": "done"})),
            finish("stop"),
            usage(10, 2),
        ];
        let gateway = Gateway::new([raw_stream(text), streams(&end)])
            .await
            .layered(execute);
        let asked = streamed(json!({"stream_options": {"include_usage": true}}));
        let reply = gateway.send(&asked).await;
        let answer = assembled(&reply.body);
        let mut all = turn_faults(&gateway);
        all.extend(answer.errors.iter().map(Value::to_string));
        let none = Value::Null;
        let receipt = answer.receipts.last().unwrap_or(&none);
        all.extend(receipt_faults(
            receipt,
            answer.usages.last().unwrap_or(&none),
        ));
        if !answer.calls.is_empty() || answer.finish_reasons != ["stop"] {
            all.push(format!(
                "shown: {:?} {:?}",
                answer.calls, answer.finish_reasons
            ));
        }
        faults.push((name, all));
    }
    report(faults);
}
