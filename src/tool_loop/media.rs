//! What the results of a round have beside text: as much of it as the model takes, and as there is
//! room for.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::{call_result::CallResult, failure::remembered::Asked, gateway::Gateway};
use crate::{
    chat::{MediaPart, ToolCall, media_message},
    mcp::{CallToolResult, Media},
    name::short,
    settings::Limits,
};

/// What the model of a request takes beside text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Takes {
    images: bool,
    audio: bool,
}

impl Takes {
    /// The media that the model of this request takes, by its name and an alias of it, unless its
    /// service has refused media lately.
    pub(crate) fn of(gateway: &Gateway, asked: Asked<'_>, alias: Option<&str>) -> Self {
        let Some(name) = asked.model else {
            return Self::default();
        };
        let models = &gateway.media_models;
        let takes = match alias {
            None => Self {
                images: models.takes_images(name),
                audio: models.takes_audio(name),
            },
            Some(alias) => Self {
                images: models.alias_takes_images(alias, name),
                audio: models.alias_takes_audio(alias, name),
            },
        };
        match takes.any() && gateway.remembered.refuses_media(asked) {
            true => Self::default(),
            false => takes,
        }
    }

    pub(crate) fn any(self) -> bool {
        self.images || self.audio
    }
}

/// The room for media in a round. It is taken as results come in, so that what finds none is let go
/// at once.
pub(crate) struct MediaRoom {
    takes: Takes,
    left: Mutex<Left>,
}

struct Left {
    bytes: usize,
    items: usize,
}

impl MediaRoom {
    /// The room that the results that are `known` already have left.
    pub(crate) fn new(takes: Takes, limits: &Limits, known: &[Option<CallResult>]) -> Self {
        let known = known.iter().flatten().flat_map(|result| &result.media);
        let (bytes, items) = known.fold((0, 0), |(bytes, items), media| {
            (bytes + media.part.len(), items + 1)
        });
        let left = Left {
            bytes: limits.media_bytes.saturating_sub(bytes),
            items: limits.media_items.saturating_sub(items),
        };
        Self {
            takes,
            left: Mutex::new(left),
        }
    }

    /// Takes those media of a result that the model takes, as far as there is room.
    pub(crate) fn take(&self, call: &ToolCall, result: &CallToolResult) -> Vec<MediaPart> {
        if !self.takes.any() {
            return Vec::new();
        }
        let is_taken = |media: &Media<'_>| match media.is_audio() {
            true => self.takes.audio,
            false => self.takes.images,
        };
        let media = result.media().filter(is_taken);
        let media = media.filter(|media| self.has_room(media.base64.len()));
        media.map(|media| part(call, &media)).collect()
    }

    fn has_room(&self, bytes: usize) -> bool {
        // Only numbers, which are whole after every step.
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(more), Some(items)) = (left.bytes.checked_sub(bytes), left.items.checked_sub(1))
        else {
            return false;
        };
        (left.bytes, left.items) = (more, items);
        true
    }
}

fn part(call: &ToolCall, media: &Media<'_>) -> MediaPart {
    let bytes = media.base64.len() / 4 * 3;
    let line = format!(
        "{}, {}: of call {}, tool {}",
        media.mime_type,
        match bytes {
            0..1000 => format!("{bytes} B"),
            _ => format!("{} kB", bytes.div_ceil(1000)),
        },
        short(&call.id),
        short(call.function.as_deref().unwrap_or_default()),
    );
    MediaPart::new(line, media.mime_type, &media.base64)
}

/// The same message as [`message`] makes, of results that keep their media.
pub(crate) fn of_kept(results: &[Option<CallResult>]) -> Option<Bytes> {
    let media = results.iter().flatten().flat_map(|result| &result.media);
    media_message(&media.cloned().collect::<Vec<_>>())
}

/// The media of these results.
pub(crate) fn parts(results: &mut [Option<CallResult>]) -> impl Iterator<Item = &mut Bytes> {
    let results = results.iter_mut().flatten();
    results.flat_map(|result| result.media.iter_mut().map(|media| &mut media.part))
}

/// The message that shows the media of these results, which have them no more.
pub(crate) fn message<'a>(results: impl Iterator<Item = &'a mut CallResult>) -> Option<Bytes> {
    let media = results.flat_map(|result| std::mem::take(&mut result.media));
    media_message(&media.collect::<Vec<_>>())
}
