//! Callers' API keys in SQLite: followed by other processes, and in force while it is away.

use std::time::{Duration, Instant, SystemTime};

use mcp_layer::Project;
use mcp_layer::registry::{ApiKey, ApiKeyStore, ModelStore, ServerStore, SqlRegistry};
use mcp_layer::secret::{ExposeSecret, KeyRing};

use crate::support::directory::Directory;
use crate::support::sql::{intruder, open, run, server};

fn key(name: &str) -> ApiKey {
    ApiKey::generate(name, Project::new("web")).unwrap().0
}

fn opens(registry: &SqlRegistry, key: &ApiKey) -> bool {
    let keys = registry.api_keys().unwrap();
    keys.find(&key.digest, SystemTime::now()).is_some()
}

/// Waits until a key opens, or does not.
async fn until(registry: &SqlRegistry, key: &ApiKey, expected: bool) {
    let since = Instant::now();
    while opens(registry, key) != expected {
        assert!(since.elapsed() < Duration::from_secs(2), "not in force");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_key_is_in_force_in_another_process_within_a_second_and_outlives_a_restart() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let (one, other) = (open(&url, &ring).await, open(&url, &ring).await);
    let (kept, gone) = (key("kept"), key("gone"));
    for key in [&kept, &gone] {
        one.insert_api_key(key.clone()).await.unwrap();
        until(&other, key, true).await;
    }
    // A change of a server, and of aliases, between two changes of keys.
    one.insert(server("s")).await.unwrap();
    let rules = Default::default();
    other.replace_rules("default", rules, 0).await.unwrap();
    other.revoke_api_key("default", &gone.id).await.unwrap();
    until(&one, &gone, false).await;
    assert!(opens(&one, &kept));

    drop((one, other));
    let again = open(&url, &ring).await;
    assert!(opens(&again, &kept) && !opens(&again, &gone));
    again.revoke_api_key("default", &kept.id).await.unwrap();
    drop(again);
    let again = open(&url, &ring).await;
    assert!(again.api_keys().unwrap().were_made());
}

#[tokio::test]
async fn changes_that_were_missed_are_read_anew() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let (one, other) = (open(&url, &ring).await, open(&url, &ring).await);
    let key = key("a");
    one.insert_api_key(key.clone()).await.unwrap();
    let mut intruder = intruder(&url).await;
    run(
        &mut intruder,
        "DELETE FROM mcp_changes; UPDATE mcp_counters SET value = value + 1000
         WHERE name = 'revision'",
    )
    .await;
    until(&other, &key, true).await;
}

#[tokio::test]
async fn the_database_has_digests_and_no_key() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let registry = open(&directory.url("a.db"), &ring).await;
    let (key, secret) = ApiKey::generate("a", Project::new("web")).unwrap();
    registry.insert_api_key(key.clone()).await.unwrap();
    drop(registry);
    for file in std::fs::read_dir(&directory.0).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let has = |text: &str| {
            bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        };
        assert!(!has(secret.expose_secret()) && !has("mcpk_"));
    }
}

#[tokio::test]
async fn what_cannot_be_read_opens_nothing_and_is_no_reason_not_to_start() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let registry = open(&url, &ring).await;
    let (good, bad) = (key("good"), key("bad"));
    for key in [&good, &bad] {
        registry.insert_api_key(key.clone()).await.unwrap();
    }
    let mut intruder = intruder(&url).await;
    for broken in ["digest = 'x'", "id = 'X'", "name = ''"] {
        run(
            &mut intruder,
            &format!("UPDATE mcp_api_keys SET {broken} WHERE name = 'bad'"),
        )
        .await;
        let started = open(&url, &ring).await;
        assert!(opens(&started, &good) && !opens(&started, &bad), "{broken}");
        assert_eq!(started.list_api_keys("default").await.unwrap().len(), 1);
        run(
            &mut intruder,
            "UPDATE mcp_api_keys SET name = 'bad' WHERE name = ''",
        )
        .await;
    }
}
