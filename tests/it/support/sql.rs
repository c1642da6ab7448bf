//! Databases, as registries and as whoever gets at their tables sees them.

use std::sync::Arc;

use super::evidence;
use mcp_layer::registry::{Auth, Server, ServerRegistry, SqlRegistry};
use mcp_layer::secret::KeyRing;
use mcp_layer::{Project, ServerName};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor};

/// A registry over the database of this URL.
pub async fn open(url: &str, ring: &KeyRing) -> SqlRegistry {
    evidence::watch();
    SqlRegistry::open(url, ring.clone()).await.unwrap()
}

/// A server with a secret of its own.
pub fn server(name: &str) -> Server {
    let secret = format!("s3cret-of-{name}");
    // One of the thousands that some tests make is enough to look for.
    if name == "a" {
        evidence::secret("stored header", &secret);
    }
    let auth = Auth::static_headers([("x-key", secret)]).unwrap();
    Server::new(name, "https://mcp.example.com/mcp")
        .unwrap()
        .with_auth(auth)
}

pub fn name(name: &str) -> ServerName {
    name.parse().unwrap()
}

/// The server of this name of the default project.
pub async fn find(registry: &impl ServerRegistry, wanted: &str) -> Option<Arc<Server>> {
    let found = registry.find(&Project::default(), &[name(wanted)]).await;
    found.unwrap().pop()
}

/// Whoever can write to the database, and has no keys.
pub async fn intruder(url: &str) -> AnyConnection {
    AnyConnection::connect(url).await.unwrap()
}

/// Statements of a test; the rows that they changed.
pub async fn run(connection: &mut AnyConnection, statements: &str) -> u64 {
    let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
    connection
        .execute(statements)
        .await
        .unwrap()
        .rows_affected()
}

/// Everything that an error can show.
pub fn shown(error: &dyn std::error::Error) -> String {
    super::everything(error)
}
