//! Sinks, which receive the record of every exchange.

use std::sync::Arc;

use super::exchange::Trace;

/// Receives the record of every exchange, once, when it has ended: also of one that was refused,
/// that failed, or whose caller hung up.
///
/// ```
/// use std::sync::Arc;
/// use mcp_layer::{McpLayer, registry::MemoryRegistry, trace::{Trace, TraceSink}};
///
/// /// Says in a line what an exchange came to.
/// struct Printer;
///
/// impl TraceSink for Printer {
///     fn record(&self, trace: &Arc<Trace>) {
///         println!("{}: {} calls, {}", trace.project, trace.calls, trace.outcome);
///     }
/// }
///
/// let layer = McpLayer::new(MemoryRegistry::default()).add_trace_sink(Printer);
/// ```
pub trait TraceSink: Send + Sync + 'static {
    /// Takes a record.
    ///
    /// This is called while a request is being served, so it must not block: hand the record to a
    /// task, and drop and count records if that cannot keep up. A panic is caught and logged;
    /// neither the caller nor another sink notices.
    fn record(&self, trace: &Arc<Trace>);
}

impl<S: TraceSink + ?Sized> TraceSink for Arc<S> {
    fn record(&self, trace: &Arc<Trace>) {
        (**self).record(trace);
    }
}
