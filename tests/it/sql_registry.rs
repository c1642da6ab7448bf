//! `SqlRegistry` over SQLite: what it promises, alone and with another process on the same file.

use std::time::{Duration, SystemTime};

use mcp_layer::registry::{
    Auth, CredentialKey, CredentialStore, Error, Expected, Server, ServerStore, SqlRegistry,
    StateHash, conformance,
};
use mcp_layer::secret::KeyRing;
use secrecy::ExposeSecret;

use crate::support::directory::Directory;
use crate::support::sql::{find, name, open, server};
use crate::support::{evidence, tenants, until};

fn far() -> SystemTime {
    SystemTime::now() + Duration::from_secs(600)
}

/// New databases, all in one directory.
struct Databases {
    directory: Directory,
    count: std::cell::Cell<usize>,
}

impl Databases {
    fn new() -> Self {
        Self {
            directory: Directory::new(),
            count: std::cell::Cell::default(),
        }
    }

    async fn fresh(&self) -> SqlRegistry {
        let number = self.count.replace(self.count.get() + 1);
        let url = self.directory.url(&format!("{number}.db"));
        open(&url, &KeyRing::generate()).await
    }
}

#[tokio::test]
async fn every_clause_of_a_registry_holds() {
    let databases = Databases::new();
    conformance::reading::all(async |servers| {
        let registry = databases.fresh().await;
        for server in servers {
            registry.insert(server).await.unwrap();
        }
        registry
    })
    .await;
}

#[tokio::test]
async fn every_clause_of_a_store_holds() {
    let databases = Databases::new();
    conformance::stores::all(async || databases.fresh().await).await;
}

#[tokio::test]
async fn every_clause_of_an_observation_store_holds() {
    let databases = Databases::new();
    conformance::observations::all(async || databases.fresh().await).await;
}

#[tokio::test]
async fn every_clause_of_a_trace_store_holds() {
    let databases = Databases::new();
    conformance::traces::all(async || databases.fresh().await).await;
}

#[tokio::test]
async fn every_clause_of_a_credential_store_holds() {
    let databases = Databases::new();
    conformance::credentials::all(async || databases.fresh().await).await;
}

#[tokio::test]
async fn every_clause_of_a_store_of_api_keys_holds() {
    let databases = Databases::new();
    conformance::api_keys::all(async || databases.fresh().await).await;
}

#[tokio::test]
async fn every_clause_of_a_store_of_models_holds() {
    let databases = Databases::new();
    conformance::models::all(async || databases.fresh().await).await;
}

#[tokio::test]
async fn every_clause_of_an_audit_store_holds() {
    let databases = Databases::new();
    conformance::audit::all(async || databases.fresh().await).await;
}

#[tokio::test]
async fn every_clause_of_a_store_of_operators_sessions_holds() {
    let databases = Databases::new();
    conformance::operator_sessions::all(async || databases.fresh().await).await;
}

#[tokio::test]
async fn every_clause_of_a_store_of_figures_holds() {
    let databases = Databases::new();
    conformance::overview::all(async || databases.fresh().await).await;
}

/// 50,000 in `tests/postgres`, where there is time.
#[tokio::test]
async fn tenants_see_what_is_theirs() {
    let databases = Databases::new();
    let tally = tenants::run(&databases.fresh().await, 3000, 1).await;
    println!("3000 operations: {tally:?}, 0 differences");
}

#[tokio::test]
async fn what_was_stored_is_there_after_the_end_of_the_process() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let key = {
        let registry = open(&url, &ring).await;
        let server = registry.insert(server("a")).await.unwrap();
        let key = CredentialKey::of(&server);
        let swapped = registry.swap(&key, Expected::Nothing, Some("token".into()));
        assert!(swapped.await.unwrap());
        key
    };
    let registry = open(&url, &ring).await;
    let found = find(&registry, "a").await.unwrap();
    assert_eq!(found.id, key.server);
    let stored = registry.load(&key).await.unwrap().unwrap();
    assert_eq!(stored.secret.expose_secret(), "token");
}

#[tokio::test]
async fn no_secret_is_in_the_files() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let registry = open(&directory.url("a.db"), &ring).await;
    let mut server = server("a");
    // Not sealed: the leak scan is to find it there.
    server.description = Some(evidence::planted("database"));
    let server = registry.insert(server).await.unwrap();
    let key = CredentialKey::of(&server);
    let swapped = registry.swap(&key, Expected::Nothing, Some("s3cret token".into()));
    assert!(swapped.await.unwrap());
    let pending = "s3cret pending".into();
    let state = StateHash([7; 32]);
    registry
        .put_state(&key, state, far(), pending)
        .await
        .unwrap();

    let bytes = directory.bytes();
    let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(has(b"mcp.example.com"), "this is where it would be");
    assert!(!has(b"s3cret"));
    assert!(!format!("{registry:?}").contains("s3cret"));
}

