//! Images and recordings of tool results, in the message that shows them to the model.
//!
//! A `tool` message is text alone, so what a round's results have besides goes into one `user`
//! message behind all of them, which says whose data it is. A service that refuses it is asked
//! again without it: some take no images, and some no user's message behind a tool's
//! (mistralai/mistral-common#169, LibreChat-AI/agents#344).

use std::fmt::Write;

use bytes::Bytes;
use memchr::memmem;
use serde::{Deserialize, Serialize};

use crate::json::{quoted, raw};

/// How each of these messages begins. It is ours, and no client's.
const BEGIN: &str = r#"{"role":"user","content":[{"type":"text","text":"Data of tools, not the user's words: what the tool messages above could not show."#;

/// An image or a recording of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MediaPart {
    /// What it is, and of which call: a line for the model.
    pub(crate) line: String,
    /// The part of a message, JSON. Shared by all who have it, since it is large.
    #[serde(with = "raw")]
    pub(crate) part: Bytes,
}

impl MediaPart {
    /// The part of these bytes, which are in Base64; `line` says what it is.
    pub(crate) fn new(line: String, mime_type: &str, base64: &str) -> Self {
        const IMAGE: &str = r#"{"type":"image_url","image_url":{"url":"data:"#;
        const AUDIO: &str = r#"{"type":"input_audio","input_audio":{"data":""#;
        // Each of its exact length: they are the largest things that a request has.
        let part = match mime_type {
            "audio/wav" => [AUDIO, base64, r#"","format":"wav"}}"#].concat(),
            "audio/mpeg" => [AUDIO, base64, r#"","format":"mp3"}}"#].concat(),
            image => [IMAGE, image, ";base64,", base64, r#""}}"#].concat(),
        };
        Self {
            line,
            part: part.into(),
        }
    }
}

/// Lets `pieces`, which stand in `text` in this order, be parts of it, so that they take no memory of
/// their own.
pub(crate) fn share<'a>(pieces: impl IntoIterator<Item = &'a mut Bytes>, text: &Bytes) {
    let mut from = 0;
    for piece in pieces {
        if let Some(place) = place(&text[from..], piece) {
            let start = from + place;
            from = start + piece.len();
            *piece = text.slice(start..from);
        }
    }
}

/// The place of `piece` in `text`. Its beginning is looked for: a search for all of it would first
/// look at length at that.
fn place(text: &[u8], piece: &[u8]) -> Option<usize> {
    const BEGINNING: usize = 64;
    let beginning = &piece[..piece.len().min(BEGINNING)];
    memmem::find_iter(text, beginning).find(|place| text[*place..].starts_with(piece))
}

/// The message that shows these; `None` for none.
pub(crate) fn media_message(parts: &[MediaPart]) -> Option<Bytes> {
    if parts.is_empty() {
        return None;
    }
    let mut lines = String::new();
    for (index, part) in parts.iter().enumerate() {
        // Writing to a string does not fail.
        let _ = write!(lines, "\n{}. {}", index + 1, part.line);
    }
    let lines = quoted(&lines);
    let lines = &lines[1..lines.len() - 1];
    let bytes = parts.iter().map(|part| part.part.len() + 1).sum::<usize>();
    let mut message = Vec::with_capacity(BEGIN.len() + lines.len() + bytes + END.len() + 2);
    message.extend_from_slice(BEGIN.as_bytes());
    message.extend_from_slice(lines.as_bytes());
    message.extend_from_slice(b"\"}");
    for part in parts {
        message.push(b',');
        message.extend_from_slice(&part.part);
    }
    message.extend_from_slice(END.as_bytes());
    Some(message.into())
}

const END: &str = "]}";

/// Returns `true` for a message of [`media_message`].
pub(crate) fn is_media_message(message: &[u8]) -> bool {
    message.starts_with(BEGIN.as_bytes())
}

/// The images and recordings that such a message shows, without what its text says of them.
pub(crate) fn parts_of(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    // In the text quotes have backslashes before them, and Base64 has none.
    const BEGINS: &[u8] = br#"{"type":"i"#;
    let mut begins = memmem::find_iter(message, BEGINS).peekable();
    std::iter::from_fn(move || {
        let begin = begins.next()?;
        let end = begins.peek().copied().unwrap_or(message.len());
        // Behind it is a comma, or the end of the message.
        let part = &message[begin..end];
        Some(
            part.strip_suffix(b",")
                .or(part.strip_suffix(END.as_bytes()))
                .unwrap_or(part),
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn pieces_of_a_text_are_shared_with_it_and_others_stay() {
        let text = Bytes::from("[aaa,ab,aaa,b]");
        let pieces = ["aaa", "aaa", "c", "b"];
        let mut shared = pieces.map(|piece| Bytes::copy_from_slice(piece.as_bytes()));
        share(&mut shared, &text);
        assert_eq!(shared, pieces);
        let place = |piece: &Bytes| (piece.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
        assert_eq!([0, 1, 3].map(|piece| place(&shared[piece])), [1, 8, 12]);
    }

    #[test]
    fn a_message_has_a_text_and_then_the_parts() {
        let image = MediaPart::new("{\"type\":\"i\"".into(), "image/png", "AAAA");
        let wave = MediaPart::new("b".into(), "audio/wav", "BBBB");
        let mpeg = MediaPart::new("c".into(), "audio/mpeg", "CCCC");
        let parts = [image, wave, mpeg];
        let message = media_message(&parts).unwrap();
        assert_eq!(message.len(), Vec::from(message.clone()).capacity());
        assert!(is_media_message(&message));
        let shown: Vec<_> = parts_of(&message).collect();
        assert_eq!(shown, parts.each_ref().map(|part| &part.part[..]));
        let message: Value = serde_json::from_slice(&message).unwrap();
        let text = message["content"][0]["text"].as_str().unwrap();
        assert!(
            text.ends_with("show.\n1. {\"type\":\"i\"\n2. b\n3. c"),
            "{text}"
        );
        let parts = [
            json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}),
            json!({"type": "input_audio", "input_audio": {"data": "BBBB", "format": "wav"}}),
            json!({"type": "input_audio", "input_audio": {"data": "CCCC", "format": "mp3"}}),
        ];
        assert_eq!(message["content"].as_array().unwrap()[1..], parts);
        assert_eq!(message["role"], "user");
        assert_eq!(media_message(&[]), None);
        assert!(!is_media_message(br#"{"role":"user","content":[]}"#));
    }
}
