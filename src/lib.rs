//! Gives every chat-completions service the tools of MCP servers.
#![forbid(unsafe_code)]

pub mod mcp;
pub mod outbound;
