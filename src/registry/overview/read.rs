//! The figures of a range, put together.

use std::time::SystemTime;

use super::{
    breakdown::Breakdown,
    figures::Figures,
    overview_store::{OverviewSpan, OverviewStore},
    range::OverviewRange,
};
use crate::registry::error::Error;

/// The figures of a range, over time and by name.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Overview {
    /// All of it together.
    pub totals: Figures,
    /// The range of the same length before; `None` if that is not kept any more.
    pub before: Option<Figures>,
    /// The figures of each bucket, by its beginning; empty ones are left out.
    pub series: Vec<(SystemTime, Figures)>,
    /// The same by name.
    pub breakdown: Breakdown,
}

impl Overview {
    /// Reads the figures of an organization, or of one of its projects.
    ///
    /// An exchange that ends meanwhile may already be in some of them.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the storage failed.
    pub async fn read(
        store: &impl OverviewStore,
        organization: &str,
        project: Option<&str>,
        range: &OverviewRange,
        now: SystemTime,
    ) -> Result<Self, Error> {
        let span = |grain, from, to| OverviewSpan::new(organization, project, grain, from, to);
        let series = store
            .figures(span(range.grain(), range.from(), range.to()))
            .await?;
        let mut read = Self {
            totals: sum(&series),
            series,
            ..Self::default()
        };
        if let Some(before) = range.before(now) {
            let before = span(before.grain(), before.from(), before.to());
            read.before = Some(sum(&store.figures(before).await?));
        }
        for (grain, from, to) in range.tiles() {
            let tile = store.breakdown(span(grain, from, to)).await?;
            read.breakdown.add(&tile);
        }
        Ok(read)
    }
}

fn sum(series: &[(SystemTime, Figures)]) -> Figures {
    let mut sum = Figures::default();
    for (_, figures) in series {
        sum.add(figures);
    }
    sum
}
