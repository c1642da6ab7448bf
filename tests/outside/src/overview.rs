//! The figures of exchanges over time.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use mcp_layer::registry::{
    BoxFuture, Error,
    overview::{Breakdown, Figures, Grain, OverviewSpan, OverviewStore, Sums},
};

/// An [`OverviewStore`] of bytes, as a database has them.
#[derive(Default)]
pub struct Overview(Mutex<BTreeMap<u64, Row>>);

struct Row {
    organization: String,
    project: Option<String>,
    grain: Grain,
    start: SystemTime,
    figures: Vec<u8>,
    breakdown: Vec<u8>,
}

impl Row {
    fn is_in(&self, span: &OverviewSpan<'_>) -> bool {
        self.organization == span.organization
            && self.project.as_deref() == span.project
            && self.grain == span.grain
            && (span.from..span.to).contains(&self.start)
    }
}

impl Overview {
    fn rows(&self) -> MutexGuard<'_, BTreeMap<u64, Row>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OverviewStore for Overview {
    fn put<'a>(&'a self, sums: &'a [Sums]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let rows = sums.iter().map(|sums| {
                let row = Row {
                    organization: sums.organization.to_string(),
                    project: sums.project.as_deref().map(str::to_owned),
                    grain: sums.grain,
                    start: sums.start,
                    figures: sums.figures.to_bytes(),
                    breakdown: sums.breakdown.to_bytes(),
                };
                (sums.id, row)
            });
            self.rows().extend(rows);
            Ok(())
        })
    }

    fn figures<'a>(
        &'a self,
        span: OverviewSpan<'a>,
    ) -> BoxFuture<'a, Result<Vec<(SystemTime, Figures)>, Error>> {
        Box::pin(async move {
            let mut found = BTreeMap::<_, Figures>::new();
            for row in self.rows().values().filter(|row| row.is_in(&span)) {
                let figures = Figures::from_bytes(&row.figures).unwrap_or_default();
                found.entry(row.start).or_default().add(&figures);
            }
            Ok(found.into_iter().collect())
        })
    }

    fn breakdown<'a>(&'a self, span: OverviewSpan<'a>) -> BoxFuture<'a, Result<Breakdown, Error>> {
        Box::pin(async move {
            let mut sum = Breakdown::default();
            for row in self.rows().values().filter(|row| row.is_in(&span)) {
                sum.add(&Breakdown::from_bytes(&row.breakdown).unwrap_or_default());
            }
            Ok(sum)
        })
    }

    fn remove_before(&self, grain: Grain, time: SystemTime) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            self.rows()
                .retain(|_, row| row.grain != grain || row.start >= time);
            Ok(())
        })
    }
}
