//! What an operator configures, with the defaults and their reasons.

use std::{fmt, sync::Arc, time::Duration};

use serde_json::{Map, Value};

use crate::{
    price::Price,
    trace::{Payloads, TraceSink},
    trace_parent::TraceParent,
};

/// The page's hard cap on rounds.
pub(crate) const ROUNDS: u64 = 5;

/// The part of the deadline that is kept for the last model turn: no batch of tools starts with
/// less than this left, and a batch gets the time left less this.
pub(crate) const LAST_TURN: Duration = Duration::from_secs(30);

/// Limits of one request.
///
/// Those of a call to a server are in [`mcp::ServerLimits`](crate::mcp::ServerLimits).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// The largest request body, and the largest answer of a model that is read; default 20 MiB,
    /// room for a handful of images. A larger request is answered with 413.
    pub body_bytes: usize,
    /// What all requests hold of bodies in memory: theirs while they are read and for as long as
    /// they may be sent once more, and answers that are read whole; default 512 MiB. What finds no
    /// room is answered with 503 before any model is asked. Bodies over 64 KiB leave the last
    /// eighth free.
    pub all_body_bytes: usize,
    /// The part of that for one caller, who is told by [`Project`](crate::Project) and
    /// [`CallerId`](crate::CallerId); default 64 MiB, three of the largest requests. With less
    /// than [`body_bytes`](Self::body_bytes), the largest are never answered.
    pub caller_body_bytes: usize,
    /// How long a request's whole body may take; default 60 s, in which 20 MiB come over 3 Mbit/s.
    /// A slower one is answered with 408.
    pub body_read: Duration,
    /// The deepest nesting of a request with `mcp`; default 64. Deeper ones only occur to break
    /// the parsers behind us.
    pub json_depth: usize,
    /// Tools in one request, the caller's included; default 128, where providers stop too.
    pub tools: usize,
    /// The most rounds a request may ask for; default 5. A larger value here counts as 5, since
    /// each round is another call of the model with the whole conversation; only
    /// [`McpLayer::with_max_tool_rounds_cap`](crate::McpLayer::with_max_tool_rounds_cap) raises it.
    pub max_tool_rounds: u64,
    /// Tool calls in one turn of the model; default 128, as many as there may be tools. A turn that
    /// a caller sends to be resumed is refused with more. In one of a model's, the model is told
    /// about the rest, up to 16,384 calls, and logs, records and receipts count them in one line.
    pub turn_calls: usize,
    /// Tool calls that are run in one request; default 32. The model is told about the rest.
    pub calls: usize,
    /// Tool calls at once; default 8, so that one request cannot flood a server.
    pub concurrent_calls: usize,
    /// The arguments of one call; default 256 KiB.
    pub argument_bytes: usize,
    /// What a model gets of one result; default 256 KiB, about 64,000 tokens. A cut is
    /// announced in the text.
    pub result_bytes: usize,
    /// Finding the servers of a request and their tools; default 10 s.
    pub resolve: Duration,
    /// One tool call, as the loop waits for it; default 60 s. The shortest of this,
    /// [`ServerLimits::call`](crate::mcp::ServerLimits::call) and what is left of
    /// [`deadline`](Self::deadline) wins.
    pub call: Duration,
    /// The whole request; default 300 s. A model's turn is never cut: the last 30 s are kept
    /// for one, so with 30 s or less no tool ever runs.
    pub deadline: Duration,
    /// How long a stream of [`Streaming::Execute`] is silent, while tools run or the model thinks,
    /// before a comment tells clients and proxies that it lives; default 10 s, at least 10 ms. They
    /// cut what is silent for 30 s to 60 s.
    pub keep_alive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 20 << 20,
            all_body_bytes: 512 << 20,
            caller_body_bytes: 64 << 20,
            body_read: Duration::from_secs(60),
            json_depth: 64,
            tools: 128,
            max_tool_rounds: ROUNDS,
            turn_calls: 128,
            calls: 32,
            concurrent_calls: 8,
            argument_bytes: 256 << 10,
            result_bytes: 256 << 10,
            resolve: Duration::from_secs(10),
            call: Duration::from_secs(60),
            deadline: Duration::from_secs(300),
            keep_alive: Duration::from_secs(10),
        }
    }
}

/// What a request with auto-execution and `stream: true` gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Streaming {
    /// The tool calls are streamed and the request ends; the caller may resume.
    #[default]
    ReturnToolCalls,
    /// `400 mcp_auto_execute_requires_non_stream`.
    Reject,
    /// One stream for the whole loop: text as the model produces it, tools run in between.
    Execute,
}

/// Everything that the loop is told by the operator.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) paths: Paths,
    pub(crate) limits: Limits,
    /// The cap on rounds where it was spelt out.
    pub(crate) rounds_cap: Option<u64>,
    pub(crate) streaming: Streaming,
    pub(crate) receipt: bool,
    pub(crate) project_required: bool,
    pub(crate) prices: Vec<Price>,
    pub(crate) tracing: Tracing,
}

/// Who hears of exchanges, and what.
#[derive(Clone, Default)]
pub(crate) struct Tracing {
    pub(crate) sinks: Vec<Arc<dyn TraceSink>>,
    pub(crate) payloads: Payloads,
    /// Tells which trace a span is in.
    pub(crate) context: Option<TraceContext>,
}

/// The trace that an exporter has put a span into.
pub(crate) type TraceContext = Arc<dyn Fn(&tracing::Span) -> Option<TraceParent> + Send + Sync>;

impl fmt::Debug for Tracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracing")
            .field("sinks", &self.sinks.len())
            .field("payloads", &self.payloads)
            .finish()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            paths: Paths::ChatCompletions,
            limits: Limits::default(),
            rounds_cap: None,
            streaming: Streaming::default(),
            receipt: true,
            project_required: false,
            prices: Vec::new(),
            tracing: Tracing::default(),
        }
    }
}

impl Settings {
    /// The operator's cap on rounds.
    pub(crate) fn rounds_cap(&self) -> u64 {
        self.rounds_cap
            .unwrap_or(self.limits.max_tool_rounds.min(ROUNDS))
            .max(1)
    }

    /// Adds the cost of a turn to its `usage`, where the upstream says none, by the price of the
    /// first of `models` that has one; whether it did.
    pub(crate) fn add_cost(
        &self,
        usage: &mut Map<String, Value>,
        models: [Option<&str>; 2],
    ) -> bool {
        if usage.get("cost").is_some_and(|cost| !cost.is_null()) {
            return false;
        }
        let mut models = models.into_iter().flatten();
        let price = models.find_map(|model| self.prices.iter().find(|price| price.is_for(model)));
        let cost = price.and_then(|price| price.cost(usage));
        if let Some(cost) = cost {
            usage.insert("cost".into(), cost.into());
        }
        cost.is_some()
    }
}

/// The paths of chat completions.
#[derive(Clone, Debug)]
pub(crate) enum Paths {
    /// Every path that ends in `/chat/completions`.
    ChatCompletions,
    Only(Arc<[String]>),
}

impl Paths {
    pub(crate) fn contain(&self, path: &str) -> bool {
        match self {
            Self::ChatCompletions => path.ends_with("/chat/completions"),
            Self::Only(paths) => paths.iter().any(|p| p == path),
        }
    }
}
