//! Servers in use: a client per server and credential, its tools, and calls of them.
//!
//! ```text
//! ConnectionsBuilder ──▶ Connections      one handle; clones share everything below
//!                          ├─ Lists       tool lists: cached, fetched once for all who wait
//!                          │    Listeners hear from servers that their tools have changed
//!                          ├─ Calls       tool calls: the session, and one retry after a 401
//!                          │     both use
//!                          ├─ Pool        the peers and sessions of each server, within limits
//!                          ├─ Credentials what a server is sent at this moment
//!                          └─ Watch       tells a store what was seen
//! ```
//!
//! Lists and calls know nothing of each other. They meet in the [`Pool`](pool::Pool), where a
//! [`Peer`](peer::Peer), one server with one credential, holds the list and the health that both
//! read and write.

pub(crate) mod access;
mod builder;
mod call;
mod calls;
mod changes;
mod connections;
pub(crate) mod counts;
mod credentials;
mod health;
mod key;
mod listeners;
mod lists;
mod log;
mod parked;
mod peer;
mod peers;
mod pool;
pub(crate) mod rate;
mod reason;
mod session;
mod tools;
mod watch;
mod weight;

pub(crate) use self::session::ExchangeSessions;
pub use self::{
    builder::ConnectionsBuilder,
    call::{CallToolError, CallToolRequest},
    connections::Connections,
    counts::ConnectionCounts,
    tools::{OfferedTool, ServerTools},
};
