//! Several replicas on one PostgreSQL.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::join_all;
use mcp_layer::registry::overview::OverviewSink;
use mcp_layer::registry::{
    CredentialKey, CredentialStore, ExchangeId, ExchangeOwner, ExchangeRecord, ExchangeStore,
    ServerStore, SqlRegistry, StateHash,
};
use mcp_layer::secret::KeyRing;
use mcp_layer::trace::TraceSink;
use sqlx::Row;

use crate::support::overview::{Tally, exchanges, read};
use crate::support::postgres::Postgres;
use crate::support::sql::{find, intruder, name, open, server};
use crate::support::{replicas, tenants};

/// Changes `a` through `one` until `other` knows, a few times; the longest that it took.
async fn longest(one: &SqlRegistry, other: &SqlRegistry, changes: usize) -> Duration {
    let mut longest = Duration::ZERO;
    for _ in 0..changes {
        let stored = ServerStore::get(one, "default", &name("a")).await.unwrap();
        assert_eq!(find(other, "a").await.unwrap().version, stored.version);
        one.replace((*stored).clone()).await.unwrap();
        let changed = Instant::now();
        while find(other, "a").await.unwrap().version == stored.version {
            assert!(changed.elapsed() < Duration::from_secs(1), "not in force");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        longest = longest.max(changed.elapsed());
    }
    longest
}

#[tokio::test]
async fn a_change_is_in_force_in_all_replicas_within_a_second() {
    let postgres = Postgres::start();
    let (url, ring) = (postgres.database("a"), KeyRing::generate());
    let (one, other) = (open(&url, &ring).await, open(&url, &ring).await);
    one.insert(server("a")).await.unwrap();
    // Until everybody listens.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let heard = longest(&one, &other, 20).await;

    // Nobody hears anything any more: the notifications go elsewhere.
    postgres.run(
        "a",
        "CREATE SCHEMA deaf; SET search_path = deaf, pg_catalog;
         CREATE FUNCTION deaf.pg_notify(text, text) RETURNS void LANGUAGE sql AS '';
         ALTER DATABASE a SET search_path = deaf, pg_catalog, public;",
    );
    let (one, other) = (open(&url, &ring).await, open(&url, &ring).await);
    let looked_for = longest(&one, &other, 10).await;
    println!(
        "20 changes in force elsewhere within {heard:?}; without notifications within {looked_for:?}"
    );
    assert!(heard < looked_for);
}

#[tokio::test]
async fn a_connection_that_listened_and_broke_is_made_again() {
    let postgres = Postgres::start();
    let (url, ring) = (postgres.database("a"), KeyRing::generate());
    let (one, other) = (open(&url, &ring).await, open(&url, &ring).await);
    one.insert(server("a")).await.unwrap();
    longest(&one, &other, 3).await;
    postgres.run(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'a'",
    );
    // In force all the same, whatever each connection still has to find out.
    let mut stored = ServerStore::get(&one, "default", &name("a")).await;
    while stored.is_err() {
        stored = ServerStore::get(&one, "default", &name("a")).await;
    }
    longest(&one, &other, 10).await;
}

#[tokio::test]
async fn replicas_that_start_at_once_make_the_tables_once() {
    let postgres = Postgres::start();
    let (url, ring) = (postgres.database("a"), KeyRing::generate());
    let all = join_all((0..8).map(|_| open(&url, &ring))).await;
    all[0].insert(server("a")).await.unwrap();
    for registry in &all {
        assert!(find(registry, "a").await.is_some());
    }
}

#[tokio::test]
async fn an_authorization_begun_on_one_replica_is_finished_on_another() {
    let postgres = Postgres::start();
    let (url, ring) = (postgres.database("a"), KeyRing::generate());
    let (one, other) = (open(&url, &ring).await, open(&url, &ring).await);
    let key = CredentialKey::of(&server("a"));
    let state = StateHash([1; 32]);
    let expires_at = SystemTime::now() + Duration::from_secs(600);
    let put = one.put_state(&key, state, expires_at, "pending".into());
    put.await.unwrap();
    let takes = [&one, &other].map(|replica| replica.take_state(&state));
    let found = join_all(takes).await.into_iter().flat_map(Result::unwrap);
    assert_eq!(found.map(|(key, _)| key).collect::<Vec<_>>(), [key]);
}

#[tokio::test]
async fn an_exchange_that_one_replica_keeps_is_claimed_once_in_all() {
    let postgres = Postgres::start();
    let (url, ring) = (postgres.database("a"), KeyRing::generate());
    let replicas = [open(&url, &ring).await, open(&url, &ring).await];
    let keys = join_all(replicas.iter().map(|replica| replica.key())).await;
    let keys: Vec<_> = keys.into_iter().map(Result::unwrap).collect();
    assert_eq!(keys[0], keys[1]);
    let owner = ExchangeOwner::new("default", "web", [7; 32]);
    for round in 0..50 {
        let id = ExchangeId::random();
        let record = ExchangeRecord::new(format!("turn {round}")).with_topic([1; 32]);
        let put = replicas[round % 2].put(&owner, id, record, None).await;
        let version = put.unwrap();
        let found = replicas[0].find(&owner, &[1; 32]).await.unwrap();
        assert_eq!((found[0].id, Some(found[0].version)), (id, version));
        let claims = (0..6).map(|number: usize| {
            let lease = ExchangeRecord::unchanged().with_lease(Duration::from_secs(5));
            replicas[number % 2].put(&owner, id, lease, version)
        });
        let claimed = join_all(claims).await.into_iter().flat_map(Result::unwrap);
        assert_eq!(claimed.count(), 1);
        let read = ExchangeStore::get(&replicas[1], &owner, &[id]).await;
        let read = read.unwrap();
        assert_eq!(*read[0].data, format!("turn {round}"));
        assert!(read[0].is_leased);
    }
}

/// Puts that take each other's room, in projects that are full, wait for each other but never
/// forever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_fill_a_project_give_way_and_count_right() {
    let postgres = Postgres::start();
    let (url, ring) = (postgres.database("a"), KeyRing::generate());
    let replicas = [open(&url, &ring).await, open(&url, &ring).await];
    let workers = (0..8).map(|worker| {
        let registry = replicas[worker % 2].clone();
        tokio::spawn(async move {
            let owner = ExchangeOwner::new("default", format!("p{}", worker % 2), [7; 32]);
            let mut put = Vec::new();
            for step in 0..60 {
                let id = ExchangeId::random();
                let record = ExchangeRecord::new("a turn").with_room(8 << 20);
                let version = registry.put(&owner, id, record, None).await.unwrap();
                put.push((id, version));
                let ids: Vec<_> = put.iter().map(|(id, _)| *id).collect();
                ExchangeStore::get(&registry, &owner, &ids).await.unwrap();
                // It may have given way meanwhile.
                let (id, version) = put[step / 2];
                let record = ExchangeRecord::new("more").with_room(4 << 20);
                let version = registry.put(&owner, id, record, version).await.unwrap();
                put[step / 2].1 = version;
                if let Some(version) = version
                    && step % 3 == 0
                {
                    let removed = ExchangeStore::remove(&registry, &owner, id, version);
                    removed.await.unwrap();
                }
            }
        })
    });
    for worker in join_all(workers).await {
        worker.unwrap();
    }
    let sums = "SELECT r.project, r.bytes, CAST(SUM(e.room) AS BIGINT)
        FROM mcp_exchange_rooms AS r JOIN mcp_exchanges AS e ON e.project = r.project
        GROUP BY r.project, r.bytes ORDER BY r.project";
    let rows = sqlx::query(sums).fetch_all(&mut intruder(&url).await).await;
    let rows = rows.unwrap();
    let sums: Vec<(String, i64, i64)> = rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    let projects: Vec<_> = sums.iter().map(|(project, ..)| &**project).collect();
    assert_eq!(projects, ["p0", "p1"]);
    for (project, counted, summed) in sums {
        assert_eq!(counted, summed, "{project}");
        assert!(
            (256 << 20..=512 << 20).contains(&counted),
            "{project}: {counted}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_of_two_replicas_with_an_expired_token_make_one_token_request() {
    let postgres = Postgres::start();
    let (url, ring) = (postgres.database("a"), KeyRing::generate());
    let replicas = [open(&url, &ring).await, open(&url, &ring).await];
    assert_eq!(replicas::token_requests(replicas).await, 1);
}

#[tokio::test]
async fn tenants_see_what_is_theirs() {
    let postgres = Postgres::start();
    let registry = open(&postgres.database("a"), &KeyRing::generate()).await;
    let tally = tenants::run(&registry, 10_000, 2).await;
    println!("PostgreSQL, 10000 operations: {tally:?}, 0 differences");
}

#[tokio::test]
async fn figures_of_replicas_are_added_up_and_seen_within_two_seconds() {
    let postgres = Postgres::start();
    let (url, ring) = (postgres.database("a"), KeyRing::generate());
    let replicas = [open(&url, &ring).await, open(&url, &ring).await];
    let sinks = replicas.clone().map(OverviewSink::new);
    let traces = exchanges(5, 400, 3);
    let begun = Instant::now();
    for (number, trace) in traces.iter().enumerate() {
        sinks[number % 2].record(trace);
    }
    let traces: Vec<_> = traces.into_iter().map(Arc::unwrap_or_clone).collect();
    let expected = Tally::of(&traces);
    loop {
        let found = Tally::read(&read(&replicas[0], None, 24).await);
        if found == expected {
            break;
        }
        let passed = begun.elapsed();
        assert!(passed < Duration::from_secs(2), "{found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!(
        "400 exchanges of two replicas seen within {:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn of_ten_times_as_many_calls_exactly_those_run_that_may() {
    let postgres = Postgres::start();
    let (url, ring) = (postgres.database("a"), KeyRing::generate());
    let replicas = [open(&url, &ring).await, open(&url, &ring).await];
    assert_eq!(replicas::limited_calls(replicas).await, (1000, 9000));
}
