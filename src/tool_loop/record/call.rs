//! A tool call in the record of its exchange.

use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;
use tracing::{Span, field::Empty};

use super::{Record, name, whole};
use crate::{
    catalog::Entry,
    chat::{Arguments, ToolCall},
    registry::Server,
    scrub::Scrubber,
    tool_loop::options::{short, shortened},
    trace,
};

/// A tool call that runs; dropped before it has ended, it was cancelled.
pub(crate) struct Running<'a> {
    record: &'a Record,
    call: &'a ToolCall,
    /// `None` for a tool that nobody has.
    entry: Option<&'a Entry>,
    round: u64,
    started: Instant,
    span: Span,
    ended: bool,
}

/// What a call came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Came<'a> {
    /// One word; `None` if it succeeded.
    pub(crate) error: Option<&'static str>,
    /// The result, or why there is none, as the model gets it.
    pub(crate) text: &'a str,
    /// The size of the result before it was cut.
    pub(crate) result_bytes: usize,
    /// The model gets a part of it.
    pub(crate) truncated: bool,
}

/// What has become of a call.
pub(super) struct Became<'a> {
    pub(super) time: trace::Time,
    /// `None` if it was not run here.
    pub(super) round: Option<u64>,
    pub(super) outcome: &'static str,
    pub(super) error: Option<&'static str>,
    pub(super) came: Option<Came<'a>>,
}

impl Record {
    /// A call of this round begins.
    pub(crate) fn call<'a>(
        &'a self,
        round: u64,
        call: &'a ToolCall,
        entry: Option<&'a Entry>,
    ) -> Running<'a> {
        self.0.state().calls += 1;
        let offered = call.function.as_deref().unwrap_or_default();
        let span = tracing::info_span!(
            target: trace::TARGET,
            parent: &self.0.span,
            "execute_tool",
            otel.name = name("execute_tool", Some(&short(offered))),
            otel.kind = "client",
            otel.status_code = Empty,
            gen_ai.operation.name = "execute_tool",
            gen_ai.tool.name = short(offered),
            gen_ai.tool.call.id = short(&call.id),
            mcp.method.name = "tools/call",
            mcp_layer.server = entry.map(|entry| entry.server.name.as_str()),
            mcp_layer.tool = entry.map(|entry| &*entry.offer().tool),
            mcp_layer.round = whole(round),
            mcp_layer.outcome = Empty,
            mcp_layer.result_bytes = Empty,
            mcp_layer.truncated = Empty,
            "error.type" = Empty,
        );
        Running {
            record: self,
            call,
            entry,
            round,
            started: Instant::now(),
            span,
            ended: false,
        }
    }

    /// Notes a call, and what has become of it.
    pub(super) fn note_call(&self, call: &ToolCall, entry: Option<&Entry>, became: Became<'_>) {
        let name = shortened(call.function.as_deref().unwrap_or_default());
        let id = shortened(&call.id);
        let text = match &call.arguments {
            Arguments::Text(text) => Some(&**text),
            Arguments::Unreadable => None,
        };
        let clean = text.and_then(|text| without_credentials(&entry?.server, text));
        let came = became.came;
        self.0.note(|noted| {
            noted.call(trace::Call {
                time: became.time,
                id: &id,
                name: &name,
                tool: entry.map(|entry| [entry.server.name.as_str(), &*entry.offer().tool]),
                arguments: clean.as_deref().or(text).map(Into::into),
                round: became.round,
                outcome: became.outcome,
                error: became.error,
                result: came.map(|came| came.text.into()),
                size: came.map(|came| (came.result_bytes, came.truncated)),
            });
        });
    }
}

/// Arguments without the fixed credentials of the server that they are for. What servers say is
/// without any of them already.
fn without_credentials(server: &Server, text: &str) -> Option<String> {
    let headers = server.auth.headers();
    if headers.is_empty() {
        return None;
    }
    let scrubber = Scrubber::new(headers.values().map(HeaderValue::as_bytes));
    scrubber.cleaned(text)
}

impl Running<'_> {
    /// What is done for the call belongs into it.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// The call has ended; how long it took.
    pub(crate) fn end(mut self, came: Came<'_>) -> Duration {
        let outcome = if came.error.is_some() { "error" } else { "ok" };
        self.record(outcome, Some(came))
    }

    fn record(&mut self, outcome: &'static str, came: Option<Came<'_>>) -> Duration {
        self.ended = true;
        let duration = self.started.elapsed();
        let error = came.map_or(Some("cancelled"), |came| came.error);
        let result_bytes = came.map(|came| came.result_bytes);
        let truncated = came.map(|came| came.truncated);
        self.span.record("mcp_layer.outcome", outcome);
        self.span
            .record("mcp_layer.result_bytes", result_bytes.map(whole));
        self.span.record("mcp_layer.truncated", truncated);
        self.span.record("error.type", error);
        self.span.record("otel.status_code", error.map(|_| "ERROR"));
        let server = self.entry.map(|entry| entry.server.name.as_str());
        let called = shortened(self.call.function.as_deref().unwrap_or_default());
        let tool = self.entry.map_or(&*called, |entry| &*entry.offer().tool);
        self.span.in_scope(|| {
            tracing::info!(
                server,
                tool,
                round = self.round,
                call_id = short(&self.call.id),
                duration_ms = duration.as_millis() as u64,
                outcome,
                is_error = error.is_some(),
                result_bytes,
                truncated,
                "tool call"
            );
        });
        if self.record.is_heard() {
            let became = Became {
                time: self.record.0.time(self.started, duration),
                round: Some(self.round),
                outcome,
                error,
                came,
            };
            self.record.note_call(self.call, self.entry, became);
        }
        duration
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.record("cancelled", None);
        }
    }
}
