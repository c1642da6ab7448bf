//! The operator's REST interface and dashboard (feature `admin`): servers, their tools, their
//! status and what they were used for.
//!
//! ```
//! use mcp_layer::{Connections, McpLayer, admin::{self, Admin, Metrics}};
//! use mcp_layer::outbound::{EgressRules, Outbound};
//! use mcp_layer::registry::{MemoryRegistry, MemoryTraces};
//!
//! let store = MemoryRegistry::default();
//! let connections = Connections::builder(Outbound::new(EgressRules::default()))
//!     .observations(store.clone())
//!     .build();
//! let (traces, metrics) = (MemoryTraces::default(), Metrics::default());
//! // Both see the same servers, over the same connections.
//! let layer = McpLayer::new(store.clone())
//!     .with_connections(connections.clone())
//!     .add_trace_sink(traces.clone())
//!     .add_trace_sink(metrics.clone());
//! let token = "a-token-of-many-random-characters".into();
//! let admin = Admin::new(store, connections, token)?
//!     .with_traces(traces)
//!     .with_metrics(metrics)
//!     .with_explainer(layer.explainer())
//!     .with_public_url("https://gateway.example/admin".parse()?);
//! // Listens apart from the callers, behind what speaks TLS at the public URL.
//! let app: axum::Router = axum::Router::new().nest("/admin", admin::router(admin));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Every request to `/api/v1` needs `Authorization: Bearer <token>` and a `Host` that is ours; a
//! page of another origin is refused, and a body is JSON. The holder of the token can do everything
//! there is for one organization, except read secrets: those are write-only.
//!
//! Who gives wrong tokens is counted by [address](ClientAddress), over REST and on pages together:
//! after ten within a minute the sign-in answers 429, after thirty REST does, and the log has one
//! line of them all. The right token always enters.
//!
//! # Dashboard
//!
//! Everything else is pages for people, from `/` on; they can do nothing that REST cannot. Whoever
//! gives the token at `/sign-in` gets a cookie that is good for 12 hours, in every replica with the
//! same [keys](Admin::with_session_keys), and ends when the token changes. A form is taken from our
//! own pages only.
//! Pages run nothing but one file of ours, fetch nothing from elsewhere, and work without scripts.
//!
//! # Servers
//!
//! A server has the members of [`Server`](crate::registry::Server). What is absent has its default,
//! also in a `PUT`, which replaces the whole record. A member that is not known is refused by its
//! path: a server without what its operator meant is worse than none.
//!
//! - `id`, `source`, `status`, `status_reason`, `last_failure`, `tool_count`, `created_at` and
//!   `updated_at` are in answers; they are ignored in what is sent, so that a client can send back
//!   what it has read. In a `POST` so is `version`.
//! - A secret is sent as text and answered as `{"set": true, "updated_at": …}`; that sent back
//!   keeps it. It is kept for the origin and the authorization server that it was entered for, and
//!   has to be entered anew for others. `{"set": false}`: what is stored cannot be opened.
//! - `null` is as good as absent.
//!
//! # Tools
//!
//! A tool is `approved`, `changed`, `new` or `removed` by what was accepted of it. Of one that has
//! changed both definitions are shown. Accepting names the fingerprint that was looked at: what has
//! changed again since is not accepted.
//!
//! # OAuth 2.0
//!
//! A server with OAuth 2.0 is connected in a browser: `POST …/oauth/connect` answers an address of
//! ours that works once, `/oauth/start/…`, and `/oauth/callback/{id}` is the redirect URI of the
//! server with this identity. Both are open to browsers without the token, and need
//! [`Admin::with_authorizations`]. Whoever has the first address can begin with it, so a log has
//! its [path](path_for_log) only as far as that, and no query.
//!
//! # What a request would get
//!
//! `POST …/explain` takes a chat completion and tells its tools, by the very code of the
//! [layer](Admin::with_explainer).
//!
//! # Metrics
//!
//! `GET /metrics` is for Prometheus, which sends the token as its `authorization` says. Where
//! [`Metrics`] are no sink of the layer, exchanges are not in it.
//!
//! This part knows neither the layer nor who calls it.

mod access;
mod answer;
mod body;
mod builder;
mod call;
mod clock;
mod dashboard;
mod edit;
mod explain;
mod fault;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod gate;
mod hosts;
mod keys;
mod metrics;
mod oauth;
mod openapi;
mod operator_token;
mod organization;
mod outside;
mod parts;
mod projects;
mod query;
mod records;
mod rest;
mod route;
mod router;
mod scrape;
mod secrets;
mod server_status;
mod servers;
mod session;
mod standing;
mod statuses;
mod throttle;
mod time;
mod token;
mod tool_view;
mod tools;
mod traces;
mod view;
mod visits;

pub use self::{
    builder::Admin,
    keys::SealingKey,
    metrics::Metrics,
    oauth::path_for_log,
    router::{router, routes},
    throttle::{ClientAddress, Throttle, Wrong},
    token::InvalidToken,
};
