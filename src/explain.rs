//! Explanations of requests: the tools that one would get, without calling a model.
//!
//! This lies below `admin/`, so the operator's side explains requests without knowing the layer. It
//! runs the loop's own first steps: what it tells is what happens, down to the bytes of a refusal.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use crate::{
    caller::CallerTokens,
    chat::{ChatRequest, Unread},
    project::Project,
    refusal::{Kind, Refusal},
    tool_loop::{self, Explanation, Gateway},
};

/// An explainer of requests: it tells which tools the [layer](crate::McpLayer::explainer) would
/// offer, with that layer's registry, connections and settings. Clones share them.
#[derive(Clone)]
pub struct Explainer(Arc<Gateway>);

impl Explainer {
    pub(crate) fn new(gateway: Gateway) -> Self {
        Self(Arc::new(gateway))
    }

    /// Explains what the chat completion `body` of `project` would get.
    ///
    /// # Errors
    /// The layer's own refusal. A request that the layer would pass through gets no tools.
    ///
    /// # Cancellation
    /// Listings that have begun continue.
    pub(crate) async fn explain(
        &self,
        body: Bytes,
        project: &Project,
        tokens: &CallerTokens,
    ) -> Result<Explanation, Refusal> {
        let request = match ChatRequest::parse(body) {
            Ok(request) if request.mcp.is_some() => request,
            Ok(_) | Err(Unread::NotOurs) => return Ok(Explanation::default()),
            Err(unread) => {
                let refusal = Option::<Refusal>::from(unread);
                let not_json = || Refusal::new(Kind::InvalidJson, "the request is not valid JSON");
                return Err(refusal.unwrap_or_else(not_json));
            }
        };
        tool_loop::explain(&self.0, request, project, tokens).await
    }
}

impl fmt::Debug for Explainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Explainer").finish_non_exhaustive()
    }
}
