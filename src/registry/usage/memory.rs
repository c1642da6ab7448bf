//! Counts of what is used, in memory.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

use super::{
    counts::Counts,
    id::UsageId,
    usage_store::{Quota, QuotaOf, Taken, UsageLease, UsageStore, Used},
};
use crate::registry::{error::Error, future::BoxFuture};

/// The most counts: some 10 MiB. Only what an operator has limited is counted.
const COUNTS: usize = 100_000;

/// Counts what is used in memory, lost with the process: at most 100,000 counts. Clones are the same
/// store.
///
/// Its clock is the system's when it was made, and goes on by itself from there, so a system's clock
/// that jumps changes nothing.
///
/// ```
/// use std::time::Duration;
/// use mcp_layer::registry::usage::{MemoryUsage, Quota, QuotaOf, Taken, UsageId, UsageStore};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let store = MemoryUsage::default();
/// let quota = [Quota { id: UsageId([7; 32]), of: QuotaOf::AtOnce, limit: 1 }];
/// let lease = Duration::from_secs(60);
/// let Taken::Granted(Some(first)) = store.take(&quota, lease).await? else { panic!() };
/// assert!(matches!(store.take(&quota, lease).await?, Taken::Refused { quota: 0, .. }));
/// store.give_back(first).await?;
/// assert!(matches!(store.take(&quota, lease).await?, Taken::Granted(Some(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemoryUsage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    began: Instant,
    /// In milliseconds since 1970.
    began_at: i64,
    // Held for map operations, never across an await.
    counts: Mutex<Counts>,
}

impl Default for MemoryUsage {
    fn default() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let since = since.unwrap_or_default().as_millis();
        Self(Arc::new(Inner {
            began: Instant::now(),
            began_at: i64::try_from(since).unwrap_or_default(),
            counts: Mutex::default(),
        }))
    }
}

impl MemoryUsage {
    /// Does something with the counts as of now.
    fn now<T>(&self, with: impl FnOnce(&mut Counts, i64) -> T) -> T {
        let passed = i64::try_from(self.0.began.elapsed().as_millis());
        let now = self.0.began_at.saturating_add(passed.unwrap_or(i64::MAX));
        let counts = self.0.counts.lock();
        with(&mut counts.unwrap_or_else(PoisonError::into_inner), now)
    }
}

/// Makes room for `more` counts, by those that do not matter any more.
fn make_room(counts: &mut Counts, more: usize, now: i64) -> Result<(), Error> {
    let is_full = |counts: &Counts| counts.windows.len() + counts.leases.len() + more > COUNTS;
    if is_full(counts) {
        counts.windows.retain(|_, window| window.ends_at > now);
        counts.leases.retain(|_, leases| {
            leases.retain(|(_, ends_at)| *ends_at > now);
            !leases.is_empty()
        });
    }
    match is_full(counts) {
        true => Err(Error::Full),
        false => Ok(()),
    }
}

impl UsageStore for MemoryUsage {
    fn take<'a>(
        &'a self,
        quotas: &'a [Quota],
        lease: Duration,
    ) -> BoxFuture<'a, Result<Taken, Error>> {
        Box::pin(async move {
            self.now(|counts, now| {
                make_room(counts, quotas.len(), now)?;
                Ok(counts.take(quotas, lease, now))
            })
        })
    }

    fn give_back(&self, lease: UsageLease) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            self.now(|counts, _| {
                counts.leases.retain(|_, leases| {
                    leases.retain(|(other, _)| *other != lease);
                    !leases.is_empty()
                });
            });
            Ok(())
        })
    }

    fn add<'a>(&'a self, amounts: &'a [(UsageId, u64)]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.now(|counts, now| {
                make_room(counts, amounts.len(), now)?;
                amounts
                    .iter()
                    .for_each(|(id, amount)| counts.add_today(*id, *amount, now));
                Ok(())
            })
        })
    }

    fn used<'a>(&'a self, of: &'a [(UsageId, QuotaOf)]) -> BoxFuture<'a, Result<Vec<Used>, Error>> {
        Box::pin(async move {
            let used = self.now(|counts, now| {
                let used = of.iter().map(|(id, of)| counts.used(*id, *of, now));
                used.collect()
            });
            Ok(used)
        })
    }
}
