//! Sinks, which receive the record of every exchange.

use std::sync::Arc;

use super::exchange::Trace;

/// Receives the record of every exchange when it has ended.
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
    /// Takes a record. It is called on the way of a request, so it must not block; a sink that
    /// cannot keep up drops records and counts them. A panic is told in the log, and neither the
    /// caller nor another sink notices.
    fn record(&self, trace: &Arc<Trace>);
}

impl<S: TraceSink + ?Sized> TraceSink for Arc<S> {
    fn record(&self, trace: &Arc<Trace>) {
        (**self).record(trace);
    }
}
