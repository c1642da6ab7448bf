//! A client of MCP servers that uses their tools, and nothing else of them.
//!
//! Speaks the revisions 2024-11-05 (HTTP+SSE), 2025-03-26, 2025-06-18, 2025-11-25 (Streamable HTTP
//! with sessions) and 2026-07-28 (Streamable HTTP without). It detects which of them a server
//! speaks, with one additional request at the first connection of a [`Client`]. It offers servers
//! no sampling, no elicitation and no roots, and fetches nothing that they link to. It does not
//! know chat completions, registries or OAuth: it takes an [`Endpoint`] with ready headers, and
//! returns tools and text.
//!
//! ```text
//! Client            one server, one credential; lists tools and calls them
//!   Pulse           the signs of life of a call: progress, and how long the server is silent
//!   Task            a call that has become a task, asked for until it ends
//!   Line            connects once for all callers, remembers what the server speaks, recovers
//!     Link          a connection in use, and how far it is trusted
//!   ParamHeaders        arguments that 2026-07-28 repeats in headers
//!   Connection      a server over one transport, newest first
//!     discover      does it speak 2026-07-28?
//!     stateless, streamable_http, http_sse
//!       Inbox       the answer, amid what else the server says
//!         Heard       what the server says of itself, and that its tools have changed
//!       Route       one HTTP exchange; what the head of a response means
//!         meaning   the table: which refusals show that nothing ran, or that a session is lost
//!       Events      an event stream within limits
//!         wire, sse the two formats
//!         Sent      whether a request left us, which decides what may be repeated
//! ```
//!
//! A server is never trusted: every answer is limited in time and size ([`ServerLimits`]), the only
//! text of a server in an error is the message of a JSON-RPC error, and what operators are told
//! besides ([`Error::detail`]), and a tool call is not sent
//! twice unless it cannot have run ([`Client`]).
//!
//! ```no_run
//! use mcp_layer::mcp::{Client, Endpoint, ServerLimits, Transport};
//! use mcp_layer::outbound::{EgressRules, Outbound};
//! use serde_json::value::RawValue;
//! use std::time::Duration;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let outbound = Outbound::new(EgressRules::default());
//! let url = "https://mcp.deepwiki.com/mcp".parse()?;
//! let endpoint = Endpoint::new(url, Transport::StreamableHttp, http::HeaderMap::new());
//! let client = Client::new(outbound, endpoint, ServerLimits::default());
//!
//! for tool in client.list_tools().await?.tools {
//!     println!("{}", tool.name);
//! }
//! let arguments = RawValue::from_string(r#"{"repoName": "tower-rs/tower"}"#.to_owned())?;
//! let result = client
//!     .call_tool("read_wiki_structure", &arguments, Duration::from_secs(30), None)
//!     .await?;
//! println!("{}", result.text);
//! client.close().await;
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;

mod client;
mod content;
mod input;
mod media;
mod task;
mod tools;

mod line;

mod link;

mod connection;
mod discover;
mod http_sse;
mod stateless;
mod streamable_http;

mod body;
mod cancel;
mod credential;
mod endpoint;
mod failure;
mod first_line;
mod handshake;
mod heard;
mod inbox;
mod legacy_params;
mod meaning;
mod param_headers;
mod progress;
mod pulse;
mod redirect;
mod refusal;
mod request;
mod retry_after;
mod route;
mod sent;

mod error;
mod header_value;
mod limits;
mod raw;
mod wire;

pub(crate) use client::Call;
pub use client::Client;
pub use content::CallToolResult;
pub use endpoint::{Endpoint, Transport};
pub use error::{Error, ErrorKind};
pub(crate) use heard::Listened;
pub use limits::ServerLimits;
pub use media::Media;
pub use progress::{OnProgress, Progress};
pub use tools::{Tool, ToolList};
