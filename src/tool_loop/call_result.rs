//! The result of a tool call, for the model and for the receipt.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::quotas::LimitNote;
use crate::chat::MediaPart;

/// The result of a tool call; an error is one, too.
#[derive(Debug)]
pub(crate) struct CallResult {
    pub(crate) id: String,
    /// The slug; `None` for a tool that none of the servers offers.
    pub(crate) server: Option<String>,
    /// The tool's own name at the server.
    pub(crate) tool: String,
    pub(crate) duration: Duration,
    pub(crate) is_error: bool,
    /// The size of the result before it was truncated.
    pub(crate) result_bytes: usize,
    pub(crate) truncated: bool,
    /// Characters that cannot be seen were taken out.
    pub(crate) is_cleaned: bool,
    /// A guard has denied the call or its result, or has failed.
    pub(crate) is_denied: bool,
    /// The `tool` message for the model.
    pub(crate) message: Bytes,
    /// Images and recordings for the model, shown behind all tool messages of the round.
    pub(crate) media: Vec<MediaPart>,
    /// `true` for a search for tools, which asked no server.
    pub(crate) is_search: bool,
    /// `true` for a call beyond the most of one turn; such calls are counted, not reported one by
    /// one.
    pub(crate) is_beyond: bool,
    /// The limit that kept it from running.
    pub(crate) limit: Option<LimitNote>,
    /// What it has cost; `None` for a tool without a price, and a call that no server answered.
    pub(crate) cost: Option<f64>,
}

/// The reason why a tool was not run, or gave no result.
#[derive(Clone, Debug)]
pub(crate) struct CallFault {
    /// The kind of error in one word.
    pub(crate) kind: &'static str,
    /// The text for the model.
    pub(crate) text: String,
    /// The limit that is reached.
    pub(crate) limit: Option<LimitNote>,
    /// The server has answered all the same, so the call has cost what it costs.
    pub(crate) answered: bool,
}

/// A result as it is kept for a repeat of the request.
#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    server: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tool: Cow<'a, str>,
    duration_ms: u64,
    is_error: bool,
    result_bytes: usize,
    truncated: bool,
    is_cleaned: bool,
    #[serde(default)]
    is_denied: bool,
    #[serde(borrow)]
    message: &'a RawValue,
    #[serde(default)]
    is_search: bool,
    is_beyond: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<LimitNote>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
}

impl CallFault {
    /// The kind of a call or a result that a guard denies.
    pub(crate) const DENIED: &'static str = "denied";
    /// The kind of one that no guard has allowed, since it has failed.
    pub(crate) const GUARD_FAILED: &'static str = "guard_failed";

    pub(crate) fn new(kind: &'static str, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            limit: None,
            answered: false,
        }
    }
}

impl CallResult {
    /// The result as text, without its media.
    pub(crate) fn kept(&self) -> Option<Box<RawValue>> {
        let kept = Kept {
            id: (&*self.id).into(),
            server: self.server.as_deref().map(Cow::Borrowed),
            tool: (&*self.tool).into(),
            duration_ms: self.duration.as_millis() as u64,
            is_error: self.is_error,
            result_bytes: self.result_bytes,
            truncated: self.truncated,
            is_cleaned: self.is_cleaned,
            is_denied: self.is_denied,
            message: serde_json::from_slice(&self.message).ok()?,
            is_search: self.is_search,
            is_beyond: self.is_beyond,
            limit: self.limit.clone(),
            cost: self.cost,
        };
        to_raw_value(&kept).ok()
    }

    /// The result that is kept as this text, with these media.
    pub(crate) fn of_kept(text: &RawValue, media: Vec<MediaPart>) -> Option<Self> {
        let kept: Kept<'_> = serde_json::from_str(text.get()).ok()?;
        let bytes = |raw: &RawValue| Bytes::copy_from_slice(raw.get().as_bytes());
        Some(Self {
            id: kept.id.into_owned(),
            server: kept.server.map(Cow::into_owned),
            tool: kept.tool.into_owned(),
            duration: Duration::from_millis(kept.duration_ms),
            is_error: kept.is_error,
            result_bytes: kept.result_bytes,
            truncated: kept.truncated,
            is_cleaned: kept.is_cleaned,
            is_denied: kept.is_denied,
            message: bytes(kept.message),
            media,
            is_search: kept.is_search,
            is_beyond: kept.is_beyond,
            limit: kept.limit,
            cost: kept.cost,
        })
    }
}
