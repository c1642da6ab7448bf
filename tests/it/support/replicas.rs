//! Two replicas over one database, and a thousand callers.

use futures_util::future::join_all;
use mcp_layer::registry::{ServerStore, SqlRegistry};

use super::provider::{LIFE, Provider, call, connect};

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
