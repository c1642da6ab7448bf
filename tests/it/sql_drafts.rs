//! Drafts that nobody went on with for a day are gone, with all that belongs to them.

use std::time::{Duration, SystemTime};

use mcp_layer::registry::{
    CredentialKey, CredentialStore, Error, Expected, Filter, Observation, ObservationStore, Page,
    Server, ServerStore, SqlRegistry, StateHash,
};
use mcp_layer::secret::KeyRing;
use sqlx::{AnyConnection, Row};

use crate::support::directory::Directory;
use crate::support::sql::{find, intruder, name, open, run, server};

fn draft(name: &str) -> Server {
    let mut draft = server(name);
    draft.draft = true;
    draft
}

/// A draft with everything that can belong to a server.
async fn whole(registry: &SqlRegistry, name: &str) -> CredentialKey {
    let key = CredentialKey::of(&registry.insert(draft(name)).await.unwrap());
    let swapped = registry.swap(&key, Expected::Nothing, Some("token".into()));
    assert!(swapped.await.unwrap());
    let expires_at = SystemTime::now() + Duration::from_secs(600);
    let state = StateHash::of(&name.into());
    let put = registry.put_state(&key, state, expires_at, "pending".into());
    put.await.unwrap();
    let leased = registry.lease(&key, Duration::from_secs(600)).await;
    assert!(leased.unwrap().is_some());
    let seen = Observation::default();
    let observed = registry.observe("default", &key.server, &seen).await;
    assert!(observed.unwrap());
    let servers = [key.server.clone()];
    let claimed = registry.claim_probes("default", &servers, Duration::from_secs(600));
    assert_eq!(claimed.await.unwrap(), [true]);
    key
}

async fn age(connection: &mut AnyConnection, hours: i64) {
    let hours = hours * 60 * 60 * 1000;
    run(
        connection,
        &format!("UPDATE mcp_servers SET updated_at = updated_at - {hours}"),
    )
    .await;
}

/// How many rows of all tables are of servers.
async fn rows(connection: &mut AnyConnection) -> Vec<i64> {
    let mut rows = Vec::new();
    for count in [
        "SELECT COUNT(*) FROM mcp_servers",
        "SELECT COUNT(*) FROM mcp_credentials",
        "SELECT COUNT(*) FROM mcp_states",
        "SELECT COUNT(*) FROM mcp_leases",
        "SELECT COUNT(*) FROM mcp_observations",
        "SELECT COUNT(*) FROM mcp_definitions",
        "SELECT COUNT(*) FROM mcp_probes",
    ] {
        let row = sqlx::query(count).fetch_one(&mut *connection).await;
        rows.push(row.unwrap().get(0));
    }
    rows
}

#[tokio::test]
async fn an_old_draft_is_nowhere_and_gives_way_with_all_that_is_its_own() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let registry = open(&url, &ring).await;
    let mut connection = intruder(&url).await;
    let key = whole(&registry, "a").await;
    assert_eq!(rows(&mut connection).await, [1; 7]);

    age(&mut connection, 23).await;
    let got = registry.get("default", &name("a")).await.unwrap();
    let error = registry.insert(server("a")).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }));
    // Whoever goes on with it has another day.
    let stored = registry.replace((*got).clone()).await.unwrap();
    age(&mut connection, 23).await;
    assert!(registry.get("default", &name("a")).await.is_ok());

    age(&mut connection, 2).await;
    let error = registry.get("default", &name("a")).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }));
    let error = registry.replace((*stored).clone()).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }));
    let mut filter = Filter::default();
    filter.drafts = true;
    let listing = registry.list("default", &filter, &Page::default()).await;
    assert!(listing.unwrap().servers.is_empty());

    let second = registry.insert(server("a")).await.unwrap();
    assert_ne!(second.id, key.server);
    assert_eq!(find(&registry, "a").await.unwrap().id, second.id);
    assert_eq!(rows(&mut connection).await, [1, 0, 0, 0, 0, 0, 0]);
}

#[tokio::test]
async fn what_is_finished_does_not_grow_old() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let registry = open(&url, &ring).await;
    registry.insert(server("a")).await.unwrap();
    age(&mut intruder(&url).await, 24 * 365).await;
    assert!(registry.get("default", &name("a")).await.is_ok());
    assert!(find(&registry, "a").await.is_some());
    let error = registry.insert(server("a")).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }));
}

#[tokio::test]
async fn insertions_remove_old_drafts_a_few_at_a_time() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let registry = open(&url, &ring).await;
    let mut connection = intruder(&url).await;
    for number in 0..24 {
        whole(&registry, &format!("d{number}")).await;
    }
    age(&mut connection, 25).await;
    registry.insert(draft("young")).await.unwrap();
    assert_eq!(rows(&mut connection).await, [15, 14, 14, 14, 14, 14, 14]);
    // The one in the way goes first.
    registry.insert(server("d23")).await.unwrap();
    assert_eq!(rows(&mut connection).await, [6, 4, 4, 4, 4, 4, 4]);
    registry.insert(server("b")).await.unwrap();
    assert_eq!(rows(&mut connection).await, [3, 0, 0, 0, 0, 0, 0]);
    assert!(registry.get("default", &name("young")).await.is_ok());
}
