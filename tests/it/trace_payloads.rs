//! What of arguments and results is in a record.

use mcp_layer::Streaming;
use mcp_layer::registry::{Auth, Server};
use mcp_layer::trace::Payloads;
use serde_json::{Value, json};

use crate::support::evidence;
use crate::support::framework::turn;
use crate::support::gateway::{Gateway, auto, chat};
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

#[tokio::test]
async fn a_callers_own_token_that_a_model_repeats_is_in_no_record_and_in_no_event() {
    const TOKEN: &str = "Zq7-callers.own/said-by-models";
    // Not noted as a secret: it goes back in a call of the caller's own.
    const OWN: &str = "9fX_to~own.tools+goes-back";
    evidence::secret(evidence::REPEATED, TOKEN);
    let entry = json!({"type": "mcp", "server_label": "s", "require_approval": "never",
        "authorization": format!("Bearer {TOKEN}")});
    let own = json!({"type": "function", "function": {"name": "own"}});
    let passing = |server: Server| server.with_auth(Auth::token_passthrough(None).unwrap());
    let asked = |members: Value| {
        let mut body = auto(members);
        (body["stream"], body["mcp"]["events"]) = (true.into(), true.into());
        body
    };
    let mut by_entry = asked(json!({"tools": [entry]}));
    by_entry["mcp"] = json!({"events": true});
    for (header, tool, body) in [
        // To its server, to another one, to a tool of the caller's, and to none.
        (None, "s__echo", by_entry),
        (Some("x-mcp-auth-s"), "s__echo", asked(json!({}))),
        (Some("x-mcp-auth-other"), "s__echo", asked(json!({}))),
        (Some("x-mcp-auth-s"), "own", asked(json!({"tools": [own]}))),
        (Some("x-mcp-auth-s"), "s__nothing", asked(json!({}))),
    ] {
        let token = if tool == "own" { OWN } else { TOKEN };
        let call = (tool, json!({"text": format!("it is {token}.")}));
        let script = [turn(true, "", &[call]), turn(true, "done", &[])];
        let gateway = match header {
            Some("x-mcp-auth-other") => Gateway::new(script).await,
            _ => Gateway::with_server(script, passing).await,
        };
        let (gateway, traces) = Traces::with(gateway, |layer| {
            let layer = layer.with_trace_payloads(Payloads::Full);
            let layer = layer.with_streaming(Streaming::Execute);
            layer.with_event_payloads(true)
        });
        let mut request = chat(body.to_string());
        if let Some(header) = header {
            let bearer = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert(header, bearer);
        }
        let reply = gateway.request(request).await;
        let told = String::from_utf8_lossy(&reply.body);
        // A call that goes back is the caller's, and no event.
        let is_told = told.matches(token).count() == usize::from(tool == "own");
        assert!(reply.status == 200 && is_told, "{tool} {header:?}: {told}");
        let trace = traces.one();
        let span = &tools(&trace)[0];
        let kept = attributes(span, &[ARGUMENTS, RESULT]).to_string();
        let masked = "it is [redacted:credential]";
        assert!(kept.contains(masked), "{tool} {header:?}: {kept}");
        assert!(
            !format!("{trace:?} {kept}").contains(token),
            "{tool} {header:?}"
        );
        assert_eq!(
            told.contains(masked),
            tool != "own",
            "{tool} {header:?}: {told}"
        );
    }
}
