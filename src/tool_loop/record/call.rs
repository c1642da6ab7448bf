//! A tool call in the record of its exchange.

use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::Instant;
use tracing::{Span, field::Empty};

use super::{
    exchange::Record,
    fields::{span_name, whole},
};
use crate::{
    catalog::Entry,
    chat::ToolCall,
    name::{short, shortened},
    trace::{self, CallFact, CallOutcome, Timing},
};

/// A tool call under way; dropped before its [end](CallRecord::end), it was cancelled.
pub(crate) struct CallRecord<'a> {
    record: &'a Record,
    call: &'a ToolCall,
    /// `None` for a tool that none of the servers offers.
    entry: Option<&'a Entry>,
    round: u64,
    started: Instant,
    span: Span,
    has_ended: bool,
    /// The arguments as they were read, if that is not how they stand.
    read: Option<Box<RawValue>>,
}

/// The arguments of a call, once they were checked.
#[derive(Debug)]
pub(crate) enum Checked {
    /// As the model sent them.
    AsSent(Box<RawValue>),
    /// As they were meant, or as a guard rewrote them.
    Reread(Box<RawValue>),
}

impl Checked {
    pub(crate) fn text(&self) -> &RawValue {
        match self {
            Self::AsSent(text) | Self::Reread(text) => text,
        }
    }

    /// The same in the place of what the model sent.
    pub(crate) fn rewritten(self) -> Self {
        match self {
            Self::AsSent(text) | Self::Reread(text) => Self::Reread(text),
        }
    }
}

/// The reply that the model gets for a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallReply<'a> {
    /// One word; `None` if it succeeded.
    pub(crate) error: Option<&'static str>,
    /// The result, or why there is none.
    pub(crate) text: &'a str,
    /// The size of the result before it was truncated.
    pub(crate) result_bytes: usize,
    /// The model gets a part of it.
    pub(crate) truncated: bool,
}

/// The end of a call, for the log of the exchange.
pub(super) struct CallEnd<'a> {
    pub(super) timing: Timing,
    /// `None` if it was not run here.
    pub(super) round: Option<u64>,
    pub(super) outcome: CallOutcome,
    pub(super) error: Option<&'static str>,
    pub(super) reply: Option<CallReply<'a>>,
    /// The arguments, if they were read in another way than they stand.
    pub(super) read: Option<&'a str>,
}

impl Record {
    /// Begins the record of a call of this round.
    pub(crate) fn call<'a>(
        &'a self,
        round: u64,
        call: &'a ToolCall,
        entry: Option<&'a Entry>,
    ) -> CallRecord<'a> {
        self.0.state().calls += 1;
        let offered = call.function.as_deref().unwrap_or_default();
        let span = tracing::info_span!(
            target: trace::TARGET,
            parent: &self.0.span,
            "execute_tool",
            otel.name = span_name("execute_tool", Some(&short(offered))),
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
        CallRecord {
            record: self,
            call,
            entry,
            round,
            started: Instant::now(),
            span,
            has_ended: false,
            read: None,
        }
    }

    /// Records calls of the model that go back to the caller.
    pub(crate) fn not_executed(&self, calls: &[ToolCall]) {
        if !self.is_heard() {
            return;
        }
        let timing = self.0.now();
        for call in calls {
            if !self.0.state().log.has_room() {
                break;
            }
            let catalog = self.0.catalog.get();
            let entry = catalog.and_then(|catalog| catalog.entry(call.function.as_deref()?));
            let end = CallEnd {
                timing,
                round: None,
                outcome: CallOutcome::NotExecuted,
                error: None,
                reply: None,
                read: None,
            };
            self.log_call(call, entry, end);
        }
    }

    /// Logs a call with its end.
    pub(super) fn log_call(&self, call: &ToolCall, entry: Option<&Entry>, end: CallEnd<'_>) {
        let name = shortened(call.function.as_deref().unwrap_or_default());
        let id = shortened(&call.id);
        let text = end.read.or_else(|| call.arguments.text());
        let reply = end.reply;
        let result = reply.map(|reply| reply.text);
        let credentials = self.credentials(entry);
        let [clean, clean_result] = [text, result].map(|text| credentials.cleaned(text?));
        self.0.state().log.add_call(CallFact {
            timing: end.timing,
            id: &id,
            name: &name,
            tool: entry.map(|entry| [entry.server.name.as_str(), &*entry.offer().tool]),
            arguments: clean.as_deref().or(text).map(Into::into),
            round: end.round,
            outcome: end.outcome,
            error: end.error,
            result: clean_result.as_deref().or(result).map(Into::into),
            result_bytes: reply.map(|reply| reply.result_bytes as u64),
            truncated: reply.is_some_and(|reply| reply.truncated),
        });
    }
}

impl CallRecord<'_> {
    /// The span of everything that is done for the call.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Records the arguments as they were read, if that is not how they stand.
    pub(crate) fn reads(&mut self, arguments: &Checked) {
        if let Checked::Reread(text) = arguments {
            self.read = Some(text.clone());
        }
    }

    /// Ends the record with what the model gets; returns how long the call took.
    pub(crate) fn end(mut self, reply: CallReply<'_>) -> Duration {
        let outcome = match reply.error {
            Some(_) => CallOutcome::Error,
            None => CallOutcome::Ok,
        };
        self.close(outcome, Some(reply))
    }

    fn close(&mut self, outcome: CallOutcome, reply: Option<CallReply<'_>>) -> Duration {
        self.has_ended = true;
        let duration = self.started.elapsed();
        let error = reply.map_or(Some("cancelled"), |reply| reply.error);
        let result_bytes = reply.map(|reply| reply.result_bytes);
        let truncated = reply.map(|reply| reply.truncated);
        self.span.record("mcp_layer.outcome", outcome.as_str());
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
                outcome = outcome.as_str(),
                is_error = error.is_some(),
                result_bytes,
                truncated,
                "tool call"
            );
        });
        if self.record.is_heard() {
            let end = CallEnd {
                timing: self.record.0.timing(self.started, duration),
                round: Some(self.round),
                outcome,
                error,
                reply,
                read: self.read.as_deref().map(RawValue::get),
            };
            self.record.log_call(self.call, self.entry, end);
        }
        duration
    }
}

impl Drop for CallRecord<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.close(CallOutcome::Cancelled, None);
        }
    }
}
