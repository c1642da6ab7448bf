//! Limits of time and size: nothing that a server does is unbounded.

use std::time::Duration;

/// The limits of a [`Client`](super::Client), and of [`Connections`](crate::Connections), which
/// have many clients.
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
    /// The longest silence of a tool call, connecting included: without progress, a call ends then.
    /// Default 60 s: a model's turn waits for it. Each progress notification that shows more than the
    /// one before begins it anew, and so does each answer that says that a task goes on; comments
    /// that keep a stream open do not.
    /// [`CallToolRequest::silence`](crate::CallToolRequest::silence) and
    /// [`Limits::call`](crate::Limits::call) can shorten it, never extend it;
    /// [`Server::call`](crate::registry::Server::call) replaces it for one server.
    pub call: Duration,
    /// The longest tool call, whatever progress it makes. Default 600 s, more than the deadline of a
    /// request leaves it by default. A larger [`call`](Self::call) needs a larger one of these, too.
    /// [`CallToolRequest::timeout`](crate::CallToolRequest::timeout) and
    /// [`Limits::call_max`](crate::Limits::call_max) can shorten it;
    /// [`Server::call_max`](crate::registry::Server::call_max) replaces it for one server.
    pub call_max: Duration,
    /// The longest listing with all its pages, connecting included; also the longest handshake.
    /// Default 10 s: a request with several servers waits for the slowest.
    pub list: Duration,
    /// The time for which a listing is fresh if the server does not say; the shortest that a server
    /// can say is a second. Default 5 minutes; after
    /// that it is still used while a new one is fetched.
    pub list_fresh: Duration,
    /// The longest silence within a message that has begun: a JSON body, or one event. Default 30
    /// s. Between events a tool may be silent for as long as the call may take.
    pub idle: Duration,
    /// The time without a call after which the shared stream of an HTTP+SSE server is closed.
    /// Default 60 s: it costs a connection on both sides.
    pub unused: Duration,
    /// The most pages of one listing. Default 64.
    pub pages: usize,
    /// The most tools of one listing, including those left out. Default 512, four times what a
    /// request can offer to a model.
    pub tools: usize,
    /// The largest input schema of a tool, in bytes. Default 64 KiB; a tool with a larger one is
    /// left out.
    pub schema_bytes: usize,
    /// The deepest nesting of an input schema. Default 32, enough for any form, and safe for
    /// recursive code; a tool with more is left out.
    pub schema_depth: usize,
    /// The largest JSON body, in bytes. Default 4 MiB, sixteen times what a model is given of a
    /// result.
    pub result_bytes: usize,
    /// The largest event of an event stream, in bytes. Default 1 MiB.
    pub event_bytes: usize,
    /// The largest JSON body or event that has images, recordings or other binary content, if it is
    /// more than the limits above; in bytes. Default 8 MiB: a round shows 4 MiB of them in Base64, and
    /// what is larger can still be told by a note. That there are some has to show within the limits
    /// above.
    pub media_bytes: usize,
    /// The most bytes in all the event streams of one request; on the shared stream of an HTTP+SSE
    /// server, between one answer and the next; and in all pages of one listing. Default 16 MiB,
    /// which leaves room for 100,000 progress notifications, and stops a stream that never ends:
    /// progress does not renew it.
    pub stream_bytes: usize,
    /// The most lists and sessions that are kept of one server for callers: a list for each token,
    /// and a session for each project, caller or token that has its own. Default 1000, of which one
    /// caller gets at most an eighth. Beyond that, the caller's least used entry is evicted, and
    /// listed or opened again when needed.
    pub peers: usize,
    /// The most bytes that are kept of one server for callers; equal lists are counted once.
    /// Default 64 MiB, of which one caller gets at most an eighth.
    pub peer_bytes: usize,
    /// The most new tokens that one caller may bring per minute. Default 120, after an initial
    /// burst of an eighth of `peers`: each new token costs a listing, and the server has to bear
    /// those of all callers. A caller is one [`CallerId`](crate::CallerId), or one project.
    pub new_tokens: usize,
    /// The most servers that are listened to at once for changes of their tools, over a stream for
    /// each. Default 256: a stream takes a connection here and at its server, and lists are fetched
    /// anew without, only later. 0 listens to none.
    pub listeners: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        const KIB: usize = 1024;
        Self {
            call: Duration::from_secs(60),
            call_max: Duration::from_secs(600),
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
            media_bytes: 8 * KIB * KIB,
            stream_bytes: 16 * KIB * KIB,
            peers: 1000,
            peer_bytes: 64 * KIB * KIB,
            new_tokens: 120,
            listeners: 256,
        }
    }
}
