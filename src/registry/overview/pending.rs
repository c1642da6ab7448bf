//! What exchanges add up to until the writer takes it: one lock, and a few places in memory for each
//! exchange.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use super::{
    breakdown::{Breakdown, write_tool},
    figures::{Exchange, Figures},
    grain::Grain,
};
use crate::trace::{CallOutcome, Measure, Trace};

/// The most cells that wait for the writer, which takes them each second, or each ten seconds while
/// the storage hangs.
const CELLS: usize = 1024;

/// What was not taken by the writer yet.
#[derive(Default)]
pub(super) struct Pending(Mutex<Adding>);

#[derive(Default)]
struct Adding {
    cells: Cells,
    /// The name of a tool, in the place of the one before it.
    tool: String,
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

impl Cell {
    fn add(&mut self, trace: &Trace, exchange: &Exchange, name: &mut String) {
        let Self { figures, breakdown } = self;
        for (place, server) in trace.servers.iter().enumerate() {
            if !trace.servers[..place].contains(server) {
                let servers = &mut breakdown.servers;
                servers.add_to(server, |server| server.add_exchange(exchange));
            }
        }
        let (mut calls, mut failed) = (0, 0);
        trace.measure(|measure| {
            let Measure::Call {
                server,
                tool,
                outcome,
                duration,
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
        breakdown.models.add_to(model, add);
    }
}

impl Pending {
    /// Adds an exchange.
    pub(super) fn add(&self, trace: &Trace) {
        let exchange = Exchange::of(trace);
        let mut adding = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Adding { cells, tool } = &mut *adding;
        cell(cells, trace).add(trace, &exchange, tool);
    }

    /// Takes everything that was added up since the last time.
    pub(super) fn take(&self) -> Cells {
        let mut adding = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        mem::take(&mut adding.cells)
    }
}
