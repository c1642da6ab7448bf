//! A request that its default did no good: it goes on without.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use super::{
    delivery::Reply,
    gateway::Gateway,
    incoming::Incoming,
    kept_turns::restore,
    ways::{ByModel, OptInHeaders},
};
use crate::{caller::Caller, chat::ChatRequest, refusal::Refusal};

/// What a request with a default is made of, to be read again.
pub(super) struct Plain {
    body: Bytes,
    caller: Caller,
    headers: OptInHeaders,
    host: Option<String>,
}

/// Marks a refusal of ours before anything was done; it never leaves the loop.
#[derive(Clone)]
pub(super) struct Refused(pub(super) Refusal);

impl Plain {
    /// Keeps what `incoming` is made of; `None` unless a default may count.
    pub(super) fn of(incoming: &Incoming) -> Option<Self> {
        incoming.by_model.default.as_ref()?;
        Some(Self {
            // Nothing was taken out of it: a request that asks itself has no default.
            body: incoming.request.bytes().clone(),
            caller: incoming.caller.clone(),
            headers: incoming.headers.clone(),
            host: incoming.host.clone(),
        })
    }

    /// The request without its default, for this reason.
    ///
    /// # Errors
    /// Those of reading any request.
    pub(super) async fn incoming(
        self,
        gateway: &Arc<Gateway>,
        reason: String,
    ) -> Result<Incoming, Refusal> {
        let size = self.body.len();
        let body = self.body;
        let read = crate::apart::read(size, move || ChatRequest::parse(body)).await;
        let unread = || {
            Refusal::new(
                crate::refusal::Kind::InvalidJson,
                "the request could not be read",
            )
        };
        let request = read.and_then(Result::ok).ok_or_else(unread)?;
        let history = restore::whole(gateway, &self.caller, &request).await?;
        // What asks for nothing is not looked at any closer.
        let headers = match request.mcp.is_some() || history.is_some() {
            true => self.headers,
            false => OptInHeaders::default(),
        };
        Ok(Incoming {
            request,
            caller: self.caller,
            history,
            headers,
            host: self.host,
            by_model: ByModel::default(),
            left_out: Some(reason),
        })
    }
}

/// The reason why a default is left out that this answer gives: a refusal of ours, or of the model's
/// service, which may have been for the tools. `None` where tools have run, or nothing is wrong.
pub(super) fn reason(reply: &mut Reply) -> Option<String> {
    if let Some(Refused(refusal)) = reply.extensions_mut().remove() {
        return Some(refusal.to_string());
    }
    let status = reply.status();
    let may_be = REFUSALS.contains(&status) && !reply.headers().contains_key("x-mcp-rounds");
    may_be.then(|| {
        format!(
            "the model's service refused the request with its tools ({})",
            status.as_u16()
        )
    })
}

/// The statuses with which services refuse tools: as a bad request (OpenAI, vLLM, Ollama), where nothing
/// that serves the model takes any (OpenRouter), as too long or of a wrong form, or as a failure of their
/// own (llama.cpp without `--jinja`).
const REFUSALS: [StatusCode; 6] = [
    StatusCode::BAD_REQUEST,
    StatusCode::NOT_FOUND,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::UNPROCESSABLE_ENTITY,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::NOT_IMPLEMENTED,
];
