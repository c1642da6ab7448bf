//! Counts by id, and the rules by which there may be one more.

use std::{collections::HashMap, time::Duration};

use super::{
    id::UsageId,
    usage_store::{Quota, QuotaOf, Taken, UsageLease, Used},
    window::{Length, Window},
};

/// The longest lease in milliseconds; one that ends later was made by a clock that was ahead.
const LONGEST_LEASE: i64 = 60 * 60 * 1000;

/// What is used: all of it in memory, or of a database what a transaction holds. Times are in
/// milliseconds since 1970.
#[derive(Debug, Default)]
pub(in crate::registry) struct Counts {
    pub(in crate::registry) windows: HashMap<UsageId, Window>,
    /// The leases of each id, with their ends.
    pub(in crate::registry) leases: HashMap<UsageId, Vec<(UsageLease, i64)>>,
}

impl Counts {
    /// Takes one of each quota at `now`, or none of them.
    pub(in crate::registry) fn take(
        &mut self,
        quotas: &[Quota],
        lease: Duration,
        now: i64,
    ) -> Taken {
        for (quota, wanted) in quotas.iter().enumerate() {
            let used = self.used(wanted.id, wanted.of, now);
            if used.amount >= wanted.limit {
                let retry_after = (wanted.of != QuotaOf::AtOnce).then_some(used.ends_in);
                return Taken::Refused { quota, retry_after };
            }
        }
        let mut leased = None;
        for quota in quotas {
            match length(quota.of) {
                Some(length) => self.add(quota.id, 1, length, now),
                None => {
                    let ends_at = now.saturating_add(milliseconds(lease).min(LONGEST_LEASE));
                    let lease = *leased.get_or_insert_with(UsageLease::random);
                    let leases = self.leases.entry(quota.id).or_default();
                    leases.retain(|(_, ends_at)| runs(*ends_at, now));
                    leases.push((lease, ends_at));
                }
            }
        }
        Taken::Granted(leased)
    }

    /// Adds to what is used in a day.
    pub(in crate::registry) fn add_today(&mut self, id: UsageId, amount: u64, now: i64) {
        let amount = i64::try_from(amount).unwrap_or(i64::MAX);
        self.add(id, amount, Length::Day, now);
    }

    fn add(&mut self, id: UsageId, amount: i64, length: Length, now: i64) {
        let window = self.windows.entry(id).or_default();
        *window = window.at(now, length);
        window.used = window.used.saturating_add(amount);
    }

    /// What is used of this now.
    pub(in crate::registry) fn used(&self, id: UsageId, of: QuotaOf, now: i64) -> Used {
        let Some(length) = length(of) else {
            let leases = self.leases.get(&id).into_iter().flatten();
            let running = leases.filter(|(_, ends_at)| runs(*ends_at, now));
            return Used {
                amount: running.count() as u64,
                ends_in: Duration::ZERO,
            };
        };
        let window = self.windows.get(&id).copied().unwrap_or_default();
        let window = window.at(now, length);
        match u64::try_from(window.used) {
            Ok(amount @ 1..) => Used {
                amount,
                ends_in: Duration::from_millis(window.ends_at.abs_diff(now)),
            },
            Ok(0) | Err(_) => Used::default(),
        }
    }
}

/// The length of the windows of a quota; `None` for what runs at the same time.
fn length(of: QuotaOf) -> Option<Length> {
    match of {
        QuotaOf::Minute => Some(Length::Minute),
        QuotaOf::Day => Some(Length::Day),
        QuotaOf::AtOnce => None,
    }
}

/// Returns `true` for a lease that has not ended.
fn runs(ends_at: i64, now: i64) -> bool {
    ends_at > now && ends_at <= now.saturating_add(LONGEST_LEASE)
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
