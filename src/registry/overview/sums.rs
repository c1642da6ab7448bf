//! One writer's part of a bucket.

use std::{sync::Arc, time::SystemTime};

use super::{breakdown::Breakdown, figures::Figures, grain::Grain};
use crate::random::fill_random;

/// The sums of one bucket, as one writer has them.
///
/// A writer puts the same sums again, with the same id, when more was added to them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sums {
    /// The id: random, below 2^63, so that every database has a number for it.
    pub id: u64,
    /// The organization whose exchanges these are.
    pub organization: Arc<str>,
    /// The project; `None` for the sums of all projects.
    pub project: Option<Arc<str>>,
    /// The length of the bucket.
    pub grain: Grain,
    /// The beginning of the bucket.
    pub start: SystemTime,
    /// What its exchanges add up to.
    pub figures: Figures,
    /// The same by name.
    pub breakdown: Breakdown,
}

impl Sums {
    /// Creates empty sums with a new id, of the bucket that `time` is in.
    ///
    /// # Panics
    /// Panics if the system has no randomness.
    pub fn new(
        organization: impl Into<Arc<str>>,
        project: Option<Arc<str>>,
        grain: Grain,
        time: SystemTime,
    ) -> Self {
        let mut id = [0; 8];
        fill_random(&mut id);
        Self {
            id: u64::from_le_bytes(id) >> 1,
            organization: organization.into(),
            project,
            grain,
            start: grain.start_of(time),
            figures: Figures::default(),
            breakdown: Breakdown::default(),
        }
    }
}
