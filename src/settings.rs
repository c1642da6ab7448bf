//! Settings of the layer, with their defaults and reasons.

use std::{fmt, sync::Arc, time::Duration};

use http::HeaderName;
use serde_json::{Map, Value};

use crate::{
    price::Price,
    schema_dialect::SchemaDialect,
    tool_price::ToolPrice,
    trace::{Payloads, TraceSink},
    trace_parent::TraceParent,
};

/// The cap on rounds, unless a larger one is spelt out.
pub(crate) const ROUNDS: u64 = 5;

/// The part of the deadline reserved for the last turn of the model: no batch of tools starts with
/// less time left, and a batch gets the time left minus this.
pub(crate) const LAST_TURN: Duration = Duration::from_secs(30);

/// The repeats of a turn that fails once tools have run.
pub(crate) const TURN_RETRIES: u32 = 2;

/// Limits of one request.
///
/// The limits of one server are in [`mcp::ServerLimits`](crate::mcp::ServerLimits).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// The largest request body, and the largest answer of a model that is read. Default 20 MiB,
    /// room for a handful of images. A larger request gets 413.
    pub body_bytes: usize,
    /// The bytes of all bodies in memory: requests while they are read and while they may be sent
    /// again, what their histories are restored from, and answers that are read whole. Default 512 MiB. A request that finds no room gets
    /// 503 before any model is called. Bodies over 64 KiB leave the last eighth free.
    pub all_body_bytes: usize,
    /// The share of [`all_body_bytes`](Self::all_body_bytes) for one caller, identified by
    /// [`Project`](crate::Project) and [`CallerId`](crate::CallerId). Default 64 MiB, three of the
    /// largest requests. With less than [`body_bytes`](Self::body_bytes), the largest requests
    /// always get 503.
    pub caller_body_bytes: usize,
    /// The time for a request's whole body. Default 60 s, enough for 20 MiB at 3 Mbit/s. A slower
    /// one gets 408.
    pub body_read: Duration,
    /// The deepest nesting of a request with `mcp`. Default 64. Deeper ones only occur to break the
    /// parsers downstream.
    pub json_depth: usize,
    /// Tools in one request, the caller's included. Default 128, the limit of providers.
    pub tools: usize,
    /// The most rounds that a request may ask for. Default 5, and larger values count as 5: to
    /// allow more, use
    /// [`McpLayer::with_max_tool_rounds_cap`](crate::McpLayer::with_max_tool_rounds_cap).
    pub max_tool_rounds: u64,
    /// Tool calls in one turn of the model. Default 128, as many as there may be tools. A turn with
    /// more is refused if a caller sends it to be resumed. In a turn of the model the rest do not
    /// run: the model is told so, for up to 16,384 calls, and logs, records and receipts count them
    /// in one line.
    pub turn_calls: usize,
    /// Tool calls run in one request. Default 32. The model is told that the rest did not run.
    pub calls: usize,
    /// Concurrent tool calls of one request. Default 8, so that it cannot flood a server.
    pub concurrent_calls: usize,
    /// The arguments of one call, in bytes. Default 256 KiB.
    pub argument_bytes: usize,
    /// The part of one result that the model gets, in bytes. Default 256 KiB, about 64,000 tokens.
    /// The text says if it was truncated.
    pub result_bytes: usize,
    /// The images and recordings of one round that a model is shown, in bytes of Base64. Default 4 MiB,
    /// a handful of screenshots: they are sent again with each later turn. Results that come in once
    /// there is no room left have notes.
    pub media_bytes: usize,
    /// The same by number. Default 20: services refuse requests with many (Groq's above 5, others at
    /// 20 to 100), and images of a few bytes cost as many tokens as large ones.
    pub media_items: usize,
    /// The time for finding the servers of a request and their tools. Default 10 s.
    pub resolve: Duration,
    /// The longest silence of one tool call: without progress, it ends then. Default 60 s; see
    /// [`ServerLimits::call`](crate::mcp::ServerLimits::call), which limits it as well.
    pub call: Duration,
    /// The longest tool call, whatever progress it makes. Default 600 s, within the deadline; see
    /// [`ServerLimits::call_max`](crate::mcp::ServerLimits::call_max), which limits it as well.
    pub call_max: Duration,
    /// The time for the whole request. Default 300 s. A turn of the model is never cut short: the
    /// last 30 s are reserved for one, so with 30 s or less no tool ever runs.
    pub deadline: Duration,
    /// The longest silence of a stream of [`Streaming::Execute`], while tools run or the model
    /// thinks, before a comment keeps it alive. Default 10 s, at least 10 ms. Clients and proxies
    /// close a stream after 30 s to 60 s of silence.
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
            media_bytes: 4 << 20,
            media_items: 20,
            resolve: Duration::from_secs(10),
            call: Duration::from_secs(60),
            call_max: Duration::from_secs(600),
            deadline: Duration::from_secs(300),
            keep_alive: Duration::from_secs(10),
        }
    }
}

