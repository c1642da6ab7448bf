//! Explanations of requests: the tools that one would get, without calling a model.
//!
//! This lies below `admin/`, so the operator's side explains requests without knowing the layer. It
//! runs the loop's own first steps: what it tells is what happens, down to the bytes of a refusal.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, header::HOST};

use crate::{
    chat::{ChatRequest, Unread},
    json::{Edit, Object, concat},
    project::Project,
    refusal::{Kind, Refusal},
    tool_loop::{self, Explanation, Gateway, OptInHeaders, Unserved},
};

/// An explainer of requests: it tells which tools the [layer](crate::McpLayer::explainer) would
/// offer, with that layer's registry, connections and settings. Clones share them.
#[derive(Clone)]
pub struct Explainer {
    gateway: Arc<Gateway>,
    hosts: Arc<[String]>,
}

impl Explainer {
    pub(crate) fn new(gateway: Gateway) -> Self {
        Self {
            gateway: Arc::new(gateway),
            hosts: Arc::default(),
        }
    }

    /// Replaces the hosts that callers send their requests to, each with its port unless that is the
    /// scheme's own: `gateway.example:8787`. By default it is the host that explanations are asked of,
    /// which is right where callers and operators use the same one.
    ///
    /// An address `/mcp/NAME` on one of them means the server of that name, as it does in a request that
    /// comes to it.
    #[must_use]
    pub fn with_hosts<H: Into<String>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        self.hosts = hosts.into_iter().map(Into::into).collect();
        self
    }

    /// Explains what the chat completion `body` of `project` with these headers would get; takes off
    /// them what is meant for the layer. `host` is the one that it would be sent to; without it any of
    /// those that are known.
    ///
    /// # Errors
    /// The layer's own refusal, with the tools that the project is not granted. A request that the layer would pass through gets no tools.
    ///
    /// # Cancellation
    /// Listings that have begun continue.
    pub(crate) async fn explain(
        &self,
        body: Bytes,
        project: &Project,
        headers: &mut HeaderMap,
        host: Option<&str>,
    ) -> Result<Explanation, Unserved> {
        let tokens = self.gateway.tokens(project, headers);
        let opt_in = OptInHeaders::take(headers, self.gateway.settings.header_opt_in);
        let body = with_messages(body);
        let request = match ChatRequest::read(body, opt_in.given().is_some()) {
            Ok(request) => request,
            Err(Unread::NotOurs) => return Ok(Explanation::default()),
            Err(unread) => {
                let refusal = Option::<Refusal>::from(unread);
                let not_json = || Refusal::new(Kind::InvalidJson, "the request is not valid JSON");
                return Err(refusal.unwrap_or_else(not_json).into());
            }
        };
        let hosts = self.hosts(headers, host);
        let asked = (request, &opt_in, &*hosts);
        tool_loop::explain(&self.gateway, asked, project, tokens).await
    }

    /// The hosts that a request may have come to.
    fn hosts(&self, headers: &HeaderMap, host: Option<&str>) -> Vec<String> {
        if let Some(host) = host {
            return vec![host.to_owned()];
        }
        let own = || {
            let host = headers.get(HOST)?.to_str().ok()?;
            Some(host.to_owned())
        };
        match self.hosts.is_empty() {
            true => own().into_iter().collect(),
            false => self.hosts.to_vec(),
        }
    }
}

/// The request with a list of messages: nothing that is explained is in them, so an alias or a default
/// is asked about by its model alone. One that has `mcp` is explained as it is.
fn with_messages(body: Bytes) -> Bytes {
    let text = std::str::from_utf8(&body).ok();
    let object = text.and_then(|text| Object::parse(text).ok());
    let lacks = |object: &Object<'_>| {
        let has = |name| object.count(name) > 0;
        has("model") && !has("messages") && !has("mcp")
    };
    match object.filter(lacks) {
        Some(object) => concat(&Edit::apply(&body, object.set(&[("messages", "[]")]))),
        None => body,
    }
}

impl fmt::Debug for Explainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Explainer").finish_non_exhaustive()
    }
}
