//! Explanations of requests: the tools that one would get, without calling a model.
//!
//! This lies below `admin/`, so the operator's side explains requests without knowing the layer. It
//! runs the loop's own first steps: what it tells is what happens, down to the bytes of a refusal.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::HeaderMap;

use crate::{
    caller::CallerTokens,
    chat::{ChatRequest, Unread},
    project::Project,
    refusal::{Kind, Refusal},
    tool_loop::{self, Explanation, Gateway, OptInHeaders},
};

/// An explainer of requests: it tells which tools the [layer](crate::McpLayer::explainer) would
/// offer, with that layer's registry, connections and settings. Clones share them.
#[derive(Clone)]
pub struct Explainer(Arc<Gateway>);

impl Explainer {
    pub(crate) fn new(gateway: Gateway) -> Self {
        Self(Arc::new(gateway))
    }

    /// Explains what the chat completion `body` of `project` with these headers would get; takes off
    /// them what is meant for the layer.
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
        headers: &mut HeaderMap,
    ) -> Result<Explanation, Refusal> {
        let tokens = CallerTokens::take(headers);
        let opt_in = OptInHeaders::take(headers, self.0.settings.header_opt_in);
        let request = match ChatRequest::read(body, opt_in.given().is_some()) {
            Ok(request) => request,
            Err(Unread::NotOurs) => return Ok(Explanation::default()),
            Err(unread) => {
                let refusal = Option::<Refusal>::from(unread);
                let not_json = || Refusal::new(Kind::InvalidJson, "the request is not valid JSON");
                return Err(refusal.unwrap_or_else(not_json));
            }
        };
        tool_loop::explain(&self.0, request, &opt_in, project, tokens).await
    }
}

impl fmt::Debug for Explainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Explainer").finish_non_exhaustive()
    }
}
