//! A request of the loop as it comes in: whether it is one of ours, and its options.

use std::sync::Arc;

use bytes::Bytes;
use http::{header::HOST, request, uri::Authority};

use super::{
    gateway::{Gateway, LookedUp},
    kept_turns::restore::{self, Whole},
    options::Options,
    resume,
    ways::{self, ByModel, OptInHeaders},
};
use crate::{
    apart,
    caller::{Caller, CallerTokens},
    chat::{ChatRequest, Unread},
    json::Object,
    refusal::{Kind, Refusal},
    sniff::names_mcp,
};

/// A request for the loop.
pub(crate) struct Incoming {
    pub(super) request: ChatRequest,
    pub(super) caller: Caller,
    /// Its history, where that was restored.
    pub(super) history: Option<Whole>,
    /// What its headers ask for.
    pub(super) headers: OptInHeaders,
    /// The host that it came to.
    pub(super) host: Option<String>,
    /// What its operator has decided for its model, as far as it does not say otherwise.
    pub(super) by_model: ByModel,
    /// Why its default was left out.
    pub(super) left_out: Option<String>,
}

/// What the head of a request says.
pub(crate) struct Head<'a> {
    pub(crate) parts: &'a request::Parts,
    /// Taken off its headers.
    pub(crate) tokens: CallerTokens,
    /// Taken off its headers, too.
    pub(crate) opt_in: OptInHeaders,
    /// What its operator has decided for the model of its body.
    pub(crate) by_model: ByModel,
}

impl Head<'_> {
    /// The host that the request came to.
    fn host(&self) -> Option<String> {
        let header = self.parts.headers.get(HOST);
        let header = header.and_then(|host| host.to_str().ok());
        let authority = || self.parts.uri.authority().map(Authority::as_str);
        header.or_else(authority).map(str::to_owned)
    }
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
            headers,
            host,
            by_model,
            left_out,
        } = self;
        // What a history resumes is known once it is whole.
        let is_whole = history.is_none();
        let gateway = gateway.clone();
        let size = request.bytes().len();
        let read = move || {
            let settings = &gateway.settings;
            let ways = (&headers, &by_model);
            let options = Options::read(&mut request, ways, settings).and_then(|options| {
                if options.enabled && options.resume && is_whole && apart::is_large(size) {
                    // A large forged turn is found out here, on the thread for expensive work.
                    resume::open_turn(&request, &settings.limits)?;
                }
                Ok(options)
            });
            (request, (headers, by_model), options)
        };
        let (request, (headers, by_model), options) = apart::read(size, read).await?;
        let incoming = Self {
            request,
            caller,
            history,
            headers,
            host,
            by_model,
            left_out,
        };
        Some((incoming, options))
    }
}

impl Incoming {
    /// Finds the servers that entries of `tools` mean, if there are any, and takes the tokens that these
    /// give.
    ///
    /// # Errors
    /// An entry means no server, or says of one what it may not.
    pub(super) async fn found(
        &mut self,
        gateway: &Gateway,
        options: &mut Options,
    ) -> Result<Option<LookedUp>, Refusal> {
        if !options.has_entries() {
            return Ok(None);
        }
        let project = gateway.project_of(&self.caller)?;
        let tokens = &mut self.caller.tokens;
        options
            .find(gateway, &project, self.host.as_slice(), tokens)
            .await
    }
}

/// Reads `body`, a request with this head; `None` if it asks for nothing here: it has no `mcp`, no
/// other way to opt in, and no id of a call that went back to the caller. A model that is an alias is
/// replaced.
///
/// # Errors
/// The body is not readable JSON, although it seems to ask for something, or its history cannot be
/// restored at the moment.
pub(crate) async fn read(
    gateway: &Gateway,
    body: Bytes,
    head: Head<'_>,
) -> Result<Option<Incoming>, Refusal> {
    let text = body.clone();
    let alias = head.by_model.alias.clone();
    let is_asked = head.opt_in.given().is_some() || alias.is_some();
    let parse = move || {
        let request = ChatRequest::read(text, is_asked)?;
        match alias {
            Some(alias) => request.for_model(&alias.model),
            None => Ok(request),
        }
    };
    let parsed = apart::read(body.len(), parse).await;
    let request = match parsed.unwrap_or(Err(Unread::NotJson)) {
        Ok(request) => request,
        Err(Unread::NotOurs) if is_asked => {
            let message = "the request is not a JSON object";
            return Err(Refusal::new(Kind::InvalidJson, message));
        }
        Err(unread) if !(is_asked || is_asking(&unread) || names_mcp(&body)) => return Ok(None),
        Err(unread) => return Option::from(unread).map_or(Ok(None), Err),
    };
    let host = head.host();
    let Head {
        parts,
        tokens,
        opt_in,
        by_model,
    } = head;
    let by_model = ways::unless_asked(by_model, &request, &opt_in);
    let asks = request.mcp.is_some() || is_asked || request.asks.is_any();
    let caller = Caller::of(parts, tokens, &request);
    let history = restore::whole(gateway, &caller, &request).await?;
    let is_ours = asks || by_model.is_any() || history.is_some();
    Ok(is_ours.then_some(Incoming {
        request,
        caller,
        history,
        headers: opt_in,
        host,
        by_model,
        left_out: None,
    }))
}

/// Returns `true` if a body that is not read asks for something for certain.
fn is_asking(unread: &Unread) -> bool {
    matches!(unread, Unread::Doubled(_) | Unread::TooManyEntries)
}

/// Returns `true` if `body` is a JSON object with a top-level `mcp`.
pub(crate) async fn asks_for_tools(body: Bytes) -> bool {
    let size = body.len();
    let asks = move || {
        let text = std::str::from_utf8(&body).unwrap_or_default();
        Object::parse(text).is_ok_and(|request| request.count("mcp") > 0)
    };
    apart::read(size, asks).await == Some(true)
}
