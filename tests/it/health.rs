//! Servers that are down: noticed, left alone, and back by themselves.

use std::time::{Duration, SystemTime};

use mcp_layer::{
    CallToolError, CallToolRequest, CallerTokens, Connections, Inactive, McpLayer, Monitor,
    mcp::ServerLimits,
    registry::{
        Failure, MemoryRegistry, Observation, ObservationStore, ProjectGrant, Server, ServerStore,
        Stage,
    },
};
use serde_json::{json, value::RawValue};
use tokio::task::JoinHandle;

use crate::budgets::Log;
use crate::support::{
    gateway::{Gateway, auto, connections, connections_builder},
    mcp_server::{McpServer, Mode},
    model::{Model, says},
    shelf::{Shelf, tool},
};

fn arguments() -> Box<RawValue> {
    RawValue::from_string("{}".to_owned()).unwrap()
}

async fn call(connections: &Connections, server: &Server) -> Result<(), CallToolError> {
    let arguments = arguments();
    let called = connections
        .call(
            server,
            &CallerTokens::default(),
            CallToolRequest::new("a", &arguments),
        )
        .await;
    called.map(|_| ())
}

async fn lists(connections: &Connections, server: &Server) -> Result<(), Inactive> {
    let listed = connections.tools(server, &CallerTokens::default()).await;
    listed.map(|_| ())
}

async fn seen(registry: &MemoryRegistry, server: &Server) -> Observation {
    let seen = registry.observation("default", &server.id).await.unwrap();
    seen.unwrap_or_default()
}

/// A registry with this server, and its record.
async fn registered(shelf: &Shelf) -> (MemoryRegistry, Server) {
    let registry = MemoryRegistry::default();
    let server = Server::new("s", &shelf.url()).unwrap();
    let server = registry.insert(server).await.unwrap();
    (registry, (*server).clone())
}

#[tokio::test]
async fn one_failed_call_makes_no_server_inactive_and_three_do() {
    let mut shelf = Shelf::start(&[tool("a", "A")]).await;
    let (registry, server) = registered(&shelf).await;
    let connections = connections_builder(ServerLimits::default())
        .observations(registry.clone())
        .build();
    lists(&connections, &server).await.unwrap();
    shelf.goes_down().await;
    for _ in 0..2 {
        let error = call(&connections, &server).await.unwrap_err();
        assert!(matches!(error, CallToolError::Failed(_)), "{error}");
        assert_eq!(lists(&connections, &server).await, Ok(()));
        assert_eq!(seen(&registry, &server).await.failures, 0);
    }
    assert!(call(&connections, &server).await.is_err());
    let error = call(&connections, &server).await.unwrap_err();
    assert!(
        matches!(error, CallToolError::Inactive(Inactive::Unreachable { .. })),
        "{error}"
    );
    assert!(lists(&connections, &server).await.is_err());
    let failure = seen(&registry, &server).await.last_failure.unwrap();
    assert_eq!(failure.stage, Stage::Call);
}

#[test]
fn a_server_fails_since_the_first_failure_after_a_success() {
    let server = Server::new("s", "https://mcp.example/mcp").unwrap();
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let failure = |seconds| {
        let message = "the connection was refused".to_owned();
        Failure::new(
            Stage::Connect,
            Inactive::Unreachable { message },
            at(seconds),
        )
    };
    let mut seen = Observation::default();
    seen.failed(&server, failure(1));
    seen.failed(&server, failure(2));
    assert_eq!((seen.failures, seen.failing_since), (2, Some(at(1))));
    seen.listed(&server, &[], at(3));
    assert_eq!(seen.failing_since, None);
    seen.failed(&server, failure(4));
    assert_eq!(seen.failing_since, Some(at(4)));
}

#[tokio::test]
async fn a_call_that_gets_through_ends_a_row_of_failures() {
    let mut shelf = Shelf::start(&[tool("a", "A")]).await;
    let (registry, server) = registered(&shelf).await;
    let connections = connections_builder(ServerLimits::default())
        .observations(registry)
        .build();
    for _ in 0..3 {
        shelf.goes_down().await;
        for _ in 0..2 {
            assert!(call(&connections, &server).await.is_err());
        }
        shelf.comes_back().await;
        call(&connections, &server).await.unwrap();
    }
    lists(&connections, &server).await.unwrap();
}

#[tokio::test]
async fn a_dead_server_costs_other_servers_nothing() {
    let mut dead = Shelf::start(&[tool("a", "A")]).await;
    let other = Shelf::start(&[tool("a", "A")]).await;
    let connections = connections(ServerLimits::default());
    let record = |shelf: &Shelf| Server::new("s", &shelf.url()).unwrap();
    let (dead_record, other_record) = (record(&dead), record(&other));
    dead.goes_down().await;
    for _ in 0..10 {
        assert!(call(&connections, &dead_record).await.is_err());
        call(&connections, &other_record).await.unwrap();
    }
    assert_eq!(other.calls(), 10);
}

