//! Ten thousand records, and tens of thousands of operations; SQLite too.

use mcp_layer::registry::SqlRegistry;
use mcp_layer::secret::KeyRing;

use crate::support::directory::Directory;
use crate::support::postgres::Postgres;
use crate::support::resealing::{fill, under_load};
use crate::support::sql::open;
use crate::support::{replicas, tenants};

/// 5,000 servers and 5,000 credentials.
async fn resealed(engine: &str, registry: SqlRegistry, mut ring: KeyRing) {
    fill(&registry, 5000).await;
    ring.add().unwrap();
    registry.replace_ring(ring).await.unwrap();
    let (done, reads) = under_load(&registry, 5000).await;
    assert_eq!((done.left, done.unreadable), (0, 0));
    println!(
        "{engine}: 10000 records, {} of them sealed anew by us, the rest by their changes; {reads} reads meanwhile, 0 failed",
        done.resealed
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_that_ten_thousand_records_in_postgresql_are_sealed_anew() {
    let postgres = Postgres::start();
    let ring = KeyRing::generate();
    let registry = open(&postgres.database("a"), &ring).await;
    resealed("PostgreSQL", registry, ring).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_that_ten_thousand_records_in_sqlite_are_sealed_anew() {
    let directory = Directory::new();
    let ring = KeyRing::generate();
    let registry = open(&directory.url("a.db"), &ring).await;
    resealed("SQLite", registry, ring).await;
}

#[tokio::test]
async fn tenants_of_sqlite_see_what_is_theirs() {
    let directory = Directory::new();
    let registry = open(&directory.url("a.db"), &KeyRing::generate()).await;
    let tally = tenants::run(&registry, 50_000, 3).await;
    println!("SQLite, 50000 operations: {tally:?}, 0 differences");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_on_one_sqlite_make_one_token_request() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let processes = [open(&url, &ring).await, open(&url, &ring).await];
    assert_eq!(replicas::token_requests(processes).await, 1);
}
