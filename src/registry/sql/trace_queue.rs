//! The writer of traces, which commits many at once, and removes the oldest.
//!
//! No request waits for it: traces that come faster than they can be written are dropped and counted.
//! With SQLite a commit waits for the disk and blocks other writers, so there is one every half
//! second at most.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::yield_now,
    time::{Instant, sleep, timeout},
};

use super::{
    database::{Database, sql},
    keys::Ring,
    text,
    time::now,
    trace_record::{self, Row},
};
use crate::{
    apart,
    registry::error::Error,
    trace::{Trace, TraceId},
};

/// The most records that wait: as many as come in half a second.
const QUEUE: usize = 1024;
/// The most memory that they take all together, in bytes.
const QUEUED_BYTES: usize = 32 << 20;
/// The most records in one commit, since other writers wait for it.
const GROUP: usize = 100;
/// The pause between two commits.
const PAUSE: Duration = Duration::from_millis(500);
/// The time for which a group that the database does not take is tried again: a backup that locks
/// it, or a failover, is over by then. Further records wait meanwhile, as far as there is room.
const TRIED: Duration = Duration::from_secs(60);
/// The longest that a flush waits.
const FLUSH: Duration = Duration::from_secs(10);

/// The life of a record, and the most of an organization.
const AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const COUNT: i64 = 10_000;
/// The pause between two sweeps for old records, and the number of new ones that brings one about.
const SWEEP: Duration = Duration::from_secs(60);
const SWEEP_AFTER: usize = 500;
/// The most that one sweep removes; the next one is soon enough for more.
const SWEPT: i64 = 1000;

/// The sizes of statements, and the statements. Each statement is a trip to the server, or two
/// switches of threads with SQLite; with few sizes, each is prepared once.
static INSERTS: LazyLock<[(usize, [String; 2]); 3]> =
    LazyLock::new(|| [16, 4, 1].map(|size| (size, [RECORDS, NAMES].map(|into| into.text(size)))));

/// A table, and its columns in the order in which they are bound.
#[derive(Clone, Copy)]
struct Table {
    table: &'static str,
    columns: &'static [&'static str],
}

const RECORDS: Table = Table {
    table: "mcp_traces",
    columns: &[
        "id",
        "organization",
        "project",
        "model",
        "servers",
        "outcome",
        "record",
        "spans",
        "sealed_by",
        "sealed",
    ],
};

const NAMES: Table = Table {
    table: "mcp_trace_names",
    columns: &[
        "organization",
        "id",
        "project",
        "model",
        "outcome",
        "failed_calls",
        "servers",
        "search",
    ],
};

/// The queue in which records wait.
pub(super) struct Queue {
    sender: mpsc::Sender<Item>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// The bytes that wait.
    queued: AtomicUsize,
    /// The records that were dropped since the last line in the log.
    dropped: AtomicU64,
}

enum Item {
    Record(Arc<Trace>, usize),
    /// Asks for everything before it to be written.
    Flush(oneshot::Sender<()>),
}

impl Queue {
    /// Creates a queue, and the task that writes what is in it. It ends once the queue is dropped
    /// and everything is written.
    pub(super) fn new(
        database: Database,
        ring: Ring,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let counts = Arc::<Counts>::default();
        let writer = Writer {
            database,
            ring,
            counts: counts.clone(),
            organizations: Vec::new(),
            written: 0,
            swept_at: Instant::now(),
        };
        (Self { sender, counts }, writer.run(receiver))
    }

