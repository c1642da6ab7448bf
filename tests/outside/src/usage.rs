//! What is used of limits and budgets.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use mcp_layer::registry::{
    BoxFuture, Error,
    usage::{Quota, QuotaOf, Taken, UsageId, UsageLease, UsageStore, Used},
};

const MINUTE: Duration = Duration::from_secs(60);
/// From the first use on, which is not what the trait promises at midnight.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A [`UsageStore`] of numbers that end.
#[derive(Default)]
pub struct Usage(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    used: HashMap<UsageId, (u64, Instant)>,
    leases: Vec<(UsageLease, UsageId, Instant)>,
}

impl Usage {
    fn now(&self) -> (MutexGuard<'_, Counts>, Instant) {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (counts, Instant::now())
    }
}

impl Counts {
    fn used(&self, id: UsageId, of: QuotaOf, now: Instant) -> Used {
        if of == QuotaOf::AtOnce {
            let leases = self.leases.iter();
            let running = leases.filter(|(_, other, ends)| *other == id && *ends > now);
            let amount = running.count() as u64;
            let ends_in = Duration::ZERO;
            return Used { amount, ends_in };
        }
        let used = self.used.get(&id).filter(|(_, ends)| *ends > now);
        used.map_or(Used::default(), |(amount, ends)| Used {
            amount: *amount,
            ends_in: *ends - now,
        })
    }

    fn add(&mut self, id: UsageId, amount: u64, length: Duration, now: Instant) {
        let used = self.used.entry(id).or_insert((0, now));
        if used.1 <= now {
            *used = (0, now + length);
        }
        used.0 = used.0.saturating_add(amount);
    }

    fn take(&mut self, quotas: &[Quota], lease: Duration, now: Instant) -> Taken {
        for (quota, wanted) in quotas.iter().enumerate() {
            let used = self.used(wanted.id, wanted.of, now);
            if used.amount >= wanted.limit {
                let retry_after = (wanted.of != QuotaOf::AtOnce).then_some(used.ends_in);
                return Taken::Refused { quota, retry_after };
            }
        }
        let mut leased = None;
        for quota in quotas {
            match quota.of {
                QuotaOf::Minute => self.add(quota.id, 1, MINUTE, now),
                QuotaOf::Day => self.add(quota.id, 1, DAY, now),
                _ => {
                    let id = *leased.get_or_insert_with(UsageLease::random);
                    self.leases.push((id, quota.id, now + lease));
                }
            }
        }
        Taken::Granted(leased)
    }
}

impl UsageStore for Usage {
    fn take<'a>(
        &'a self,
        quotas: &'a [Quota],
        lease: Duration,
    ) -> BoxFuture<'a, Result<Taken, Error>> {
        Box::pin(async move {
            let (mut counts, now) = self.now();
            Ok(counts.take(quotas, lease, now))
        })
    }

    fn give_back(&self, lease: UsageLease) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let (mut counts, _) = self.now();
            counts.leases.retain(|(other, ..)| *other != lease);
            Ok(())
        })
    }

    fn add<'a>(&'a self, amounts: &'a [(UsageId, u64)]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let (mut counts, now) = self.now();
            for (id, amount) in amounts {
                counts.add(*id, *amount, DAY, now);
            }
            Ok(())
        })
    }

    fn used<'a>(&'a self, of: &'a [(UsageId, QuotaOf)]) -> BoxFuture<'a, Result<Vec<Used>, Error>> {
        Box::pin(async move {
            let (counts, now) = self.now();
            let used = of.iter().map(|(id, of)| counts.used(*id, *of, now));
            Ok(used.collect())
        })
    }
}
