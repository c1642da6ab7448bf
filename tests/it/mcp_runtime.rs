//! Calls whose work is done on a runtime of their own.

use std::time::Duration;

use http::HeaderMap;
use mcp_layer::mcp::{Client, Endpoint, ServerLimits, Transport};
use mcp_layer::outbound::Outbound;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::support::evil::{Evil, Step, event, json_reply, stream_head};
use crate::support::{call, outbound, until};

fn servers() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

fn client(server: &Evil, runtime: &Runtime) -> Client {
    through(outbound().with_runtime(runtime.handle()), server)
}

/// A client that has a spare runtime.
fn spared(server: &Evil, spare: &Runtime) -> Client {
    through(outbound().with_spare_runtime(spare.handle()), server)
}

fn through(outbound: Outbound, server: &Evil) -> Client {
    let url = server.url().parse().unwrap();
    let endpoint = Endpoint::new(url, Transport::StreamableHttp, HeaderMap::new());
    Client::new(outbound, endpoint, ServerLimits::default())
}

/// A server whose tool `small` says little, `large` much at once, and `pieces` little in pieces.
async fn server() -> Evil {
    Evil::mcp(|request| {
        let answer = |text: &str| vec![Step::Send(json_reply(&request.text(text)))];
        match request.json()["params"]["name"].as_str() {
            Some("large") => answer(&"a".repeat(100_000)),
            Some("pieces") => {
                let notification = event(r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#);
                let pieces = std::iter::repeat_n([Step::Send(notification), PAUSE], 100);
                let mut steps = vec![Step::Send(stream_head())];
                steps.extend(pieces.flatten());
                steps.extend([Step::Send(event(&request.text("small"))), Step::Close]);
                steps
            }
            Some(_) => answer("small"),
            None => vec![Step::Send(json_reply(
                &request.result(&json!({"tools": []})),
            ))],
        }
    })
    .await
}

/// Long enough for a piece to be read by itself.
const PAUSE: Step = Step::Pause(Duration::from_millis(1));

#[tokio::test]
async fn a_call_on_a_runtime_of_its_own_is_like_any_other() {
    let runtime = servers();
    let server = Evil::mcp(|request| vec![Step::Send(json_reply(&request.text("done")))]).await;
    let client = client(&server, &runtime);
    for _ in 0..3 {
        assert_eq!(call(&client, "a", "{}").await.unwrap().text, "done");
    }
    runtime.shutdown_background();
    assert!(call(&client, "a", "{}").await.is_err());
}

#[tokio::test]
async fn a_call_on_a_runtime_of_its_own_is_cancelled_with_its_caller() {
    let runtime = servers();
    let server = Evil::mcp(|_| vec![Step::Hang]).await;
    let client = client(&server, &runtime);
    let impatient = tokio::time::timeout(Duration::from_millis(200), call(&client, "a", "{}"));
    assert!(impatient.await.is_err());
    let told = || server.count("notifications/cancelled") == 1;
    until("the server is told that nobody waits", told).await;
    runtime.shutdown_background();
}

#[tokio::test]
async fn calls_with_a_spare_runtime_are_like_any_others() {
    let runtime = servers();
    let server = server().await;
    let client = spared(&server, &runtime);
    for (tool, length) in [("small", 5), ("large", 100_000), ("pieces", 5)].repeat(3) {
        let called = call(&client, tool, "{}").await.unwrap();
        assert_eq!(called.text.len(), length, "{tool}");
    }
    assert!(client.list_tools().await.is_ok());
    runtime.shutdown_background();
}

#[tokio::test]
async fn what_is_cheap_stays_off_the_spare_runtime_and_what_is_expensive_runs_nowhere_else() {
    let runtime = servers();
    let server = server().await;
    let client = spared(&server, &runtime);
    runtime.shutdown_background();
    for (tool, is_cheap) in [("small", true), ("large", false), ("pieces", false)].repeat(2) {
        let called = call(&client, tool, "{}").await;
        assert_eq!(called.is_ok(), is_cheap, "{tool}");
    }
    // Its definitions are read there.
    assert!(client.list_tools().await.is_err());
}

#[tokio::test]
async fn a_connection_comes_back_from_the_spare_runtime_when_its_answers_are_cheap_again() {
    let runtime = servers();
    let server = server().await;
    let client = spared(&server, &runtime);
    assert!(call(&client, "large", "{}").await.is_ok());
    // The answer after which it comes back, and one that it is back for.
    for _ in 0..2 {
        assert!(call(&client, "small", "{}").await.is_ok());
    }
    let connections = server.connections();
    runtime.shutdown_background();
    assert!(call(&client, "small", "{}").await.is_ok());
    assert_eq!(server.connections(), connections);
}

#[tokio::test]
async fn a_call_on_a_spare_runtime_is_cancelled_with_its_caller() {
    let runtime = servers();
    let said = json!({"jsonrpc": "2.0", "method": "said", "params": "x".repeat(100_000)});
    let much = event(&said.to_string());
    let server = Evil::mcp(move |_| {
        let much = Step::Send(much.clone());
        vec![Step::Send(stream_head()), much, Step::Hang]
    })
    .await;
    let client = spared(&server, &runtime);
    let impatient = tokio::time::timeout(Duration::from_millis(500), call(&client, "a", "{}"));
    assert!(impatient.await.is_err());
    let told = || server.count("notifications/cancelled") == 1;
    until("the server is told that nobody waits", told).await;
    runtime.shutdown_background();
}