/// The answer to a request with auto-execution and `stream: true`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Streaming {
    /// Tool calls are streamed, and the request ends; the caller may resume.
    #[default]
    ReturnToolCalls,
    /// The request is refused with `400 mcp_auto_execute_requires_non_stream`.
    Reject,
    /// The whole loop is one stream: text as the model produces it, tools run in between.
    Execute,
}

/// What becomes of a turn that calls the caller's own tools beside ours: `mcp.own_tools`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OwnTools {
    /// The caller gets its own calls alone, and ours run when it sends its answers. Without a store of
    /// exchanges, turns go back whole.
    #[default]
    Split,
    /// The caller gets the whole turn, unexecuted, and resumes it.
    Whole,
}

/// What happens when the rounds of a request, or its time, are used up: `mcp.on_max_rounds`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnMaxRounds {
    /// The model is told so, and asked once more, for an answer. That ends with `finish_reason:
    /// "length"`, and says that it is not finished if it says nothing else.
    #[default]
    Answer,
    /// The turn goes back to the caller, unexecuted.
    Return,
}

/// Whether models search for tools, instead of being offered each: `mcp.tool_search`.
///
/// A model that searches is offered the tools that are [always
/// there](crate::registry::SelectedTool::always), and three that find, describe and call all others.
/// It applies to requests whose tools are executed here; others are offered each tool, so that no
/// caller has to know these three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToolSearch {
    /// Models are offered each tool, and a request with more than [fit](Limits::tools) is refused.
    #[default]
    Off,
    /// Models search where there are more tools than [fit](Limits::tools), the caller's own included.
    Auto,
    /// Models search where there are more than so many tools of servers, and wherever they do with
    /// `Auto`. From some tens on, models choose worse among all of them, and each request pays for
    /// every definition.
    Above(usize),
}

/// The tool search of a model's own service, used in the place of the gateway's:
/// [`McpLayer::with_native_tool_search`](crate::McpLayer::with_native_tool_search).
///
/// All tools are sent, those that are not [always there](crate::registry::SelectedTool::always) with
/// `"defer_loading": true` beside their `type`, and one entry that makes the service search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NativeToolSearch {
    /// `{"type": "tool_search"}`, as in OpenAI's Responses API: for services that translate chat
    /// completions into that, since OpenAI's own chat completions do not have it
    /// (<https://developers.openai.com/api/docs/guides/tools-tool-search>).
    OpenAi,
    /// `{"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}`, as LiteLLM passes
    /// it to Claude
    /// (<https://platform.claude.com/docs/en/agents-and-tools/tool-use/tool-search-tool>).
    Anthropic,
}

impl NativeToolSearch {
    /// The element of a request's `tools` that makes the service search.
    pub(crate) fn definition(self) -> &'static str {
        match self {
            Self::OpenAi => r#"{"type":"tool_search"}"#,
            Self::Anthropic => {
                r#"{"type":"tool_search_tool_bm25_20251119","name":"tool_search_tool_bm25"}"#
            }
        }
    }
}

