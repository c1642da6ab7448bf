//! Limits of time and size: nothing that a server does is unbounded.

use std::time::Duration;

/// The limits of a [`Client`](super::Client), and of the [`Connections`](crate::Connections) that
/// have many.
///
/// ```
/// use mcp_layer::mcp::ServerLimits;
/// use std::time::Duration;
///
/// let mut limits = ServerLimits::default();
/// limits.call = Duration::from_secs(120);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ServerLimits {
    /// A whole tool call, connecting included. Default 60 s: a model's turn waits for it. A caller
    /// may want less, by [`CallToolRequest::timeout`](crate::CallToolRequest::timeout) or
    /// [`Limits::call`](crate::Limits::call), and never gets more: the shortest wins.
    pub call: Duration,
    /// A whole listing with all its pages, connecting included; also the handshake alone.
    /// Default 10 s: a request with several servers waits for the slowest.
    pub list: Duration,
    /// The time for which a listing counts as fresh if the server does not say. Default 5 minutes;
    /// after that it is still used while it is fetched anew.
    pub list_fresh: Duration,
    /// The longest silence inside a message that has begun: a JSON body, or one event. Default
    /// 30 s. Between events a tool may work in silence for as long as the call may take.
    pub idle: Duration,
    /// The shared stream of an HTTP+SSE server is closed after so long without a call. Default
    /// 60 s: it holds a connection on both sides.
    pub unused: Duration,
    /// Pages of one listing. Default 64.
    pub pages: usize,
    /// Tools of one listing, those left out included. Default 512, four times what a request
    /// can offer to a model.
    pub tools: usize,
    /// A tool's input schema in bytes. Default 64 KiB; a tool with more is left out.
    pub schema_bytes: usize,
    /// The deepest nesting of an input schema. Default 32, enough for any form, and harmless to
    /// whoever walks it recursively; a tool with more is left out.
    pub schema_depth: usize,
    /// A JSON body. Default 4 MiB, sixteen times what a model is given of a result.
    pub result_bytes: usize,
    /// One event of an event stream. Default 1 MiB.
    pub event_bytes: usize,
    /// All the event streams of one request together; on the shared stream of an HTTP+SSE server,
    /// between one answer and the next; and all pages of one listing. Default 16 MiB: leaves room
    /// for progress notifications, and ends a stream that never does.
    pub stream_bytes: usize,
    /// Lists and sessions kept of one server for callers: a list for each token of theirs, and a
    /// session for each project, caller or token that has one to itself. Default 1000; of one
    /// caller an eighth. Beyond, the caller's least used gives way: it is listed, or opened, anew.
    pub peers: usize,
    /// The bytes kept of one server for callers, equal lists counted once. Default 64 MiB; of one
    /// caller an eighth.
    pub peer_bytes: usize,
    /// Tokens that one caller may bring for the first time, in a minute. Default 120, and at the
    /// beginning an eighth of `peers` at once: each costs a listing, and the server has to bear
    /// those of all callers. One caller is one [`CallerId`](crate::CallerId), or one project.
    pub new_tokens: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        const KIB: usize = 1024;
        Self {
            call: Duration::from_secs(60),
            list: Duration::from_secs(10),
            list_fresh: Duration::from_secs(300),
            idle: Duration::from_secs(30),
            unused: Duration::from_secs(60),
            pages: 64,
            tools: 512,
            schema_bytes: 64 * KIB,
            schema_depth: 32,
            result_bytes: 4 * KIB * KIB,
            event_bytes: KIB * KIB,
            stream_bytes: 16 * KIB * KIB,
            peers: 1000,
            peer_bytes: 64 * KIB * KIB,
            new_tokens: 120,
        }
    }
}
