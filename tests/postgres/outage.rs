//! PostgreSQL goes away, or hangs, and comes back.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mcp_layer::Project;
use mcp_layer::registry::{
    CredentialKey, CredentialStore, Error, ServerRegistry, ServerStore, SqlRegistry,
};
use mcp_layer::secret::KeyRing;

use crate::support::postgres::Postgres;
use crate::support::sql::{find, name, open, server, shown};

const AWAY: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_in_memory_go_on_while_the_database_is_away_and_everything_heals() {
    let mut postgres = Postgres::start();
    let (url, ring) = (postgres.database("a"), KeyRing::generate());
    let (one, other) = (open(&url, &ring).await, open(&url, &ring).await);
    for name in ["a", "b"] {
        one.insert(server(name)).await.unwrap();
    }
    // Everybody has heard of all that.
    tokio::time::sleep(Duration::from_secs(1)).await;
    find(&one, "a").await.unwrap();
    find(&other, "a").await.unwrap();

    postgres.stop();
    let away = Instant::now();
    let (mut finds, mut refused) = (0, 0);
    while away.elapsed() < AWAY {
        assert!(find(&one, "a").await.is_some());
        finds += 1;
        let error = one
            .find(&Project::default(), &[name("b")])
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert!(!shown(&error).contains("s3cret"));
        let key = CredentialKey::of(&server("a"));
        assert!(matches!(
            one.load(&key).await,
            Err(Error::Unavailable { .. })
        ));
        let inserted = one.insert(server("c")).await;
        assert!(matches!(inserted, Err(Error::Unavailable { .. })));
        refused += 3;
    }
    postgres.restart();
    let back = Instant::now();
    while one.find(&Project::default(), &[name("b")]).await.is_err() {
        assert!(back.elapsed() < Duration::from_secs(10));
    }
    let healed = back.elapsed();
    // What changes now is in force everywhere again.
    let stored = one.get("default", &name("a")).await.unwrap();
    one.replace((*stored).clone().with_enabled(false))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!find(&other, "a").await.unwrap().enabled);
    println!(
        "away for {AWAY:?}: {finds} finds from memory, {refused} answers that it is not available, healed in {healed:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_hangs_nobody() {
    let postgres = Postgres::start();
    let registry = open(&postgres.database("a"), &KeyRing::generate()).await;
    registry.insert(server("a")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    find(&registry, "a").await.unwrap();
    postgres.signal_all("STOP");
    assert!(find(&registry, "a").await.is_some());
    let asked = Instant::now();
    let error = registry
        .find(&Project::default(), &[name("b")])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }));
    let waited = asked.elapsed();
    assert!(waited < Duration::from_secs(12), "{waited:?}");
    postgres.signal_all("CONT");
    while registry.insert(server("b")).await.is_err() {
        assert!(
            asked.elapsed() < Duration::from_secs(60),
            "it does not heal"
        );
    }
    assert!(find(&registry, "b").await.is_some());
    println!("hung: not available after {waited:?}");
}

/// Takes connections until there are none left for others.
async fn take_all(url: &str) -> Vec<sqlx::AnyConnection> {
    let mut taken = Vec::new();
    while let Ok(connection) = <sqlx::AnyConnection as sqlx::Connection>::connect(url).await {
        taken.push(connection);
    }
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_waits_for_a_connection_and_says_if_there_is_none() {
    let postgres = Postgres::start();
    let (url, ring) = (postgres.database("a"), KeyRing::generate());
    drop(open(&url, &ring).await);
    let taken = take_all(&url).await;
    let asked = Instant::now();
    let refused = SqlRegistry::open(&url, ring.clone()).await.unwrap_err();
    let (line, waited) = (refused.to_string(), asked.elapsed());
    assert!(line.contains("too many clients"), "{line}");
    assert!(waited < Duration::from_secs(15), "{waited:?}");
    println!("none for {waited:?}: {line}");

    let opened = tokio::spawn(async move { SqlRegistry::open(&url, ring).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(taken);
    opened.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gets_no_connection_is_told_why_and_the_rest_goes_on() {
    let postgres = Postgres::start();
    let (url, ring) = (postgres.database("a"), KeyRing::generate());
    let registry = open(&url, &ring).await;
    registry.insert(server("a")).await.unwrap();
    let taken = take_all(&url).await;
    // One connection it has: what comes one by one goes on.
    registry.insert(server("b")).await.unwrap();
    let (wanted, asked) = (name("a"), Instant::now());
    let reads = (0..50).map(|_| registry.get("default", &wanted));
    let reads = join_all(reads).await;
    drop(taken);
    let failed = reads.iter().filter_map(|read| read.as_ref().err());
    let failed: Vec<_> = failed.map(|error| shown(error)).collect();
    println!(
        "50 reads at once without another connection: {} failed, {:?}",
        failed.len(),
        asked.elapsed()
    );
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
