//! PostgreSQL goes away, or hangs, and comes back.

use std::time::{Duration, Instant};

use mcp_layer::Project;
use mcp_layer::registry::{CredentialKey, CredentialStore, Error, ServerRegistry, ServerStore};
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
