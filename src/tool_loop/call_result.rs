//! The result of a tool call, for the model and for the receipt.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

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
    /// The `tool` message for the model.
    pub(crate) message: Bytes,
    /// Images and recordings for the model, shown behind all tool messages of the round.
    pub(crate) media: Vec<MediaPart>,
    /// `true` for a call beyond the most of one turn; such calls are counted, not reported one by
    /// one.
    pub(crate) is_beyond: bool,
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
    #[serde(borrow)]
    message: &'a RawValue,
    is_beyond: bool,
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
            message: serde_json::from_slice(&self.message).ok()?,
            is_beyond: self.is_beyond,
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
            message: bytes(kept.message),
            media,
            is_beyond: kept.is_beyond,
        })
    }
}
