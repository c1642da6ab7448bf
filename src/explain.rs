//! Tells what a request would get, to whoever has a request but no model.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use crate::{
    caller::CallerTokens,
    chat::{ChatRequest, Unread},
    project::Project,
    refusal::{Kind, Refusal},
    tool_loop::{self, Explanation, Gateway},
};

/// Tells which tools a request would be offered by the [layer](crate::McpLayer::explainer) that it
/// comes from: with its registry, its connections and its settings. Clones share them.
#[derive(Clone)]
pub struct Explainer(Arc<Gateway>);

impl Explainer {
    pub(crate) fn new(gateway: Gateway) -> Self {
        Self(Arc::new(gateway))
    }

    /// What the chat completion `body` of `project` would get.
    ///
    /// # Errors
    /// As the layer would refuse it; what it would let pass by gets nothing.
    ///
    /// # Cancellation
    /// Listings that have begun go on.
    pub(crate) async fn explain(
        &self,
        body: Bytes,
        project: &Project,
        tokens: &CallerTokens,
    ) -> Result<Explanation, Refusal> {
        let request = match ChatRequest::parse(body) {
            Ok(request) => request,
            Err(Unread::NotOurs) => return Ok(Explanation::default()),
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
