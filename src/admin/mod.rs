//! The operator's REST interface and dashboard (feature `admin`): servers, their tools and status,
//! and the records of exchanges.
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
//! Every request to `/api/v1` needs `Authorization: Bearer <token>` and a `Host` that is ours.
//! Requests from pages of another origin are refused, and bodies are JSON. The holder of the token
//! can do everything within one organization, except read secrets: those are write-only.
//!
//! # Operators
//!
//! Beside the holder of that token, [`Admin::with_operators`] has others by name, each with a token
//! and a [`Role`], and [`Admin::with_oidc`] those whom a provider of OpenID Connect vouches for. What
//! a role may not do is refused with 403 `forbidden`, and pages do not offer it.
//!
//! `GET /api/v1/audit` has what each of them did, with what was there before and after, without
//! secrets. An entry is written before the change: if it cannot be written, nothing is changed.
//! `GET /api/v1/sessions` has the browsers that are signed in, and `DELETE` ends one, in all replicas
//! with the same [store](Admin::with_operator_sessions).
//!
//! Wrong tokens are counted by [client address](ClientAddress), over REST and on pages together:
//! after ten within a minute the sign-in page answers 429, after thirty REST does, and the log has
//! one line about all of them. The right token is always accepted.
//!
//! # Dashboard
//!
//! Everything else is pages for people, from `/` on; they can do nothing that REST cannot. Giving
//! the token at `/sign-in` sets a cookie that is good for 12 hours, in every replica with the same
//! [keys](Admin::with_session_keys), and ends when the token changes. Forms are only accepted from
//! our own pages. Pages run one script of ours, fetch nothing from elsewhere, and work without
//! scripts.
//!
//! # Servers
//!
//! A server has the members of [`Server`](crate::registry::Server). Absent members have their
//! defaults, even in a `PUT`, which replaces the whole record; only `projects` and `tools`, whose
//! defaults are the widest, have to be in it. A `PATCH` (RFC 7396) changes what it has, and leaves
//! the rest. An unknown member is refused, with its path: ignoring it could give a server fewer
//! restrictions than its operator meant.
//!
//! - `id`, `source`, `status`, `status_reason`, `last_failure`, `tool_count`, `created_at` and
//!   `updated_at` are read-only; they are ignored in requests, so that a client can send back what
//!   it has read. In a `POST` so is `version`.
//! - A secret is sent as text and answered as `{"set": true, "updated_at": …}`; sending that back
//!   keeps the secret. It is kept for the origin and the authorization server that it was entered
//!   for, and has to be entered again for others. `{"set": false}` means that the stored secret
//!   cannot be opened.
//! - `null` is the same as absent.
//!
//! `POST …/servers/import` makes drafts of the servers in an `mcp.json` of another program, all or
//! none of them; nothing in it is expanded or contacted. `GET …/servers/export` writes all servers
//! as TOML of servers in a file, without their secrets.
//!
//! # Tools
//!
//! A tool is `approved`, `changed`, `new` or `removed`, compared with its accepted definition. If
//! it has changed, both definitions are shown. Accepting names the fingerprint that the operator
//! reviewed; if the definition has changed again since, nothing is accepted.
//!
//! # OAuth 2.0
//!
//! A server with OAuth 2.0 is connected in a browser: `POST …/oauth/connect` answers with a
//! one-time address of ours, `/oauth/start/…`, and `/oauth/callback/{id}` is the redirect URI of
//! the server with this id. Both are open to browsers without the token, and need
//! [`Admin::with_authorizations`]. Anyone who has the first address can use it, so a log should
//! only have its [path up to that point](path_for_log), and no query.
//!
//! # What a request would get
//!
//! `POST …/explain` takes a chat completion and lists the tools that it would be offered, by the
//! code of the [layer](Admin::with_explainer) itself.
//!
//! # Trying it
//!
//! `POST …/tools/{tool}/call` calls one tool as an operator, through the layer's own
//! [checks](Admin::with_tool_caller), and the page `/chat` asks a model with servers
//! ([`Admin::with_chat`]). Both are recorded as exchanges.
//!
//! # Aliases and defaults
//!
//! Where [`Admin::with_models`] says where they are kept, `GET /api/v1/models` has the aliases of
//! models and the default servers, with their version, and `PUT` replaces them by all that are to be
//! there. Those of a file have `"source": "file"`: they can be sent back as they were read, or left
//! out, and are changed in the file.
//!
//! # Callers' API keys
//!
//! Where [`Admin::with_api_keys`] says where they are kept, `/api/v1/api-keys` lists, makes and
//! revokes the keys of callers. A key is in the answer that makes it, and nowhere else. Those of a
//! file have `"source": "file"`, and are changed there.
//!
//! # Overview
//!
//! `GET /api/v1/overview` has the figures of exchanges over time, and by project, model, server and
//! tool, as far as an [`OverviewSink`](crate::registry::overview::OverviewSink) has added them up for
//! the store of [`Admin::with_overview`]. The first page of the dashboard shows them.
//!
//! # Metrics
//!
//! `GET /metrics` is for Prometheus, which sends the token by its setting `authorization`, to whatever
//! name it knows us by: there `Host` is not looked at. [`metrics_router`] has it alone, without a
//! token, for a listener of its own. Exchanges are only counted if [`Metrics`] are a trace sink of the
//! layer.
//!
//! This module knows neither the layer nor its callers.

mod access;
mod acting;
mod answer;
mod api_keys;
mod audit;
mod body;
mod builder;
mod call;
mod callers_url;
mod calling;
mod carried;
mod chat;
mod clock;
mod dashboard;
mod declared;
mod edit;
mod explain;
mod export;
mod fault;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod gate;
mod hosts;
mod import;
mod instant;
mod keys;
mod media_type;
mod merge;
mod metrics;
mod model_edit;
mod models;
mod oauth;
mod oidc;
mod openapi;
mod operator_sessions;
mod operator_token;
mod operators;
mod organization;
mod outside;
mod overview;
mod parts;
mod project;
mod projects;
mod query;
mod records;
mod repeats;
mod rest;
mod role;
mod roles;
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
mod watched;

pub use self::{
    builder::Admin,
    chat::Chat,
    keys::SealingKey,
    metrics::Metrics,
    oauth::path_for_log,
    oidc::{InvalidOidc, Oidc},
    operators::{InvalidOperator, Operator, Operators},
    role::{InvalidRole, Role},
    router::{metrics_router, router, routes},
    throttle::{ClientAddress, Throttle, Wrong},
    token::InvalidToken,
};
