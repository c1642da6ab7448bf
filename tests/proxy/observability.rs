//! What a proxy tells of itself: its log, its metrics, and traces for a collector.

use std::time::{Duration, Instant};

use axum::{Router, body::Bytes, routing::post};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};

use crate::support::{ADMIN_TOKEN, Proxy, question, refused, until};

/// The lines of a JSON log that say this.
fn lines(proxy: &Proxy, message: &str) -> Vec<Value> {
    let logged = proxy.logged();
    let lines = logged.lines().map(|line| {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error} in {line}"))
    });
    lines.filter(|line| line["message"] == message).collect()
}

#[tokio::test]
async fn each_tool_call_is_one_line_of_json() {
    let proxy = Proxy::start(&["--log-format", "json"]);
    proxy.chat(&question("demo", "Add 1 and 2")).await;
    proxy.chat(&question("demo", "Roll a 0-sided die.")).await;
    let calls = lines(&proxy, "tool call");
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(calls.iter().all(|call| {
        call["server"] == "demo" && call["round"] == 1 && call["duration_ms"].is_u64()
    }));
    let (added, refused) = (&calls[0], &calls[1]);
    assert_eq!(added["tool"], "add");
    assert!(
        added["call_id"].as_str().unwrap().starts_with("call_"),
        "{added}"
    );
    assert_eq!(added["outcome"], "ok");
    assert!(added["result_bytes"].as_u64().unwrap() > 0);
    assert_eq!(refused["tool"], "roll_dice");
    assert_eq!(refused["outcome"], "error");
}

#[tokio::test]
async fn the_line_of_a_request_names_its_method_and_path_in_both_formats() {
    let proxy = Proxy::start(&["--log-format", "json"]);
    proxy.get("/v1/models").await;
    let line = lines(&proxy, "finished processing request");
    let within = json!([{"name": "request", "method": "GET", "path": "/v1/models"}]);
    assert_eq!(line[0]["spans"], within, "{line:?}");

    let proxy = Proxy::start(&["--log-format", "text"]);
    proxy.get("/v1/models").await;
    let line = r#"request{method=GET path="/v1/models"}: tower_http::trace::on_response: finished"#;
    assert!(proxy.logged().contains(line), "{}", proxy.logged());
}

#[tokio::test]
async fn what_was_done_is_counted_for_whoever_has_the_token() {
    let mcp = crate::mcp_server::McpServer::start(crate::mcp_server::Mode::Newest).await;
    let config = format!(
        "{}[[servers]]\nname = \"a\"\nurl = \"{}\"\n",
        crate::LOCAL,
        mcp.url()
    );
    let proxy = Proxy::operated(&config, &[]);
    let scrape = async |token: &str| {
        let request = proxy.client.get(format!("{}/metrics", proxy.operators));
        request.bearer_auth(token).send().await.unwrap()
    };
    assert_eq!(scrape("another-token-of-length").await.status(), 401);
    let text = scrape(ADMIN_TOKEN).await.text().await.unwrap();
    for line in ["mcp_layer_registry_up 1", "mcp_layer_rounds_total 0"] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    // It is not on the side of the callers.
    let open = proxy.client.get(format!("{}/metrics", proxy.url)).send();
    assert_eq!(open.await.unwrap().status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_the_spans_also_those_of_the_last_moment() {
    let (sender, mut sent) = mpsc::unbounded_channel();
    let take = move |body: Bytes| async move { drop(sender.send(body)) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let collector = format!("http://{}/", listener.local_addr().unwrap());
    let app = Router::new().route("/v1/traces", post(take));
    tokio::spawn(async move { axum::serve(listener, app).await });

    let mut proxy = Proxy::start(&["--otlp", &collector]);
    proxy.chat(&question("demo", "Add 1 and 2")).await;
    let stopped = Instant::now();
    proxy.terminate();
    assert_eq!(proxy.wait(), 0);
    assert!(
        stopped.elapsed() < Duration::from_secs(4),
        "it waits for no batch"
    );
    let body = sent.recv().await.unwrap();
    // What is in it is for the interop suite to decode.
    let contains = |text: &str| body.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(contains("mcp-layer-proxy") && contains("http.request.method"));
    assert!(
        !contains("examples/proxy"),
        "no paths of the machine that built it"
    );
}

#[tokio::test]
async fn a_collector_that_is_down_costs_a_line_and_nothing_else() {
    let collector = format!("http://{}", refused());
    let mut proxy = Proxy::start(&["--otlp", &collector, "--log-format", "json"]);
    let body = json!({"model": "demo", "messages": [{"role": "user", "content": "hi"}]});
    for _ in 0..5 {
        assert_eq!(proxy.chat(&body).await.0, 200);
    }
    let message = "the collector accepts no traces; requests are not affected";
    until("it says so", async || !lines(&proxy, message).is_empty()).await;
    let stopped = Instant::now();
    proxy.terminate();
    assert_eq!(proxy.wait(), 0);
    assert!(stopped.elapsed() < Duration::from_secs(15));
    let said = lines(&proxy, message);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0]["reason"].as_str().unwrap().contains("refused"),
        "{said:?}"
    );
}
