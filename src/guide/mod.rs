//! Guides for callers, operators and programs that use the layer.
//!
//! Each guide answers one question from start to finish; the items of the crate have the details.
//! The Rust in them compiles and runs as doctests, and CI runs their commands.
//!
//! | guide | read it to |
//! |---|---|
//! | [`requests`] | call a proxy that has the layer: the member `mcp`, streaming, hand-back, the SDKs |
//! | [`clients`] | get tools in curl, SDKs, llm, gptme, aider, Open WebUI, LibreChat, Continue: the lines to enter in each |
//! | [`proxy`] | run the proxy that comes with the crate: every flag, setting and server member |
//! | [`deploy`] | bring the proxy into production: systemd, images, environment, backups, alerts, upgrades |
//! | [`operate`] | manage servers in a browser or over REST, and connect those with OAuth 2.0 |
//! | [`observe`] | set up metrics, traces and the log, and read what each exchange did |
//! | `database` | keep servers and credentials in SQLite or PostgreSQL (features `oauth` and an engine) |
//! | `oauth` | connect servers with OAuth 2.0 from a program of your own (feature `oauth`) |
//! | [`scale`] | run several replicas on one PostgreSQL, and restart them without losing a request |
//! | [`security`] | know what is guaranteed to whom, and run the proxy hardened |
//! | [`speed`] | see what the proxy and the layer cost, and beside what |

#[doc = include_str!("requests.md")]
pub mod requests {}

#[doc = include_str!("clients.md")]
pub mod clients {}

#[doc = include_str!("proxy.md")]
pub mod proxy {}

#[doc = include_str!("deploy.md")]
pub mod deploy {}

#[doc = include_str!("operate.md")]
pub mod operate {}

#[doc = include_str!("observe.md")]
pub mod observe {}

#[cfg(all(feature = "oauth", any(feature = "postgres", feature = "sqlite")))]
#[doc = include_str!("database.md")]
pub mod database {}

#[cfg(feature = "oauth")]
#[doc = include_str!("oauth.md")]
pub mod oauth {}

#[doc = include_str!("scale.md")]
pub mod scale {}

/// Guarantees, limits and hardening, as in `SECURITY.md`.
///
#[doc = include_str!("../../SECURITY.md")]
pub mod security {}

#[doc = include_str!("speed.md")]
pub mod speed {}
