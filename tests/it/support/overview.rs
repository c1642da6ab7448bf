//! Exchanges made up at random, and what they add up to, counted in the plainest way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use mcp_layer::registry::overview::{Figures, Names, Overview, OverviewRange, OverviewStore};
use mcp_layer::registry::{TraceFilter, TracePage, TraceStore};
use mcp_layer::trace::{CallOutcome, CallStep, Outcome, Step, StoppedBy, Timing, Trace, TraceId};
use serde_json::json;

use super::dice::Dice;

/// An exchange that began at this time.
pub fn exchange(dice: &mut Dice, started_at: SystemTime) -> Trace {
    let outcomes = [
        Outcome::Ok,
        Outcome::Ok,
        Outcome::Ok,
        Outcome::UpstreamError,
        Outcome::UpstreamFailed,
        Outcome::Refused,
        Outcome::Cancelled,
    ];
    let project = *dice.of(&["web", "batch", "<b>&\"'", ""]);
    let id = TraceId::new(started_at);
    let mut trace = Trace::new(id, "default", project, started_at, *dice.of(&outcomes));
    let model = *dice.of(&[None, Some("m-1"), Some("m-2")]);
    trace.model = model.map(Into::into);
    let servers = ["docs", "files", "a&b"];
    trace.servers = servers[..dice.roll(4) as usize]
        .iter()
        .map(|server| (*server).to_owned())
        .collect();
    trace.duration = Duration::from_millis(dice.roll(300) * dice.roll(300));
    trace.stopped_by = *dice.of(&[
        None,
        Some(StoppedBy::Final),
        Some(StoppedBy::MaxRounds),
        Some(StoppedBy::Deadline),
    ]);
    let usage = json!({
        "prompt_tokens": dice.roll(5000),
        "completion_tokens": dice.roll(500),
        "cost": dice.roll(1_000_000) as f64 / 1e8,
    });
    trace.usage = match dice.roll(4) {
        0 => None,
        1 => json!({"prompt_tokens": 7}).as_object().cloned(),
        _ => usage.as_object().cloned(),
    };
    let steps = (0..dice.roll(4)).map(|_| {
        let timing = Timing {
            start: Duration::ZERO,
            duration: Duration::from_millis(dice.roll(900)),
        };
        let outcome = *dice.of(&[
            CallOutcome::Ok,
            CallOutcome::Ok,
            CallOutcome::Error,
            CallOutcome::Cancelled,
            CallOutcome::NotExecuted,
        ]);
        let mut call = CallStep::new(timing, "call", "name", outcome);
        if dice.roll(8) > 0 {
            call.server = Some((*dice.of(&servers)).to_owned());
            call.tool = Some((*dice.of(&["find", "drop"])).to_owned());
        }
        Step::Call(call)
    });
    let steps = steps.collect();
    trace.with_steps(steps)
}

/// Exchanges of the last so many hours. The first four of them show two processes in turns that the
/// models and servers of the others are real.
pub fn exchanges(seed: u64, count: u64, hours: u64) -> Vec<Arc<Trace>> {
    let (mut dice, now) = (Dice(seed), SystemTime::now());
    let exchanges = (0..count).map(|number| {
        let ago = Duration::from_secs(dice.roll(hours * 60 * 60));
        let mut exchange = exchange(&mut dice, now - ago);
        if let 0..4 = number {
            exchange.outcome = Outcome::Ok;
            exchange.model = Some(["m-1", "m-2"][number as usize / 2].into());
            exchange.servers = ["docs", "files", "a&b"].map(str::to_owned).to_vec();
        }
        Arc::new(exchange)
    });
    exchanges.collect()
}

/// What is compared of figures: counts in a fixed order, the cost in billionths, and durations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sum {
    pub exchanges: u64,
    pub errors: u64,
    pub cancelled: u64,
    pub limits: u64,
    pub calls: u64,
    pub failed: u64,
    pub tokens: [u64; 2],
    pub cost: u64,
    pub unpriced: u64,
    pub durations: u64,
}

impl Sum {
    pub fn of(figures: &Figures) -> Self {
        Self {
            exchanges: figures.exchanges,
            errors: figures.errors(),
            cancelled: figures.cancelled,
            limits: figures.out_of_rounds + figures.out_of_time,
            calls: figures.calls,
            failed: figures.failed_calls,
            tokens: [figures.input_tokens, figures.output_tokens],
            cost: figures.cost_nanos,
            unpriced: figures.unpriced,
            durations: figures.durations.count(),
        }
    }

