//! The reasons why a body is not read.

/// The reason why a body is not a request for the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Valid JSON that is no object, or has members twice but does not ask the layer for anything.
    NotOurs,
    /// Text that is not JSON, but seems to contain `mcp`.
    NotJson,
    /// A member that the layer reads is given twice.
    Doubled(String),
    /// Too many top-level members.
    TooLarge,
    /// Too many entries of the type `mcp` in `tools`.
    TooManyEntries,
}
