//! The contracts of the traits as tests (feature `conformance`): a function per clause, to test
//! registries and stores of your own.
//!
//! - [`reading`] for [`ServerRegistry`](super::ServerRegistry)
//! - [`stores`] for [`ServerStore`](super::ServerStore)
//! - [`observations`] for [`ObservationStore`](super::ObservationStore)
//! - [`credentials`] for [`CredentialStore`](super::CredentialStore)
//! - [`exchanges`] for [`ExchangeStore`](super::ExchangeStore)
//! - [`traces`] for [`TraceStore`](super::TraceStore)
//! - [`models`] for [`ModelStore`](super::ModelStore)
//! - [`audit`] for [`AuditStore`](super::AuditStore)
//! - [`operator_sessions`] for [`OperatorSessionStore`](super::OperatorSessionStore)
//! - [`api_keys`] for [`ApiKeyStore`](super::ApiKeyStore)
//! - [`usage`] for [`UsageStore`](super::usage::UsageStore)
//! - [`overview`] for [`OverviewStore`](super::overview::OverviewStore)
//!
//! Each module has a function `all`, which runs every clause with a new store, including clauses
//! that later versions add. It prints the name of each clause first, and panics at one that does
//! not hold. A tokio runtime with its time enabled is needed, paused or not.
//!
//! ```
//! use mcp_layer::registry::{
//!     MemoryApiKeys, MemoryAudit, MemoryCredentialStore, MemoryExchanges, MemoryModels,
//!     MemoryOperatorSessions, MemoryRegistry, MemoryTraces, conformance, overview, usage,
//! };
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?.block_on(async {
//! conformance::reading::all(async |servers| MemoryRegistry::new(servers).unwrap()).await;
//! conformance::stores::all(async || MemoryRegistry::default()).await;
//! conformance::observations::all(async || MemoryRegistry::default()).await;
//! conformance::credentials::all(async || MemoryCredentialStore::default()).await;
//! conformance::exchanges::all(async || MemoryExchanges::default()).await;
//! conformance::traces::all(async || MemoryTraces::default()).await;
//! conformance::models::all(async || MemoryModels::default()).await;
//! conformance::audit::all(async || MemoryAudit::default()).await;
//! conformance::operator_sessions::all(async || MemoryOperatorSessions::default()).await;
//! conformance::api_keys::all(async || MemoryApiKeys::default()).await;
//! conformance::overview::all(async || overview::MemoryOverview::default()).await;
//! conformance::usage::all(async || usage::MemoryUsage::default()).await;
//! # });
//! # Ok::<(), std::io::Error>(())
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a clause that does not hold panics, and that is what it is for"
)]

pub mod api_keys;
pub mod audit;
pub mod credentials;
pub mod exchanges;
pub mod models;
pub mod observations;
pub mod operator_sessions;
pub mod overview;
pub mod reading;
pub mod stores;
pub mod traces;
pub mod usage;

use super::{Auth, Server};
use crate::secret::ExposeSecret;

/// Defines the function that runs all clauses.
macro_rules! clauses {
    ($(#[$doc:meta])* all($($store:ident)+) { $($clause:ident)* }) => {
        $(#[$doc])*
        pub async fn all<S: $($store +)+>(make: impl AsyncFn() -> S) {
            $(
                println!("{}::{}", module_path!(), stringify!($clause));
                $clause(make().await).await;
            )*
        }
    };
}
use clauses;

/// Asserts that two records say the same, but for identity and version.
fn assert_same(found: &Server, meant: &Server) {
    let name = &meant.name;
    let public = |server: &Server| {
        let projects = format!("{:?} {:?}", server.projects, server.tools);
        (
            server.organization.clone(),
            server.name.clone(),
            server.display_name.clone(),
            server.description.clone(),
            server.url.clone(),
            server.transport,
            projects,
            (server.share_session, server.trace_context),
            (server.instructions, server.grants.clone()),
            (server.call, server.call_max),
            server.enabled,
        )
    };
    assert_eq!(public(found), public(meant), "{name}");
    assert_eq!(secrets(&found.auth), secrets(&meant.auth), "{name}");
}

/// Returns everything of an authentication as text, to be compared.
fn secrets(auth: &Auth) -> String {
    match auth {
        Auth::StaticHeaders(_) => {
            let headers = auth.headers();
            let headers = headers.iter().map(|(name, value)| {
                let value = value.to_str().unwrap();
                format!("{name}: {value}")
            });
            headers.collect::<Vec<_>>().join("\n")
        }
        Auth::OAuth2(oauth) => {
            let proofs = [&oauth.client_secret, &oauth.private_key];
            let proofs = proofs.map(|proof| proof.as_ref().map(ExposeSecret::expose_secret));
            format!("{oauth:?} {proofs:?}")
        }
        other => format!("{other:?}"),
    }
}
