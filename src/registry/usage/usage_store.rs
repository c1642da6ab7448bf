//! The trait of stores that count what is used of limits and budgets.

use std::{sync::Arc, time::Duration};

use super::id::UsageId;
use crate::{
    random::fill_random,
    registry::{call_limits::CallLimit, error::Error, future::BoxFuture},
};

/// Counts what is used of limits and budgets.
///
/// # Contract
/// An implementor guarantees that
///
/// - every promise holds across all processes that share the underlying storage, and they share one
///   clock;
/// - of all quotas of one [`take`](Self::take) there is one more used, or of none, whatever others do
///   at the same time: no limit is ever exceeded;
/// - a minute is one from its first use on, and a day ends at midnight by UTC. What was used counts
///   until then; a clock that goes back makes none of it forgotten, and nobody wait for longer than
///   a minute or a day;
/// - what runs at the same time counts until it is [given back](Self::give_back), or its lease ends:
///   a process that died holds nothing for longer;
/// - counts that no longer matter are removed.
///
/// [`MemoryUsage`](super::MemoryUsage) is an implementation in memory. `conformance::usage` (feature
/// `conformance`) tests what can be seen of this contract within one process. `Arc<S>` implements the
/// trait for every store `S`, `Arc<dyn UsageStore>` included.
///
/// # Cancellation
/// Every method may be dropped at any point. Its effect has then happened completely or not at all,
/// and the caller does not know which: what is lost is at most one use, or one lease until it ends.
pub trait UsageStore: Send + Sync + 'static {
    /// Takes one of each of these quotas, or none of them. For those of what runs at the same time
    /// it is leased for so long, at most an hour.
    ///
    /// # Errors
    /// [`Error::Full`] where counts are bounded, and there are as many; [`Error::Unavailable`].
    fn take<'a>(
        &'a self,
        quotas: &'a [Quota],
        lease: Duration,
    ) -> BoxFuture<'a, Result<Taken, Error>>;

    /// Gives back what was leased; nothing happens if it has ended.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn give_back(&self, lease: UsageLease) -> BoxFuture<'_, Result<(), Error>>;

    /// Adds amounts to what was used today.
    ///
    /// # Errors
    /// Those of [`take`](Self::take).
    fn add<'a>(&'a self, amounts: &'a [(UsageId, u64)]) -> BoxFuture<'a, Result<(), Error>>;

    /// What is used of these now, in their order. Nothing is used of what was never counted.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn used<'a>(&'a self, of: &'a [(UsageId, QuotaOf)]) -> BoxFuture<'a, Result<Vec<Used>, Error>>;
}

/// What a quota is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QuotaOf {
    /// A minute.
    Minute,
    /// A day.
    Day,
    /// What runs at the same time.
    AtOnce,
}

impl From<CallLimit> for QuotaOf {
    fn from(limit: CallLimit) -> Self {
        match limit {
            CallLimit::PerMinute => Self::Minute,
            CallLimit::PerDay => Self::Day,
            CallLimit::AtOnce => Self::AtOnce,
        }
    }
}

/// How much there may be of something. An id is always one of the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// What is counted.
    pub id: UsageId,
    /// For how long.
    pub of: QuotaOf,
    /// The most.
    pub limit: u64,
}

/// The outcome of taking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Taken {
    /// All of it, with the lease of what runs at the same time, if that is limited.
    Granted(Option<UsageLease>),
    /// Nothing: a limit is reached.
    Refused {
        /// The place of the first quota of which there is nothing left.
        quota: usize,
        /// The time until there is; `None` where that is when something ends which runs.
        retry_after: Option<Duration>,
    },
}

/// The id of a lease: 128 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsageLease(pub [u8; 16]);

/// What is used now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// How much.
    pub amount: u64,
    /// The time after which that is forgotten; zero of nothing, and of what runs at the same time.
    pub ends_in: Duration,
}

impl UsageLease {
    /// Makes an id that no other lease has.
    ///
    /// # Panics
    /// Panics if the operating system has no random numbers.
    pub fn random() -> Self {
        let mut id = [0; 16];
        fill_random(&mut id);
        Self(id)
    }
}

impl<S: UsageStore + ?Sized> UsageStore for Arc<S> {
    fn take<'a>(
        &'a self,
        quotas: &'a [Quota],
        lease: Duration,
    ) -> BoxFuture<'a, Result<Taken, Error>> {
        (**self).take(quotas, lease)
    }

    fn give_back(&self, lease: UsageLease) -> BoxFuture<'_, Result<(), Error>> {
        (**self).give_back(lease)
    }

    fn add<'a>(&'a self, amounts: &'a [(UsageId, u64)]) -> BoxFuture<'a, Result<(), Error>> {
        (**self).add(amounts)
    }

    fn used<'a>(&'a self, of: &'a [(UsageId, QuotaOf)]) -> BoxFuture<'a, Result<Vec<Used>, Error>> {
        (**self).used(of)
    }
}
