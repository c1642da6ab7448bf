//! Sessions that refuse to write: after a failover, on a standby, by somebody's setting.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mcp_layer::registry::{Error, ServerStore, SqlRegistry};
use mcp_layer::secret::KeyRing;

use crate::support::postgres::Postgres;
use crate::support::sql::{find, name, open, server, shown};

/// Has the pool make as many sessions as it may.
async fn fill_pool(registry: &SqlRegistry) {
    let wanted = name("a");
    let reads = (0..64).map(|_| registry.get("default", &wanted));
    for read in join_all(reads).await {
        read.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_refuses_writes_is_thrown_away_and_the_write_succeeds() {
    let postgres = Postgres::start();
    let (url, ring) = (postgres.database("a"), KeyRing::generate());
    open(&url, &ring).await.insert(server("a")).await.unwrap();
    // As after a failover: the sessions that there are refuse, those that come do not.
    let set = "ALTER DATABASE a SET default_transaction_read_only =";
    postgres.run("postgres", &format!("{set} on"));
    let registry = open(&url, &ring).await;
    fill_pool(&registry).await;
    postgres.run("postgres", &format!("{set} off"));

    let asked = Instant::now();
    for number in 0..20 {
        let inserted = registry.insert(server(&format!("s{number}"))).await;
        inserted.unwrap_or_else(|error| panic!("write {number}: {}", shown(&error)));
    }
    println!(
        "10 sessions that refuse: 20 of 20 writes in {:?}",
        asked.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_serves_what_is_stored_and_takes_writes_when_it_is_promoted() {
    let mut primary = Postgres::start();
    let (url, ring) = (primary.database("a"), KeyRing::generate());
    open(&url, &ring).await.insert(server("a")).await.unwrap();
    let standby = primary.standby();
    let registry = open(&standby.url("a"), &ring).await;
    assert!(find(&registry, "a").await.is_some());
    let error = registry.insert(server("b")).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    let said = shown(&error);
    assert!(said.contains("takes no writes"), "{said}");

    primary.stop();
    standby.promote();
    let promoted = Instant::now();
    while let Err(error) = registry.insert(server("b")).await {
        let said = shown(&error);
        assert!(promoted.elapsed() < Duration::from_secs(5), "{said}");
    }
    println!(
        "a standby that was promoted takes writes after {:?}",
        promoted.elapsed()
    );
}

#[tokio::test]
async fn tables_that_cannot_be_made_are_said_in_one_line() {
    let postgres = Postgres::start();
    let url = postgres.database("a");
    let set = "ALTER DATABASE a SET default_transaction_read_only = on";
    postgres.run("postgres", set);
    let opened = SqlRegistry::open(&url, KeyRing::generate()).await;
    let line = opened.unwrap_err().to_string();
    assert!(
        line.contains("takes no writes") && !line.contains('\n'),
        "{line}"
    );
    println!("{line}");
}
