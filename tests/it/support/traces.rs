//! Who hears of exchanges in the tests, and what they ask of a record.

use std::sync::{Arc, Mutex};

use mcp_layer::McpLayer;
use mcp_layer::trace::{Span, Trace, TraceSink};
use serde_json::{Value, json};

use super::{evidence, gateway::Gateway, until};

/// All records so far; clones share them.
#[derive(Clone, Default)]
pub struct Traces(Arc<Mutex<Vec<Arc<Trace>>>>);

impl TraceSink for Traces {
    fn record(&self, trace: &Arc<Trace>) {
        Witness.record(trace);
        self.0.lock().unwrap().push(trace.clone());
    }
}

/// Keeps nothing; for the leak scan.
pub struct Witness;

impl TraceSink for Witness {
    fn record(&self, trace: &Arc<Trace>) {
        let spans = serde_json::to_string(&trace.spans()).unwrap();
        evidence::left("trace", format!("{trace:?} {spans}"));
    }
}

impl Traces {
    pub fn of(gateway: Gateway) -> (Gateway, Self) {
        Self::with(gateway, |layer| layer)
    }

    pub fn with(gateway: Gateway, change: impl FnOnce(McpLayer) -> McpLayer) -> (Gateway, Self) {
        let traces = Self::default();
        let sink = traces.clone();
        let gateway = gateway.layered(|layer| change(layer).add_trace_sink(sink));
        (gateway, traces)
    }

    pub fn all(&self) -> Vec<Arc<Trace>> {
        self.0.lock().unwrap().clone()
    }

    /// The only record.
    pub fn one(&self) -> Arc<Trace> {
        let all = self.all();
        assert_eq!(all.len(), 1, "{all:#?}");
        all[0].clone()
    }

    /// The only record, once it is there.
    pub async fn soon(&self) -> Arc<Trace> {
        until("a record", || !self.all().is_empty()).await;
        self.one()
    }
}

/// The names of a record's spans.
pub fn names(trace: &Trace) -> Vec<String> {
    let spans = trace.spans();
    spans.iter().map(|span| span.name.clone()).collect()
}

/// The spans of tool calls.
pub fn tools(trace: &Trace) -> Vec<Span> {
    let mut spans = trace.spans();
    spans.retain(|span| span.name.starts_with("execute_tool"));
    spans
}

/// These attributes of a span, and null for those that it lacks.
pub fn attributes(span: &Span, names: &[&str]) -> Value {
    let value = |name: &&str| {
        let value = span.attributes.get(*name).cloned();
        ((*name).to_owned(), value.unwrap_or_default())
    };
    Value::Object(names.iter().map(value).collect())
}

/// What every span of a call is to say: outcome, round and error.
pub fn outcomes(trace: &Trace) -> Value {
    let outcome = |span: &Span| {
        json!([
            span.attributes["gen_ai.tool.name"],
            span.attributes["mcp_layer.outcome"],
            span.attributes.get("mcp_layer.round"),
            span.attributes.get("error.type"),
        ])
    };
    tools(trace).iter().map(outcome).collect()
}
