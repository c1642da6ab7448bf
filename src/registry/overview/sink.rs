//! The sink of exchanges, and the task that writes what they add up to.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{overview_store::OverviewStore, pending::Pending, writer::Writer};
use crate::trace::{Trace, TraceSink};

/// The longest that a flush waits.
const FLUSH: Duration = Duration::from_secs(10);

/// Adds up exchanges for an overview, and writes the sums to a store each second.
///
/// Add it to the layer as [a sink](crate::McpLayer::add_trace_sink); recording an exchange takes
/// less than 2 µs and never waits. `Clone` is cheap, and clones count together.
///
/// While the storage is away, sums grow in memory and are written when it is back. Of a time that is
/// longer than an hour or so, the oldest minutes may be lost, with a line in the log; hours and days
/// are not. A process that ends without [`flush`](Self::flush) loses its last second.
///
/// Exchanges count at the time when they began, by the clock of this machine. If that jumps, they
/// are counted where it was then.
///
/// ```
/// use mcp_layer::{McpLayer, registry::MemoryRegistry};
/// use mcp_layer::registry::overview::{MemoryOverview, OverviewSink};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let overview = MemoryOverview::default();
/// let sink = OverviewSink::new(overview.clone());
/// let layer = McpLayer::new(MemoryRegistry::default()).add_trace_sink(sink.clone());
/// // Admin::with_overview(overview) shows what was counted.
/// # drop(layer);
/// sink.flush().await;
/// # });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct OverviewSink {
    pending: Arc<Pending>,
    /// Asks for a flush; the writer ends when all of them are gone.
    flushes: mpsc::Sender<oneshot::Sender<()>>,
}

impl OverviewSink {
    /// Creates a sink that writes to `store`, in a task of its own. It ends once all clones are
    /// dropped, and everything is written.
    ///
    /// # Panics
    /// Panics outside of a tokio runtime with its time enabled.
    pub fn new(store: impl OverviewStore) -> Self {
        let (flushes, flushed) = mpsc::channel(1);
        let pending = Arc::<Pending>::default();
        tokio::spawn(Writer::new(store, pending.clone()).run(flushed));
        Self { pending, flushes }
    }

    /// Waits until all exchanges recorded so far are written, for at most 10 s. Call it before the
    /// process ends.
    ///
    /// # Cancellation
    /// Writing continues in the background.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        let flushed = async {
            if self.flushes.send(done).await.is_ok() {
                let _ = written.await;
            }
        };
        if timeout(FLUSH, flushed).await.is_err() {
            tracing::warn!("the latest exchanges may not be in the overview");
        }
    }
}

impl TraceSink for OverviewSink {
    fn record(&self, trace: &Arc<Trace>) {
        self.pending.add(trace);
    }
}

impl fmt::Debug for OverviewSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OverviewSink").finish_non_exhaustive()
    }
}
