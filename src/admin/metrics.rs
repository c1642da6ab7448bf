//! Counters and histograms of exchanges, for Prometheus.
//!
//! The numbers come from the records of exchanges, so metrics, traces and the dashboard agree. A
//! caller makes up no label: tools that a model makes up share one row, and so do all tools after
//! the first 1,000; those by which models search have no server; a model has rows of its own once an exchange with it has succeeded, and projects
//! share one after the first 500 pairs of project and model.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use serde_json::Value;

use crate::{
    chat,
    tool_search::SearchTool,
    trace::{CallOutcome, Measure, Outcome, StoppedBy, Trace, TraceSink},
};

/// The most tools with rows of their own, as many as a scrape should carry; the others share a row.
const TOOLS: usize = 1000;
/// The most pairs of project and model with rows of their own: ten projects with fifty models each.
/// What is counted for a pair takes some twenty rows, so that these are no more than tools may have.
const PAIRS: usize = 500;
/// The longest name of a model or a project in a label, in bytes.
const NAME: usize = 128;
/// The name of that row, which no server can have.
const OTHER: &str = "_other";
/// The bounds of durations in seconds, from a cached answer to the deadline of a loop.
const BUCKETS: [f64; 14] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];

/// Counts exchanges, model turns, tool calls, decisions of guards, and tokens. Clones count together.
///
/// ```
/// use mcp_layer::{McpLayer, admin::Metrics, registry::MemoryRegistry};
///
/// let metrics = Metrics::default();
/// let layer = McpLayer::new(MemoryRegistry::default()).add_trace_sink(metrics.clone());
/// // Admin::with_metrics(metrics) answers `GET /metrics` with what was counted.
/// ```
///
/// Counts are of this process; a monitoring system sums over replicas. They start at 0 and are lost
/// with the process, as Prometheus expects of counters. Durations are in seconds.
///
/// Labels are the names of servers, tools, guards, projects and models, and fixed words: never text that a
/// caller or a model can make up. Up to 1,000 tools have rows of their own; the others are counted
/// together under the server `_other`. So are projects and models after the first 500 pairs of the
/// two, and a model that no exchange has succeeded with: its name may be anything that a caller sent.
#[derive(Clone)]
pub struct Metrics {
    counts: Arc<Counts>,
    more: Option<Arc<More>>,
}

/// Writes what the program counts besides.
type More = dyn Fn(&mut String) + Send + Sync;