    /// Queues `trace`, if there is room for it.
    pub(super) fn put(&self, trace: &Arc<Trace>) {
        let size = trace.size();
        let queued = self.counts.queued.fetch_add(size, Ordering::Relaxed);
        let has_room = queued + size <= QUEUED_BYTES
            && self
                .sender
                .try_send(Item::Record(trace.clone(), size))
                .is_ok();
        if !has_room {
            self.counts.queued.fetch_sub(size, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything is written that was queued before.
    pub(super) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        let flushed = async {
            if self.sender.send(Item::Flush(done)).await.is_ok() {
                let _ = written.await;
            }
        };
        if timeout(FLUSH, flushed).await.is_err() {
            tracing::warn!("the latest exchanges may not be recorded");
        }
    }
}

struct Writer {
    database: Database,
    ring: Ring,
    counts: Arc<Counts>,
    /// The organizations whose records were written since the last sweep.
    organizations: Vec<String>,
    written: usize,
    swept_at: Instant,
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::Receiver<Item>) {
        let mut items = Vec::with_capacity(GROUP);
        while queue.recv_many(&mut items, GROUP).await > 0 {
            let is_full = items.len() == GROUP;
            let mut flushed = Vec::new();
            let mut rows = Vec::with_capacity(items.len());
            for item in items.drain(..) {
                match item {
                    Item::Record(trace, size) => {
                        self.counts.queued.fetch_sub(size, Ordering::Relaxed);
                        rows.extend(self.row(trace).await);
                        // Making and masking its steps takes a while; others may run in between.
                        yield_now().await;
                    }
                    Item::Flush(done) => flushed.push(done),
                }
            }
            self.write(&rows).await;
            let is_flush = !flushed.is_empty();
            for done in flushed {
                // A caller that has gone does not care.
                let _ = done.send(());
            }
            self.tell_dropped();
            if !is_full && !is_flush && !queue.is_closed() {
                sleep(PAUSE).await;
            }
        }
    }

    /// Builds the row of a record, a large one on a thread apart; `None` if no table takes it.
    async fn row(&self, trace: Arc<Trace>) -> Option<Row> {
        let is_small = trace.is_small();
        let ring = self.ring.load_full();
        let row = move || {
            let fits = text::fits(&trace.organization);
            fits.then(|| trace_record::write(&trace, &ring).ok())
                .flatten()
        };
        let row = match is_small {
            true => row(),
            false => apart::finish(row).await.flatten(),
        };
        if row.is_none() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
        row
    }

    async fn write(&mut self, rows: &[Row]) {
        if rows.is_empty() {
            return;
        }
        if let Err(error) = self.insert(rows).await {
            tracing::warn!(%error, "exchanges cannot be recorded");
            let count = rows.len() as u64;
            self.counts.dropped.fetch_add(count, Ordering::Relaxed);
            return;
        }
        self.written += rows.len();
        for row in rows {
            if !self.organizations.contains(&row.organization) {
                self.organizations.push(row.organization.clone());
            }
        }
        if self.written >= SWEEP_AFTER || self.swept_at.elapsed() >= SWEEP {
            (self.written, self.swept_at) = (0, Instant::now());
            let organizations = std::mem::take(&mut self.organizations);
            let swept = self
                .database
                .in_time(sweep(&self.database, &organizations))
                .await;
            if let Err(error) = swept {
                tracing::debug!(%error, "old exchanges stay for now");
            }
        }
    }

    /// Inserts rows, and tries again for a while if that fails: a row that exists stays as it is.
    async fn insert(&self, rows: &[Row]) -> Result<(), Error> {
        let since = Instant::now();
        loop {
            let insert = insert(&self.database, rows);
            match self.database.in_time(insert).await {
                Err(error) if since.elapsed() < TRIED => {
                    tracing::debug!(%error, "exchanges wait to be recorded");
                    sleep(PAUSE).await;
                }
                done => return done,
            }
        }
    }

    fn tell_dropped(&self) {
        let dropped = self.counts.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(dropped, "exchanges were not recorded");
        }
    }
}

async fn insert(database: &Database, mut rows: &[Row]) -> Result<(), Error> {
    let mut tx = database.begin().await?;
    for (size, [records, names]) in &*INSERTS {
        while let Some((some, rest)) = rows.split_at_checked(*size) {
            rows = rest;
            let mut insert = sql(records);
            for row in some {
                insert = insert
                    .bind(&*row.id)
                    .bind(&*row.organization)
                    .bind("")
                    .bind("")
                    .bind("")
                    .bind("")
                    .bind(&*row.record)
                    .bind("")
                    .bind(&*row.sealed_by)
                    .bind(&*row.sealed);
            }
            insert.execute(&mut *tx).await?;
            let mut insert = sql(names);
            for row in some {
                insert = insert
                    .bind(&*row.organization)
                    .bind(&*row.id)
                    .bind(&*row.project)
                    .bind(&*row.model)
                    .bind(&*row.outcome)
                    .bind(row.failed_calls)
                    .bind(&*row.servers)
                    .bind(&*row.search);
            }
            insert.execute(&mut *tx).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

impl Table {
    /// The statement that inserts so many rows.
    fn text(self, size: usize) -> String {
        let row = |row: usize| {
            let first = row * self.columns.len() + 1;
            let values = (first..first + self.columns.len()).map(|value| format!("${value}"));
            format!("({})", values.collect::<Vec<_>>().join(", "))
        };
        let rows: Vec<_> = (0..size).map(row).collect();
        format!(
            "INSERT INTO {} ({}) VALUES {} ON CONFLICT DO NOTHING",
            self.table,
            self.columns.join(", "),
            rows.join(", ")
        )
    }
}

/// Removes records that are too old, and those that are too many of these organizations; their names
/// go with them.
async fn sweep(database: &Database, organizations: &[String]) -> Result<(), Error> {
    let mut tx = database.begin().await?;
    let oldest = TraceId::first_of(super::time::time(now() - super::time::span(AGE)));
    sql("DELETE FROM mcp_traces WHERE id IN (
             SELECT id FROM mcp_traces WHERE id < $1 ORDER BY id LIMIT $2)")
    .bind(oldest.to_string())
    .bind(SWEPT)
    .execute(&mut *tx)
    .await?;
    for organization in organizations {
        sql("DELETE FROM mcp_traces WHERE id IN (
                 SELECT id FROM mcp_traces WHERE organization = $1
                 ORDER BY id DESC LIMIT $2 OFFSET $3)")
        .bind(&**organization)
        .bind(SWEPT)
        .bind(COUNT)
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(())
}
