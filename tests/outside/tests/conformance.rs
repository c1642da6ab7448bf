//! Stores of strangers keep every promise of the traits, by themselves and behind `Arc<dyn …>`.

use std::sync::Arc;

use mcp_layer::{
    Connections, McpLayer, Monitor,
    guard::{GuardRule, ToolGuard},
    outbound::{EgressRules, Outbound},
    registry::{
        ApiKeyStore, AuditStore, CredentialStore, Error, ExchangeStore, ModelStore,
        OperatorSessionStore, Server, ServerRegistry, ServerStore, Store, TraceStore, conformance,
        overview::{OverviewSink, OverviewStore},
        usage::UsageStore,
    },
};
use mcp_layer_outside::{
    Audit, Credentials, Exchanges, Keys, Models, OperatorSessions, Overview, Servers, Traces,
    Usage, Word,
};

async fn holding(servers: Vec<Server>) -> Result<Servers, Error> {
    let store = Servers::default();
    for server in servers {
        store.insert(server).await?;
    }
    Ok(store)
}

#[tokio::test]
async fn servers_are_found_as_a_registry_promises() {
    let make = async |servers| holding(servers).await.expect("no conflict");
    conformance::reading::all(make).await;
    let make = async |servers| Arc::new(make(servers).await) as Arc<dyn ServerRegistry>;
    conformance::reading::all(make).await;
}

#[tokio::test]
async fn servers_are_kept_as_a_store_promises() {
    conformance::stores::all(async || Servers::default()).await;
    conformance::stores::all(async || Arc::new(Servers::default()) as Arc<dyn Store>).await;
}

#[tokio::test]
async fn what_is_known_of_servers_is_kept_as_a_store_promises() {
    conformance::observations::all(async || Servers::default()).await;
    conformance::observations::all(async || Arc::new(Servers::default()) as Arc<dyn Store>).await;
}

#[tokio::test]
async fn credentials_are_kept_as_a_store_promises() {
    conformance::credentials::all(async || Credentials::default()).await;
    let make = async || Arc::new(Credentials::default()) as Arc<dyn CredentialStore>;
    conformance::credentials::all(make).await;
}

#[tokio::test]
async fn exchanges_are_kept_as_a_store_promises() {
    conformance::exchanges::all(async || Exchanges::default()).await;
    let make = async || Arc::new(Exchanges::default()) as Arc<dyn ExchangeStore>;
    conformance::exchanges::all(make).await;
}

#[tokio::test]
async fn what_operators_did_is_kept_as_a_store_promises() {
    conformance::audit::all(async || Audit::default()).await;
    conformance::audit::all(async || Arc::new(Audit::default()) as Arc<dyn AuditStore>).await;
}

#[tokio::test]
async fn sessions_of_operators_are_kept_as_a_store_promises() {
    conformance::operator_sessions::all(async || OperatorSessions::default()).await;
    let make = async || Arc::new(OperatorSessions::default()) as Arc<dyn OperatorSessionStore>;
    conformance::operator_sessions::all(make).await;
}

#[tokio::test]
async fn records_of_exchanges_are_kept_as_a_store_promises() {
    conformance::traces::all(async || Traces::default()).await;
    conformance::traces::all(async || Arc::new(Traces::default()) as Arc<dyn TraceStore>).await;
}

#[tokio::test]
async fn aliases_and_defaults_are_kept_as_a_store_promises() {
    conformance::models::all(async || Models::default()).await;
    conformance::models::all(async || Arc::new(Models::default()) as Arc<dyn ModelStore>).await;
}

#[tokio::test]
async fn callers_keys_are_kept_as_a_store_promises() {
    conformance::api_keys::all(async || Keys::default()).await;
    conformance::api_keys::all(async || Arc::new(Keys::default()) as Arc<dyn ApiKeyStore>).await;
}

#[tokio::test]
async fn what_is_used_is_counted_as_a_store_promises() {
    conformance::usage::all(async || Usage::default()).await;
    conformance::usage::all(async || Arc::new(Usage::default()) as Arc<dyn UsageStore>).await;
}

#[tokio::test]
async fn figures_are_kept_as_a_store_promises() {
    conformance::overview::all(async || Overview::default()).await;
    conformance::overview::all(async || Arc::new(Overview::default()) as Arc<dyn OverviewStore>)
        .await;
    // The layer takes a sink over it.
    let _layer =
        McpLayer::new(Servers::default()).add_trace_sink(OverviewSink::new(Overview::default()));
}

#[test]
fn the_layer_takes_them_in_whatever_pointer() -> Result<(), mcp_layer::outbound::Error> {
    let store = Arc::new(Servers::default());
    let any: Arc<dyn Store> = store.clone();
    let outbound = Outbound::new(EgressRules::default());
    let connections = Connections::builder(outbound)
        .observations(any.clone())
        .build();
    let _monitor = Monitor::new(any.clone(), connections);
    let traces: Arc<dyn TraceStore> = Arc::new(Traces::default());
    let exchanges: Arc<dyn ExchangeStore> = Arc::new(Exchanges::default());
    let guard: Arc<dyn ToolGuard> = Arc::new(Word("secret"));
    let _layers = [
        McpLayer::new(Servers::default()).with_exchanges(Exchanges::default()),
        McpLayer::new(Servers::default()).with_guards([GuardRule::new("word", guard)]),
        McpLayer::new(store).with_exchanges(exchanges),
        McpLayer::new(any as Arc<dyn ServerRegistry>)
            .add_trace_sink(traces)
            .with_models(Models::default())
            .with_usage(Usage::default()),
    ];
    Ok(())
}