#[tokio::test]
async fn what_went_wrong_with_a_server_before_it_was_edited_says_nothing_about_it() {
    let mut shelf = Shelf::start(&[tool("a", "A")]).await;
    let (registry, server) = registered(&shelf).await;
    let connections = connections_builder(ServerLimits::default())
        .observations(registry.clone())
        .build();
    shelf.goes_down().await;
    assert!(connections.probe(&server).await.is_err());
    let known = seen(&registry, &server).await;
    let now = SystemTime::now();
    assert!(matches!(
        known.standing(&server, now),
        Err(Inactive::Unreachable { .. })
    ));
    let edited = registry.replace(server).await.unwrap();
    assert_eq!(known.standing(&edited, now), Ok(()));
}

/// A replica: a layer with connections and a monitor of its own over one registry.
struct Replica {
    gateway: Gateway,
    monitor: JoinHandle<()>,
}

impl Replica {
    async fn new(registry: &MemoryRegistry) -> Self {
        let connections = connections_builder(ServerLimits::default())
            .observations(registry.clone())
            .build();
        let monitor = Monitor::new(registry.clone(), connections.clone());
        let monitor = monitor.with_interval(Duration::from_secs(1));
        Self {
            gateway: Gateway {
                layer: McpLayer::new(registry.clone()).with_connections(connections),
                model: Model::new((0..1000).map(|_| says("hi"))),
                server: McpServer::start(Mode::Stateless).await,
                registry: registry.clone(),
            },
            monitor: tokio::spawn(monitor.run()),
        }
    }

    /// Waits until a request gets this status.
    async fn answers(&self, status: u16) {
        for _ in 0..600 {
            let reply = self.gateway.send(&auto(json!({}))).await;
            if reply.status == status {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never {status}");
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.monitor.abort();
    }
}

#[tokio::test]
async fn a_server_that_goes_and_comes_back_is_inactive_and_active_without_anyones_help() {
    let mut shelf = Shelf::start(&[tool("a", "A")]).await;
    let (registry, server) = registered(&shelf).await;
    let replicas = [Replica::new(&registry).await, Replica::new(&registry).await];
    for replica in &replicas {
        replica.answers(200).await;
    }
    shelf.goes_down().await;
    // One of the two probes, so one at least finds out; the store then says it to operators.
    let is_down = async || {
        let known = seen(&registry, &server).await;
        known.standing(&server, SystemTime::now()).is_err()
    };
    for _ in 0..600 {
        if is_down().await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(is_down().await);
    shelf.comes_back().await;
    for replica in &replicas {
        replica.answers(200).await;
    }
    for _ in 0..600 {
        if !is_down().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("still down");
}

#[tokio::test]
async fn of_several_monitors_one_probes() {
    let shelf = Shelf::start(&[tool("a", "A")]).await;
    let (registry, _) = registered(&shelf).await;
    let began = std::time::Instant::now();
    let _replicas = [
        Replica::new(&registry).await,
        Replica::new(&registry).await,
        Replica::new(&registry).await,
        Replica::new(&registry).await,
    ];
    while shelf.lists() < 5 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A claim lasts seven tenths of the interval, whoever has it.
    let most = began.elapsed().as_secs_f64() / 0.7 + 1.0;
    assert!(shelf.lists() as f64 <= most, "{} listings", shelf.lists());
}

#[tokio::test]
async fn a_grant_in_vain_is_logged_once_and_again_when_it_changes() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_env_filter("mcp_layer=warn");
    let subscriber = subscriber.with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    // With two subscribers nothing is decided for both by one of them.
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());

    let shelf = Shelf::start(&[tool("a", "A")]).await;
    let connections = connections(ServerLimits::default());
    let server = Server::new("s", &shelf.url()).unwrap();
    let granted = |tools: &[&str]| {
        let web = ProjectGrant::new("web").with_tools(tools.iter().copied());
        server.clone().with_grants([web.unwrap()]).unwrap()
    };
    let lines = || log.text().matches("a grant names a tool").count();
    for (tools, logged) in [
        (&["a", "aa"][..], 1),
        (&["a", "aa"], 1),
        (&["a", "ab"], 2),
        (&["a"], 2),
        (&["a", "ab"], 3),
    ] {
        connections.probe(&granted(tools)).await.unwrap();
        assert_eq!(lines(), logged, "{}", log.text());
    }
}
