//! Prompts and answers in a record: only where an operator has switched that on.

use mcp_layer::trace::{Payloads, Step, Trace};
use serde_json::json;

use super::support::{
    framework::turn,
    gateway::{Gateway, auto, with_mcp},
    model::{calls, says},
    traces::Traces,
};

fn prompt(trace: &Trace) -> Option<String> {
    trace.steps().iter().find_map(|step| match step {
        Step::Prompt(prompt) => prompt.text.clone(),
        _ => None,
    })
}

fn answers(trace: &Trace) -> Vec<Option<String>> {
    let steps = trace.steps();
    let turns = steps.iter().filter_map(|step| match step {
        Step::Turn(turn) => Some(turn.answer.clone()),
        _ => None,
    });
    turns.collect()
}

async fn gateway(on: bool, payloads: Payloads) -> (Gateway, Traces) {
    let echo = calls(&[("s__echo", json!({"text": "hello"}))]);
    let gateway = Gateway::new([echo, says("done with password=hunter2")]).await;
    Traces::with(gateway, |layer| {
        layer.with_trace_content(on).with_trace_payloads(payloads)
    })
}

#[tokio::test]
async fn by_default_nobody_keeps_what_was_asked_and_answered() {
    let (gateway, traces) = gateway(false, Payloads::Full).await;
    gateway.send(&auto(json!({}))).await;
    let trace = traces.one();
    assert_eq!((prompt(&trace), answers(&trace)), (None, vec![None, None]));
}

#[tokio::test]
async fn prompts_and_answers_are_kept_and_masked() {
    for (payloads, shown) in [
        (Payloads::Redacted, "done with password=[redacted]"),
        (Payloads::Off, "done with password=[redacted]"),
        (Payloads::Full, "done with password=hunter2"),
    ] {
        let (gateway, traces) = gateway(true, payloads).await;
        gateway.send(&auto(json!({}))).await;
        let trace = traces.one();
        assert_eq!(
            prompt(&trace).unwrap(),
            r#"[{"content":"hi","role":"user"}]"#
        );
        assert_eq!(answers(&trace), [None, Some(shown.to_owned())]);
        let spans = trace.spans();
        let has = |name: &str| spans.iter().any(|span| span.attributes.contains_key(name));
        assert!(has("gen_ai.input.messages") && has("gen_ai.output.messages"));

        let without = trace.without_payloads();
        assert_eq!(
            (prompt(&without), answers(&without)),
            (None, vec![None, None])
        );
        let text = format!("{without:?}");
        assert!(
            !text.contains("hello") && !text.contains("done with"),
            "{text}"
        );
        assert!(text.contains("s__echo") && without.calls == 1);
    }
}

#[tokio::test]
async fn the_last_messages_are_kept_and_what_is_left_out_is_announced() {
    let (gateway, traces) = gateway(true, Payloads::Full).await;
    let mut messages = vec![json!({"role": "user", "content": "x".repeat(5000)}); 3];
    messages.push(json!({"role": "user", "content": "the last"}));
    gateway.send(&auto(json!({"messages": messages}))).await;
    let kept = prompt(&traces.one()).unwrap();
    assert!(kept.len() <= 8 << 10 && kept.contains("the last"), "{kept}");
    assert!(
        kept.starts_with("[cut: the first 2 of 4 messages]"),
        "{kept}"
    );

    let (gateway, traces) = self::gateway(true, Payloads::Full).await;
    let long = json!([{"role": "user", "content": "y".repeat(50_000)}]);
    gateway.send(&auto(json!({"messages": long}))).await;
    let kept = prompt(&traces.one()).unwrap();
    assert!(
        kept.len() <= 8 << 10 && kept.contains("[cut: the whole has"),
        "{kept}"
    );
}

#[tokio::test]
async fn an_answer_that_is_streamed_through_is_kept_as_well() {
    let gateway = Gateway::new([turn(true, "one two", &[])]).await;
    let (gateway, traces) = Traces::with(gateway, |layer| layer.with_trace_content(true));
    let manual = with_mcp(
        json!({"enabled": true, "servers": ["s"]}),
        json!({"stream": true}),
    );
    gateway.send(&manual).await;
    let trace = traces.soon().await;
    assert_eq!(answers(&trace), [Some("one two".to_owned())]);
}
