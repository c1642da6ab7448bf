//! Secrets go in and do not come out, and a store that fails says no more than that.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mcp_layer::mcp::ServerLimits;
use mcp_layer::registry::overview::{Breakdown, Figures, Grain, OverviewSpan, OverviewStore, Sums};
use mcp_layer::registry::{
    ApiKey, ApiKeyId, ApiKeyStore, ApiKeys, AuditEntry, AuditFilter, AuditListing, AuditPage,
    AuditStore, BoxFuture, Error, Filter, Listing, MemoryRegistry, ModelRegistry, ModelRules,
    ModelStore, Observation, ObservationStore, OperatorSession, OperatorSessionStore, Page, Server,
    ServerId, ServerRegistry, ServerStore, TraceFilter, TraceListing, TracePage, TraceStore,
};
use mcp_layer::trace::{Trace, TraceId, TraceSink};
use mcp_layer::{McpLayer, Project, ServerName, admin::Metrics};
use serde_json::json;

use super::support::admin::Operator;
use super::support::evidence;
use super::support::gateway::{connections, with_mcp};

const SERVERS: &str = "/api/v1/servers";

#[tokio::test]
async fn no_answer_has_a_secret_in_it() {
    const HEADER: &str = "canary-header-4c1d";
    const CLIENT: &str = "canary-client-9e2b";
    evidence::secret("entered header", HEADER);
    evidence::secret("entered client secret", CLIENT);
    let operator = Operator::memory();
    let mut seen = String::new();
    let servers = [
        json!({"name": "a", "url": "https://mcp.example.com/mcp", "auth": {
            "type": "static_headers", "headers": [{"name": "x-key", "value": HEADER}]}}),
        json!({"name": "b", "url": "https://mcp.example.com/mcp", "auth": {
            "type": "oauth2", "client_id": "id", "client_secret": CLIENT, "issuer": "https://as.example"}}),
        // In places where they do not belong, and in faults beside them.
        json!({"name": "c", "url": "https://mcp.example.com/mcp", "auth": {
            "type": "static_headers", "headers": [{"name": "x-key", "value": format!("{HEADER}\n")}]}}),
        json!({"name": "c", "url": "https://mcp.example.com/mcp", "auth": {
            "type": "static_headers", "headers": [{"name": "host", "value": HEADER}]}}),
        json!({"name": "c", "url": "https://mcp.example.com/mcp", "auth": {
            "type": "static_headers", "headers": [HEADER]}}),
        json!({"name": "c", "url": "https://mcp.example.com/mcp", "auth": {
            "type": "static_headers", "headers": [{"name": format!("x {HEADER}"), "value": HEADER}]}}),
        json!({"name": HEADER.to_uppercase(), "url": CLIENT, "auth": CLIENT}),
        json!({"name": "c", "url": CLIENT}),
        json!({"name": "c", "url": format!("https://u:{CLIENT}@mcp.example.com/")}),
        json!({"name": "c", "url": "https://mcp.example.com/mcp", "transport": CLIENT}),
        json!({"name": "c", "url": "https://mcp.example.com/mcp", "auth": {
            "type": "oauth2", "client_secret": CLIENT}}),
        json!({"name": "c", "url": "https://mcp.example.com/mcp", "auth": {"type": CLIENT}}),
    ];
    for server in servers {
        seen += &operator.post(SERVERS, &server).await.text;
    }
    for path in [
        "/api/v1/servers",
        "/api/v1/servers/a",
        "/api/v1/servers/b",
        "/api/v1/servers/a/tools",
        "/api/v1/projects",
        "/api/v1/keys",
    ] {
        seen += &operator.ask("GET", path, None).await.text;
    }
    for name in ["a", "b"] {
        let path = format!("{SERVERS}/{name}");
        let mut read = operator.get(&path).await;
        read["display_name"] = json!("changed");
        seen += &operator.put(&path, &read).await.text;
        seen += &operator.put(&path, &read).await.text;
        seen += &operator.ask("DELETE", &path, None).await.text;
    }
    let seen = seen.to_lowercase();
    assert!(seen.contains("\"set\":true"));
    assert!(!seen.contains(HEADER) && !seen.contains(CLIENT), "{seen}");
}

