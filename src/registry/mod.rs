//! Registries and stores: servers, who may use them, and everything that is known about them.
//!
//! | trait | stores | in memory | in a database |
//! |---|---|---|---|
//! | [`ServerRegistry`] | servers, for the layer, which needs nothing else | [`MemoryRegistry`], `FileRegistry` | `SqlRegistry` |
//! | [`ServerStore`] | servers, for an operator who changes them | [`MemoryRegistry`], `Overlay` | `SqlRegistry` |
//! | [`ObservationStore`] | what is known of servers from using them | [`MemoryRegistry`] | `SqlRegistry` |
//! | [`CredentialStore`] | OAuth tokens | [`MemoryCredentialStore`] | `SqlRegistry` |
//! | [`ExchangeStore`] | what later requests need of exchanges | [`MemoryExchanges`] | `SqlRegistry` |
//! | [`TraceStore`] | records of exchanges | [`MemoryTraces`] | `SqlRegistry` |
//! | [`OverviewStore`](overview::OverviewStore) | figures of exchanges over time | [`MemoryOverview`](overview::MemoryOverview) | `SqlRegistry` |
//! | [`ModelRegistry`] | aliases of models, default servers and budgets, for the layer | [`MemoryModels`], `FileRegistry` | `SqlRegistry` |
//! | [`ModelStore`] | the same, for an operator who changes them | [`MemoryModels`], `Overlay` | `SqlRegistry` |
//! | [`AuditStore`] | what operators did | [`MemoryAudit`] | `SqlRegistry` |
//! | [`OperatorSessionStore`] | browsers of operators that are signed in | [`MemoryOperatorSessions`] | `SqlRegistry` |
//! | [`UsageStore`](usage::UsageStore) | what is used of limits and budgets | [`MemoryUsage`](usage::MemoryUsage) | `SqlRegistry` |
//! | [`ApiKeyStore`] | callers' API keys, as SHA-256 | [`MemoryApiKeys`] | `SqlRegistry` |
//!
//! `FileRegistry` (feature `file`) reads servers from TOML and follows the file's changes;
//! `Overlay` (feature `file`) lays such a file over a store; `SqlRegistry` (features `sqlite`,
//! `postgres`) keeps everything in a database.
//!
//! # Writing one
//! A registry is a single method: see [`ServerRegistry`] for an example. All methods return a
//! [`BoxFuture`], so each trait can be used as `Arc<dyn …>`. The `conformance` module (feature
//! `conformance`) has a test for every promise of the traits.
//!
//! # Concurrency
//! Stores use versions instead of locks: read a record, change it, and write it back with the
//! version that was read. If another writer was faster, nothing is written, and you read again.
//! Nothing stays locked between two calls, apart from leases and claims, which expire by
//! themselves; so a future may be dropped at any time. The traits say what has happened then.
//!
//! A registry knows nothing of sessions, tool lists or whether a server is up: see
//! [`Connections`](crate::Connections).

mod api_key;
mod api_key_memory;
mod api_key_store;
mod api_keys;
mod audit_entry;
mod audit_memory;
mod audit_store;
mod auth;
mod budget;
mod call_limits;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod credential;
mod credential_memory;
mod credential_store;
mod definition;
mod error;
mod exchange;
mod exchange_memory;
mod exchange_store;
#[cfg(feature = "file")]
mod file;
mod future;
mod grant;
mod listing;
#[cfg(any(
    feature = "admin",
    feature = "file",
    feature = "postgres",
    feature = "sqlite"
))]
#[cfg_attr(
    not(all(
        feature = "admin",
        feature = "file",
        any(feature = "postgres", feature = "sqlite")
    )),
    allow(
        dead_code,
        unused_imports,
        reason = "each text of a server needs a part of it"
    )
)]
pub(crate) mod members;
mod memory;
mod model_memory;
mod model_rules;
mod model_store;
mod oauth2;
mod oauth2_rules;
mod oauth_grant;
mod observation;
mod observation_store;
mod operator_session;
mod operator_session_memory;
#[cfg(feature = "file")]
mod overlay;
pub mod overview;
mod pins;
mod projects;
mod server;
mod server_id;
mod server_registry;
mod server_store;
mod share_session;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sql;
mod static_header;
mod timeout;
mod tool_selection;
mod trace_memory;
mod trace_store;
pub mod usage;

pub(crate) use self::budget::nanos as budget_nanos;
#[cfg(feature = "fuzzing")]
pub(crate) use self::file::fuzz;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use self::sql::{Resealed, SqlError, SqlFault, SqlRegistry};
pub(crate) use self::timeout::Timeout;
pub use self::{
    api_key::{ApiKey, ApiKeyDigest, ApiKeyId, InvalidApiKeyId},
    api_key_memory::MemoryApiKeys,
    api_key_store::{API_KEYS, ApiKeyStore},
    api_keys::ApiKeys,
    audit_entry::{AuditEntry, AuditId, InvalidAuditId},
    audit_memory::MemoryAudit,
    audit_store::{AuditFilter, AuditListing, AuditPage, AuditStore},
    auth::{Auth, AuthKind},
    budget::Budget,
    call_limits::{CallLimit, CallLimits},
    credential::{
        CREDENTIAL_LEN, CredentialKey, Expected, Lease, STATES_PER_SERVER, StateHash,
        StoredCredential,
    },
    credential_memory::MemoryCredentialStore,
    credential_store::CredentialStore,
    definition::{Definition, Fingerprint, InvalidFingerprint},
    error::Error,
    exchange::{EXCHANGE_LEN, ExchangeId, ExchangeOwner, ExchangeRecord, StoredExchange},
    exchange_memory::MemoryExchanges,
    exchange_store::ExchangeStore,
    future::BoxFuture,
    grant::{ProjectGrant, ProjectGrants},
    listing::{Filter, Listing, Page},
    memory::MemoryRegistry,
    model_memory::MemoryModels,
    model_rules::{DefaultServers, ModelAlias, ModelRules},
    model_store::{ModelRegistry, ModelStore},
    oauth_grant::OAuthGrant,
    oauth2::OAuth2,
    observation::{Failure, NotAccepted, Observation, Stage},
    observation_store::ObservationStore,
    operator_session::{OperatorSession, OperatorSessionStore},
    operator_session_memory::MemoryOperatorSessions,
    pins::{Gate, Pins, ToolState},
    projects::Projects,
    server::{DRAFT_LIFE, Server, Source},
    server_id::{InvalidServerId, ServerId},
    server_registry::ServerRegistry,
    server_store::{ServerStore, Store},
    share_session::ShareSession,
    static_header::StaticHeader,
    tool_selection::{SelectedTool, ToolPolicy, ToolSelection},
    trace_memory::MemoryTraces,
    trace_store::{TraceFilter, TraceListing, TracePage, TraceStore},
};
#[cfg(feature = "admin")]
pub(crate) use self::{
    api_key::{NO_NAME, is_name},
    budget::cost as budget_cost,
    static_header::is_reserved_header,
};
#[cfg_attr(
    not(any(
        feature = "admin",
        feature = "file",
        feature = "postgres",
        feature = "sqlite"
    )),
    allow(unused_imports, reason = "said where a limit is read from a text")
)]
pub(crate) use self::{
    budget::{COST, TOKENS},
    call_limits::LIMIT,
};
#[cfg(feature = "file")]
pub use self::{
    file::{FileError, FileRegistry},
    overlay::Overlay,
};
