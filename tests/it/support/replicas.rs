//! Two replicas over one database, and thousands of callers.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use mcp_layer::{
    Limits, McpLayer, Project, RequestBody,
    mcp::ServerLimits,
    registry::{CallLimit, CallLimits, ProjectGrant, Server, ServerStore, SqlRegistry},
};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};

use super::{
    gateway::{auto, chat, connections},
    mcp_server::{McpServer, Mode},
    model::{called, said},
    provider::{LIFE, Provider, call, connect},
    sql::find,
};

const CALLERS: usize = 1000;

/// Half of the callers come to each replica, and the token has expired: how many token requests
/// there are. Every call succeeds.
pub async fn token_requests(replicas: [SqlRegistry; 2]) -> usize {
    let provider = Provider::start().await;
    let authorizations = replicas
        .each_ref()
        .map(|replica| provider.authorizations(replica.clone()));
    let server = replicas[0].insert(provider.typed()).await.unwrap();
    connect(&provider, &authorizations[0], &server)
        .await
        .unwrap();
    let connections =
        authorizations.map(|authorizations| provider.connections(&authorizations).build());
    // Each has its session.
    for connections in &connections {
        call(connections, &server, "echo", "before").await.unwrap();
    }
    provider.clock.pass(LIFE);
    let arguments: Vec<String> = (0..CALLERS).map(|n| n.to_string()).collect();
    let calls = arguments.iter().enumerate().map(|(n, argument)| {
        let connections = &connections[n % 2];
        call(connections, &server, "echo", argument)
    });
    for (result, argument) in join_all(calls).await.into_iter().zip(&arguments) {
        assert_eq!(&result.unwrap(), argument);
    }
    println!(
        "expired: 2 replicas, {CALLERS} callers, {CALLERS} successes, {} token request",
        provider.refreshes()
    );
    assert_eq!(provider.reuses(), 0);
    provider.refreshes()
}

/// The limit of calls a day, the requests, and the calls that each of them makes at once.
const LIMIT: usize = 1000;
const REQUESTS: usize = 1250;
const CALLS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(200);

/// Requests of one project come to two replicas in turns, all at once, ten times as many calls as it
/// may make: how many are run, and how many are told that they are not.
pub async fn limited_calls(replicas: [SqlRegistry; 2]) -> (usize, usize) {
    let server = McpServer::start(Mode::Stateless).await;
    let limits = CallLimits::default().with(CallLimit::PerDay, LIMIT as u32);
    let grant = ProjectGrant::new("web").with_limits(limits.unwrap());
    let record = Server::new("s", &server.url()).unwrap();
    let record = record.with_grants([grant]).unwrap();
    replicas[0].insert(record).await.unwrap();
    // Until everybody has heard of it; what is found then stays in memory.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for replica in &replicas {
        assert!(find(replica, "s").await.is_some());
    }
    // A machine that does much else takes its time.
    let mut patient = Limits::default();
    (patient.resolve, patient.call) = (PATIENCE, PATIENCE);
    let services = replicas.map(|replica| {
        let layer = McpLayer::new(replica.clone())
            .with_connections(connections(ServerLimits::default()))
            .with_usage(replica)
            .with_limits(patient.clone())
            .without_exchanges();
        layer.layer(service_fn(model))
    });
    let body = Bytes::from(auto(json!({})).to_string());
    let requests = (0..REQUESTS).map(|number| {
        let service = services[number % 2].clone();
        let mut request = chat(body.clone());
        request.extensions_mut().insert(Project::new("web"));
        async move {
            let answer = service.oneshot(request).await.unwrap();
            let answer = answer.into_body().collect().await.unwrap().to_bytes();
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            let calls = answer["mcp"]["calls"].as_array();
            let calls = calls.unwrap_or_else(|| panic!("{answer}"));
            assert_eq!(calls.len(), CALLS);
            let limited = calls
                .iter()
                .filter(|call| call["limit"]["of"] == "calls_per_day");
            limited.count()
        }
    });
    let limited = join_all(requests).await.into_iter().sum();
    println!(
        "limited: 2 replicas, {} calls at once, a limit of {LIMIT}: {} ran, {limited} were told",
        REQUESTS * CALLS,
        server.calls()
    );
    (server.calls(), limited)
}

/// A model that calls a tool a few times, and is content with what it gets.
async fn model(
    request: Request<RequestBody<Full<Bytes>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let answer = match body["messages"].as_array().unwrap().len() {
        1 => called(&vec![("s__echo", json!({"text": "a"})); CALLS]),
        _ => said("done"),
    };
    Ok(Response::builder()
        .header("content-type", "application/json")
        .body(Full::from(answer.to_string()))
        .unwrap())
}