/// A store whose disk is full: it reads, and does not write.
#[derive(Clone)]
struct Full(MemoryRegistry);

/// A store that is not there at all.
struct Gone;

fn fault<'a, T: Send + 'a>() -> BoxFuture<'a, Result<T, Error>> {
    Box::pin(async { Err(Error::unavailable("postgres://user:s3cret@db/ is full")) })
}

impl ServerRegistry for Full {
    fn find<'a>(
        &'a self,
        project: &'a Project,
        names: &'a [ServerName],
    ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>> {
        self.0.find(project, names)
    }
}

impl ServerStore for Full {
    fn list<'a>(
        &'a self,
        organization: &'a str,
        filter: &'a Filter,
        page: &'a Page,
    ) -> BoxFuture<'a, Result<Listing, Error>> {
        self.0.list(organization, filter, page)
    }

    fn get<'a>(
        &'a self,
        organization: &'a str,
        name: &'a ServerName,
    ) -> BoxFuture<'a, Result<Arc<Server>, Error>> {
        self.0.get(organization, name)
    }

    fn insert(&self, _: Server) -> BoxFuture<'_, Result<Arc<Server>, Error>> {
        fault()
    }

    fn replace(&self, _: Server) -> BoxFuture<'_, Result<Arc<Server>, Error>> {
        fault()
    }

    fn remove<'a>(&'a self, _: &'a str, _: &'a ServerName) -> BoxFuture<'a, Result<(), Error>> {
        fault()
    }
}

impl ObservationStore for Full {
    fn observation<'a>(
        &'a self,
        organization: &'a str,
        server: &'a ServerId,
    ) -> BoxFuture<'a, Result<Option<Observation>, Error>> {
        self.0.observation(organization, server)
    }

    fn observations<'a>(
        &'a self,
        organization: &'a str,
        servers: &'a [ServerId],
    ) -> BoxFuture<'a, Result<Vec<Option<Observation>>, Error>> {
        self.0.observations(organization, servers)
    }

    fn observe<'a>(
        &'a self,
        _: &'a str,
        _: &'a ServerId,
        _: &'a Observation,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        fault()
    }

    fn claim_probes<'a>(
        &'a self,
        _: &'a str,
        _: &'a [ServerId],
        _: Duration,
    ) -> BoxFuture<'a, Result<Vec<bool>, Error>> {
        fault()
    }
}

impl ServerRegistry for Gone {
    fn find<'a>(
        &'a self,
        _: &'a Project,
        _: &'a [ServerName],
    ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>> {
        fault()
    }
}

impl ServerStore for Gone {
    fn list<'a>(
        &'a self,
        _: &'a str,
        _: &'a Filter,
        _: &'a Page,
    ) -> BoxFuture<'a, Result<Listing, Error>> {
        fault()
    }

    fn get<'a>(
        &'a self,
        _: &'a str,
        _: &'a ServerName,
    ) -> BoxFuture<'a, Result<Arc<Server>, Error>> {
        fault()
    }

    fn insert(&self, _: Server) -> BoxFuture<'_, Result<Arc<Server>, Error>> {
        fault()
    }

    fn replace(&self, _: Server) -> BoxFuture<'_, Result<Arc<Server>, Error>> {
        fault()
    }

    fn remove<'a>(&'a self, _: &'a str, _: &'a ServerName) -> BoxFuture<'a, Result<(), Error>> {
        fault()
    }
}

impl ModelRegistry for Gone {
    fn rules(&self, _: &str) -> Arc<ModelRules> {
        Arc::default()
    }
}

