//! Against a server made with the official SDK.

use std::time::Duration;

use mcp_layer::mcp::{ErrorKind, ServerLimits};

use crate::support::mcp_server::{McpServer, Mode};
use crate::support::{call, client, until};

#[tokio::test]
async fn tools_are_listed_and_called_with_and_without_sessions() {
    for mode in [Mode::Sessions, Mode::Stateless, Mode::Newest] {
        let server = McpServer::start(mode).await;
        let client = client(&server.url(), ServerLimits::default());

        let list = client.list_tools().await.unwrap();
        assert_eq!(list.tools.len(), 8, "{mode:?}");
        assert!(list.left_out.is_empty());
        assert_eq!(list.tools[0].name, "echo");
        assert!(list.tools[0].input_schema.get().contains("\"text\""));

        let result = call(&client, "add", r#"{"a": 1, "b": 2}"#).await.unwrap();
        assert_eq!((&*result.text, result.is_error), ("3", false));
        assert_eq!(server.lists(), 1);
        let probe_alone = mode != Mode::Newest;
        assert_eq!(server.stateless(), if probe_alone { 1 } else { 3 });
        client.close().await;
    }
}

#[tokio::test]
async fn every_kind_of_result_becomes_text() {
    let server = McpServer::start(Mode::Sessions).await;
    let client = client(&server.url(), ServerLimits::default());
    let text = async |tool: &str| call(&client, tool, "{}").await.unwrap().text;

    assert_eq!(text("image").await, "[image/png, 3 B, not shown]");
    assert_eq!(text("structured").await, r#"{"sum":3}"#);
    let failed = call(&client, "fail", "{}").await.unwrap();
    assert_eq!((&*failed.text, failed.is_error), ("it did not work", true));
    let refused = call(&client, "refuse", "{}").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Rpc);
    assert_eq!(
        refused.to_string(),
        "the server answers with error -32602: not like this"
    );
}

#[tokio::test]
async fn callers_share_one_session_and_do_not_wait_for_each_other() {
    let server = McpServer::start(Mode::Sessions).await;
    let client = client(&server.url(), ServerLimits::default());
    let calls = (0..20).map(|n| {
        let client = client.clone();
        tokio::spawn(async move {
            let arguments = format!(r#"{{"text": "caller {n}"}}"#);
            let slow = call(&client, "slow", r#"{"ms": 200}"#);
            let echo = call(&client, "echo", &arguments);
            let (slow, echo) = tokio::join!(slow, echo);
            assert_eq!(slow.unwrap().text, "done");
            assert_eq!(echo.unwrap().text, format!("caller {n}"));
        })
    });
    let began = std::time::Instant::now();
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(server.calls(), 40);
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_at_the_server() {
    for mode in [Mode::Sessions, Mode::Newest] {
        let server = McpServer::start(mode).await;
        let client = client(&server.url(), ServerLimits::default());
        let running = tokio::spawn(async move { call(&client, "slow", r#"{"ms": 20000}"#).await });
        until("the call runs", || server.calls() == 1).await;
        running.abort();
        until("the call is cancelled", || server.cancelled() == 1).await;
    }
}

#[tokio::test]
async fn a_result_over_the_limit_is_refused() {
    let server = McpServer::start(Mode::Stateless).await;
    let client = client(&server.url(), ServerLimits::default());
    let fits = call(&client, "big", r#"{"bytes": 4000000}"#).await.unwrap();
    assert_eq!(fits.text.len(), 4_000_000);
    let refused = call(&client, "big", r#"{"bytes": 5000000}"#).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::TooLarge);
}
