//! How a request opts in, whichever way it is.

use super::tools_entries::Entry;
use crate::tool_loop::wanted::Wanted;

/// How a request opts in, where that is not the member `mcp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OptIn {
    /// The place in the request where it does, for faults: `tools[0]`, `x-mcp-servers`.
    pub(crate) param: String,
    /// The servers, in their order.
    pub(crate) servers: Vec<Wanted>,
    /// The only tools to offer, by their offered names; `None` for all.
    pub(crate) tools: Option<Vec<String>>,
    /// Entries of `tools`, whose servers are still to be [found](super::tools_entries::find).
    pub(crate) entries: Vec<Entry>,
}

impl OptIn {
    /// Asks for these servers with all of their tools.
    pub(crate) fn servers(param: impl Into<String>, servers: Vec<Wanted>) -> Self {
        Self {
            param: param.into(),
            servers,
            tools: None,
            entries: Vec::new(),
        }
    }
}
