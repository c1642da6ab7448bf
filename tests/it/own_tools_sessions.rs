//! A server that keeps state in its sessions, beside tools of the caller's own: with
//! `share_session: exchange`, requests that go on from one another have one session.

use std::time::Duration;

use mcp_layer::{
    Connections, McpLayer,
    mcp::Transport,
    registry::{MemoryRegistry, Server, ShareSession},
};
use serde_json::{Value, json};

use crate::support::{
    framework::{Framework, results, strict, turn},
    gateway::Gateway,
    model::Answer,
    notebook::Notebook,
    outbound, until,
};

fn remember(text: &str) -> (&'static str, Value) {
    ("s__remember", json!({"text": text}))
}

fn recall() -> (&'static str, Value) {
    ("s__recall", json!({}))
}

fn lookup() -> (&'static str, Value) {
    ("lookup", json!({}))
}

async fn stateful(
    transport: Transport,
    script: impl IntoIterator<Item = Answer>,
) -> (Notebook, Gateway) {
    stateful_over(Connections::new(outbound()), transport, script).await
}

async fn stateful_over(
    connections: Connections,
    transport: Transport,
    script: impl IntoIterator<Item = Answer>,
) -> (Notebook, Gateway) {
    let notebook = Notebook::start(1).await;
    let url = match transport {
        Transport::Sse => notebook.sse_url(),
        _ => notebook.url(),
    };
    let server = Server::new("s", &url).unwrap().with_transport(transport);
    let server = server.with_share_session(ShareSession::Exchange);
    let layer = McpLayer::new(MemoryRegistry::new([server]).unwrap());
    let layer = layer.with_connections(connections);
    (notebook, Gateway::new(script).await.layered(|_| layer))
}

/// Notes something, hands back, recalls it and what the second request notes, and goes on.
fn script(stream: bool) -> Vec<Answer> {
    vec![
        turn(stream, "", &[remember("first")]),
        turn(stream, "", &[lookup(), remember("waits")]),
        turn(stream, "", &[remember("second")]),
        turn(stream, "", &[lookup()]),
        turn(stream, "", &[recall()]),
        turn(stream, "done", &[]),
        turn(stream, "", &[recall()]),
        turn(stream, "done", &[]),
    ]
}

const ALL: &str = "first\nwaits\nsecond";

#[tokio::test]
async fn requests_that_go_on_from_one_another_have_one_session() {
    for stream in [false, true] {
        for transport in [Transport::StreamableHttp, Transport::Sse] {
            let (notebook, gateway) = stateful(transport, script(stream)).await;
            let mut framework = Framework::new(stream);
            framework.run(&gateway).await;
            framework.user("again");
            framework.run(&gateway).await;
            let asked = strict(&gateway.model.asked());
            assert_eq!(results(&asked[5]).last().unwrap(), ALL);
            assert_eq!(results(&asked[7]).last().unwrap(), ALL);
            // One more, in which the tools were listed.
            assert_eq!(notebook.opened(), 2);
        }
    }
}

#[tokio::test]
async fn open_calls_of_a_request_without_mcp_run_in_the_session_of_their_turn() {
    let script = [
        turn(false, "", &[remember("first")]),
        turn(false, "", &[lookup(), recall()]),
        turn(false, "done", &[]),
    ];
    let (notebook, gateway) = stateful(Transport::StreamableHttp, script).await;
    let mut framework = Framework::new(false);
    let calls = framework.turn(&gateway).await;
    framework.answer(&calls);
    framework.request.as_object_mut().unwrap().remove("mcp");
    framework.run(&gateway).await;
    let asked = strict(&gateway.model.asked());
    assert_eq!(results(&asked[2]).last().unwrap(), "first");
    assert_eq!(notebook.opened(), 2);
}

#[tokio::test]
async fn another_conversation_and_another_caller_have_sessions_of_their_own() {
    let (notebook, gateway) = stateful(
        Transport::StreamableHttp,
        script(false)
            .into_iter()
            .take(2)
            .chain([turn(false, "", &[recall()]), turn(false, "done", &[])])
            .chain([turn(false, "", &[recall()]), turn(false, "done", &[])]),
    )
    .await;
    let mut framework = Framework::new(false);
    let calls = framework.turn(&gateway).await;
    // It does not know this conversation.
    Framework::new(false).run(&gateway).await;
    framework.answer(&calls);
    let mut stranger = framework.clone();
    stranger.request["user"] = "another".into();
    stranger.run(&gateway).await;
    let asked = strict(&gateway.model.asked());
    for asked in [&asked[3], &asked[5]] {
        assert_eq!(results(asked).last().unwrap(), "");
    }
    assert_eq!(notebook.opened(), 4);
}

#[tokio::test]
async fn a_session_that_nobody_comes_back_to_is_ended_after_ten_minutes() {
    let (notebook, gateway) = stateful(Transport::StreamableHttp, script(false)).await;
    let mut framework = Framework::new(false);
    let calls = framework.turn(&gateway).await;
    let wait = async |seconds| {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
    };
    wait(599).await;
    framework.answer(&calls);
    let calls = framework.turn(&gateway).await;
    wait(599).await;
    tokio::task::yield_now().await;
    assert_eq!(notebook.open(), 2);
    wait(2).await;
    until("the session has ended", || notebook.open() == 1).await;
    // Who comes later gets a new one.
    framework.answer(&calls);
    framework.run(&gateway).await;
    let asked = strict(&gateway.model.asked());
    assert_eq!(results(&asked[5]).last().unwrap(), "");
}

#[tokio::test]
async fn a_project_keeps_so_many_sessions_and_gives_up_its_own() {
    let count = 130;
    let script = (0..count + 1).flat_map(|_| {
        [
            turn(false, "", &[remember("x")]),
            turn(false, "", &[lookup()]),
        ]
    });
    let (notebook, gateway) = stateful(Transport::StreamableHttp, script).await;
    let mut body = Framework::new(false).request;
    body["messages"] = json!([{"role": "user", "content": "hi"}]);
    for project in std::iter::once("other").chain(std::iter::repeat_n("one", count)) {
        assert_eq!(gateway.send_as(project, &body).await.status, 200);
    }
    // 125 of the one, the other's, and the one in which the tools were listed.
    until("the rest have ended", || notebook.open() == 127).await;
}

#[tokio::test]
async fn sessions_that_wait_end_with_the_process() {
    let connections = Connections::new(outbound());
    let transport = Transport::StreamableHttp;
    let (notebook, gateway) = stateful_over(connections.clone(), transport, script(false)).await;
    Framework::new(false).turn(&gateway).await;
    assert_eq!(notebook.open(), 2);
    connections.close().await;
    assert_eq!(notebook.open(), 0);
}
