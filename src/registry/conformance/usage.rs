//! The contract of [`UsageStore`], a function per clause; each needs an empty store.

use std::time::Duration;

use futures_util::future::join_all;

use super::clauses;
use crate::registry::usage::{Quota, QuotaOf, Taken, UsageId, UsageLease, UsageStore};

clauses! {
    /// Runs every clause, each with an empty store from `make`.
    all(UsageStore) {
        so_much_is_granted_and_no_more
        all_quotas_are_taken_or_none
        what_runs_counts_until_it_is_given_back
        a_lease_that_has_ended_holds_nothing
        one_lease_is_of_all_that_runs
        a_thousand_at_once_get_exactly_what_there_is
        amounts_add_up_and_count_as_used
        a_limit_that_was_changed_counts_as_it_is_now
        what_was_never_counted_is_not_used
    }
}

const LEASE: Duration = Duration::from_secs(60);

fn quota(id: u8, of: QuotaOf, limit: u64) -> Quota {
    Quota {
        id: UsageId([id; 32]),
        of,
        limit,
    }
}

async fn take(store: &impl UsageStore, quotas: &[Quota]) -> Taken {
    store.take(quotas, LEASE).await.unwrap()
}

/// What is used of these.
async fn used(store: &impl UsageStore, quotas: &[Quota]) -> Vec<u64> {
    let ids: Vec<_> = quotas.iter().map(|quota| (quota.id, quota.of)).collect();
    let used = store.used(&ids).await.unwrap();
    used.iter().map(|used| used.amount).collect()
}

/// The lease of a grant.
fn lease(taken: Taken) -> UsageLease {
    match taken {
        Taken::Granted(Some(lease)) => lease,
        other => panic!("{other:?}"),
    }
}

/// Whoever is refused is told when there is more: within the minute, or the day.
pub async fn so_much_is_granted_and_no_more(store: impl UsageStore) {
    let minute = [quota(1, QuotaOf::Minute, 2)];
    let day = [quota(2, QuotaOf::Day, 1)];
    assert_eq!(take(&store, &minute).await, Taken::Granted(None));
    assert_eq!(take(&store, &minute).await, Taken::Granted(None));
    assert_eq!(take(&store, &day).await, Taken::Granted(None));
    for (quotas, longest) in [(&minute, 60), (&day, 24 * 60 * 60)] {
        let Taken::Refused { quota, retry_after } = take(&store, quotas).await else {
            panic!("more than there was");
        };
        assert_eq!(quota, 0);
        let wait = retry_after.unwrap();
        assert!(wait <= Duration::from_secs(longest), "{wait:?}");
    }
    assert_eq!(used(&store, &minute).await, [2]);
}

/// A call that one limit stops takes nothing of another.
pub async fn all_quotas_are_taken_or_none(store: impl UsageStore) {
    let free = quota(1, QuotaOf::Day, 100);
    let tight = quota(2, QuotaOf::Minute, 1);
    let running = quota(3, QuotaOf::AtOnce, 100);
    let all = [free, running, tight];
    lease(take(&store, &all).await);
    for _ in 0..3 {
        let taken = take(&store, &all).await;
        assert!(
            matches!(taken, Taken::Refused { quota: 2, .. }),
            "{taken:?}"
        );
    }
    assert_eq!(used(&store, &all).await, [1, 1, 1]);
}

/// Nobody can tell when something ends that runs.
pub async fn what_runs_counts_until_it_is_given_back(store: impl UsageStore) {
    let two = [quota(1, QuotaOf::AtOnce, 2)];
    let first = lease(take(&store, &two).await);
    let second = lease(take(&store, &two).await);
    assert_ne!(first, second);
    let refused = Taken::Refused {
        quota: 0,
        retry_after: None,
    };
    assert_eq!(take(&store, &two).await, refused);
    store.give_back(first).await.unwrap();
    assert_eq!(used(&store, &two).await, [1]);
    // A second time, and one that nobody has, change nothing.
    store.give_back(first).await.unwrap();
    store.give_back(UsageLease::random()).await.unwrap();
    lease(take(&store, &two).await);
    assert_eq!(take(&store, &two).await, refused);
}

