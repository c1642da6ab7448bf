//! Where sums are stored.

use std::{sync::Arc, time::SystemTime};

use super::{breakdown::Breakdown, figures::Figures, grain::Grain, sums::Sums};
use crate::registry::{error::Error, future::BoxFuture};

/// Stores the sums of exchanges, and adds up those of a time.
///
/// # Contract
/// An implementor guarantees that
///
/// - sums replace those of the same id, so that putting them again changes nothing;
/// - what is read adds up the sums of all writers;
/// - what is put is read as soon as the future is ready;
/// - neither organizations nor projects nor grains are mixed up;
/// - times are exact to the second, which is where buckets begin.
///
/// It may drop what is older than the grain's [life](Grain::life), and a store in memory may drop
/// more. `conformance::overview` (feature `conformance`) tests all of this except the bounds.
/// `Arc<S>` implements the trait for every store `S`, `Arc<dyn OverviewStore>` included.
pub trait OverviewStore: Send + Sync + 'static {
    /// Puts all of these sums, or none of them.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the storage failed.
    ///
    /// # Cancellation
    /// A dropped future may have put them; putting them again is harmless.
    fn put<'a>(&'a self, sums: &'a [Sums]) -> BoxFuture<'a, Result<(), Error>>;

    /// Returns the figures of each bucket that begins within `span`, by time; empty ones are left
    /// out.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the storage failed.
    fn figures<'a>(
        &'a self,
        span: OverviewSpan<'a>,
    ) -> BoxFuture<'a, Result<Vec<(SystemTime, Figures)>, Error>>;

    /// Returns the figures by name, of all buckets together that begin within `span`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the storage failed.
    fn breakdown<'a>(&'a self, span: OverviewSpan<'a>) -> BoxFuture<'a, Result<Breakdown, Error>>;

    /// Removes the sums of this grain whose bucket begins before `time`, of all organizations: some
    /// of them, if there are many.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the storage failed.
    fn remove_before(&self, grain: Grain, time: SystemTime) -> BoxFuture<'_, Result<(), Error>>;
}

/// The buckets of one grain that begin in a time, of a project or of all.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct OverviewSpan<'a> {
    /// The organization.
    pub organization: &'a str,
    /// The project; `None` for the sums of all.
    pub project: Option<&'a str>,
    /// The length of the buckets.
    pub grain: Grain,
    /// The earliest beginning.
    pub from: SystemTime,
    /// The time before which they begin.
    pub to: SystemTime,
}

impl<'a> OverviewSpan<'a> {
    /// Creates the span of the buckets of `grain` that begin at `from` or later, and before `to`.
    pub fn new(
        organization: &'a str,
        project: Option<&'a str>,
        grain: Grain,
        from: SystemTime,
        to: SystemTime,
    ) -> Self {
        Self {
            organization,
            project,
            grain,
            from,
            to,
        }
    }

    /// Returns `true` if these sums are of it.
    pub fn has(&self, sums: &Sums) -> bool {
        *sums.organization == *self.organization
            && sums.project.as_deref() == self.project
            && sums.grain == self.grain
            && self.from <= sums.start
            && sums.start < self.to
    }
}

impl<S: OverviewStore + ?Sized> OverviewStore for Arc<S> {
    fn put<'a>(&'a self, sums: &'a [Sums]) -> BoxFuture<'a, Result<(), Error>> {
        (**self).put(sums)
    }

    fn figures<'a>(
        &'a self,
        span: OverviewSpan<'a>,
    ) -> BoxFuture<'a, Result<Vec<(SystemTime, Figures)>, Error>> {
        (**self).figures(span)
    }

    fn breakdown<'a>(&'a self, span: OverviewSpan<'a>) -> BoxFuture<'a, Result<Breakdown, Error>> {
        (**self).breakdown(span)
    }

    fn remove_before(&self, grain: Grain, time: SystemTime) -> BoxFuture<'_, Result<(), Error>> {
        (**self).remove_before(grain, time)
    }
}
