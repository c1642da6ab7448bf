//! Images and audio in a tool's result, in the forms that models' services take.
//!
//! A service refuses an image whose bytes are of another type than is said, and servers say the wrong
//! one often, or give an error page in an image's place, so the first bytes alone decide. Base64 is
//! looked over once and never decoded but for these: what is wrong with the rest of an image is for
//! those to say who look at it.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem;
use serde_json::value::RawValue;

/// An image or a recording in a result of a tool: see
/// [`CallToolResult::media`](super::CallToolResult::media).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Media<'a> {
    /// `image/png`, `image/jpeg`, `image/gif`, `image/webp`, `audio/wav` or `audio/mpeg`: by the first
    /// bytes, whatever the server says.
    pub mime_type: &'static str,
    /// The bytes in standard Base64 with padding. Borrowed from the result, unless it has them with
    /// escapes, line breaks, in the alphabet for URLs, without padding, or as a `data:` URI.
    pub base64: Cow<'a, str>,
}

impl Media<'_> {
    /// Returns `true` for a recording, and `false` for an image.
    pub fn is_audio(&self) -> bool {
        is_audio(self.mime_type)
    }
}

/// The most media of one result; several times what a round shows.
pub(super) const MOST: usize = 64;

/// The place of what may be an image or a recording in the text of a result: a string of JSON, with
/// its quotes.
#[derive(Clone, Debug)]
pub(super) struct Place(Range<usize>);

/// Returns `true` if an answer that begins with these bytes may have media in it.
pub(super) fn may_be_in(bytes: &[u8]) -> bool {
    // Not within a string: its quotes have backslashes.
    [&b"\"data\""[..], b"\"blob\""]
        .iter()
        .any(|member| memmem::find(bytes, member).is_some())
}

impl Place {
    /// The place of `data`, which is a part of `result`.
    pub(super) fn of(data: &RawValue, result: &str) -> Option<Self> {
        let start = (data.get().as_ptr() as usize).checked_sub(result.as_ptr() as usize)?;
        Some(Self(start..start + data.get().len()))
    }

    /// What stands there; `None` if it is no Base64, or of a type that services don't take.
    pub(super) fn read<'a>(&self, result: &'a str) -> Option<Media<'a>> {
        let base64 = base64(result.get(self.0.clone())?)?;
        let mime_type = known(&base64)?;
        Some(Media { mime_type, base64 })
    }
}

fn is_audio(mime_type: &str) -> bool {
    mime_type.starts_with("audio/")
}

/// The type that the first bytes tell.
fn known(base64: &str) -> Option<&'static str> {
    let first = first_bytes(base64);
    match &first {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, form @ ..] => match form {
            b"WEBP" => Some("image/webp"),
            b"WAVE" => Some("audio/wav"),
            _ => None,
        },
        [b'I', b'D', b'3', ..] => Some("audio/mpeg"),
        [0xff, second, third, ..] if is_frame(*second, *third) => Some("audio/mpeg"),
        _ => None,
    }
}

/// Returns `true` for the head of a frame of MP3 without a tag before it: layer III, and neither a
/// version, a bit rate nor a sampling rate that there is not.
fn is_frame(second: u8, third: u8) -> bool {
    let is_version = second & 0xe6 == 0xe2 && second & 0x18 != 0x08;
    is_version && third & 0xf0 != 0xf0 && third & 0x0c != 0x0c
}

/// The first twelve bytes, zeros behind the end.
fn first_bytes(base64: &str) -> [u8; 12] {
    let mut first = [0; 12];
    for (bytes, digits) in first.chunks_mut(3).zip(base64.as_bytes().chunks(4)) {
        let value = |place: usize| digits.get(place).map_or(0, |digit| value(*digit));
        let quad = (0..4).fold(0, |quad, place| quad << 6 | u32::from(value(place)));
        bytes.copy_from_slice(&quad.to_be_bytes()[1..]);
    }
    first
}

/// The value of a digit, and zero for anything else.
fn value(digit: u8) -> u8 {
    match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => 0,
    }
}

/// Marks the digits of standard Base64.
const DIGIT: [bool; 256] = {
    let mut is = [false; 256];
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut place = 0;
    while place < digits.len() {
        is[digits[place] as usize] = true;
        place += 1;
    }
    is
};

/// The Base64 in a string of JSON; `None` if it is none, or empty.
fn base64(text: &str) -> Option<Cow<'_, str>> {
    let inside = text.strip_prefix('"')?.strip_suffix('"')?;
    match is_standard(inside) {
        true => Some(Cow::Borrowed(inside)),
        false => repaired(&serde_json::from_str::<Cow<'_, str>>(text).ok()?).map(Cow::Owned),
    }
}