    fn add(&mut self, trace: &Trace) {
        let usage = |name: &str| trace.usage.as_ref().and_then(|usage| usage.get(name));
        let tokens = ["prompt_tokens", "completion_tokens"]
            .map(|name| usage(name).map_or(0, |tokens| tokens.as_u64().unwrap()));
        let cost = usage("cost").map(|cost| (cost.as_f64().unwrap() * 1e9).round() as u64);
        self.exchanges += 1;
        self.durations += 1;
        match trace.outcome {
            Outcome::Ok => {}
            Outcome::Cancelled => self.cancelled += 1,
            _ => self.errors += 1,
        }
        let limits = [Some(StoppedBy::MaxRounds), Some(StoppedBy::Deadline)];
        self.limits += u64::from(limits.contains(&trace.stopped_by));
        self.tokens[0] += tokens[0];
        self.tokens[1] += tokens[1];
        self.cost += cost.unwrap_or(0);
        self.unpriced += u64::from(cost.is_none() && tokens != [0, 0]);
    }

    fn add_call(&mut self, call: &CallStep) {
        self.calls += 1;
        self.failed += u64::from(call.outcome == CallOutcome::Error);
    }
}

/// The name here of what has none in an overview.
const OTHER: &str = "(other)";

/// Sums by name.
pub type Sums = BTreeMap<String, Sum>;

/// What exchanges add up to: all together, by project, model, server and tool.
#[derive(Debug, Default, PartialEq)]
pub struct Tally {
    pub totals: Sum,
    pub by: [Sums; 4],
}

impl Tally {
    /// Those of records in which a model and a server have failed only after they were shown to be
    /// real, if they were.
    pub fn of(traces: &[Trace]) -> Self {
        let answered = traces.iter().filter(|trace| trace.outcome == Outcome::Ok);
        let answered: BTreeSet<_> = answered
            .filter_map(|trace| trace.model.as_deref())
            .collect();
        let found = traces
            .iter()
            .filter(|trace| !matches!(trace.outcome, Outcome::Refused | Outcome::Cancelled));
        let found: BTreeSet<_> = found.flat_map(|trace| &trace.servers).collect();
        let mut tally = Self::default();
        let [projects, models, servers, tools] = &mut tally.by;
        for trace in traces {
            tally.totals.add(trace);
            let project = projects.entry(trace.project.to_string()).or_default();
            project.add(trace);
            let model = trace.model.as_deref().unwrap_or_default();
            let is_named = model.is_empty() || answered.contains(model);
            let model = if is_named { model } else { OTHER };
            let model = models.entry(model.to_owned()).or_default();
            model.add(trace);
            for server in &trace.servers {
                let is_named = found.contains(server);
                let server = if is_named { server } else { OTHER };
                servers.entry(server.to_owned()).or_default().add(trace);
            }
            for step in trace.steps().iter() {
                let Step::Call(call) = step else { continue };
                let (Some(server), Some(tool)) = (&call.server, &call.tool) else {
                    continue;
                };
                if call.outcome == CallOutcome::NotExecuted {
                    continue;
                }
                tally.totals.add_call(call);
                project.add_call(call);
                model.add_call(call);
                servers.entry(server.clone()).or_default().add_call(call);
                let tool = tools.entry(format!("{server} {tool}")).or_default();
                tool.add_call(call);
                tool.durations += 1;
            }
        }
        tally
    }

    pub fn read(overview: &Overview) -> Self {
        let named = |names: &Names| {
            let other = Some((OTHER, names.other()));
            let other = other.filter(|(_, figures)| !figures.is_empty());
            let names = names.iter().chain(other);
            names
                .map(|(name, figures)| (name.replace('\u{1f}', " "), Sum::of(figures)))
                .collect()
        };
        let by = &overview.breakdown;
        Self {
            totals: Sum::of(&overview.totals),
            by: [&by.projects, &by.models, &by.servers, &by.tools].map(named),
        }
    }
}

/// The figures of the last so many hours.
pub async fn read(store: &impl OverviewStore, project: Option<&str>, hours: u64) -> Overview {
    let now = SystemTime::now();
    let from = now - Duration::from_secs(hours * 60 * 60);
    let range = OverviewRange::new(from, now, now);
    let read = Overview::read(store, "default", project, &range, now).await;
    read.unwrap()
}

/// All records of a store, with their steps.
pub async fn records(store: &impl TraceStore) -> Vec<Trace> {
    let mut page = TracePage::default();
    page.limit = 200;
    let mut records = Vec::new();
    loop {
        let listing = store.list("default", &TraceFilter::default(), &page).await;
        let listing = listing.unwrap();
        for trace in &listing.traces {
            let whole = store.get("default", trace.id).await.unwrap().unwrap();
            records.push(Arc::unwrap_or_clone(whole));
        }
        page.before = listing.next;
        if listing.next.is_none() {
            return records;
        }
    }
}
