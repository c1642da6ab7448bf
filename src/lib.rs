#![forbid(unsafe_code)]

pub mod mcp;
pub mod outbound;
