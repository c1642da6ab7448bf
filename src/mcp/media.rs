//! Images and audio in a tool's result, in the forms that models' services take.
//!
//! A service refuses an image whose bytes are of another type than is said, and servers say the wrong
//! one often, so bytes that are known decide. Base64 is looked over once and never decoded but for
//! its first bytes: what is wrong with the rest of an image is for those to say who look at it.

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
    /// bytes, or, if these are of none of the types, as the server says.
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

/// The place of what may be an image or a recording in the text of a result.
#[derive(Clone, Debug)]
pub(super) struct Place {
    kind: Kind,
    claim: Claim,
    /// The string of JSON, with its quotes.
    data: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Image,
    Audio,
}

/// What a server says of the type.
#[derive(Clone, Copy, Debug)]
enum Claim {
    Known(&'static str),
    /// None, or another one of the kind: the bytes decide.
    Open,
}

/// Returns `true` if an answer that begins with these bytes may have media in it.
pub(super) fn may_be_in(bytes: &[u8]) -> bool {
    // Not within a string: its quotes have backslashes.
    [&b"\"data\""[..], b"\"blob\""]
        .iter()
        .any(|member| memmem::find(bytes, member).is_some())
}

impl Kind {
    /// The kind of a resource of this type.
    pub(super) fn of(mime_type: Option<&str>) -> Option<Self> {
        let essence = essence(mime_type?);
        match essence.split('/').next() {
            Some("image") => Some(Self::Image),
            Some("audio") => Some(Self::Audio),
            _ => None,
        }
    }
}

impl Place {
    /// The place of `data` within `result`; `None` if its type is said to be something else.
    pub(super) fn of(
        kind: Kind,
        mime_type: Option<&str>,
        data: &RawValue,
        result: &str,
    ) -> Option<Self> {
        let claim = claim(kind, mime_type)?;
        // It is a part of the result, which is borrowed from.
        let start = (data.get().as_ptr() as usize).checked_sub(result.as_ptr() as usize)?;
        let data = start..start + data.get().len();
        Some(Self { kind, claim, data })
    }

    /// What stands there; `None` if it is no Base64, or of a type that services don't take.
    pub(super) fn read<'a>(&self, result: &'a str) -> Option<Media<'a>> {
        let base64 = base64(result.get(self.data.clone())?)?;
        let mime_type = match (known(&base64), self.claim) {
            (Some(known), _) => Some(known),
            (None, Claim::Known(claimed)) => Some(claimed),
            (None, Claim::Open) => None,
        };
        let mime_type = mime_type.filter(|mime| is_audio(mime) == (self.kind == Kind::Audio))?;
        Some(Media { mime_type, base64 })
    }
}

fn is_audio(mime_type: &str) -> bool {
    mime_type.starts_with("audio/")
}

/// A type without its parameters, in lower case.
fn essence(mime_type: &str) -> String {
    let essence = mime_type.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

/// What is claimed; `None` for what is no media at all, such as a page.
fn claim(kind: Kind, mime_type: Option<&str>) -> Option<Claim> {
    let essence = essence(mime_type.unwrap_or_default());
    let known = match &*essence {
        "image/png" => "image/png",
        "image/jpeg" | "image/jpg" => "image/jpeg",
        "image/gif" => "image/gif",
        "image/webp" => "image/webp",
        "audio/wav" | "audio/wave" | "audio/x-wav" | "audio/vnd.wave" => "audio/wav",
        "audio/mpeg" | "audio/mp3" => "audio/mpeg",
        "" | "application/octet-stream" => return Some(Claim::Open),
        other => return (Kind::of(Some(other)) == Some(kind)).then_some(Claim::Open),
    };
    Some(Claim::Known(known))
}

/// The type that the first bytes tell.
fn known(base64: &str) -> Option<&'static str> {
    let first = first_bytes(base64);
    match &first {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, form @ ..] => match form {
            b"WEBP" => Some("image/webp"),
            b"WAVE" => Some("audio/wav"),
            _ => None,
        },
        [b'I', b'D', b'3', ..] => Some("audio/mpeg"),
        // A frame of MPEG audio without a tag before it.
        [0xff, second, ..] if second & 0xe6 == 0xe2 => Some("audio/mpeg"),
        _ => None,
    }
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

    fn read(kind: Kind, mime_type: Option<&str>, data: &str) -> Option<(&'static str, String)> {
        let result = format!("[{data}]");
        let raw: &RawValue = serde_json::from_str(&result[1..result.len() - 1]).unwrap();
        let place = Place::of(kind, mime_type, raw, &result)?;
        let media = place.read(&result)?;
        Some((media.mime_type, media.base64.into_owned()))
    }

    fn image(mime_type: &str, data: &str) -> Option<(&'static str, String)> {
        read(Kind::Image, Some(mime_type), &format!("\"{data}\""))
    }

    #[test]
    fn the_bytes_decide_what_an_image_is_and_else_the_server() {
        for (mime_type, data, expected) in [
            ("image/png", PNG, Some("image/png")),
            ("image/jpeg", PNG, Some("image/png")),
            ("image/png", JPEG, Some("image/jpeg")),
            ("image/PNG; charset=binary", PNG, Some("image/png")),
            ("image/jpg", "AAAA", Some("image/jpeg")),
            ("image/x-icon", PNG, Some("image/png")),
            ("application/octet-stream", PNG, Some("image/png")),
            ("", PNG, Some("image/png")),
            ("image/webp", "UklGRiQAAABXRUJQ", Some("image/webp")),
            ("image/gif", "R0lGODlh", Some("image/gif")),
            // What services don't take, or what is no image.
            ("image/svg+xml", "PHN2Zz48L3N2Zz4=", None),
            ("image/bmp", "Qk0AAAAA", None),
            ("", "AAAA", None),
            ("text/html", PNG, None),
            ("image/png", WAVE, None),
        ] {
            let found = image(mime_type, data).map(|(mime, _)| mime);
            assert_eq!(found, expected, "{mime_type} {data}");
        }
    }

    #[test]
    fn recordings_are_told_by_their_bytes_too() {
        for (mime_type, data, expected) in [
            ("audio/wav", WAVE, Some("audio/wav")),
            ("audio/mpeg", WAVE, Some("audio/wav")),
            ("audio/mp3", "SUQzBAAA", Some("audio/mpeg")),
            ("audio/x-wav", "//uQZAAA", Some("audio/mpeg")),
            ("audio/ogg", "T2dnUwAC", None),
            ("audio/wav", PNG, None),
        ] {
            let found = read(Kind::Audio, Some(mime_type), &format!("\"{data}\""));
            assert_eq!(found.map(|(mime, _)| mime), expected, "{mime_type} {data}");
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
            let found = image("image/png", data);
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
            assert_eq!(image("image/png", data), None, "{data}");
        }
        for data in ["null", "7", "{}", "[\"AAAA\"]"] {
            assert_eq!(read(Kind::Image, Some("image/png"), data), None, "{data}");
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