impl ModelStore for Gone {
    fn load_rules<'a>(
        &'a self,
        _: &'a str,
    ) -> BoxFuture<'a, Result<(Arc<ModelRules>, u64), Error>> {
        fault()
    }

    fn replace_rules<'a>(
        &'a self,
        _: &'a str,
        _: ModelRules,
        _: u64,
    ) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        fault()
    }
}

impl AuditStore for Gone {
    fn append_audit<'a>(&'a self, _: &'a AuditEntry) -> BoxFuture<'a, Result<(), Error>> {
        fault()
    }

    fn list_audit<'a>(
        &'a self,
        _: &'a str,
        _: &'a AuditFilter,
        _: &'a AuditPage,
    ) -> BoxFuture<'a, Result<AuditListing, Error>> {
        fault()
    }
}

impl OperatorSessionStore for Gone {
    fn begin_session<'a>(&'a self, _: &'a OperatorSession) -> BoxFuture<'a, Result<(), Error>> {
        fault()
    }

    fn session<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<OperatorSession>, Error>> {
        fault()
    }

    fn sessions<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<OperatorSession>, Error>> {
        fault()
    }

    fn replace_session<'a>(&'a self, _: &'a OperatorSession) -> BoxFuture<'a, Result<bool, Error>> {
        fault()
    }

    fn end_session<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        fault()
    }
}

impl ApiKeyStore for Gone {
    fn api_keys(&self) -> Result<Arc<ApiKeys>, Error> {
        Err(Error::unavailable("postgres://user:s3cret@db/ is full"))
    }

    fn list_api_keys<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<ApiKey>, Error>> {
        fault()
    }

    fn insert_api_key(&self, _: ApiKey) -> BoxFuture<'_, Result<bool, Error>> {
        fault()
    }

    fn revoke_api_key<'a>(
        &'a self,
        _: &'a str,
        _: &'a ApiKeyId,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        fault()
    }

    fn note_api_key_uses<'a>(
        &'a self,
        _: &'a [(ApiKeyId, SystemTime)],
    ) -> BoxFuture<'a, Result<(), Error>> {
        fault()
    }
}

impl OverviewStore for Gone {
    fn put<'a>(&'a self, _: &'a [Sums]) -> BoxFuture<'a, Result<(), Error>> {
        fault()
    }

    fn figures<'a>(
        &'a self,
        _: OverviewSpan<'a>,
    ) -> BoxFuture<'a, Result<Vec<(SystemTime, Figures)>, Error>> {
        fault()
    }

    fn breakdown<'a>(&'a self, _: OverviewSpan<'a>) -> BoxFuture<'a, Result<Breakdown, Error>> {
        fault()
    }

    fn remove_before(&self, _: Grain, _: SystemTime) -> BoxFuture<'_, Result<(), Error>> {
        fault()
    }
}

impl TraceSink for Gone {
    fn record(&self, _: &Arc<Trace>) {}
}

impl TraceStore for Gone {
    fn list<'a>(
        &'a self,
        _: &'a str,
        _: &'a TraceFilter,
        _: &'a TracePage,
    ) -> BoxFuture<'a, Result<TraceListing, Error>> {
        fault()
    }

    fn get<'a>(
        &'a self,
        _: &'a str,
        _: TraceId,
    ) -> BoxFuture<'a, Result<Option<Arc<Trace>>, Error>> {
        fault()
    }
}

impl ObservationStore for Gone {
    fn observation<'a>(
        &'a self,
        _: &'a str,
        _: &'a ServerId,
    ) -> BoxFuture<'a, Result<Option<Observation>, Error>> {
        fault()
    }

    fn observations<'a>(
        &'a self,
        _: &'a str,
        _: &'a [ServerId],
    ) -> BoxFuture<'a, Result<Vec<Option<Observation>>, Error>> {
        fault()
    }

    fn observe<'a>(
        &'a self,
        _: &'a str,
        _: &'a ServerId,
        _: &'a Observation,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        fault()
    }

    fn claim_probes<'a>(
        &'a self,
        _: &'a str,
        _: &'a [ServerId],
        _: Duration,
    ) -> BoxFuture<'a, Result<Vec<bool>, Error>> {
        fault()
    }
}

