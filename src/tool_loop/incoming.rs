//! A request of the loop as it comes in: whether it is one of ours, and its options.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    gateway::Gateway,
    kept_turns::restore::{self, Whole},
    options::Options,
    resume,
};
use crate::{
    apart,
    caller::Caller,
    chat::{ChatRequest, Unread},
    refusal::Refusal,
    sniff::names_mcp,
};

/// A request for the loop.
pub(crate) struct Incoming {
    pub(super) request: ChatRequest,
    pub(super) caller: Caller,
    /// Its history, where that was restored.
    pub(super) history: Option<Whole>,
}

impl Incoming {
    /// The bytes of what its history was restored from, which are in memory beside its body.
    pub(crate) fn restored_bytes(&self) -> usize {
        self.history.as_ref().map_or(0, Whole::bytes)
    }

    /// Reads its options, and the caller's own tools; `None` if that panicked.
    pub(super) async fn options(
        self,
        gateway: &Arc<Gateway>,
    ) -> Option<(Self, Result<Options, Refusal>)> {
        let Self {
            mut request,
            caller,
            history,
        } = self;
        // What a history resumes is known once it is whole.
        let is_whole = history.is_none();
        let gateway = gateway.clone();
        let size = request.bytes().len();
        let read = move || {
            let settings = &gateway.settings;
            let options = Options::read(&mut request, settings).and_then(|options| {
                if options.enabled && options.resume && is_whole && apart::is_large(size) {
                    // A large forged turn is found out here, on the thread for expensive work.
                    resume::open_turn(&request, &settings.limits)?;
                }
                Ok(options)
            });
            (request, options)
        };
        let (request, options) = apart::read(size, read).await?;
        let incoming = Self {
            request,
            caller,
            history,
        };
        Some((incoming, options))
    }
}

/// Reads `body`, a request of this caller; `None` if it has neither a top-level `mcp` nor an id of
/// a call that went back to the caller.
///
/// # Errors
/// The body is not readable JSON, although it seems to contain `mcp`, or its history cannot be
/// restored at the moment.
pub(crate) async fn read(
    gateway: &Gateway,
    body: Bytes,
    caller: impl FnOnce(&ChatRequest) -> Caller,
) -> Result<Option<Incoming>, Refusal> {
    let text = body.clone();
    let parsed = apart::read(body.len(), move || ChatRequest::parse(text)).await;
    let request = match parsed.unwrap_or(Err(Unread::NotJson)) {
        Ok(request) => request,
        Err(_) if !names_mcp(&body) => return Ok(None),
        Err(unread) => return Option::from(unread).map_or(Ok(None), Err),
    };
    let caller = caller(&request);
    let history = restore::whole(gateway, &caller, &request).await?;
    let is_ours = request.mcp.is_some() || history.is_some();
    Ok(is_ours.then_some(Incoming {
        request,
        caller,
        history,
    }))
}

/// Returns `true` if `body` is a JSON object with a top-level `mcp`.
pub(crate) async fn asks_for_tools(body: Bytes) -> bool {
    let parsed = apart::read(body.len(), move || ChatRequest::parse(body)).await;
    match parsed {
        Some(Ok(request)) => request.mcp.is_some(),
        parsed => matches!(parsed, Some(Err(Unread::Doubled(_)))),
    }
}
