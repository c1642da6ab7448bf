//! A request that its default did no good: it goes on without.

use std::{fmt, sync::Arc};

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
    model: Option<String>,
}

/// Why a default is left out of a request.
pub(super) enum Reason {
    /// A refusal of ours.
    Refused(Refusal),
    /// The model's service refused the request, maybe for the tools.
    Answered(StatusCode),
    /// Its answer was none, although the status says that it is one.
    Unanswered,
    /// It has done so with others, and not without tools.
    Remembered,
}

/// Marks a refusal of ours before anything was done; it never leaves the loop.
#[derive(Clone)]
pub(super) struct Refused(pub(super) Refusal);

/// Marks an answer of the model's service that is none, before a tool ran; it never leaves the loop.
#[derive(Clone)]
pub(super) struct Unanswered;

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
            model: incoming.request.model.clone(),
        })
    }

    /// Returns the reason to go on without the default right away, if the model's service at `path` has
    /// refused its tools lately.
    pub(super) fn known(&self, gateway: &Gateway, path: &str) -> Option<Reason> {
        let refuses = gateway
            .remembered
            .refuses_tools(path, self.model.as_deref());
        refuses.then_some(Reason::Remembered)
    }

    /// Remembers what became of the default: `None` if the request was answered with it.
    pub(super) fn remember(&self, gateway: &Gateway, path: &str, left_out: Option<&Reason>) {
        let (remembered, model) = (&gateway.remembered, self.model.as_deref());
        match left_out {
            None => remembered.took_tools(path, model),
            // That one is about the request.
            Some(Reason::Answered(StatusCode::PAYLOAD_TOO_LARGE)) => {}
            Some(Reason::Answered(_)) => remembered.refused_tools(path, model),
            Some(Reason::Refused(_) | Reason::Remembered | Reason::Unanswered) => {}
        }
    }

    /// The request without its default, for this reason.
    ///
    /// # Errors
    /// Those of reading any request.
    pub(super) async fn incoming(
        &self,
        gateway: &Arc<Gateway>,
        reason: String,
    ) -> Result<Incoming, Refusal> {
        let size = self.body.len();
        let body = self.body.clone();
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
            true => self.headers.clone(),
            false => OptInHeaders::default(),
        };
        Ok(Incoming {
            request,
            caller: self.caller.clone(),
            history,
            headers,
            host: self.host.clone(),
            by_model: ByModel::default(),
            left_out: Some(reason),
        })
    }
}

impl Reason {
    /// The reason that this answer gives; `None` where tools have run, or nothing is wrong.
    pub(super) fn of(reply: &mut Reply) -> Option<Self> {
        if let Some(Refused(refusal)) = reply.extensions_mut().remove() {
            return Some(Self::Refused(refusal));
        }
        if let Some(Unanswered) = reply.extensions_mut().remove() {
            return Some(Self::Unanswered);
        }
        let status = reply.status();
        let may_be = REFUSALS.contains(&status) && !reply.headers().contains_key("x-mcp-rounds");
        may_be.then_some(Self::Answered(status))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Answered(status) => write!(
                f,
                "the model's service refused the request with its tools ({})",
                status.as_u16()
            ),
            Self::Unanswered => {
                f.write_str("the model's service gave no answer to the request with its tools")
            }
            Self::Remembered => {
                f.write_str("the model's service has refused such requests with tools lately")
            }
        }
    }
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
