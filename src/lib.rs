//! A [tower] layer that gives the models behind an LLM proxy the tools of [MCP] servers.
//!
//! [`McpLayer`] wraps any service that answers OpenAI-style `POST …/chat/completions`. A request
//! opts in with a member `mcp`; the layer finds the servers that it names in a
//! [registry](registry::ServerRegistry), offers their tools to the model as `{server}__{tool}`,
//! and, with `auto_execute_tools`, runs what the model calls until it answers:
//!
//! ```text
//!    caller                   McpLayer                    inner service      MCP servers
//!      │  {"messages", "mcp"}    │                               │                │
//!      ├────────────────────────▶│ servers, tools (cached) ◀─────┼───────────────▶│
//!      │                         │  {"messages", "tools"}        │                │
//!      │                         ├──────────────────────────────▶│                │
//!      │                         │◀───────────────── tool_calls ─┤                │
//!      │                         │  run, with credentials ───────┼───────────────▶│
//!      │                         │◀──────────────────────────────┼─────── results ┤
//!      │                         │  {"messages" + results}       │                │
//!      │                         ├──────────────────────────────▶│                │
//!      │  answer + receipt       │◀────────────────────── answer ┤                │
//!      │◀────────────────────────┤                               │                │
//! ```
//!
//! # Quick start
//!
//! ```
//! use axum::{Router, extract::DefaultBodyLimit, routing::post};
//! use mcp_layer::{McpLayer, registry::{MemoryRegistry, Server}};
//!
//! async fn proxy() { /* forwards to a provider */ }
//!
//! let registry = MemoryRegistry::new([
//!     Server::new("deepwiki-mcp", "https://mcp.deepwiki.com/mcp")?,
//! ])?;
//! let app: Router = Router::new()
//!     .route("/v1/chat/completions", post(proxy))
//!     .layer(DefaultBodyLimit::max(64 << 20))
//!     .layer(McpLayer::new(registry));
//! # Ok::<(), mcp_layer::registry::Error>(())
//! ```
//!
//! The proxy's authentication, outside of the layer, identifies the caller by putting a [`Project`]
//! into the request's extensions. [`McpLayer`] shows the order of a whole stack.
//!
//! A request may have thousands of tools, for which its model [searches](ToolSearch). Projects have
//! [grants](registry::ProjectGrant), limits and [budgets](registry::Budget) of their own, and
//! [guards](guard) see each call before it runs, and each result before the model does. Servers are
//! authorized by fixed credentials, by a person (OAuth 2.0), by the gateway itself (client credentials),
//! or by callers' own tokens, sent on or exchanged ([`registry::Auth`]).
//!
//! # Where to read on
//!
//! - [`McpLayer`]: the settings; [`Limits`] has every limit with its reason.
//! - [`registry`]: the record of a server, the available registries, and how to write your own.
//! - [`Connections`]: sessions and tool lists, shared by layers and by everything that shows servers.
//! - `authorization` (feature `oauth`): servers with OAuth 2.0, from an operator's click to tokens
//!   that stay fresh; `oauth` is the protocol alone.
//! - `admin` (feature `admin`): the dashboard and REST for operators: servers, tools and traces, and
//!   metrics for Prometheus.
//! - [`guard`]: what sees each tool call before it runs, and each result before the model does.
//! - [`trace`]: the record of each exchange, and the sinks that receive it.
//! - [`mcp`]: the client of MCP servers, usable by itself.
//! - [`outbound`]: the guarded HTTP client, and the addresses that servers may have.
//! - [`secret`]: sealed credentials, and the keys that seal them.
//!
//! The [guides](guide) go further: the API that callers see, running and operating the proxy,
//! databases, replicas. `ARCHITECTURE.md` explains how it works inside.
//!
//! # Features
//!
//! | feature | default | brings |
//! |---|---|---|
//! | `file` | yes | `registry::FileRegistry`: servers in a TOML file, reloaded when it changes |
//! | `validate` | yes | checks a model's arguments against the tool's input schema; without it, only servers do (that they are a JSON object within its [limits](Limits) is always checked) |
//! | `oauth` | | `authorization::Authorizations`: servers with OAuth 2.0 |
//! | `sqlite` | | `registry::SqlRegistry` over SQLite, which is built in |
//! | `postgres` | | `registry::SqlRegistry` over PostgreSQL, for several replicas |
//! | `admin` | | `admin`: the operator's dashboard and REST interface, as an `axum::Router`; includes `oauth` |
//! | `full` | | all of the above |
//! | `conformance` | | `registry::conformance`: tests for registries of your own |
//!
//! [tower]: https://docs.rs/tower
//! [MCP]: https://modelcontextprotocol.io
#![forbid(unsafe_code)]
// On docs.rs each item says which feature brings it.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test that cannot go on fails")
)]

