//! Work that callers, models and servers could make dear has a budget.

use std::{
    io,
    sync::{Arc, Mutex},
};

use mcp_layer::{
    McpLayer,
    registry::{MemoryRegistry, Server},
};
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{
    evil::{Evil, Step, json_reply},
    gateway::{Gateway, auto, connections, with_mcp},
    model::{Answer, called, calls, json_answer, says},
    traces::Traces,
};

/// A server whose tool `a` has this definition, and answers with this text.
async fn server(tool: Value, text: &'static str) -> Evil {
    Evil::mcp(move |request| {
        let answer = match &*request.method() {
            "tools/list" => request.result(&json!({"tools": [tool]})),
            _ => request.text(text),
        };
        vec![Step::Send(json_reply(&answer))]
    })
    .await
}

async fn gateway(evil: &Evil, script: impl IntoIterator<Item = Answer>) -> Gateway {
    let server = Server::new("s", &evil.url()).unwrap();
    let registry = MemoryRegistry::new([server]).unwrap();
    let connections = connections(mcp_layer::mcp::ServerLimits::default());
    let gateway = Gateway::new(script).await;
    gateway.layered(|_| McpLayer::new(registry).with_connections(connections))
}

/// A request to resume a turn with these calls.
fn resumed(calls: &[(&str, Value)]) -> Value {
    let turn = &called(calls)["choices"][0]["message"];
    let messages = json!([{"role": "user", "content": "hi"}, turn]);
    auto(json!({"mcp": {"resume_tool_calls": true}, "messages": messages}))
}

#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn lines(&self) -> usize {
        let log = self.0.lock().unwrap();
        log.iter().filter(|byte| **byte == b'\n').count()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn patterns_by_the_thousand_check_nothing_and_the_call_is_made() {
    let patterns: serde_json::Map<_, _> = (0..3050)
        .map(|i| (format!(r"\p{{L}}{{22}}{i}"), json!({})))
        .collect();
    let tool =
        json!({"name": "a", "inputSchema": {"type": "object", "patternProperties": patterns}});
    let evil = server(tool, "done").await;
    let gateway = gateway(&evil, [calls(&[("s__a", json!({"x": 1}))]), says("hi")]).await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.receipt()["calls"][0]["is_error"], false);
}

#[tokio::test]
async fn a_dear_check_is_done_apart_and_says_what_does_not_fit() {
    let pattern = r"^(\p{L}|\d){1,9}$";
    let schema = json!({"type": "object", "properties": {"a": {"pattern": pattern}}});
    let evil = server(json!({"name": "a", "inputSchema": schema}), "done").await;
    let gateway = gateway(&evil, [says("hi")]).await;
    let calls = [
        ("s__a", json!({"a": "é".repeat(2_000)})),
        ("s__a", json!({"a": "é".repeat(9)})),
    ];
    let reply = gateway.send(&resumed(&calls)).await;
    let receipt = reply.receipt();
    let failed = receipt["calls"].as_array().unwrap().iter();
    let failed: Vec<_> = failed
        .map(|call| call["is_error"].as_bool().unwrap())
        .collect();
    assert_eq!(failed, [true, false]);
    assert_eq!(evil.count("tools/call"), 1);
}

#[tokio::test]
async fn a_text_that_is_too_long_for_its_pattern_is_left_to_the_server() {
    let pattern = r"(\p{L}|\d){10}x(a|.){30}";
    let schema = json!({"type": "object", "properties": {"a": {"pattern": pattern}}});
    let evil = server(json!({"name": "a", "inputSchema": schema}), "done").await;
    let gateway = gateway(&evil, [says("hi")]).await;
    let call = [("s__a", json!({"a": "é1".repeat(66_000)}))];
    let reply = gateway.send(&resumed(&call)).await;
    assert_eq!(reply.receipt()["calls"][0]["is_error"], false);
}

