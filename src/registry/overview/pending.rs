//! What exchanges add up to until the writer takes it: one lock, and a few places in memory for each
//! exchange.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use super::{
    breakdown::{Breakdown, LONGEST, write_tool},
    figures::{Exchange, Figures},
    grain::Grain,
};
use crate::trace::{CallOutcome, Measure, Outcome, Trace};

/// The most cells that wait for the writer, which takes them each second, or each ten seconds while
/// the storage hangs.
const CELLS: usize = 1024;
/// The most models, and the most servers, that are remembered to be real: five times as many as sums
/// have names for. Of others only what succeeds counts under the name.
const KNOWN: usize = 1000;

/// What was not taken by the writer yet.
#[derive(Default)]
pub(super) struct Pending(Mutex<Adding>);

#[derive(Default)]
struct Adding {
    cells: Cells,
    known: Known,
    /// The name of a tool, in the place of the one before it.
    tool: String,
}

/// The models and servers that exchanges have shown to be real since the process began. A caller can
/// make others up, and would take the places of those that are.
#[derive(Default)]
struct Known {
    models: HashSet<Box<str>>,
    servers: HashSet<Box<str>>,
}

pub(super) type Cells = HashMap<Place, Cell>;

/// The organization, the project, and the minute of exchanges.
pub(super) type Place = (Arc<str>, Arc<str>, SystemTime);

/// What the exchanges of one place add up to.
#[derive(Default)]
pub(super) struct Cell {
    pub(super) figures: Figures,
    pub(super) breakdown: Breakdown,
}

/// The cell of an exchange. Projects that are too many share one, which has no name.
fn cell<'a>(cells: &'a mut Cells, trace: &Trace) -> &'a mut Cell {
    let minute = Grain::Minute.start_of(trace.started_at);
    let mut place = (trace.organization.clone(), trace.project.clone(), minute);
    if cells.len() >= CELLS && !cells.contains_key(&place) {
        place.1 = "".into();
    }
    cells.entry(place).or_default()
}

impl Known {
    /// Returns whether a model is real: it is once it has answered.
    fn has_model(&mut self, model: &str, outcome: Outcome) -> bool {
        is_known(&mut self.models, model, outcome == Outcome::Ok)
    }

    /// Returns whether a server is real: it is once a request that names it came as far as the model,
    /// since one that names an unknown server is refused. Who hangs up may do so before that.
    fn has_server(&mut self, server: &str, outcome: Outcome) -> bool {
        let was_found = !matches!(outcome, Outcome::Refused | Outcome::Cancelled);
        is_known(&mut self.servers, server, was_found)
    }
}

/// Returns whether `name` is, or was, shown to be real, and remembers it.
fn is_known(known: &mut HashSet<Box<str>>, name: &str, is_shown: bool) -> bool {
    if known.contains(name) {
        return true;
    }
    if is_shown && known.len() < KNOWN && name.len() <= LONGEST {
        known.insert(name.into());
    }
    is_shown
}

impl Cell {
    fn add(
        &mut self,
        trace: &Trace,
        exchange: &Exchange,
        (known, name): (&mut Known, &mut String),
    ) {
        let Self { figures, breakdown } = self;
        for (place, server) in trace.servers.iter().enumerate() {
            if !trace.servers[..place].contains(server) {
                let is_known = known.has_server(server, trace.outcome);
                let servers = &mut breakdown.servers;
                servers.add_if(is_known, server, |server| server.add_exchange(exchange));
            }
        }
        let (mut calls, mut failed) = (0, 0);
        trace.measure(|measure| {
            let Measure::Call {
                server,
                tool,
                outcome,
                duration,
                ..
            } = measure
            else {
                return;
            };
            // One that a model made up, or that the caller runs.
            if server.is_empty() || outcome == CallOutcome::NotExecuted {
                return;
            }
            let is_failed = u64::from(outcome == CallOutcome::Error);
            (calls, failed) = (calls + 1, failed + is_failed);
            let servers = &mut breakdown.servers;
            servers.add_to(server, |server| server.add_calls(1, is_failed));
            write_tool(name, server, tool);
            breakdown.tools.add_to(name, |tool| {
                tool.add_calls(1, is_failed);
                tool.durations.add(duration);
            });
        });
        let add = |figures: &mut Figures| {
            figures.add_exchange(exchange);
            figures.add_calls(calls, failed);
        };
        add(figures);
        let model = trace.model.as_deref().unwrap_or_default();
        let is_known = model.is_empty() || known.has_model(model, trace.outcome);
        breakdown.models.add_if(is_known, model, add);
    }
}

impl Pending {
    /// Adds an exchange.
    pub(super) fn add(&self, trace: &Trace) {
        let exchange = Exchange::of(trace);
        let mut adding = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Adding { cells, known, tool } = &mut *adding;
        cell(cells, trace).add(trace, &exchange, (known, tool));
    }

    /// Takes everything that was added up since the last time.
    pub(super) fn take(&self) -> Cells {
        let mut adding = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        mem::take(&mut adding.cells)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Outcome, TraceId};

    /// Adds exchanges of `project` with a model and a server, and tells which models and servers have
    /// names then, and how many exchanges do not count under any.
    fn named(exchanges: &[(&str, &str, Outcome)]) -> [(Vec<String>, u64); 2] {
        let pending = Pending::default();
        let now = SystemTime::now();
        for (model, server, outcome) in exchanges {
            let mut trace = Trace::new(TraceId::new(now), "default", "web", now, *outcome);
            trace.started_at = SystemTime::UNIX_EPOCH;
            trace.model = Some((*model).into());
            trace.servers = vec![(*server).to_owned()];
            pending.add(&trace);
        }
        let cells = pending.take();
        let breakdown = &cells.values().next().unwrap().breakdown;
        [&breakdown.models, &breakdown.servers].map(|names| {
            let mut found: Vec<_> = names.iter().map(|(name, _)| name.to_owned()).collect();
            found.sort_unstable();
            (found, names.other().exchanges)
        })
    }

    #[test]
    fn names_that_a_caller_makes_up_take_no_place() {
        let made_up: Vec<_> = (0..260)
            .map(|n| (format!("m-{n}"), format!("s-{n}")))
            .collect();
        let mut exchanges: Vec<_> = made_up
            .iter()
            .map(|(model, server)| (&**model, &**server, Outcome::Refused))
            .collect();
        exchanges.push(("made up", "docs", Outcome::UpstreamError));
        exchanges.push(("late", "made up", Outcome::Cancelled));
        exchanges.push(("gpt-5", "docs", Outcome::Ok));
        let [models, servers] = named(&exchanges);
        assert_eq!(models, (vec!["gpt-5".to_owned()], 262));
        assert_eq!(servers, (vec!["docs".to_owned()], 261));
    }

    #[test]
    fn what_was_real_once_has_its_failures_under_its_name() {
        let failures = [Outcome::Refused, Outcome::UpstreamError, Outcome::Cancelled];
        let exchanges = [Outcome::Ok].into_iter().chain(failures);
        let exchanges: Vec<_> = exchanges
            .map(|outcome| ("gpt-5", "docs", outcome))
            .collect();
        let [models, servers] = named(&exchanges);
        assert_eq!(models, (vec!["gpt-5".to_owned()], 0));
        assert_eq!(servers, (vec!["docs".to_owned()], 0));
    }
}