/// Returns `true` for standard Base64 with padding.
fn is_standard(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let is_whole = text.len() - digits.len() <= 2 && text.len().is_multiple_of(4);
    is_whole && !digits.is_empty() && digits.bytes().all(|byte| DIGIT[usize::from(byte)])
}

/// Base64 that is written in another way and can be read in one way only.
fn repaired(text: &str) -> Option<String> {
    let text = text.trim_ascii();
    let text = match text.strip_prefix("data:") {
        Some(uri) => uri.split_once(";base64,")?.1,
        None => text,
    };
    let text = text.trim_end_matches(|c: char| c == '=' || c.is_ascii_whitespace());
    let mut digits = String::with_capacity(text.len() + 2);
    for byte in text.bytes() {
        match byte {
            b'-' => digits.push('+'),
            b'_' => digits.push('/'),
            b'\r' | b'\n' | b'\t' | b' ' => {}
            digit if DIGIT[usize::from(digit)] => digits.push(char::from(digit)),
            _ => return None,
        }
    }
    // One digit alone is less than a byte.
    if digits.is_empty() || digits.len() % 4 == 1 {
        return None;
    }
    while !digits.len().is_multiple_of(4) {
        digits.push('=');
    }
    Some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first bytes of an image of each type, and of recordings.
    const PNG: &str = "iVBORw0KGgo=";
    const JPEG: &str = "/9j/4AAQSkZJRg==";
    const WAVE: &str = "UklGRiQAAABXQVZF";

    fn read(data: &str) -> Option<(&'static str, String)> {
        let result = format!("[{data}]");
        let raw: &RawValue = serde_json::from_str(&result[1..result.len() - 1]).unwrap();
        let place = Place::of(raw, &result)?;
        let media = place.read(&result)?;
        Some((media.mime_type, media.base64.into_owned()))
    }

    #[test]
    fn the_first_bytes_alone_decide_what_something_is() {
        for (data, expected) in [
            (PNG, Some("image/png")),
            (JPEG, Some("image/jpeg")),
            ("R0lGODlh", Some("image/gif")),
            ("R0lGODdh", Some("image/gif")),
            ("UklGRiQAAABXRUJQ", Some("image/webp")),
            (WAVE, Some("audio/wav")),
            ("SUQzBAAA", Some("audio/mpeg")),
            ("//uQZAAA", Some("audio/mpeg")),
            // What services don't take, or what is nothing of the kind.
            ("PHN2Zz48L3N2Zz4=", None),
            ("PGh0bWw+", None),
            ("aGVsbG8=", None),
            ("JVBERi0xLjcK", None),
            ("Qk0AAAAA", None),
            ("T2dnUwAC", None),
            ("R0lGODhh", None),
            ("iVBORwAA", None),
            ("iVBORwoa", None),
            ("UklGRiQAAABBVkkg", None),
            ("//4AAAAA", None),
            ("//v/AAAA", None),
            ("AAAA", None),
        ] {
            let found = read(&format!("\"{data}\"")).map(|(mime, _)| mime);
            assert_eq!(found, expected, "{data}");
        }
    }

    #[test]
    fn base64_with_one_reading_is_put_right_and_anything_else_is_none() {
        let whole = "iVBORw0KGgo+/w==";
        for data in [
            whole,
            "iVBORw0KGgo+\\/w==",
            "iVBORw0K\\nGgo+/w==\\r\\n",
            "iVBORw0KGgo-_w==",
            "iVBORw0KGgo-_w",
            " iVBORw0KGgo+/w== ",
            "data:image/png;base64,iVBORw0KGgo+/w==",
        ] {
            let found = read(&format!("\"{data}\""));
            assert_eq!(found, Some(("image/png", whole.to_owned())), "{data}");
        }
        for data in [
            "",
            "=",
            "====",
            "A",
            "iVBORw0KG",
            "iVBO=Rw0K",
            "not base64!",
            "iVBO[redacted:credential]",
            "data:image/png,AAAA",
            "größe",
        ] {
            assert_eq!(read(&format!("\"{data}\"")), None, "{data}");
        }
        for data in ["null", "7", "{}", "[\"AAAA\"]"] {
            assert_eq!(read(data), None, "{data}");
        }
    }

    #[test]
    fn what_is_standard_is_borrowed() {
        let text = format!("\"{PNG}\"");
        assert!(matches!(base64(&text), Some(Cow::Borrowed(PNG))));
    }

    #[test]
    fn an_answer_has_media_where_a_member_says_so() {
        assert!(may_be_in(br#"{"content":[{"type":"image","data":"#));
        assert!(may_be_in(br#"{"resource":{"blob" : "#));
        assert!(!may_be_in(br#"{"text":"{\"data\":1}"}"#));
    }
}