/// All settings of the loop.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) paths: Paths,
    pub(crate) limits: Limits,
    /// The cap on rounds, if one was set.
    pub(crate) rounds_cap: Option<u64>,
    pub(crate) streaming: Streaming,
    pub(crate) own_tools: OwnTools,
    pub(crate) on_max_rounds: OnMaxRounds,
    /// Whether models search; `None`: by whether their service does.
    pub(crate) tool_search: Option<ToolSearch>,
    /// The search of the models' service, used instead of ours.
    pub(crate) native_tool_search: Option<NativeToolSearch>,
    /// The repeats of a turn that fails once tools have run.
    pub(crate) turn_retries: u32,
    /// The dialect of the upstream, and the longest description; `None`: those of the connections.
    pub(crate) dialect: Option<SchemaDialect>,
    pub(crate) description_bytes: Option<usize>,
    pub(crate) receipt: bool,
    /// Events have arguments, results and texts of progress.
    pub(crate) event_payloads: bool,
    pub(crate) project_required: bool,
    /// The headers `x-mcp-servers` and `x-mcp-tools` opt in.
    pub(crate) header_opt_in: bool,
    /// The header in which callers send the token that says who they are.
    pub(crate) subject_header: Option<HeaderName>,
    /// Calls that may change something run one after the other.
    pub(crate) serial_writes: bool,
    pub(crate) prices: Vec<Price>,
    pub(crate) tool_prices: Vec<ToolPrice>,
    pub(crate) tracing: Tracing,
}

/// The sinks of traces, and what they receive.
#[derive(Clone, Default)]
pub(crate) struct Tracing {
    pub(crate) sinks: Vec<Arc<dyn TraceSink>>,
    pub(crate) payloads: Payloads,
    /// Prompts and answers are kept, too.
    pub(crate) content: bool,
    /// Finds the exported trace of a span.
    pub(crate) context: Option<TraceContext>,
}

/// A function that returns the trace into which an exporter has put a span.
pub(crate) type TraceContext = Arc<dyn Fn(&tracing::Span) -> Option<TraceParent> + Send + Sync>;

impl Tracing {
    /// How much is kept of prompts and answers: masked, unless payloads are not.
    pub(crate) fn content(&self) -> Payloads {
        match (self.content, self.payloads) {
            (false, _) => Payloads::Off,
            (true, Payloads::Full) => Payloads::Full,
            (true, _) => Payloads::Redacted,
        }
    }
}

impl fmt::Debug for Tracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracing")
            .field("sinks", &self.sinks.len())
            .field("payloads", &self.payloads)
            .field("content", &self.content)
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
            own_tools: OwnTools::default(),
            on_max_rounds: OnMaxRounds::default(),
            tool_search: None,
            native_tool_search: None,
            turn_retries: TURN_RETRIES,
            dialect: None,
            description_bytes: None,
            receipt: true,
            event_payloads: false,
            project_required: false,
            header_opt_in: false,
            subject_header: None,
            serial_writes: false,
            prices: Vec::new(),
            tool_prices: Vec::new(),
            tracing: Tracing::default(),
        }
    }
}

impl Settings {
    /// Returns the operator's cap on rounds.
    pub(crate) fn rounds_cap(&self) -> u64 {
        self.rounds_cap
            .unwrap_or(self.limits.max_tool_rounds.min(ROUNDS))
            .max(1)
    }

    /// Returns `true` if the model of a request that says nothing of it searches for its tools: `own`
    /// ones of the caller, and `added` ones of servers.
    pub(crate) fn searches(&self, own: usize, added: usize) -> bool {
        let by_default = match self.native_tool_search {
            Some(_) => ToolSearch::Auto,
            None => ToolSearch::Off,
        };
        match self.tool_search.unwrap_or(by_default) {
            ToolSearch::Off => false,
            ToolSearch::Auto => own + added > self.limits.tools,
            ToolSearch::Above(most) => added > most || own + added > self.limits.tools,
        }
    }

    /// Adds the cost of a turn to its `usage` if the upstream sent none, by the price of the first
    /// of `models` that has one. Returns true if it did.
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

    /// The cost of a call of the tool that is offered as `name`; `None` if it has no price.
    pub(crate) fn call_cost(&self, name: &str) -> Option<f64> {
        let price = self.tool_prices.iter().find(|price| price.is_for(name));
        price.map(ToolPrice::per_call)
    }
}

