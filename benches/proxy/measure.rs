//! One row: all programs in turns, so that whatever else the machine does hits each of them.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    load::Callers,
    process::Process,
    rows::{Expected, Row},
};

/// A program with what it is asked.
pub struct Side {
    pub process: Process,
    pub body: Bytes,
    pub expected: Expected,
}

/// What a program needed for a row.
#[derive(Default)]
pub struct Figures {
    /// Of each turn: milliseconds of processor time for a request.
    pub cpu: Vec<f64>,
    pub rates: Vec<f64>,
    pub times: Vec<Duration>,
    pub peak_kib: u64,
}

/// How much is asked.
#[derive(Clone, Copy)]
pub struct Effort {
    pub connections: usize,
    pub turns: usize,
    /// The part of a row's requests that is sent.
    pub share: f64,
}

pub async fn measure(row: &Row, sides: &[Side], effort: Effort) -> Vec<Figures> {
    let requests = (row.requests as f64 * effort.share) as usize;
    let requests = requests.max(2 * effort.connections).max(1);
    for side in sides {
        // Pools and caches fill.
        side.turn(effort.connections, requests / 2).await;
    }
    let mut all: Vec<_> = sides.iter().map(|_| Figures::default()).collect();
    for _ in 0..effort.turns {
        for (side, figures) in sides.iter().zip(&mut all) {
            let (cpu, turn) = side.turn(effort.connections, requests).await;
            figures.cpu.push(cpu.as_secs_f64() * 1e3 / requests as f64);
            figures
                .rates
                .push(requests as f64 / turn.took.as_secs_f64());
            figures.times.extend(turn.times);
        }
    }
    for (side, figures) in sides.iter().zip(&mut all) {
        figures.times.sort();
        figures.peak_kib = side.process.peak_kib();
    }
    all
}

impl Side {
    async fn turn(&self, connections: usize, requests: usize) -> (Duration, crate::load::Turn) {
        let callers = Callers::connect(self.process.address, connections).await;
        let before = self.process.cpu();
        let turn = callers.send(&self.body, &self.expected, requests).await;
        (self.process.cpu().since(&before), turn)
    }
}
