//! Servers and credentials in a database: SQLite, or PostgreSQL for several replicas.
//!
//! ```text
//!  find ──▶ cache ──(not there)──▶ database ◀── servers: list, get, insert, replace, remove
//!             ▲                      │  ▲  ▲
//!             └── follow: what ◀─────┘  │  ├──── credentials: load, swap, lease, states
//!                 others changed        │  └──── observations: what is known, who probes
//!                                       ├─────── exchanges: what later requests need of them
//!                                       ├─────── overview: figures of exchanges over time
//!                                       ├─────── models: aliases and defaults, all in memory
//!                                       ├─────── API keys of callers: digests, all in memory
//!                                       ├─────── usage: what is used of limits and budgets
//!                                       ├─────── reseal: with the newest key, in small steps
//!                                       └─────── traces: records of exchanges, for a week
//! ```
//!
//! One code path serves both engines; `sqlite.rs` and `postgres.rs` contain the differences.
//! Secrets and texts of exchanges are in the database as sealed records only, each bound to its place.

mod api_key_cache;
mod api_keys;
mod audit;
mod backup;
mod belongings;
mod cache;
mod credentials;
mod database;
mod error;
mod exchanges;
mod find;
mod follow;
mod keys;
mod list;
mod model_cache;
mod models;
mod observations;
mod observe;
mod observed;
mod operator_sessions;
mod overview;
#[cfg(feature = "postgres")]
mod postgres;
mod record;
mod registry;
mod reseal;
mod schema;
mod sealed_steps;
mod servers;
mod sessions;
#[cfg(feature = "sqlite")]
mod sqlite;
mod text;
mod time;
mod trace_queue;
mod trace_record;
mod traces;
mod upkeep;
mod usage;
mod usage_queue;
mod usage_rows;
mod version;

pub use self::{
    error::{SqlError, SqlFault},
    registry::SqlRegistry,
    reseal::Resealed,
};
