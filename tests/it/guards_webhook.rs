//! Guards over HTTP: what is asked, what an answer means, and every way to answer badly.

use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit, Mac};
use mcp_layer::{
    guard::{GuardRule, Guards, Webhook},
    outbound::{EgressRules, Error, Outbound},
};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{
    everything, evidence,
    evil::{Evil, Received, Step, json_reply, reply, status},
    framework::{echo, results, strict},
    gateway::{Gateway, auto, chat},
    model::{calls, says},
    outbound,
    traces::{Traces, outcomes},
};

const SECRET: &str = "canary-of-the-webhook-0123456789";

const NOT_RUN: &str = "Error: not run: it could not be checked";
const WITHHELD: &str =
    "Error: the tool has run, but its result is withheld: it could not be checked";

/// A webhook that answers so.
async fn hook(script: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static) -> (Evil, Webhook) {
    let evil = Evil::serve_all(script).await;
    let webhook = Webhook::new(evil.url().parse().unwrap(), outbound()).unwrap();
    (evil, webhook)
}

/// A webhook that answers each stage with one of these.
async fn answers(before: Value, after: Value) -> (Evil, Webhook) {
    hook(move |request| {
        let answer = match request.json()["stage"] == "before" {
            true => &before,
            false => &after,
        };
        vec![Step::Send(json_reply(&answer.to_string()))]
    })
    .await
}

/// What the model is told of one call of `echo`, which this webhook guards.
async fn told(webhook: Webhook) -> (Gateway, Traces, String) {
    let gateway = Gateway::new([calls(&[echo("hello")]), says("done")]).await;
    let rule = GuardRule::new("hook", webhook).with_timeout(Duration::from_millis(500));
    let (gateway, traces) = Traces::with(gateway, |layer| layer.with_guards(Guards::new([rule])));
    let mut request = chat(auto(json!({})).to_string());
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = request.headers_mut();
    headers.insert("traceparent", parent.parse().unwrap());
    gateway.request(request).await;
    let told = results(&strict(&gateway.model.asked())[1]).remove(0);
    (gateway, traces, told)
}

/// Checks a signature as a receiver does.
fn is_signed(request: &Received, secret: &str) -> bool {
    let header = request.header("x-mcp-signature").unwrap();
    let (time, digits) = header
        .strip_prefix("t=")
        .and_then(|header| header.split_once(",v1="))
        .unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds: u64 = time.parse().unwrap();
    assert!(now.unwrap().as_secs().abs_diff(seconds) < 300);
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{time}.{}", request.body).as_bytes());
    let bytes = mac.finalize().into_bytes();
    let computed: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    computed == digits
}

#[tokio::test]
async fn a_webhook_is_asked_in_one_json_object_which_is_signed() {
    evidence::secret("secret of a webhook", SECRET);
    let allow = json!({"decision": "allow"});
    let (evil, webhook) = answers(allow.clone(), allow).await;
    let webhook = webhook.with_secret(SECRET.to_owned().into());
    assert!(!format!("{webhook:?}").contains(SECRET));
    let (_, _, told) = told(webhook).await;
    assert_eq!(told, "hello");
    let [before, after] = &evil.received()[..] else {
        panic!("{:?}", evil.received())
    };
    let trace = before.json()["trace"].clone();
    assert!(
        trace["traceparent"]
            .as_str()
            .unwrap()
            .starts_with("00-0af7")
    );
    let mut expected = json!({
        "stage": "before", "project": "default", "server": "s", "tool": "echo",
        "arguments": {"text": "hello"}, "annotations": null, "trace": trace,
    });
    assert_eq!(before.json(), expected);
    let question = expected.as_object_mut().unwrap();
    question.remove("arguments");
    question["stage"] = "after".into();
    question["trace"] = after.json()["trace"].clone();
    question.insert("result".into(), "hello".into());
    question.insert("is_error".into(), false.into());
    assert_eq!(after.json(), expected);
    for request in [before, after] {
        assert_eq!(request.verb(), "POST");
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert!(request.header("authorization").is_none());
        assert!(is_signed(request, SECRET));
        assert!(!is_signed(request, "another"));
    }
}

#[tokio::test]
async fn an_answer_decides() {
    let allow = || json!({"decision": "allow", "reason": null, "more": [1]});
    for (before, after, expected, runs) in [
        (allow(), allow(), "hello", 1),
        (
            json!({"decision": "rewrite", "arguments": {"text": "other"}}),
            allow(),
            "other",
            1,
        ),
        (
            allow(),
            json!({"decision": "rewrite", "result": "masked"}),
            "masked",
            1,
        ),
        (
            json!({"decision": "deny", "reason": "not on Mondays"}),
            allow(),
            "Error: not run: not on Mondays",
            0,
        ),
        (
            json!({"decision": "deny"}),
            allow(),
            "Error: not run: a guard of the gateway does not allow it",
            0,
        ),
        (
            allow(),
            json!({"decision": "deny", "reason": "it names a person"}),
            "Error: the tool has run, but its result is withheld: it names a person",
            1,
        ),
    ] {
        let (_evil, webhook) = answers(before.clone(), after.clone()).await;
        let (gateway, _, told) = told(webhook).await;
        assert_eq!(told, expected, "{before} {after}");
        assert_eq!(gateway.server.calls(), runs);
    }
}

