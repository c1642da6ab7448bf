//! The record of an exchange: how it ended, also if the caller hung up.

use tokio::time::Instant;

use super::receipt::Receipt;
use crate::project::Project;

/// Writes one event when the exchange ends; dropped before that, it says `cancelled`.
#[derive(Debug)]
pub(crate) struct Record {
    project: Project,
    began: Instant,
    ended: bool,
}

impl Record {
    pub(crate) fn begin(project: &Project) -> Self {
        Self {
            project: project.clone(),
            began: Instant::now(),
            ended: false,
        }
    }

    /// Passes `response` on and records how it came about.
    pub(crate) fn end<T>(&mut self, receipt: &Receipt, outcome: &'static str, response: T) -> T {
        self.ended = true;
        tracing::info!(
            project = self.project.name(),
            rounds = receipt.rounds(),
            turns = receipt.turns(),
            outcome,
            duration_ms = self.began.elapsed().as_millis() as u64,
            "exchange"
        );
        response
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.ended {
            let duration_ms = self.began.elapsed().as_millis() as u64;
            tracing::info!(
                project = self.project.name(),
                outcome = "cancelled",
                duration_ms,
                "exchange"
            );
        }
    }
}
