//! Calls of single tools by operators, through the layer's own checks.
//!
//! This lies below `admin/`, like [`Explainer`](crate::Explainer), so the operator's side calls tools
//! without knowing the layer.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName};

use crate::{
    caller::Caller,
    project::Project,
    refusal::Refusal,
    tool_loop::{self, Gateway, SingleCall, SingleResult},
    trace::TraceId,
};

/// Calls single tools as an operator, with the registry, connections, limits and trace sinks of the
/// [layer](crate::McpLayer::tool_caller) that it is of. Clones share them.
///
/// A call is checked as one of a model is: project, grants, selection, pins and the tool's input schema
/// apply, and it is recorded as an exchange.
#[derive(Clone)]
pub struct ToolCaller(Arc<Gateway>);

impl ToolCaller {
    pub(crate) fn new(gateway: Gateway) -> Self {
        Self(Arc::new(gateway))
    }

    /// Returns `true` if somebody listens to the records of exchanges.
    pub(crate) fn is_recorded(&self) -> bool {
        !self.0.settings.tracing.sinks.is_empty()
    }

    /// The header in which callers send the token that says who they are.
    pub(crate) fn subject_header(&self) -> Option<&HeaderName> {
        self.0.settings.subject_header.as_ref()
    }

    /// Calls a tool for `project`, and records it under `id`; takes off `headers` the tokens that are
    /// meant for servers.
    ///
    /// # Errors
    /// The layer's own refusal. A tool that fails has a result.
    ///
    /// # Cancellation
    /// The call is cancelled at its server, and recorded as such.
    pub(crate) async fn call(
        &self,
        project: Project,
        headers: &mut HeaderMap,
        call: SingleCall,
        id: TraceId,
    ) -> Result<SingleResult, Refusal> {
        let tokens = self.0.tokens(&project, headers);
        let caller = Caller::operator(project, tokens, id);
        tool_loop::call_single(&self.0, &caller, call).await
    }
}

impl fmt::Debug for ToolCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolCaller").finish_non_exhaustive()
    }
}
