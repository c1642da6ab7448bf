//! The spans of a record: as they were read, or to be made of what was noted.

use std::{borrow::Cow, fmt};

use super::{
    Span,
    attributes::Attributes,
    noted::{Call, Fact, Noted, Payload, Time, Turn},
};

/// The spans of a record.
#[derive(Clone)]
pub(crate) enum Spans {
    Noted(Noted),
    Built(Vec<Span>),
}

impl Spans {
    /// By their start.
    pub(super) fn get(&self) -> Cow<'_, [Span]> {
        match self {
            Self::Noted(noted) => noted.spans().into(),
            Self::Built(spans) => spans.into(),
        }
    }

    /// About how many bytes they take.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Noted(noted) => noted.size(),
            Self::Built(spans) => spans.iter().map(Span::size).sum(),
        }
    }
}

impl From<Vec<Span>> for Spans {
    fn from(spans: Vec<Span>) -> Self {
        Self::Built(spans)
    }
}

impl PartialEq for Spans {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

/// What was noted is shown as anybody may read it.
impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl Noted {
    fn spans(&self) -> Vec<Span> {
        let mut spans: Vec<_> = self
            .read()
            .map(|fact| match fact {
                Fact::Turn(turn) => self.of_turn(turn),
                Fact::Call(call) => self.of_call(call),
                Fact::Span(span) => *span,
            })
            .collect();
        spans.sort_by_key(|span| span.start);
        spans
    }

    fn of_turn(&self, turn: Turn<&str>) -> Span {
        let model = self.model.as_deref();
        let [input, output] = turn.tokens;
        let mut attributes = Attributes::of("chat");
        attributes.set_some("gen_ai.request.model", model);
        attributes.set_some("gen_ai.response.model", turn.model);
        attributes.set_some("gen_ai.usage.input_tokens", input);
        attributes.set_some("gen_ai.usage.output_tokens", output);
        let finish = turn.finish_reason.map(|reason| vec![reason]);
        attributes.set_some("gen_ai.response.finish_reasons", finish);
        attributes.set_some("http.response.status_code", turn.status);
        attributes.set_some("error.type", turn.error);
        if let Some(status) = turn.failed_with() {
            attributes.set("error.type", status.to_string());
        }
        attributes.set("mcp_layer.turn", turn.number);
        let name = match model {
            Some(model) => format!("chat {model}"),
            None => "chat".to_owned(),
        };
        Span::new(name, turn.time, attributes)
    }

    fn of_call(&self, call: Call<&str>) -> Span {
        let mut attributes = Attributes::of("execute_tool");
        attributes.set("mcp.method.name", "tools/call");
        attributes.set("gen_ai.tool.name", call.name);
        attributes.set("gen_ai.tool.call.id", call.id);
        if let Some([server, tool]) = call.tool {
            attributes.set("mcp_layer.server", server);
            attributes.set("mcp_layer.tool", tool);
        }
        let kept = |payload: Payload<&str>| self.payloads.kept(payload.text, payload.whole);
        attributes.set_some("gen_ai.tool.call.arguments", call.arguments.map(kept));
        attributes.set_some("gen_ai.tool.call.result", call.result.map(kept));
        attributes.set_some("mcp_layer.round", call.round);
        attributes.set("mcp_layer.outcome", call.outcome);
        let (bytes, truncated) = call.size.unzip();
        attributes.set_some("mcp_layer.result_bytes", bytes);
        attributes.set_some("mcp_layer.truncated", truncated);
        attributes.set_some("error.type", call.error);
        Span::new(format!("execute_tool {}", call.name), call.time, attributes)
    }
}

impl Span {
    pub(crate) fn new(name: String, time: Time, attributes: Attributes) -> Self {
        Self {
            name,
            start: time.start,
            duration: time.duration,
            attributes: attributes.into(),
        }
    }
}
