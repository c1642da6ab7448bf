//! A server that a request asks for, and the place where it does.

/// A server that a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    /// The place of the name in the request, for faults: `mcp.servers[0]`.
    pub(crate) param: String,
}
