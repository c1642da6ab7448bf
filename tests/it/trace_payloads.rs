//! What of arguments and results is in a record.

use mcp_layer::registry::{Auth, Server};
use mcp_layer::trace::Payloads;
use serde_json::json;

use crate::support::gateway::{Gateway, auto};
use crate::support::model::{calls, says};
use crate::support::traces::{Traces, attributes, tools};

const ARGUMENTS: &str = "gen_ai.tool.call.arguments";
const RESULT: &str = "gen_ai.tool.call.result";

/// What a record has of a call of `echo` with this text, in this setting.
async fn kept(payloads: Option<Payloads>, text: &str) -> (serde_json::Value, String) {
    let call = calls(&[("s__echo", json!({"text": text}))]);
    let gateway = Gateway::new([call, says("done")]).await;
    let (gateway, traces) = Traces::with(gateway, |layer| match payloads {
        Some(payloads) => layer.with_trace_payloads(payloads),
        None => layer,
    });
    gateway.send(&auto(json!({}))).await;
    let trace = traces.one();
    let span = &tools(&trace)[0];
    (attributes(span, &[ARGUMENTS, RESULT]), format!("{trace:?}"))
}

#[tokio::test]
async fn by_default_what_looks_like_a_secret_is_masked() {
    let text = r#"{"user":"ann","password":"hunter2"}"#;
    let (kept, all) = kept(None, text).await;
    assert_eq!(kept[RESULT], r#"{"user":"ann","password":"[redacted]"}"#);
    assert_eq!(
        kept[ARGUMENTS],
        json!({"text": r#"{"user":"ann","password":"[redacted]"}"#}).to_string()
    );
    assert!(!all.contains("hunter2"), "{all}");
}

#[tokio::test]
async fn off_keeps_sizes_and_full_keeps_everything() {
    let (nothing, all) = kept(Some(Payloads::Off), "the password=hunter2").await;
    assert_eq!(nothing, json!({ARGUMENTS: null, RESULT: null}));
    assert!(
        all.contains("result_bytes") && !all.contains("password"),
        "{all}"
    );
    let (everything, _) = kept(Some(Payloads::Full), "the password=hunter2").await;
    assert_eq!(everything[RESULT], "the password=hunter2");
}

#[tokio::test]
async fn a_long_text_is_cut_and_says_so() {
    let call = calls(&[("s__big", json!({"bytes": 100_000}))]);
    let (gateway, traces) = Traces::of(Gateway::new([call, says("done")]).await);
    gateway.send(&auto(json!({}))).await;
    let trace = traces.one();
    let calls = tools(&trace);
    let result = calls[0].attributes[RESULT].as_str().unwrap();
    assert!(result.len() < 9000 && result.ends_with("\n[cut: the whole has 100000 bytes]"));
    assert_eq!(calls[0].attributes["mcp_layer.result_bytes"], 100_000);
}

#[tokio::test]
async fn a_record_has_a_bound_however_many_calls_are_asked_for() {
    let text = "x".repeat(20_000);
    let asked: Vec<_> = (0..1500).map(|_| ("own", json!({"text": text}))).collect();
    let body = auto(json!({"tools": [{"type": "function", "function": {"name": "own"}}]}));
    let (gateway, traces) = Traces::of(Gateway::new([calls(&asked)]).await);
    // More than is read of an answer.
    gateway.send(&body).await;
    let asked: Vec<_> = (0..1500)
        .map(|_| ("own", json!({"text": &text[..9000]})))
        .collect();
    let (gateway, more) = Traces::of(Gateway::new([calls(&asked)]).await);
    gateway.send(&body).await;
    for trace in [traces.one(), more.one()] {
        let size = serde_json::to_string(&trace.spans()).unwrap().len();
        assert!(trace.spans().len() <= 1000 && size < 2 << 20, "{size}");
    }
    assert_eq!(more.one().spans().len(), 1000);
}

#[tokio::test]
async fn a_live_credential_that_a_model_repeats_is_masked() {
    // Not noted as secrets for the leak scan: the model, who says them here, is told so again.
    for header in ["Bearer t0ken/of \"no form\"", "a live key of no form"] {
        let secret = header.trim_start_matches("Bearer ").to_owned();
        let text = format!("use {secret}, please");
        let call = calls(&[("s__echo", json!({"text": text}))]);
        let guarded = |server: Server| {
            server.with_auth(Auth::static_headers([("Authorization", header)]).unwrap())
        };
        let gateway = Gateway::with_server([call, says("done")], guarded).await;
        let (gateway, traces) =
            Traces::with(gateway, |layer| layer.with_trace_payloads(Payloads::Full));
        gateway.send(&auto(json!({}))).await;
        let trace = traces.one();
        let kept = attributes(&tools(&trace)[0], &[ARGUMENTS, RESULT]);
        assert!(
            kept[ARGUMENTS].as_str().unwrap().contains("[redacted"),
            "{kept}"
        );
        assert!(
            !kept.to_string().contains("t0ken") && !format!("{trace:?}").contains(&secret),
            "{kept}"
        );
    }
}
