//! What a record has to count, without its spans.

use std::time::Duration;

use serde_json::Value;

use super::{
    Span, Trace,
    noted::{Fact, Noted},
    spans::Spans,
};

/// A turn or a tool call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step<'a> {
    Turn {
        is_failed: bool,
        duration: Duration,
    },
    Call {
        /// Empty for a tool that nobody has; so is `tool`.
        server: &'a str,
        tool: &'a str,
        outcome: &'a str,
        duration: Duration,
    },
}

impl Trace {
    /// Its turns and tool calls, in no order.
    pub(crate) fn each_step<'a>(&'a self, mut count: impl FnMut(Step<'a>)) {
        match &self.spans {
            Spans::Noted(noted) => noted.each_step(&mut count),
            Spans::Built(spans) => spans.iter().filter_map(Step::of).for_each(count),
        }
    }
}

impl Noted {
    fn each_step<'a>(&'a self, count: &mut impl FnMut(Step<'a>)) {
        for fact in self.read() {
            match fact {
                Fact::Turn(turn) => count(Step::Turn {
                    is_failed: turn.failed_with().is_some() || turn.error.is_some(),
                    duration: turn.time.duration,
                }),
                Fact::Call(call) => {
                    let [server, tool] = call.tool.unwrap_or_default();
                    count(Step::Call {
                        server,
                        tool,
                        outcome: call.outcome,
                        duration: call.time.duration,
                    });
                }
                Fact::Span(_) => {}
            }
        }
    }
}

impl<'a> Step<'a> {
    fn of(span: &'a Span) -> Option<Self> {
        let text = |name: &str| {
            let value = span.attributes.get(name);
            value.and_then(Value::as_str).unwrap_or_default()
        };
        let duration = span.duration;
        match text("gen_ai.operation.name") {
            "chat" => Some(Self::Turn {
                is_failed: span.attributes.contains_key("error.type"),
                duration,
            }),
            "execute_tool" => Some(Self::Call {
                server: text("mcp_layer.server"),
                tool: text("mcp_layer.tool"),
                outcome: text("mcp_layer.outcome"),
                duration,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{
        Payloads,
        noted::{Call, Time, Turn},
    };

    fn noted() -> Noted {
        let time = Time {
            start: Duration::ZERO,
            duration: Duration::from_millis(7),
        };
        let mut noted = Noted::new(Payloads::Redacted, Some("m".into()));
        for (status, error) in [
            (Some(200), None),
            (Some(429), None),
            (None, Some("cancelled")),
        ] {
            noted.turn(Turn {
                time,
                number: 1,
                model: Some("m-1"),
                finish_reason: None,
                tokens: [Some(3), None],
                status,
                error,
            });
        }
        for (tool, outcome) in [
            (Some(["docs", "find"]), "ok"),
            (Some(["docs", "drop"]), "not_executed"),
            (None, "error"),
        ] {
            noted.call(Call {
                time,
                id: "call_0",
                name: "docs__find",
                tool,
                arguments: Some("{}".into()),
                round: Some(1),
                outcome,
                error: None,
                result: None,
                size: None,
            });
        }
        noted
    }

    #[test]
    fn what_was_noted_counts_as_its_spans_do() {
        let noted = noted();
        let mut counted = Vec::new();
        noted.each_step(&mut |step| counted.push(step));
        let spans = Spans::Noted(noted.clone()).get().into_owned();
        let built: Vec<_> = spans.iter().filter_map(Step::of).collect();
        assert_eq!(counted, built);
        assert_eq!(counted.len(), 6);
        let failed = |step: &&Step<'_>| {
            matches!(
                step,
                Step::Turn {
                    is_failed: true,
                    ..
                }
            )
        };
        assert_eq!(counted.iter().filter(failed).count(), 2);
    }
}