#[tokio::test]
async fn a_disk_that_is_full_stops_writing_and_nothing_else() {
    let server = Server::new("a", "https://mcp.example.com/mcp").unwrap();
    let operator = Operator::new(Full(MemoryRegistry::new([server]).unwrap()));
    let read = operator.get("/api/v1/servers/a").await;
    let body = read.to_string();
    for (method, path, body) in [
        ("POST", SERVERS, Some(body.replace("\"a\"", "\"b\""))),
        ("PUT", "/api/v1/servers/a", Some(body.clone())),
        ("DELETE", "/api/v1/servers/a", None),
    ] {
        let answer = operator.ask(method, path, body.as_deref()).await;
        assert_eq!(answer.error(500).0, "mcp_registry_error", "{method}");
        assert!(!answer.text.contains("s3cret"), "{}", answer.text);
    }
    assert_eq!(operator.get("/api/v1/servers/a").await, read);
}

#[tokio::test]
async fn a_store_that_is_not_there_is_the_registrys_fault_on_every_route() {
    let operator = Operator::with(Gone, |admin| {
        let layer = McpLayer::new(Gone).with_connections(connections(ServerLimits::default()));
        let admin = admin.with_traces(Gone).with_models(Gone);
        let admin = admin.with_audit(Gone).with_operator_sessions(Gone);
        let admin = admin.with_api_keys(Gone).with_overview(Gone);
        let admin = admin.with_tool_caller(layer.tool_caller());
        admin.with_explainer(layer.explainer())
    });
    let server = json!({
        "name": "a", "url": "https://mcp.example.com/mcp",
        "version": 1, "projects": "all", "tools": "all",
    });
    let file = json!({"mcpServers": {"a": {"url": "https://mcp.example.com/mcp"}}}).to_string();
    let server = server.to_string();
    let chat = with_mcp(json!({"enabled": true, "servers": ["a"]}), json!({})).to_string();
    for (method, path) in mcp_layer::admin::routes() {
        // Neither keys and words of our own nor a browser's first steps need the store.
        let ours = ["/api/v1/keys", "/api/v1/operators", "/api/v1/openapi.json"];
        if ours.contains(&path) || !path.starts_with("/api/") {
            continue;
        }
        let body = match (method.as_str(), path) {
            ("PUT", "/api/v1/projects/{project}") => Some(r#"{"tokens_per_day": 1}"#),
            ("POST", SERVERS) | ("PUT" | "PATCH", _) => Some(&*server),
            ("POST", "/api/v1/servers/import") => Some(&*file),
            ("POST", "/api/v1/api-keys") => Some(r#"{"name": "ci", "project": "web"}"#),
            ("POST", "/api/v1/servers/{name}/tools/{tool}/call") => Some("{}"),
            ("POST", "/api/v1/explain") => Some(&*chat),
            _ => None,
        };
        let path = path.replace("{name}", "a").replace("{id}", &"0".repeat(32));
        let path = path.replace("{project}", "web");
        let answer = operator.ask(method.as_str(), &path, body).await;
        assert_eq!(answer.error(500).0, "mcp_registry_error", "{method} {path}");
        assert!(!answer.text.contains("s3cret"), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_store_that_is_not_there_takes_nothing_from_what_was_counted() {
    let operator = Operator::with(Gone, |admin| admin.with_metrics(Metrics::default()));
    let answer = operator.ask("GET", "/metrics", None).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(
        answer.text.contains("mcp_layer_registry_up 0"),
        "{}",
        answer.text
    );
    assert!(
        answer.text.contains("mcp_layer_rounds_total 0"),
        "{}",
        answer.text
    );
    assert!(
        !answer.text.contains("mcp_layer_servers"),
        "{}",
        answer.text
    );
}
