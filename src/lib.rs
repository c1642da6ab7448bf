//! A tower layer that gives every chat-completions service the tools of MCP servers.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test that cannot go on fails")
)]

mod layer;
mod service;
mod tool_loop;

mod body;
mod catalog;
mod connect;
mod offer;
mod refusal;
mod schema;
mod schema_cost;
mod settings;
mod sniff;

mod chat;
pub mod mcp;
mod name;
pub mod outbound;
mod price;
mod project;
pub mod registry;

pub use self::{
    body::{McpBody, RequestBody},
    connect::{Connections, Inactive, OfferedTool, ServerTools},
    layer::McpLayer,
    name::{InvalidServerName, ServerName},
    offer::LeftOut,
    price::Price,
    project::Project,
    service::{McpService, ResponseFuture},
    settings::{Limits, Streaming},
};
