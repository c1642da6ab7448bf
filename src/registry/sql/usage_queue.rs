//! Takes of quotas, which wait in a queue: all that wait are one transaction, so a thousand calls at
//! once cost little more than one.

use std::{collections::HashSet, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

use super::{
    database::{Database, sql, sql_with},
    time::shared_now,
    usage_rows::{insert_lease, leases, locked, write},
};
use crate::{
    hex::hex,
    registry::{
        error::Error,
        usage::{Counts, Quota, Taken, UsageLease},
    },
};

/// The most takes of one transaction, which others wait for; and those that wait in the queue.
const BATCH: usize = 256;
pub(super) const QUEUE: usize = 4 * BATCH;

/// The pause between two sweeps, and the most rows that a transaction of one removes.
const SWEEP: Duration = Duration::from_secs(10 * 60);
const SWEPT: i64 = 500;
/// The time after which an ended window is of no use: the next day begins where the last one ended.
pub(super) const KEPT: i64 = 2 * 24 * 60 * 60 * 1000;

/// A take that waits for its turn.
pub(super) struct Take {
    pub(super) quotas: Vec<Quota>,
    pub(super) lease: Duration,
    pub(super) reply: oneshot::Sender<Result<Taken, Error>>,
}

/// Answers takes, for as long as anybody can send one.
pub(super) async fn serve(database: Database, mut takes: mpsc::Receiver<Take>) {
    let mut batch = Vec::with_capacity(BATCH);
    while takes.recv_many(&mut batch, BATCH).await > 0 {
        batch.retain(|take: &Take| !take.reply.is_closed());
        if batch.is_empty() {
            continue;
        }
        match database.in_time(take_all(&database, &batch)).await {
            Ok(taken) => {
                for (take, taken) in batch.drain(..).zip(taken) {
                    // Whoever has gone meanwhile runs nothing.
                    if let Err(Ok(Taken::Granted(Some(lease)))) = take.reply.send(Ok(taken)) {
                        let given = database.in_time(give_back(&database, lease)).await;
                        given.unwrap_or_else(|error| tracing::debug!(%error, "a lease stays"));
                    }
                }
            }
            Err(error) => {
                let source = std::error::Error::source(&error);
                let reason = source.map_or_else(|| error.to_string(), ToString::to_string);
                for take in batch.drain(..) {
                    let _ = take.reply.send(Err(Error::unavailable(&*reason)));
                }
            }
        }
    }
}

async fn take_all(database: &Database, takes: &[Take]) -> Result<Vec<Taken>, Error> {
    let quotas = takes.iter().flat_map(|take| &take.quotas);
    let wanted: Vec<_> = quotas.map(|quota| (quota.id, quota.of)).collect();
    let mut tx = database.begin().await?;
    let windows = locked(&mut tx, database, wanted.iter().map(|(id, _)| *id)).await?;
    // As of now, when nobody else counts: what was counted before is older.
    let now = shared_now(&mut tx, database).await?;
    let leases = leases(&mut tx, database, &wanted, now).await?;
    let known = leases.values().flatten().map(|(lease, _)| *lease);
    let known: HashSet<UsageLease> = known.collect();
    let mut counts = Counts {
        windows: windows.clone(),
        leases,
    };
    let take = |take: &Take| counts.take(&take.quotas, take.lease, now);
    let taken = takes.iter().map(take).collect();
    for (id, leases) in &counts.leases {
        let new = leases.iter().filter(|(lease, _)| !known.contains(lease));
        for (lease, ends_at) in new {
            insert_lease(&mut tx, *id, *lease, *ends_at).await?;
            // The row is what others wait for, so it stays while any of them runs.
            let window = counts.windows.entry(*id).or_default();
            window.ends_at = window.ends_at.max(*ends_at);
        }
    }
    write(&mut tx, &windows, &counts.windows).await?;
    tx.commit().await?;
    Ok(taken)
}

pub(super) async fn give_back(database: &Database, lease: UsageLease) -> Result<(), Error> {
    let mut tx = database.begin().await?;
    sql("DELETE FROM mcp_usage_leases WHERE lease = $1")
        .bind(hex(&lease.0))
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// Removes what does not count any more, for as long as it is polled.
pub(super) async fn sweep(database: Database) {
    loop {
        sleep(SWEEP).await;
        loop {
            match database.in_time(remove_ended(&database)).await {
                Ok(SWEPT..) => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::debug!(%error, "counts that have ended stay for now");
                    break;
                }
            }
        }
    }
}

/// Removes some windows and leases that have ended; returns how many, of those of which there were
/// more.
pub(super) async fn remove_ended(database: &Database) -> Result<i64, Error> {
    let skip_locked = database.dialect.skip_locked;
    let mut tx = database.begin().await?;
    let now = shared_now(&mut tx, database).await?;
    let windows = sql_with(format!(
        "DELETE FROM mcp_usage WHERE id IN (
             SELECT id FROM mcp_usage WHERE ends_at < $1 ORDER BY ends_at LIMIT $2 {skip_locked})"
    ));
    let leases = sql_with(format!(
        "DELETE FROM mcp_usage_leases WHERE lease IN (
             SELECT lease FROM mcp_usage_leases WHERE ends_at < $1
             ORDER BY ends_at LIMIT $2 {skip_locked})"
    ));
    let windows = windows
        .bind(now - KEPT)
        .bind(SWEPT)
        .execute(&mut *tx)
        .await?;
    let leases = leases.bind(now).bind(SWEPT).execute(&mut *tx).await?;
    tx.commit().await?;
    let most = windows.rows_affected().max(leases.rows_affected());
    Ok(i64::try_from(most).unwrap_or(i64::MAX))
}
