//! One truth about the status of a server: what callers are refused for is green nowhere.

use std::time::SystemTime;

use http::StatusCode;
use mcp_layer::{
    Connections, McpLayer,
    admin::Metrics,
    mcp::ServerLimits,
    registry::{MemoryRegistry, Observation, Server, ServerStore},
};
use serde_json::{Value, json};

use super::support::{
    admin::Operator,
    gateway::{Gateway, auto, connections_builder},
    mcp_server::{McpServer, Mode},
    model::{Model, calls, says},
    pages::Pages,
    shelf::{Shelf, tool},
};

const SERVER: &str = "/api/v1/servers/s";

/// A replica: callers and operators of the same connections.
struct Replica {
    gateway: Gateway,
    operator: Operator,
}

impl Replica {
    async fn new(registry: &MemoryRegistry) -> Self {
        let connections = connections_builder(ServerLimits::default())
            .observations(registry.clone())
            .build();
        Self::over(registry, connections).await
    }

    async fn over(registry: &MemoryRegistry, connections: Connections) -> Self {
        Self {
            gateway: Gateway {
                layer: McpLayer::new(registry.clone()).with_connections(connections.clone()),
                model: Model::new([]),
                server: McpServer::start(Mode::Stateless).await,
                registry: registry.clone(),
            },
            operator: Operator::over(connections, registry.clone(), |admin| {
                admin.with_metrics(Metrics::default())
            }),
        }
    }

    /// Has the model say `hi` to a request; the status and the message of what the caller gets.
    async fn asks(&self) -> (StatusCode, String) {
        self.gateway.model.clear();
        self.gateway.model.add([says("hi")]);
        let reply = self.gateway.send(&auto(json!({}))).await;
        let message = reply.json()["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (reply.status, message)
    }

    /// Has the model call the tool of the server in `rounds` rounds.
    async fn runs(&self, rounds: usize) {
        self.gateway.model.clear();
        let calls = (0..rounds).map(|_| calls(&[("s__a", json!({}))]));
        self.gateway.model.add(calls.chain([says("sorry")]));
        let reply = self.gateway.send(&auto(json!({}))).await;
        assert_eq!(reply.status, 200);
    }

    /// What operators see: REST, the page of the server, and the metrics have to say the same.
    async fn is_active(&self) -> bool {
        let read = self.operator.get(SERVER).await;
        let is_active = read["status"] == "active";
        let listed = self.operator.get("/api/v1/servers").await;
        assert_eq!(listed["servers"][0]["status"], read["status"]);
        let pages = Pages::signed_in(self.operator.clone()).await;
        for page in ["/servers", "/servers/s"] {
            let page = pages.get(page).await;
            let html = page.html(200);
            assert_eq!(html.contains("</span>Inactive<"), !is_active, "{html}");
            assert_eq!(html.contains("Unreachable: "), !is_active, "{html}");
        }
        let scrape = self.operator.ask("GET", "/metrics", None).await.text;
        let line = match is_active {
            true => r#"mcp_layer_servers{status="active",reason=""} 1"#,
            false => r#"mcp_layer_servers{status="inactive",reason="unreachable"} 1"#,
        };
        assert!(scrape.lines().any(|l| l == line), "{line} in {scrape}");
        if !is_active {
            assert_eq!(read["status_reason"], "unreachable");
            assert!(read["last_failure"]["message"].is_string(), "{read}");
        }
        is_active
    }

    /// An operator asks the server anew, as the monitor does.
    async fn looks(&self) {
        self.operator
            .post(&format!("{SERVER}/refresh"), &Value::Null)
            .await;
    }
}

async fn registered(shelf: &Shelf) -> (MemoryRegistry, Server) {
    let registry = MemoryRegistry::default();
    let server = Server::new("s", &shelf.url()).unwrap();
    let server = registry.insert(server).await.unwrap();
    (registry, (*server).clone())
}

fn is_refusal((status, message): &(StatusCode, String)) -> bool {
    assert!(*status == 200 || message.starts_with("the server s is inactive: it is unreachable"));
    *status == 400
}

#[tokio::test]
async fn a_server_that_dies_is_inactive_for_operators_once_a_caller_is_refused() {
    let mut shelf = Shelf::start(&[tool("a", "A")]).await;
    let (registry, _) = registered(&shelf).await;
    let replicas = [Replica::new(&registry).await, Replica::new(&registry).await];
    for replica in &replicas {
        assert_eq!(replica.asks().await.0, 200);
        assert!(replica.is_active().await);
    }
    shelf.goes_down().await;
    replicas[0].runs(2).await;
    assert!(!is_refusal(&replicas[0].asks().await));
    assert!(replicas[0].is_active().await, "two calls are bad luck");
    replicas[0].runs(1).await;
    assert!(is_refusal(&replicas[0].asks().await));
    for replica in &replicas {
        assert!(!replica.is_active().await);
    }

    shelf.comes_back().await;
    replicas[0].looks().await;
    for replica in &replicas {
        assert_eq!(replica.asks().await.0, 200);
        assert!(replica.is_active().await);
    }
}

#[tokio::test]
async fn a_list_of_an_earlier_process_makes_no_dead_server_green() {
    let mut shelf = Shelf::start(&[tool("a", "A")]).await;
    let (registry, _) = registered(&shelf).await;
    assert_eq!(Replica::new(&registry).await.asks().await.0, 200);
    shelf.goes_down().await;
    let restarted = Replica::new(&registry).await;
    assert!(restarted.is_active().await, "nobody has met the outage yet");
    assert!(is_refusal(&restarted.asks().await));
    assert!(!restarted.is_active().await);
}

#[tokio::test]
async fn an_edited_server_stays_inactive_while_its_callers_are_refused() {
    let mut shelf = Shelf::start(&[tool("a", "A")]).await;
    let (registry, server) = registered(&shelf).await;
    let replica = Replica::new(&registry).await;
    shelf.goes_down().await;
    assert!(is_refusal(&replica.asks().await));
    let mut edited = server;
    edited.description = Some("another".to_owned());
    registry.replace(edited).await.unwrap();
    assert!(is_refusal(&replica.asks().await));
    assert!(!replica.is_active().await);
    shelf.comes_back().await;
    replica.looks().await;
    assert!(!is_refusal(&replica.asks().await));
    assert!(replica.is_active().await);
}

#[tokio::test]
async fn a_failed_look_at_a_server_with_tools_refuses_nobody_and_says_so() {
    let mut shelf = Shelf::start(&[tool("a", "A")]).await;
    let (registry, _) = registered(&shelf).await;
    let replica = Replica::new(&registry).await;
    assert_eq!(replica.asks().await.0, 200);
    shelf.goes_down().await;
    for is_refused in [false, false, true] {
        replica.looks().await;
        assert_eq!(is_refusal(&replica.asks().await), is_refused);
        assert_eq!(replica.is_active().await, !is_refused);
    }
}

#[test]
fn a_failure_for_which_callers_are_refused_counts_at_once() {
    let server = Server::new("s", "https://mcp.example/mcp").unwrap();
    let now = SystemTime::now();
    let mut seen = Observation::default();
    seen.listed(&server, &[], now);
    let reason = mcp_layer::Inactive::Unreachable {
        message: "no connection".to_owned(),
    };
    let stage = mcp_layer::registry::Stage::Connect;
    let failure = mcp_layer::registry::Failure::new(stage, reason.clone(), now);
    seen.refused(&server, failure);
    assert_eq!(seen.standing(&server, now), Err(reason));
    assert_eq!(seen.failing_since, Some(now));
}
