//! A server says that its tools have changed, in whatever stream: the next request is offered the
//! tools as they are now.

use std::sync::atomic::Ordering::SeqCst;

use mcp_layer::{
    Connections, McpLayer,
    mcp::{ServerLimits, Transport},
    registry::{MemoryRegistry, ObservationStore, Server},
};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};

use crate::support::{
    gateway::{auto, chat, connections, connections_builder},
    growing::{Growing, Speaks},
    model::{Answer, Model, calls, says},
    until,
};

/// A layer over the server `s`.
pub struct Rig(McpLayer);

impl Rig {
    pub fn new(server: Server) -> Self {
        Self::over(server, connections(ServerLimits::default()))
    }

    pub fn over(server: Server, connections: Connections) -> Self {
        let registry = MemoryRegistry::new([server]).unwrap();
        Self(McpLayer::new(registry).with_connections(connections))
    }

    /// The bodies that the model got of one exchange.
    pub async fn exchange(&self, answers: impl IntoIterator<Item = Answer>) -> Vec<Value> {
        let model = Model::new(answers);
        let answer = self.0.layer(model.clone());
        let answer = answer.oneshot(chat(auto(json!({})).to_string()));
        assert_eq!(answer.await.unwrap().status(), 200);
        model.asked().iter().map(|asked| asked.json()).collect()
    }

    /// The tools that a request is offered, without the server's name.
    pub async fn offered(&self) -> Vec<String> {
        names(&self.exchange([says("done")]).await[0])
    }
}

pub fn names(body: &Value) -> Vec<String> {
    let tools = body["tools"].as_array().unwrap().iter();
    let name = |tool: &Value| tool["function"]["name"].as_str().unwrap().to_owned();
    let names = tools.map(name);
    names.map(|name| name.replace("s__", "")).collect()
}

pub fn record(url: &str) -> Server {
    Server::new("s", url).unwrap()
}

fn growing(name: &str) -> [Answer; 2] {
    [calls(&[("s__grow", json!({"name": name}))]), says("done")]
}

#[tokio::test]
async fn a_change_that_is_told_with_an_answer_counts_at_the_next_request_and_not_before() {
    for speaks in [Speaks::Sessions, Speaks::Batches, Speaks::Stateless] {
        let server = Growing::start(speaks, &["a"]).await;
        server.state.has_stream.store(false, SeqCst);
        let rig = Rig::new(record(&server.url()));
        let asked = rig.exchange(growing("b")).await;
        assert_eq!(asked[0]["tools"], asked[1]["tools"], "{speaks:?}");
        assert_eq!(names(&asked[0]), ["a", "grow"], "{speaks:?}");
        assert_eq!(server.lists(), 1, "{speaks:?}: nobody has asked since");
        assert_eq!(rig.offered().await, ["a", "b", "grow"], "{speaks:?}");
        assert_eq!(rig.offered().await, ["a", "b", "grow"], "{speaks:?}");
        assert_eq!(server.lists(), 2, "{speaks:?}");
    }
}

#[tokio::test]
async fn a_change_that_is_told_on_the_shared_stream_of_an_old_server_counts() {
    let server = Growing::start(Speaks::Sessions, &["a"]).await;
    let rig = Rig::new(record(&server.sse_url()).with_transport(Transport::Sse));
    rig.exchange(growing("b")).await;
    assert_eq!(rig.offered().await, ["a", "b", "grow"]);
    assert_eq!(server.lists(), 2);
}

#[tokio::test]
async fn a_server_that_tells_changes_without_end_is_listed_once_in_a_while() {
    let server = Growing::start(Speaks::Stateless, &["a"]).await;
    let rig = Rig::new(record(&server.url()));
    rig.offered().await;
    until("it is listened to", || server.listeners() == 1).await;
    for round in 0..20 {
        for _ in 0..100 {
            server.tell();
        }
        rig.exchange(growing(&format!("t{round}"))).await;
    }
    assert!(server.lists() <= 3, "{}", server.lists());
}

#[tokio::test]
async fn all_who_come_after_a_change_wait_for_one_listing() {
    let server = Growing::start(Speaks::Sessions, &["a"]).await;
    let rig = Rig::new(record(&server.url()));
    rig.exchange(growing("b")).await;
    let offered = futures_util::future::join_all((0..10).map(|_| rig.offered()));
    for offered in offered.await {
        assert_eq!(offered, ["a", "b", "grow"]);
    }
    assert_eq!(server.lists(), 2);
}

#[tokio::test]
async fn a_list_that_cannot_be_had_anew_stays_as_it_was() {
    let server = Growing::start(Speaks::Sessions, &["a"]).await;
    let rig = Rig::new(record(&server.url()));
    rig.exchange(growing("b")).await;
    server.state.fails.store(true, SeqCst);
    for _ in 0..3 {
        assert_eq!(rig.offered().await, ["a", "grow"]);
    }
    // The second within a pause after the first.
    assert!(server.lists() <= 4, "{}", server.lists());
}

#[tokio::test]
async fn a_change_is_seen_by_the_store_as_after_a_refresh() {
    let server = Growing::start(Speaks::Sessions, &["a"]).await;
    let record = record(&server.url());
    let store = MemoryRegistry::new([record.clone()]).unwrap();
    let connections = connections_builder(ServerLimits::default());
    let rig = Rig::over(
        record.clone(),
        connections.observations(store.clone()).build(),
    );
    rig.exchange(growing("b")).await;
    rig.offered().await;
    let seen = store.observation("default", &record.id).await.unwrap();
    let seen = seen.unwrap();
    assert!(seen.listed.contains_key("b") && seen.pins.unwrap().of("b").is_some());
}
