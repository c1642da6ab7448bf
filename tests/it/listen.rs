//! Servers that tell changes of their tools are listened to while they are in use.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use http::header::AUTHORIZATION;
use mcp_layer::{
    McpLayer, Project,
    mcp::{ServerLimits, Transport},
    registry::{Auth, MemoryRegistry},
};
use serde_json::json;
use tower::{Layer, ServiceExt};

use crate::list_changed::{Rig, names, record};
use crate::support::{
    evidence,
    gateway::{auto, chat, connections},
    growing::{Growing, Speaks},
    model::{Model, says},
    until,
};

/// Asks until a tool is offered: what the server told is on its way.
async fn until_offered(rig: &Rig, tool: &str) {
    for _ in 0..500 {
        if rig.offered().await.iter().any(|offered| offered == tool) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{tool} is not offered");
}

const LISTENED: [Speaks; 3] = [Speaks::Sessions, Speaks::Batches, Speaks::Stateless];

#[tokio::test]
async fn a_tool_that_is_added_while_nobody_asks_is_offered_at_the_next_request() {
    for speaks in LISTENED {
        let server = Growing::start(speaks, &["a"]).await;
        let rig = Rig::new(record(&server.url()));
        rig.offered().await;
        until("it is listened to", || server.listeners() == 1).await;
        rig.offered().await;
        assert_eq!((server.lists(), server.asked()), (1, 1), "{speaks:?}");
        server.grow("b");
        until_offered(&rig, "b").await;
        assert_eq!(server.lists(), 2, "{speaks:?}");
    }
}

#[tokio::test]
async fn the_shared_stream_of_an_old_server_stays_open_for_it() {
    let server = Growing::start(Speaks::Sessions, &["a"]).await;
    let mut limits = ServerLimits::default();
    limits.unused = Duration::from_secs(1);
    let over = connections(limits);
    let record = record(&server.sse_url()).with_transport(Transport::Sse);
    let rig = Rig::over(record, over);
    rig.offered().await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(server.listeners(), 1, "it is not closed as unused");
    server.grow("b");
    until_offered(&rig, "b").await;
}

#[tokio::test]
async fn a_server_without_such_a_stream_is_asked_for_it_once() {
    for speaks in LISTENED {
        let server = Growing::start(speaks, &["a"]).await;
        server.state.has_stream.store(false, SeqCst);
        let rig = Rig::new(record(&server.url()));
        rig.offered().await;
        until("it was asked", || server.asked() == 1).await;
        for _ in 0..3 {
            rig.offered().await;
        }
        assert_eq!(server.asked(), 1, "{speaks:?}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_say_that_it_tells_changes_is_not_listened_to() {
    for speaks in LISTENED {
        let server = Growing::start(speaks, &["a"]).await;
        server.state.tells.store(false, SeqCst);
        let rig = Rig::new(record(&server.url()));
        for _ in 0..3 {
            rig.offered().await;
        }
        assert_eq!(server.asked(), 0, "{speaks:?}");
    }
}

#[tokio::test]
async fn a_server_that_nobody_uses_is_not_listened_to_any_more_and_again_once_it_is_used() {
    let server = Growing::start(Speaks::Stateless, &["a"]).await;
    let rig = Rig::new(record(&server.url()));
    rig.offered().await;
    until("it is listened to", || server.listeners() == 1).await;
    tokio::time::pause();
    for _ in 0..8 {
        tokio::time::advance(Duration::from_secs(60)).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    tokio::time::resume();
    until("nobody listens", || server.listeners() == 0).await;
    for _ in 0..500 {
        rig.offered().await;
        if server.listeners() == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody listens again");
}

#[tokio::test]
async fn no_more_servers_are_listened_to_than_the_limit_says() {
    let server = Growing::start(Speaks::Stateless, &["a"]).await;
    let mut limits = ServerLimits::default();
    limits.listeners = 0;
    let over = connections(limits);
    let rig = Rig::over(record(&server.url()), over);
    for _ in 0..3 {
        rig.offered().await;
    }
    assert_eq!((server.asked(), server.lists()), (0, 1));
}

#[tokio::test]
async fn a_stream_that_breaks_is_opened_again_and_what_was_missed_is_asked_for() {
    let server = Growing::start(Speaks::Stateless, &["a"]).await;
    let rig = Rig::new(record(&server.url()));
    rig.offered().await;
    until("it is listened to", || server.listeners() == 1).await;
    server.cut();
    server.state.add("b");
    until("it is listened to again", || server.listeners() == 1).await;
    assert_eq!(server.asked(), 2);
    until_offered(&rig, "b").await;
    assert_eq!(server.lists(), 2);
}

#[tokio::test]
async fn nobody_listens_with_the_tokens_of_callers() {
    let server = Growing::start(Speaks::Stateless, &["a"]).await;
    let auth = Auth::TokenPassthrough(AUTHORIZATION);
    let registry = MemoryRegistry::new([record(&server.url()).with_auth(auth)]).unwrap();
    let over = connections(ServerLimits::default());
    let layer = McpLayer::new(registry).with_connections(over);
    for token in ["one", "two"] {
        let model = Model::new([says("done"), says("done")]);
        for _ in 0..2 {
            let mut request = chat(auto(json!({})).to_string());
            request.extensions_mut().insert(Project::new("web"));
            let token = format!("Bearer {token}-token-of-a-caller");
            evidence::secret("caller's token", &token);
            request
                .headers_mut()
                .insert("x-mcp-auth-s", token.parse().unwrap());
            let answer = layer.layer(model.clone()).oneshot(request).await.unwrap();
            assert_eq!(answer.status(), 200);
        }
        assert_eq!(names(&model.asked()[1].json()), ["a", "grow"]);
    }
    assert_eq!(server.asked(), 0);
    assert_eq!(server.lists(), 2);
}