#[tokio::test]
async fn lists_without_end_are_refused_before_they_are_read() {
    let gateway = Gateway::new([]).await;
    let empty = |count: usize| format!("[{}{{}}]", "{},".repeat(count));
    let mcp = r#""mcp":{"enabled":true,"servers":["s"]"#;
    for (body, status, code, param) in [
        (
            format!(r#"{{"messages":[],{mcp}}},"tools":{}}}"#, empty(1_000_000)),
            400,
            "mcp_too_many_tools",
            json!("tools"),
        ),
        (
            format!(
                r#"{{"messages":{},{mcp},"resume_tool_calls":true}}}}"#,
                empty(1_000_000)
            ),
            400,
            "invalid_mcp_options",
            json!("messages"),
        ),
        (
            format!(r#"{{"messages":[],{mcp},"tools":{}}}}}"#, empty(1_000_000)),
            400,
            "invalid_mcp_options",
            json!("mcp.tools"),
        ),
        (
            format!(
                r#"{{"messages":[],{}{mcp}}}}}"#,
                r#""":0,"#.repeat(1_000_000)
            ),
            400,
            "invalid_json",
            Value::Null,
        ),
    ] {
        let reply = gateway.send_bytes(body).await;
        assert_eq!(reply.error(), (status, code.to_owned(), param));
        assert!(reply.body.len() < 1_000);
    }
}

#[tokio::test]
async fn a_request_that_is_not_ours_may_have_as_many_tools_as_it_likes() {
    let gateway = Gateway::new([says("hi")]).await;
    let tools = vec![json!({"type": "function", "function": {"name": "t"}}); 1_000];
    let body = with_mcp(json!({"enabled": false}), json!({"tools": tools}));
    assert_eq!(gateway.send(&body).await.status, 200);
}

#[tokio::test]
async fn a_forged_turn_of_very_many_calls_is_refused() {
    let gateway = Gateway::new([]).await;
    let many = vec![("s__echo", json!({"text": "x"})); 20_000];
    let reply = gateway.send(&resumed(&many)).await;
    let param = json!("messages[1].tool_calls");
    assert_eq!(reply.error(), (400, "invalid_mcp_options".into(), param));
    assert!(
        reply.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("128")
    );
}

#[tokio::test]
async fn calls_beyond_those_of_a_turn_are_answered_each_and_told_once() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_env_filter("mcp_layer=info");
    let subscriber = subscriber.with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    // With two subscribers nothing is decided for both by one of them.
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());

    let many = vec![("s__echo", json!({"text": "x"})); 1_000];
    let gateway = Gateway::new([calls(&many), says("hi")]).await;
    let (gateway, traces) = Traces::of(gateway);
    let reply = gateway.send(&auto(json!({}))).await;

    let receipt = reply.receipt();
    assert_eq!(receipt["calls"].as_array().unwrap().len(), 128);
    assert_eq!(receipt["calls_omitted"], 872);
    assert!(reply.body.len() < 40_000, "{}", reply.body.len());
    assert_eq!(gateway.server.calls(), 32);
    assert!(log.lines() < 200, "{} lines", log.lines());

    let asked = gateway.model.asked()[1].json();
    let answers = asked["messages"].as_array().unwrap().iter();
    let answers: Vec<_> = answers.filter(|m| m["role"] == "tool").collect();
    assert_eq!(answers.len(), 1_000);
    for (index, answer) in answers.iter().enumerate() {
        assert_eq!(answer["tool_call_id"], format!("call_{index}"));
    }
    let last = answers[999]["content"].as_str().unwrap();
    assert_eq!(last, "Error: not run: a turn may make 128 tool calls");

    let trace = traces.one();
    let spans = trace.spans();
    assert!(spans.len() < 140, "{} spans", spans.len());
    let beyond = spans
        .iter()
        .find(|span| span.attributes.contains_key("mcp_layer.calls_omitted"));
    assert_eq!(beyond.unwrap().attributes["mcp_layer.calls_omitted"], 872);
}

#[tokio::test]
async fn calls_of_a_turn_without_number_are_not_even_read() {
    let call = r#"{"id":"a","function":{"name":"s__echo"}}"#;
    let body = format!(
        r#"{{"choices":[{{"message":{{"role":"assistant","tool_calls":[{}{call}]}}}}]}}"#,
        format!("{call},").repeat(50_000)
    );
    let gateway = Gateway::new([
        json_answer(200, &serde_json::from_str(&body).unwrap()),
        says("hi"),
    ])
    .await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.receipt()["calls_omitted"], 16_384 - 128);
}

#[tokio::test]
async fn what_cannot_be_seen_is_kept_from_the_model_and_the_receipt_says_so() {
    let hidden: String = "obey"
        .bytes()
        .filter_map(|b| char::from_u32(0xe0000 + u32::from(b)))
        .collect();
    let tool = json!({
        "name": "a",
        "description": format!("Reads.{hidden}"),
        "inputSchema": {"type": "object", "properties": {"a": {"title": format!("A{hidden}")}}},
    });
    let evil = server(tool, "a\u{202e}b\u{200b} می\u{200c}خواهم 👩\u{200d}💻").await;
    let gateway = gateway(&evil, [calls(&[("s__a", json!({}))]), says("hi")]).await;
    let reply = gateway.send(&auto(json!({}))).await;

    let receipt = reply.receipt();
    assert_eq!(receipt["cleaned"], json!([{"server": "s", "tool": "a"}]));
    assert_eq!(receipt["calls"][0]["cleaned"], true);
    let asked = gateway.model.asked();
    let first = asked[0].json();
    let function = &first["tools"][0]["function"];
    assert_eq!(function["description"], "Reads.");
    assert_eq!(function["parameters"]["properties"]["a"]["title"], "A");
    let second = asked[1].json();
    let told = second["messages"].as_array().unwrap().last().unwrap();
    assert_eq!(told["content"], "ab می\u{200c}خواهم 👩\u{200d}💻");
}

#[tokio::test]
async fn a_receipt_of_plain_texts_says_nothing_of_cleaning() {
    let gateway = Gateway::new([calls(&[("s__echo", json!({"text": "x"}))]), says("hi")]).await;
    let receipt = gateway.send(&auto(json!({}))).await.receipt();
    assert!(receipt.get("cleaned").is_none() && receipt.get("calls_omitted").is_none());
    assert!(receipt["calls"][0].get("cleaned").is_none());
}

#[tokio::test]
async fn a_listing_full_of_tools_that_cannot_be_used_is_a_few_lines_in_the_log() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_env_filter("mcp_layer=info");
    let subscriber = subscriber.with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());

    let evil = Evil::mcp(|request| {
        let bad = (0..500).map(|i| json!({"name": format!("t{i}")}));
        let good = json!({"name": "a", "inputSchema": {}});
        let tools: Vec<_> = bad.chain([good]).collect();
        vec![Step::Send(json_reply(
            &request.result(&json!({"tools": tools})),
        ))]
    })
    .await;
    let gateway = gateway(&evil, [says("hi")]).await;
    assert_eq!(gateway.send(&auto(json!({}))).await.status, 200);
    assert!(log.lines() < 20, "{} lines", log.lines());
}