/// The process that held it is dead, or has forgotten it.
pub async fn a_lease_that_has_ended_holds_nothing(store: impl UsageStore) {
    let one = [quota(1, QuotaOf::AtOnce, 1)];
    let soon = Duration::from_millis(20);
    lease(store.take(&one, soon).await.unwrap());
    let mut tries = 0;
    while !matches!(take(&store, &one).await, Taken::Granted(Some(_))) {
        tries += 1;
        assert!(tries < 1000, "it is held");
        tokio::time::sleep(soon).await;
    }
    assert_eq!(used(&store, &one).await, [1]);
}

/// Limits of a tool and of its server count the same call.
pub async fn one_lease_is_of_all_that_runs(store: impl UsageStore) {
    let both = [quota(1, QuotaOf::AtOnce, 5), quota(2, QuotaOf::AtOnce, 5)];
    let first = lease(take(&store, &both).await);
    lease(take(&store, &both[1..]).await);
    assert_eq!(used(&store, &both).await, [1, 2]);
    store.give_back(first).await.unwrap();
    assert_eq!(used(&store, &both).await, [0, 1]);
}

/// No limit is exceeded, and nothing of it is lost.
pub async fn a_thousand_at_once_get_exactly_what_there_is(store: impl UsageStore) {
    let quotas = [quota(1, QuotaOf::Day, 100), quota(2, QuotaOf::AtOnce, 500)];
    let takes = (0..1000).map(|_| store.take(&quotas, LEASE));
    let taken = join_all(takes).await.into_iter();
    let granted = taken.filter(|taken| matches!(taken, Ok(Taken::Granted(Some(_)))));
    assert_eq!(granted.count(), 100);
    assert_eq!(used(&store, &quotas).await, [100, 100]);
}

/// As tokens and costs do, also where nothing limits them.
pub async fn amounts_add_up_and_count_as_used(store: impl UsageStore) {
    let [tokens, cost] = [1, 2].map(|id| UsageId([id; 32]));
    store.add(&[(tokens, 1000), (cost, 7)]).await.unwrap();
    store.add(&[(tokens, 234)]).await.unwrap();
    let day = [quota(1, QuotaOf::Day, 1234), quota(2, QuotaOf::Day, 8)];
    assert_eq!(used(&store, &day).await, [1234, 7]);
    assert!(matches!(
        take(&store, &day).await,
        Taken::Refused { quota: 0, .. }
    ));
    // More than any number has room for is still no less.
    store
        .add(&[(tokens, u64::MAX), (tokens, u64::MAX)])
        .await
        .unwrap();
    assert!(used(&store, &day[..1]).await[0] > 1234);
}

/// The operator's last word counts, for what was used before as well.
pub async fn a_limit_that_was_changed_counts_as_it_is_now(store: impl UsageStore) {
    let limit = |limit| [quota(1, QuotaOf::Day, limit)];
    for _ in 0..3 {
        assert_eq!(take(&store, &limit(3)).await, Taken::Granted(None));
    }
    assert!(matches!(
        take(&store, &limit(3)).await,
        Taken::Refused { .. }
    ));
    assert!(matches!(
        take(&store, &limit(2)).await,
        Taken::Refused { .. }
    ));
    assert_eq!(take(&store, &limit(4)).await, Taken::Granted(None));
}

/// Reading counts nothing.
pub async fn what_was_never_counted_is_not_used(store: impl UsageStore) {
    let all = [QuotaOf::Minute, QuotaOf::Day, QuotaOf::AtOnce].map(|of| quota(1, of, 1));
    assert_eq!(used(&store, &all).await, [0, 0, 0]);
    assert_eq!(used(&store, &all).await, [0, 0, 0]);
    assert!(store.used(&[]).await.unwrap().is_empty());
    assert_eq!(take(&store, &[]).await, Taken::Granted(None));
}
