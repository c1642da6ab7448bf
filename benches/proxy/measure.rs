//! One row: all programs in turns, so that whatever else the machine does hits each of them.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    load::{Callers, Turn},
    process::Process,
    requests::{Asked, Expected},
};

/// A program with what it is asked.
pub struct Side {
    pub process: Process,
    pub asked: Asked,
    pub expected: Expected,
    /// Requests of a turn, of all connections together, and the least of each.
    pub requests: usize,
    pub least: usize,
    /// What it still does when all have their answers: records are written within a second.
    pub afterwards: Duration,
}

/// What a program needed.
#[derive(Default)]
pub struct Figures {
    /// Of each turn: milliseconds of processor time for a request.
    pub cpu: Vec<f64>,
    /// Of each turn: requests per second.
    pub rates: Vec<f64>,
    /// Of each request, sorted.
    pub times: Vec<Duration>,
    pub peak_kib: u64,
}

/// Measures the sides that there are.
pub async fn measure(
    sides: &[Option<Side>],
    connections: usize,
    turns: usize,
) -> Vec<Option<Figures>> {
    for side in sides.iter().flatten() {
        // Pools and caches fill.
        side.turn(connections).await;
    }
    let figures = |side: &Option<Side>| side.as_ref().map(|_| Figures::default());
    let mut all: Vec<_> = sides.iter().map(figures).collect();
    for _ in 0..turns {
        let both = sides.iter().flatten().zip(all.iter_mut().flatten());
        for (side, figures) in both {
            let (cpu, turn) = side.turn(connections).await;
            let requests = turn.times.len() as f64;
            figures.cpu.push(cpu.as_secs_f64() * 1e3 / requests);
            figures.rates.push(requests / turn.took.as_secs_f64());
            figures.times.extend(turn.times);
        }
    }
    for (side, figures) in sides.iter().flatten().zip(all.iter_mut().flatten()) {
        figures.times.sort();
        figures.peak_kib = side.process.peak_kib();
    }
    all
}

impl Side {
    async fn turn(&self, connections: usize) -> (Duration, Turn) {
        let callers = Callers::connect(self.process.address, connections).await;
        let before = self.process.cpu();
        let requests = self.requests.max(self.least * connections);
        let turn = callers.send(&self.asked, &self.expected, requests).await;
        sleep(self.afterwards).await;
        (self.process.cpu().since(&before), turn)
    }
}