#[tokio::test]
async fn a_webhook_asks_first() {
    let (_evil, webhook) = answers(json!({"decision": "ask"}), json!({"decision": "allow"})).await;
    let gateway = Gateway::new([calls(&[echo("hello")])]).await;
    let rule = GuardRule::new("hook", webhook);
    let gateway = gateway.layered(|layer| layer.with_guards([rule]));
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.receipt()["stopped_by"], "ask_first");
    assert_eq!(gateway.server.calls(), 0);
}

#[tokio::test]
async fn whatever_is_no_answer_denies() {
    let json = |body: &str| vec![Step::Send(json_reply(body))];
    let elsewhere = Evil::serve_all(|_| vec![Step::Send(json_reply("{\"decision\":\"allow\"}"))]);
    let elsewhere = elsewhere.await;
    let location = format!("location: {}\r\n", elsewhere.url());
    let large = format!(
        "{{\"decision\":\"allow\",\"x\":\"{}\"}}",
        "x".repeat(1 << 20)
    );
    for (steps, reason) in [
        (json(""), "is not JSON"),
        (json("canary-answer"), "is not JSON"),
        (json("{\"decision\":\"allow\""), "is not JSON"),
        (json("[]"), "not of the form"),
        (json("null"), "not of the form"),
        (json("{}"), "not of the form"),
        (json("{\"decision\":true}"), "not of the form"),
        (
            json("{\"decision\":\"deny\",\"decision\":\"allow\"}"),
            "not of the form",
        ),
        (json("{\"decision\":\"allow\"} {}"), "is not JSON"),
        (json("{\"decision\":\"Allow\"}"), "none of those"),
        (json("{\"decision\":\"\"}"), "none of those"),
        (json("{\"decision\":\"rewrite\"}"), "to rewrite"),
        (
            json("{\"decision\":\"rewrite\",\"arguments\":null,\"result\":null}"),
            "to rewrite",
        ),
        (
            json("{\"decision\":\"rewrite\",\"arguments\":[1]}"),
            "to rewrite",
        ),
        (json(&large), "more than 1048576 bytes"),
        (vec![Step::Send(status(500))], "status 500"),
        (vec![Step::Send(status(204))], "status 204"),
        (vec![Step::Send(status(401))], "status 401"),
        (vec![Step::Send(reply(307, &location, ""))], "status 307"),
        (
            vec![Step::Send(reply(
                200,
                "content-encoding: gzip\r\n",
                "{\"decision\":\"allow\"}",
            ))],
            "compressed",
        ),
        (vec![Step::Reset], "no answer"),
        (
            vec![
                Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_vec()),
                Step::Close,
            ],
            "broke off",
        ),
        (vec![Step::Hang], "within 500 ms"),
        (
            vec![
                Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_vec()),
                Step::Hang,
            ],
            "within 500 ms",
        ),
    ] {
        for stage in ["before", "after"] {
            let bad = steps.clone();
            let (evil, webhook) = hook(move |request| match request.json()["stage"] == stage {
                true => bad.clone(),
                false => vec![Step::Send(json_reply("{\"decision\":\"allow\"}"))],
            })
            .await;
            let (gateway, traces, told) = told(webhook).await;
            let expected = if stage == "before" { NOT_RUN } else { WITHHELD };
            assert_eq!(told, expected, "{steps:?}");
            assert_eq!(gateway.server.calls(), usize::from(stage == "after"));
            assert_eq!(outcomes(&traces.one())[0][3], "guard_failed");
            let trace = traces.one();
            let spans = trace.spans();
            let span = spans
                .iter()
                .rfind(|span| span.name == "guard hook")
                .unwrap();
            let said = span.attributes["mcp_layer.guard.reason"].as_str().unwrap();
            assert!(said.contains(reason), "{steps:?}: {said}");
            let address = evil.address.port().to_string();
            for hidden in ["canary", "http://", &address] {
                assert!(!said.contains(hidden), "{said}");
            }
        }
    }
    assert_eq!(elsewhere.connections(), 0, "a redirect is not followed");
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_was_idle_costs_no_call() {
    let (evil, webhook) = hook(|_| {
        let answer = Step::Send(json_reply("{\"decision\":\"allow\"}"));
        vec![answer, Step::Close]
    })
    .await;
    let (gateway, _, told) = told(webhook).await;
    assert_eq!((told.as_str(), gateway.server.calls()), ("hello", 1));
    assert!(evil.received().len() >= 2);
}

#[tokio::test]
async fn a_webhook_keeps_to_the_egress_rules() {
    let strict = || Outbound::new(EgressRules::default());
    for url in [
        "http://guards.example/",
        "https://127.0.0.1/",
        "https://10.0.0.1/guard",
        "http://169.254.169.254/",
        "https://u:p@guards.example/",
        "ftp://guards.example/",
    ] {
        let refused = Webhook::new(url.parse().unwrap(), strict()).unwrap_err();
        let shown = everything(&refused);
        assert!(
            !shown.contains("10.0.0.1") && !shown.contains("u:p"),
            "{shown}"
        );
    }
    assert!(matches!(
        Webhook::new("https://[::1]/".parse().unwrap(), strict()),
        Err(Error::Denied)
    ));
    // A name that leads inside is refused where it is looked up.
    let inside = Webhook::new("https://localhost:1/".parse().unwrap(), strict()).unwrap();
    let (gateway, _, told) = told(inside).await;
    assert_eq!((told.as_str(), gateway.server.calls()), (NOT_RUN, 0));
}