/// The paths of chat completions.
///
/// Slashes at the end, or several in a row, are one: clients put them there (BerriAI/litellm#8350,
/// librefang/librefang#3498), many servers read them so, and `mcp` must not pass unread. The
/// request goes on to the path that it came to.
#[derive(Clone, Debug)]
pub(crate) enum Paths {
    /// Every path that ends in `/chat/completions`.
    ChatCompletions,
    Only(Arc<[String]>),
}

/// The ends of paths of other APIs that models answer, where callers look for tools as well.
const OTHERS: [&str; 3] = ["completions", "messages", "responses"];

impl Paths {
    pub(crate) fn contain(&self, path: &str) -> bool {
        match self {
            Self::ChatCompletions => {
                let mut from_end = segments(path).rev();
                from_end.next() == Some("completions") && from_end.next() == Some("chat")
            }
            Self::Only(paths) => paths.iter().any(|p| segments(p).eq(segments(path))),
        }
    }

    /// The name of the model that `path` is for in a list of models beside chat completions, as it is
    /// written, or `""` for the list itself.
    pub(crate) fn models<'p>(&self, path: &'p str) -> Option<&'p str> {
        let (before, behind) = path.split_once("/models")?;
        let name = behind.trim_matches('/');
        let is_list = match self {
            Self::ChatCompletions => true,
            Self::Only(paths) => paths.iter().any(|chat| {
                let mut base = segments(chat).rev();
                let is_chat = base.next() == Some("completions") && base.next() == Some("chat");
                is_chat && base.rev().eq(segments(before))
            }),
        };
        (is_list && (behind.is_empty() || behind.starts_with('/'))).then_some(name)
    }

    /// Returns `true` if `path` is another API of a model's service, where `mcp` has no meaning.
    /// Paths beside those that an operator has named are nobody's business here.
    pub(crate) fn are_beside(&self, path: &str) -> bool {
        let last = segments(path).next_back();
        let is_other = last.is_some_and(|last| OTHERS.contains(&last));
        matches!(self, Self::ChatCompletions) && is_other && !self.contain(path)
    }
}

fn segments(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_models_is_beside_chat_completions() {
        let any = Paths::ChatCompletions;
        let one = Paths::Only([String::from("/a/v1/chat/completions/"), "/ask".into()].into());
        for (path, name) in [
            ("/v1/models", Some("")),
            ("/models/", Some("")),
            ("/v1/models/openai/gpt-5", Some("openai/gpt-5")),
            ("/v1/models/a%2Fb", Some("a%2Fb")),
            ("/v1/modelsx", None),
            ("/v1/chat/completions", None),
        ] {
            assert_eq!(any.models(path), name, "{path}");
            assert_eq!(one.models(path), None, "{path}");
        }
        assert_eq!(one.models("/a/v1/models"), Some(""));
        assert_eq!(one.models("/a/v1//models/m"), Some("m"));
    }

    #[test]
    fn slashes_do_not_hide_a_path_of_ours() {
        let any = Paths::ChatCompletions;
        let one = Paths::Only([String::from("/ask")].into());
        for path in [
            "/chat/completions",
            "/v1/chat/completions",
            "/v1/chat/completions/",
            "/openai/deployments/m/chat/completions//",
            "/v1//chat//completions",
        ] {
            assert!(any.contain(path) && !any.are_beside(path), "{path}");
            assert!(!one.contain(path) && !one.are_beside(path), "{path}");
        }
        for path in ["/ask", "/ask/", "//ask"] {
            assert!(one.contain(path) && !any.contain(path), "{path}");
        }
        for path in ["/v1/completions", "/v1/responses/", "/v1/messages"] {
            assert!(!any.contain(path) && any.are_beside(path), "{path}");
        }
        for path in [
            "/",
            "/v1/models",
            "/v1/chat/completions/x",
            "/v1/mychat/completionsx",
        ] {
            assert!(!any.contain(path) && !any.are_beside(path), "{path}");
        }
    }
}
