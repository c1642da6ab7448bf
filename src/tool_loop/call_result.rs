//! The result of a tool call, for the model and for the receipt.

use std::time::Duration;

use bytes::Bytes;

/// The result of a tool call; an error is one, too.
#[derive(Debug)]
pub(crate) struct CallResult {
    pub(crate) id: String,
    /// The slug; `None` for a tool that none of the servers offers.
    pub(crate) server: Option<String>,
    /// The tool's own name at the server.
    pub(crate) tool: String,
    pub(crate) duration: Duration,
    pub(crate) is_error: bool,
    /// The size of the result before it was truncated.
    pub(crate) result_bytes: usize,
    pub(crate) truncated: bool,
    /// Characters that cannot be seen were taken out.
    pub(crate) is_cleaned: bool,
    /// The `tool` message for the model.
    pub(crate) message: Bytes,
    /// `true` for a call beyond the most of one turn; such calls are counted, not reported one by
    /// one.
    pub(crate) is_beyond: bool,
}
