//! Kept exchanges in SQLite: sealed, found again by another process, and gone in time.

use std::collections::BTreeMap;

use mcp_layer::registry::{
    ExchangeId, ExchangeOwner, ExchangeRecord, ExchangeStore, SqlRegistry, conformance,
};
use mcp_layer::secret::KeyRing;
use sqlx::Row;

use crate::support::directory::Directory;
use crate::support::evidence;
use crate::support::sql::{intruder, open, run};

fn owner() -> ExchangeOwner {
    ExchangeOwner::new("default", "web", [7; 32])
}

/// Puts a new record of this text.
async fn put(registry: &SqlRegistry, text: &str) -> ExchangeId {
    let id = ExchangeId::random();
    let record = ExchangeRecord::new(text);
    let put = registry.put(&owner(), id, record, None).await;
    assert!(put.unwrap().is_some());
    id
}

async fn texts(registry: &SqlRegistry, ids: &[ExchangeId]) -> Vec<String> {
    let found = ExchangeStore::get(registry, &owner(), ids).await.unwrap();
    let mut texts: Vec<_> = found.iter().map(|found| found.data.to_string()).collect();
    texts.sort_unstable();
    texts
}

async fn value(url: &str, query: &'static str) -> i64 {
    let mut connection = intruder(url).await;
    let row = sqlx::query(query).fetch_one(&mut connection).await;
    row.unwrap().try_get(0).unwrap()
}

const ROOM: &str = "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM mcp_exchange_rooms";
const COUNTED: &str = "SELECT CAST(COALESCE(SUM(room), 0) AS BIGINT) FROM mcp_exchanges";

#[tokio::test]
async fn every_clause_of_an_exchange_store_holds() {
    let directory = Directory::new();
    let count = std::cell::Cell::new(0);
    conformance::exchanges::all(async || {
        let number = count.replace(count.get() + 1);
        let url = directory.url(&format!("{number}.db"));
        open(&url, &KeyRing::generate()).await
    })
    .await;
    for number in 0..count.get() {
        let url = directory.url(&format!("{number}.db"));
        assert_eq!(value(&url, ROOM).await, value(&url, COUNTED).await);
    }
}

#[tokio::test]
async fn what_was_put_is_there_for_another_process_and_in_no_file() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let registry = open(&url, &ring).await;
    let key = registry.key().await.unwrap();
    let id = put(&registry, "a conversation of s3cret things").await;
    drop(registry);
    let registry = open(&url, &ring).await;
    assert_eq!(registry.key().await.unwrap(), key);
    assert_eq!(
        texts(&registry, &[id]).await,
        ["a conversation of s3cret things"]
    );
    for entry in std::fs::read_dir(&directory.0).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        assert!(!has(b"s3cret things") && !has(&key));
        evidence::left("database", bytes);
    }
}

#[tokio::test]
async fn a_text_opens_in_its_own_place_only() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let registry = open(&url, &ring).await;
    let ids = [put(&registry, "one").await, put(&registry, "two").await];
    let mut connection = intruder(&url).await;
    let theirs = "UPDATE mcp_exchange_texts SET sealed = (
        SELECT sealed FROM mcp_exchange_texts ORDER BY exchange LIMIT 1)";
    assert_eq!(run(&mut connection, theirs).await, 2);
    assert_eq!(texts(&registry, &ids).await.len(), 1);
    let project = "UPDATE mcp_exchanges SET caller = REPLACE(caller, '07', '08')";
    assert_eq!(run(&mut connection, project).await, 2);
    let another = ExchangeOwner::new("default", "web", [8; 32]);
    let found = ExchangeStore::get(&registry, &another, &ids).await;
    assert!(found.unwrap().is_empty());
}

#[tokio::test]
async fn kept_exchanges_and_their_key_are_sealed_anew() {
    let directory = Directory::new();
    let url = directory.url("a.db");
    let mut ring = KeyRing::generate();
    let old = ring.newest();
    let registry = open(&url, &ring).await;
    let key = registry.key().await.unwrap();
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(put(&registry, &number.to_string()).await);
    }
    let new = ring.add().unwrap();
    registry.replace_ring(ring.clone()).await.unwrap();
    let done = registry.reseal(|_| {}).await.unwrap();
    assert_eq!((done.resealed, done.left, done.unreadable), (6, 0, 0));
    let counts = registry.sealed_by_key().await.unwrap();
    assert_eq!(counts, BTreeMap::from([(old, 0), (new, 7)]));
    ring.remove(old, 0).unwrap();
    let registry = open(&url, &ring).await;
    assert_eq!(registry.key().await.unwrap(), key);
    assert_eq!(texts(&registry, &ids).await, ["0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_read_renews_a_life_once_a_day() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let registry = open(&url, &ring).await;
    let id = put(&registry, "a").await;
    let ends = "SELECT ends_at FROM mcp_exchanges";
    let first = value(&url, ends).await;
    let mut connection = intruder(&url).await;
    for (hours, is_renewed) in [(23, false), (2, true)] {
        let earlier = format!(
            "UPDATE mcp_exchanges SET used_at = used_at - {0}, ends_at = ends_at - {0}",
            hours * 3_600_000
        );
        run(&mut connection, &earlier).await;
        assert_eq!(texts(&registry, &[id]).await, ["a"]);
        assert_eq!(value(&url, ends).await >= first, is_renewed, "{hours}");
    }
    let ended = "UPDATE mcp_exchanges SET ends_at = 1";
    run(&mut connection, ended).await;
    assert!(texts(&registry, &[id]).await.is_empty());
}

#[tokio::test]
async fn one_read_takes_no_more_memory_than_a_few_records() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let registry = open(&url, &ring).await;
    let mut ids = Vec::new();
    for number in 0..6 {
        ids.push(put(&registry, &number.to_string()).await);
    }
    // As if they were, without the time to seal so much.
    let large = "UPDATE mcp_exchanges SET length = 7340032";
    run(&mut intruder(&url).await, large).await;
    assert_eq!(texts(&registry, &ids).await, ["2", "3", "4", "5"]);
}