/// Labels with fixed words.
type Words<const N: usize> = [(&'static str, &'static str); N];
/// Labels with names, which are shared, so that counting copies no text.
type Names<const N: usize> = [(&'static str, Arc<str>); N];
type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

struct Counts {
    /// All of the following, with names.
    registry: Registry,
    exchanges: Family<(Words<2>, Names<2>), Counter>,
    exchange_duration: Durations<Words<0>>,
    rounds: Counter,
    turns: Family<Words<1>, Counter>,
    turn_duration: Durations<Words<0>>,
    calls: Family<(Names<2>, Words<1>), Counter>,
    call_duration: Durations<Names<1>>,
    guards: Family<(Names<1>, Words<1>), Counter>,
    tokens: Family<(Words<1>, Names<2>), Counter>,
    cost: Family<Names<2>, Counter<f64, AtomicU64>>,
    /// The tools that have rows, by their servers.
    known: Mutex<HashMap<Arc<str>, HashSet<Arc<str>>>>,
    /// The models that have rows, by their projects; `_other` is one of them.
    pairs: Mutex<HashMap<Arc<str>, HashSet<Arc<str>>>>,
}

impl Metrics {
    /// Adds what the program that serves the metrics counts itself: `write` appends whole families in
    /// [Prometheus' text format](https://prometheus.io/docs/instrumenting/exposition_formats/), with
    /// names of their own, at each scrape. It must not block. Default: nothing.
    ///
    /// ```
    /// use mcp_layer::admin::Metrics;
    ///
    /// let metrics = Metrics::default().with_more(|text| {
    ///     text.push_str("# TYPE gateway_build_info gauge\ngateway_build_info{version=\"1.2.0\"} 1\n");
    /// });
    /// ```
    #[must_use]
    pub fn with_more(mut self, write: impl Fn(&mut String) + Send + Sync + 'static) -> Self {
        self.more = Some(Arc::new(write));
        self
    }

    /// All that is counted of exchanges, with names.
    pub(super) fn registry(&self) -> &Registry {
        &self.counts.registry
    }

    /// Appends what the program counts besides.
    pub(super) fn write_more(&self, text: &mut String) {
        if let Some(more) = &self.more {
            more(text);
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut counts = Counts {
            registry: Registry::with_prefix("mcp_layer"),
            exchanges: Family::default(),
            exchange_duration: durations(),
            rounds: Counter::default(),
            turns: Family::default(),
            turn_duration: durations(),
            calls: Family::default(),
            call_duration: durations(),
            guards: Family::default(),
            tokens: Family::default(),
            cost: Family::default(),
            known: Mutex::default(),
            pairs: Mutex::default(),
        };
        counts.name();
        Self {
            counts: Arc::new(counts),
            more: None,
        }
    }
}

fn durations<L: Clone + Eq + Hash>() -> Durations<L> {
    Family::new_with_constructor(|| Histogram::new(BUCKETS))
}

impl Counts {
    fn name(&mut self) {
        let to = &mut self.registry;
        to.register(
            "exchanges",
            "Requests with mcp, by how they ended and what stopped the loop",
            self.exchanges.clone(),
        );
        to.register_with_unit(
            "exchange_duration",
            "From a request with mcp to the end of its answer",
            Unit::Seconds,
            self.exchange_duration.clone(),
        );
        to.register(
            "rounds",
            "Batches of tool calls that were run",
            self.rounds.clone(),
        );
        to.register("model_turns", "Calls of the model", self.turns.clone());
        to.register_with_unit(
            "model_turn_duration",
            "From a call of the model to the end of its answer",
            Unit::Seconds,
            self.turn_duration.clone(),
        );
        to.register(
            "tool_calls",
            "Tool calls, by what became of them",
            self.calls.clone(),
        );
        to.register_with_unit(
            "tool_call_duration",
            "Of tool calls that were run",
            Unit::Seconds,
            self.call_duration.clone(),
        );
        to.register(
            "guard_decisions",
            "What guards have said of calls and results, and how often they failed",
            self.guards.clone(),
        );
        to.register(
            "tokens",
            "Tokens that models have counted",
            self.tokens.clone(),
        );
        to.register(
            "cost",
            "What models have cost, as their services say or by the operator's prices",
            self.cost.clone(),
        );
    }

    fn count(&self, measure: Measure<'_>) {
        match measure {
            Measure::Turn {
                is_failed,
                duration,
            } => {
                let outcome = if is_failed { "error" } else { "ok" };
                self.turns.get_or_create(&[("outcome", outcome)]).inc();
                observe(&self.turn_duration, &[], duration);
            }
            Measure::Call {
                server,
                tool,
                name,
                outcome,
                duration,
            } => {
                let row = match server.is_empty() {
                    true => nobodys(name),
                    false => self.row(server, tool),
                };
                self.call(row, outcome, duration);
            }
            Measure::Guard { guard, outcome } => {
                let labels = ([("guard", guard.into())], [("outcome", outcome.as_str())]);
                self.guards.get_or_create(&labels).inc();
            }
        }
    }

    fn call(&self, [server, tool]: [Arc<str>; 2], outcome: CallOutcome, duration: Duration) {
        let server = ("server", server);
        if outcome != CallOutcome::NotExecuted {
            let labels = std::array::from_ref(&server);
            observe(&self.call_duration, labels, duration);
        }
        let labels = ([server, ("tool", tool)], [("outcome", outcome.as_str())]);
        self.calls.get_or_create(&labels).inc();
    }

    /// The labels under which the tool of a server is counted.
    fn row(&self, server: &str, tool: &str) -> [Arc<str>; 2] {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((server, tools)) = known.get_key_value(server)
            && let Some(tool) = tools.get(tool)
        {
            return [server.clone(), tool.clone()];
        }
        if known.values().map(HashSet::len).sum::<usize>() == TOOLS {
            return [OTHER, OTHER].map(Into::into);
        }
        let row = [server, tool].map(Arc::from);
        let [server, tool] = row.clone();
        known.entry(server).or_default().insert(tool);
        row
    }

    /// The labels under which an exchange is counted. A model that nobody has answered for has no
    /// name here, and takes one row of its project, as exchanges without a model do: operators may
    /// make projects up.
    fn pair(&self, trace: &Trace) -> Names<2> {
        let labels = |[project, model]: [Arc<str>; 2]| [("project", project), ("model", model)];
        let project = &trace.project;
        let asked = trace.model.as_deref().unwrap_or_default();
        let has_answered = trace.model.is_none() || trace.outcome == Outcome::Ok;
        let named = if has_answered { asked } else { OTHER };
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((project, models)) = pairs.get_key_value(project)
            && let Some(model) = models.get(asked).or_else(|| models.get(named))
        {
            return labels([project.clone(), model.clone()]);
        }
        let is_long = project.len() > NAME || named.len() > NAME;
        if is_long || pairs.values().map(HashSet::len).sum::<usize>() == PAIRS {
            return labels([OTHER, OTHER].map(Into::into));
        }
        let model: Arc<str> = named.into();
        let of_project = pairs.entry(project.clone()).or_default();
        of_project.insert(model.clone());
        labels([project.clone(), model])
    }
}

/// The labels of a tool that is no server's: its own name if it is one by which models search, and none if
/// the model has invented it.
fn nobodys(name: &str) -> [Arc<str>; 2] {
    let tool = SearchTool::named(name).map_or("", SearchTool::name);
    ["", tool].map(Into::into)
}

impl TraceSink for Metrics {
    fn record(&self, trace: &Arc<Trace>) {
        let counts = &*self.counts;
        let stopped_by = trace.stopped_by.map_or("", StoppedBy::as_str);
        let words = [
            ("outcome", trace.outcome.as_str()),
            ("stopped_by", stopped_by),
        ];
        let pair = counts.pair(trace);
        let labels = (words, pair.clone());
        counts.exchanges.get_or_create(&labels).inc();
        observe(&counts.exchange_duration, &[], trace.duration);
        counts.rounds.inc_by(trace.rounds);
        trace.measure(|measure| counts.count(measure));
        for (kind, member) in [
            ("prompt", "prompt_tokens"),
            ("completion", "completion_tokens"),
        ] {
            let usage = trace.usage.as_ref().and_then(|usage| usage.get(member));
            if let Some(tokens) = usage.and_then(chat::tokens) {
                let labels = ([("type", kind)], pair.clone());
                counts.tokens.get_or_create(&labels).inc_by(tokens);
            }
        }
        let cost = trace.usage.as_ref().and_then(|usage| usage.get("cost"));
        // A counter that fell would look like a restart.
        if let Some(cost) = cost.and_then(Value::as_f64).filter(|cost| *cost >= 0.0) {
            counts.cost.get_or_create(&pair).inc_by(cost);
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn observe<L: Clone + Eq + Hash>(durations: &Durations<L>, labels: &L, took: Duration) {
    durations.get_or_create(labels).observe(took.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use prometheus_client::encoding::prometheus_text::encode;
    use serde_json::json;

    use super::*;
    use crate::trace::{CallStep, ListingStep, Step, Timing, TraceId, TurnStep};

    const TIMING: Timing = Timing {
        start: Duration::ZERO,
        duration: Duration::from_millis(300),
    };

    fn turn(status: u16) -> Step {
        let mut turn = TurnStep::new(TIMING, 1);
        turn.status = Some(status);
        Step::Turn(turn)
    }

    fn call(server: &str, tool: &str, outcome: CallOutcome) -> Step {
        let mut call = CallStep::new(TIMING, "", "", outcome);
        (call.server, call.tool) = (Some(server.into()), Some(tool.into()));
        Step::Call(call)
    }

    /// A call of a tool that no server has.
    fn nobodys_call(name: &str, outcome: CallOutcome) -> Step {
        Step::Call(CallStep::new(TIMING, "", name, outcome))
    }

    fn trace(steps: Vec<Step>) -> Arc<Trace> {
        let usage = json!({"prompt_tokens": 30, "completion_tokens": 4, "cost": 0.5});
        let now = SystemTime::now();
        let mut trace = Trace::new(TraceId::new(now), "default", "web", now, Outcome::Ok);
        trace.duration = Duration::from_secs(2);
        (trace.rounds, trace.calls) = (2, 4);
        trace.stopped_by = Some(StoppedBy::Final);
        trace.usage = usage.as_object().cloned();
        Arc::new(trace.with_steps(steps))
    }

    fn text(metrics: &Metrics) -> String {
        let mut text = String::new();
        encode(&mut text, metrics.registry()).unwrap();
        text
    }

    #[test]
    fn exchanges_are_counted_with_their_turns_and_calls() {
        let metrics = Metrics::default();
        let steps = vec![
            turn(200),
            call("a", "find", CallOutcome::Ok),
            call("a", "find", CallOutcome::Ok),
            call("a", "drop", CallOutcome::NotExecuted),
            nobodys_call("made_up", CallOutcome::Error),
            nobodys_call("mcp_search_tools", CallOutcome::Ok),
            turn(500),
            Step::Listing(ListingStep::new(TIMING, "a")),
        ];
        metrics.record(&trace(steps));
        let text = text(&metrics);
        for line in [
            r#"mcp_layer_exchanges_total{outcome="ok",stopped_by="final",project="web",model=""} 1"#,
            "mcp_layer_exchange_duration_seconds_sum 2.0",
            r#"mcp_layer_exchange_duration_seconds_bucket{le="1"} 0"#,
            r#"mcp_layer_exchange_duration_seconds_bucket{le="2.5"} 1"#,
            "mcp_layer_rounds_total 2",
            r#"mcp_layer_model_turns_total{outcome="ok"} 1"#,
            r#"mcp_layer_model_turns_total{outcome="error"} 1"#,
            "mcp_layer_model_turn_duration_seconds_count 2",
            r#"mcp_layer_tool_calls_total{server="a",tool="find",outcome="ok"} 2"#,
            r#"mcp_layer_tool_calls_total{server="a",tool="drop",outcome="not_executed"} 1"#,
            r#"mcp_layer_tool_calls_total{server="",tool="",outcome="error"} 1"#,
            r#"mcp_layer_tool_calls_total{server="",tool="mcp_search_tools",outcome="ok"} 1"#,
            r#"mcp_layer_tool_call_duration_seconds_count{server="a"} 2"#,
            r#"mcp_layer_tokens_total{type="prompt",project="web",model=""} 30"#,
            r#"mcp_layer_tokens_total{type="completion",project="web",model=""} 4"#,
            r#"mcp_layer_cost_total{project="web",model=""} 0.5"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn a_thousand_tools_have_rows_and_the_rest_one() {
        let metrics = Metrics::default();
        let tools = |n: usize| (0..n).map(|n| call("a", &format!("tool-{n}"), CallOutcome::Ok));
        metrics.record(&trace(tools(TOOLS + 30).collect()));
        metrics.record(&trace(tools(1).collect()));
        let text = text(&metrics);
        let rows = text
            .lines()
            .filter(|l| l.starts_with("mcp_layer_tool_calls_total{"));
        assert_eq!(rows.count(), TOOLS + 1);
        for line in [
            r#"mcp_layer_tool_calls_total{server="_other",tool="_other",outcome="ok"} 30"#,
            r#"mcp_layer_tool_calls_total{server="a",tool="tool-0",outcome="ok"} 2"#,
        ] {
            assert!(text.contains(line), "{line}");
        }
    }

    /// An exchange of a project with a model.
    fn of(project: &str, model: &str, outcome: Outcome) -> Arc<Trace> {
        let now = SystemTime::now();
        let mut trace = Trace::new(TraceId::new(now), "default", project, now, outcome);
        trace.model = Some(model.into());
        Arc::new(trace)
    }

    #[test]
    fn a_model_has_rows_once_an_exchange_with_it_has_succeeded() {
        let metrics = Metrics::default();
        for outcome in [Outcome::UpstreamError, Outcome::Ok, Outcome::UpstreamError] {
            metrics.record(&of("web", "m-1", outcome));
        }
        metrics.record(&of("web", "made up", Outcome::UpstreamError));
        metrics.record(&of("web", &"m".repeat(NAME + 1), Outcome::Ok));
        let text = text(&metrics);
        for line in [
            r#"{outcome="upstream_error",stopped_by="",project="web",model="_other"} 2"#,
            r#"{outcome="upstream_error",stopped_by="",project="web",model="m-1"} 1"#,
            r#"{outcome="ok",stopped_by="",project="web",model="m-1"} 1"#,
            r#"{outcome="ok",stopped_by="",project="_other",model="_other"} 1"#,
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(!text.contains("made up"), "{text}");
    }

    #[test]
    fn five_hundred_pairs_of_project_and_model_have_rows_and_the_rest_one() {
        let metrics = Metrics::default();
        for pair in 0..PAIRS + 30 {
            let (project, model) = (format!("p-{}", pair % 7), format!("m-{pair}"));
            metrics.record(&of(&project, &model, Outcome::Ok));
        }
        metrics.record(&of("p-0", "m-0", Outcome::Ok));
        let text = text(&metrics);
        let rows = text
            .lines()
            .filter(|l| l.starts_with("mcp_layer_exchanges_total{"));
        assert_eq!(rows.count(), PAIRS + 1);
        for line in [
            r#"project="_other",model="_other"} 30"#,
            r#"project="p-0",model="m-0"} 2"#,
        ] {
            assert!(text.contains(line), "{line}");
        }
    }

    /// A call that an operator makes has no model, and a project that he may make up.
    #[test]
    fn made_up_projects_have_no_more_rows_than_pairs_have() {
        for (model, outcome) in [(None, Outcome::Ok), (Some("m"), Outcome::Refused)] {
            let metrics = Metrics::default();
            let made_up = (0..PAIRS + 30).map(|n| format!("p-{n}"));
            for project in made_up.chain(["p".repeat(NAME + 1)]) {
                let mut trace = Arc::unwrap_or_clone(of(&project, "", outcome));
                trace.model = model.map(Into::into);
                metrics.record(&Arc::new(trace));
            }
            let text = text(&metrics);
            let rows = text
                .lines()
                .filter(|l| l.starts_with("mcp_layer_exchanges_total{"));
            assert_eq!(rows.count(), PAIRS + 1);
            assert!(text.contains(r#"project="_other",model="_other"} 31"#));
        }
    }

    #[test]
    fn what_the_program_counts_stands_behind() {
        let metrics = Metrics::default().with_more(|text| text.push_str("up 1\n"));
        let mut text = String::new();
        metrics.clone().write_more(&mut text);
        assert_eq!(text, "up 1\n");
    }
}