pub mod guide;

#[cfg(feature = "admin")]
pub mod admin;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzz;

mod layer;
mod monitor;
mod service;

mod models_list;
mod sniff;

#[cfg(feature = "admin")]
mod explain;
#[cfg(feature = "admin")]
mod tool_caller;

mod tool_loop;

#[cfg(feature = "oauth")]
pub mod authorization;

mod catalog;
mod connect;
mod tool_search;

mod kept;

mod caller;
#[cfg_attr(
    not(feature = "oauth"),
    allow(dead_code, reason = "only servers with OAuth 2.0 have it exchanged")
)]
mod subject_token;
mod whose;

mod keyed;
mod offer;
mod schema;

mod inner;

mod body;
mod held;
mod refusal;
mod settings;

pub mod guard;
mod media_models;
mod pattern;
mod price;
pub mod registry;
mod tool_price;

mod inactive;
mod left_out;

#[cfg(feature = "oauth")]
pub mod oauth;

pub mod trace;

mod chat;
pub mod mcp;
pub mod outbound;
pub mod secret;

mod apart;
#[cfg(feature = "fuzzing")]
mod fuzz_input;
mod hex;
#[cfg(feature = "oauth")]
mod issuer;
mod json;
mod name;
#[cfg_attr(
    not(feature = "oauth"),
    allow(dead_code, reason = "only servers with OAuth 2.0 have it sign")
)]
mod private_key;
mod project;
mod random;
mod schema_dialect;
mod scopes;
mod scrub;
mod search;
mod signing_algorithm;
mod sse;
mod subject_token_type;
mod to_its_end;
mod token_auth;
mod trace_parent;
mod unseen;
mod url_keys;
mod within;

pub use self::{
    body::{McpBody, RequestBody},
    caller::CallerTokens,
    connect::{
        CallToolError, CallToolRequest, ConnectionCounts, Connections, ConnectionsBuilder,
        OfferedTool, ServerTools,
    },
    inactive::Inactive,
    layer::McpLayer,
    left_out::LeftOut,
    media_models::{MediaModels, MediaPatterns},
    monitor::Monitor,
    name::{InvalidServerName, ServerName},
    price::Price,
    private_key::{InvalidPrivateKey, PrivateKey},
    project::Project,
    schema_dialect::SchemaDialect,
    scopes::{InvalidScopes, Scopes},
    scrub::{ScrubbedChunks, Scrubber},
    service::{McpService, OptedIn, ResponseFuture},
    settings::{Limits, NativeToolSearch, OnMaxRounds, OwnTools, Streaming, ToolSearch},
    signing_algorithm::SigningAlgorithm,
    subject_token::{InvalidSubjectToken, SubjectToken},
    subject_token_type::SubjectTokenType,
    token_auth::TokenAuth,
    tool_price::ToolPrice,
    trace_parent::TraceParent,
    whose::{CallerId, CallerLimits},
};
#[cfg(feature = "admin")]
pub use self::{explain::Explainer, tool_caller::ToolCaller};

/// Crates whose types the interface names, in the versions that it means.
pub use {bytes, http, http_body, url};

/// Compiles the README's Rust.
#[cfg(all(doctest, feature = "full"))]
#[doc = include_str!("../README.md")]
struct Readme;