#[tokio::test]
async fn a_removed_server_takes_its_credentials_and_authorizations_along() {
    let databases = Databases::new();
    let registry = databases.fresh().await;
    let (one, other) = (server("a"), server("b"));
    for server in [&one, &other] {
        let key = CredentialKey::of(&registry.insert(server.clone()).await.unwrap());
        for origin in [&key.origin, "https://old.example"] {
            let key = CredentialKey {
                origin: origin.to_owned(),
                ..key.clone()
            };
            let swapped = registry.swap(&key, Expected::Nothing, Some("token".into()));
            assert!(swapped.await.unwrap());
        }
        let state = StateHash::of(&server.name.as_str().into());
        let put = registry.put_state(&key, state, far(), "pending".into());
        put.await.unwrap();
    }
    registry.remove("default", &one.name).await.unwrap();
    for (server, is_there) in [(&one, false), (&other, true)] {
        let key = CredentialKey::of(server);
        for origin in [&key.origin, "https://old.example"] {
            let key = CredentialKey {
                origin: origin.to_owned(),
                ..key.clone()
            };
            assert_eq!(registry.load(&key).await.unwrap().is_some(), is_there);
        }
        let state = StateHash::of(&server.name.as_str().into());
        let taken = registry.take_state(&state).await.unwrap();
        assert_eq!(taken.is_some(), is_there);
    }
}

#[tokio::test]
async fn a_change_of_another_process_is_in_force_within_a_second() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let (one, other) = (open(&url, &ring).await, open(&url, &ring).await);
    let stored = one.insert(server("a")).await.unwrap();
    assert!(find(&other, "a").await.unwrap().enabled);
    assert!(find(&other, "b").await.is_none());

    one.replace((*stored).clone().with_enabled(false))
        .await
        .unwrap();
    one.insert(server("b")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!find(&other, "a").await.unwrap().enabled);
    assert!(find(&other, "b").await.is_some());
    one.remove("default", &name("a")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(find(&other, "a").await.is_none());
}

#[tokio::test]
async fn more_changes_than_are_kept_are_in_force_all_the_same() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let (one, other) = (open(&url, &ring).await, open(&url, &ring).await);
    let mut stored = one.insert(server("a")).await.unwrap();
    assert!(find(&other, "a").await.is_some());
    one.replace((*stored).clone().with_enabled(false))
        .await
        .unwrap();
    // Every note but the last is gone, as after a thousand more changes.
    let mut intruder = crate::support::sql::intruder(&url).await;
    crate::support::sql::run(
        &mut intruder,
        "DELETE FROM mcp_changes; UPDATE mcp_counters SET value = value + 1000
         WHERE name = 'revision'",
    )
    .await;
    stored = one.get("default", &name("a")).await.unwrap();
    assert!(!stored.enabled);
    for _ in 0..40 {
        if !find(&other, "a").await.unwrap().enabled {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the change is not in force");
}

#[tokio::test]
async fn an_authorization_begun_in_one_process_is_finished_in_another() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let (one, other) = (open(&url, &ring).await, open(&url, &ring).await);
    let key = CredentialKey::of(&one.insert(server("a")).await.unwrap());
    let state = StateHash([1; 32]);
    let put = one.put_state(&key, state, far(), "pending".into());
    put.await.unwrap();
    let (found, pending) = other.take_state(&state).await.unwrap().unwrap();
    assert_eq!((&found, pending.expose_secret()), (&key, "pending"));
    assert!(one.take_state(&state).await.unwrap().is_none());

    let lease = one.lease(&key, Duration::from_secs(30)).await.unwrap();
    assert!(
        other
            .lease(&key, Duration::from_secs(30))
            .await
            .unwrap()
            .is_none()
    );
    one.release(lease.unwrap()).await.unwrap();
    assert!(
        other
            .lease(&key, Duration::from_secs(30))
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn who_goes_away_in_the_middle_leaves_a_registry_that_works() {
    let databases = Databases::new();
    let registry = databases.fresh().await;
    let mut stored = registry.insert(server("a")).await.unwrap();
    for patience in 0..60 {
        let replace = registry.replace((*stored).clone());
        let patience = Duration::from_micros(patience * 50);
        let _ = tokio::time::timeout(patience, replace).await;
        // Whether it happened or not, what is stored is whole, and the next change goes through.
        stored = registry.get("default", &name("a")).await.unwrap();
        assert_eq!(find(&registry, "a").await.unwrap().name, stored.name);
        stored = match registry.replace((*stored).clone()).await {
            Ok(stored) => stored,
            // The one that was given up came after our look.
            Err(Error::Stale { .. }) => registry.get("default", &name("a")).await.unwrap(),
            Err(error) => panic!("{error:?}"),
        };
    }
    until("the last change is found", || true).await;
}

#[tokio::test]
async fn a_record_that_does_not_fit_is_refused_and_not_cut() {
    let databases = Databases::new();
    let registry = databases.fresh().await;
    let long = |length: usize| "x".repeat(length);
    let cases: [(&str, Server); 6] = [
        ("organization", server("a").with_organization(long(513))),
        ("organization", server("a").with_organization("a\0")),
        ("projects", server("a").with_projects([long(513)]).unwrap()),
        (
            "projects",
            server("a")
                .with_projects((0..1001).map(|n| n.to_string()))
                .unwrap(),
        ),
        (
            "server",
            server("a")
                .with_tools((0..4000).map(|n| format!("{n:080}")))
                .unwrap(),
        ),
        ("description", {
            let mut server = server("a");
            server.description = Some(long(8193));
            server
        }),
    ];
    for (refused, server) in cases {
        let error = registry.insert(server).await.unwrap_err();
        assert!(
            matches!(&error, Error::Invalid { field, .. } if *field == refused),
            "{refused}: {error:?}"
        );
    }
    assert!(registry.get("default", &name("a")).await.is_err());
}

#[tokio::test]
async fn an_identity_is_one_servers_only() {
    let databases = Databases::new();
    let registry = databases.fresh().await;
    let first = registry.insert(server("a")).await.unwrap();
    let mut second = server("b").with_auth(Auth::None);
    second.id = first.id.clone();
    let error = registry.insert(second).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { field: "id", .. }));
}
