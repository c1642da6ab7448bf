//! `SqlRegistry` over a PostgreSQL that really runs, with several replicas; and what takes longer
//! than people want to wait for `cargo test`.
//!
//! ```sh
//! cargo test --all-features --test postgres
//! ```
//!
//! Needs PostgreSQL 15 or newer and PgBouncer (Debian: `postgresql`, `pgbouncer`); each test starts
//! its own.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that cannot go on fails, and a binary has no public interface"
)]

#[path = "../it/support/mod.rs"]
mod support;

#[path = "../proxy/support.rs"]
#[allow(dead_code, reason = "these tests need a part of it")]
mod proxy;

mod operators;
mod outage;
mod pooler;
mod proxies;
mod read_only;
mod replicas;
mod volume;

use std::cell::Cell;

use mcp_layer::registry::{ServerStore, SqlRegistry, conformance};
use mcp_layer::secret::KeyRing;

use support::evidence;
use support::postgres::Postgres;
use support::sql::open;

/// New databases of one PostgreSQL.
struct Databases {
    postgres: Postgres,
    count: Cell<usize>,
}

impl Databases {
    fn start() -> Self {
        Self {
            postgres: Postgres::start(),
            count: Cell::default(),
        }
    }

    async fn fresh(&self) -> SqlRegistry {
        let number = self.count.replace(self.count.get() + 1);
        let url = self.postgres.database(&format!("d{number}"));
        open(&url, &KeyRing::generate()).await
    }
}

#[tokio::test]
async fn every_clause_of_a_registry_holds() {
    let databases = Databases::start();
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
    let databases = Databases::start();
    conformance::stores::all(async || databases.fresh().await).await;
}

#[tokio::test]
async fn every_clause_of_an_observation_store_holds() {
    let databases = Databases::start();
    conformance::observations::all(async || databases.fresh().await).await;
}

#[tokio::test]
async fn every_clause_of_a_trace_store_holds() {
    let databases = Databases::start();
    conformance::traces::all(async || databases.fresh().await).await;
}

#[tokio::test]
async fn every_clause_of_a_credential_store_holds() {
    let databases = Databases::start();
    conformance::credentials::all(async || databases.fresh().await).await;
}

#[tokio::test]
async fn every_clause_of_an_audit_store_holds() {
    let databases = Databases::start();
    conformance::audit::all(async || databases.fresh().await).await;
}

#[tokio::test]
async fn every_clause_of_a_store_of_operators_sessions_holds() {
    let databases = Databases::start();
    conformance::operator_sessions::all(async || databases.fresh().await).await;
}

#[tokio::test]
async fn every_clause_of_a_store_of_api_keys_holds() {
    let databases = Databases::start();
    conformance::api_keys::all(async || databases.fresh().await).await;
}

#[tokio::test]
async fn every_clause_of_a_store_of_models_holds() {
    let databases = Databases::start();
    conformance::models::all(async || databases.fresh().await).await;
}

#[tokio::test]
async fn every_clause_of_a_store_of_figures_holds() {
    let databases = Databases::start();
    conformance::overview::all(async || databases.fresh().await).await;
}

#[tokio::test]
async fn every_clause_of_a_store_of_usage_holds() {
    let databases = Databases::start();
    conformance::usage::all(async || databases.fresh().await).await;
}

#[tokio::test]
async fn every_clause_of_an_exchange_store_holds() {
    let databases = Databases::start();
    conformance::exchanges::all(async || databases.fresh().await).await;
}
