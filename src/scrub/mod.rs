//! Redaction of live credentials in what servers send.
//!
//! A server knows the credential that it was sent, and some repeat it: in an error page, or in a
//! tool that shows the request's headers. The MCP client scrubs bytes as they come in, before
//! parsing, so that nothing made of an answer later, such as an error text or a description, can
//! contain them.
//!
//! [`Scrubber`] finds any piece of a credential that is too long for a coincidence, in any case and
//! encoding. A list of encoded forms cannot keep up with encoders, so the text is decoded instead:
//! `search.rs` tells how. Twelve consecutive bytes are a match; it is extended as far as text and
//! secret agree, and mapped back to the source. Parts that other credentials share (schemes,
//! `sk_live_`, headers of JSON web tokens, parameter names) are no evidence by themselves. A server
//! that hides a credential on purpose, in a cipher of its own, can hide it from us.

mod bases;
mod escapes;
mod known;
mod needles;
mod search;
mod secrets;
mod view;

#[cfg(test)]
mod properties;

use std::borrow::Cow;
use std::fmt;
use std::iter;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use self::needles::Needles;

/// The replacement of a credential.
const REDACTED: &[u8] = b"[redacted:credential]";

/// The replacement of a text whose nested encodings are too expensive to search.
const UNREADABLE: &[u8] = b"[redacted: too many encodings to look for credentials in]";

/// The most bytes of earlier chunks that are searched together with a chunk.
const BEFORE: usize = 512;

/// Finds the credentials that a server was sent in what it sends back.
///
/// Any twelve consecutive bytes of one are found, whatever their case, plain, escaped or encoded
/// (JSON, percent-encoding, HTML, quoted-printable, base64, hex), even if nested, and everything
/// that belongs to the match is redacted. A credential of 8 to 11 bytes is found only as a whole, a
/// shorter one never. Schemes, headers of JSON web tokens and prefixes of services' keys
/// (`sk_live_`) occur in other texts as well, and are found only together with what follows.
///
/// A scrubber is cheap to use and expensive to create: create one for each credential, and share
/// it.
///
/// ```
/// # use mcp_layer::Scrubber;
/// let scrubber = Scrubber::new([b"Bearer sk-0123456789abcdef".as_slice()]);
/// let said = scrubber.bytes(b"no such key: sk-0123456789abcdef");
/// assert_eq!(&*said, b"no such key: [redacted:credential]");
/// ```
#[derive(Default)]
pub struct Scrubber {
    /// The secrets to look for; `None` if there are none.
    needles: Option<Needles>,
    /// `true` once a finding was logged; a server may repeat it in every answer.
    told: AtomicBool,
}

impl Scrubber {
    /// Creates a scrubber for these header values: the whole value, the part after its scheme
    /// (`Bearer …`), the password of a `Basic` one, and the values of parameters in them
    /// (`token="…"`, cookies).
    pub fn new<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let secrets = values.into_iter().flat_map(secrets::secrets).collect();
        Self {
            needles: Needles::new(secrets),
            told: AtomicBool::new(false),
        }
    }

    /// Returns `bytes` without the credentials.
    ///
    /// A text with so many nested encodings that searching them all is too expensive is replaced by
    /// a sentence that says so.
    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        self.readable(bytes).unwrap_or(Cow::Borrowed(UNREADABLE))
    }

    /// Returns `text` without the credentials, like [`bytes`](Self::bytes).
    pub fn text(&self, text: String) -> String {
        self.cleaned(&text).unwrap_or(text)
    }

    /// Returns `text` without the credentials; `None` if it contains none.
    pub(crate) fn cleaned(&self, text: &str) -> Option<String> {
        let clean = match self.readable(text.as_bytes()) {
            Some(Cow::Borrowed(_)) => return None,
            Some(Cow::Owned(clean)) => clean,
            None => UNREADABLE.to_vec(),
        };
        // A secret may end within a character.
        Some(String::from_utf8_lossy(&clean).into_owned())
    }

    /// Returns `bytes` without the credentials; `None` if the search was too expensive to finish.
    pub(crate) fn readable<'a>(&self, bytes: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let found = self.find(bytes)?;
        Some(if found.is_empty() {
            Cow::Borrowed(bytes)
        } else {
            Cow::Owned(redacted(bytes, found))
        })
    }

    /// Finds the credentials, from the first to the last; `None` if the search was too expensive to
    /// finish.
    fn find(&self, bytes: &[u8]) -> Option<Vec<Range<usize>>> {
        let Some(needles) = &self.needles else {
            return Some(Vec::new());
        };
        let found = search::find(needles, bytes).ok();
        let is_clean = found.as_ref().is_some_and(Vec::is_empty);
        if !is_clean && !self.told.swap(true, Ordering::Relaxed) {
            let hidden = found.is_none();
            tracing::warn!(hidden, "a text with a credential in it was redacted");
        }
        found
    }
}

fn redacted(bytes: &[u8], found: Vec<Range<usize>>) -> Vec<u8> {
    let mut clean = Vec::with_capacity(bytes.len());
    let mut kept = 0;
    for found in found {
        let (found, instead) = number(bytes, &found).map_or_else(
            || (with_escape(bytes, &found)..found.end, REDACTED),
            |number| (number, &b"0"[..]),
        );
        if found.end > kept {
            clean.extend_from_slice(&bytes[kept..found.start.max(kept)]);
            clean.extend_from_slice(instead);
            kept = found.end;
        }
    }
    clean.extend_from_slice(&bytes[kept..]);
    clean
}

/// Finds the JSON number that contains `found`, so that another one can replace it.
fn number(bytes: &[u8], found: &Range<usize>) -> Option<Range<usize>> {
    /// The longest number; longer ones are not considered.
    const LONGEST: usize = 64;
    let is_part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    if !bytes[found.clone()].iter().all(|byte| is_part(&byte)) {
        return None;
    }
    let before = bytes[..found.start].iter().rev().take(LONGEST);
    let start = found.start - before.take_while(is_part).count();
    let after = bytes[found.end..].iter().take(LONGEST);
    let end = found.end + after.take_while(is_part).count();
    let is_mark = |byte: &&u8| !byte.is_ascii_whitespace();
    let behind = bytes[..start].iter().rev().take(LONGEST).find(is_mark);
    let ahead = bytes[end..].iter().take(LONGEST).find(is_mark);
    let is_one =
        matches!(behind, Some(b':' | b',' | b'[')) && matches!(ahead, Some(b',' | b'}' | b']'));
    is_one.then_some(start..end)
}

/// Returns the start of the JSON escape in which `found` begins, so that no half of it is left;
/// otherwise that of `found`.
fn with_escape(bytes: &[u8], found: &Range<usize>) -> usize {
    let escape = bytes[..found.start]
        .iter()
        .rev()
        .take(5)
        .position(|byte| *byte == b'\\');
    let start = match escape {
        Some(0) => found.start - 1,
        Some(back) if bytes[found.start - back] == b'u' => found.start - back - 1,
        _ => return found.start,
    };
    let slashes = bytes[..=start]
        .iter()
        .rev()
        .take_while(|byte| **byte == b'\\')
        .count();
    if slashes % 2 == 1 { start } else { found.start }
}

/// Redacts credentials in a text that arrives in chunks, such as a body that is passed on.
///
/// No byte waits for a later one, and each chunk keeps its length, so that streams flow and a
/// `content-length` stays true. If a credential begins at the end of a chunk, no more of it gets
/// through than would be too short to find in a whole text; the rest is redacted.
///
/// ```
/// # use std::sync::Arc;
/// # use mcp_layer::{ScrubbedChunks, Scrubber};
/// let scrubber = Scrubber::new([b"Bearer sk-0123456789abcdef".as_slice()]);
/// let mut chunks = ScrubbedChunks::new(Arc::new(scrubber));
/// let said = chunks.next("no such key: sk-0123456789abcdef".into());
/// assert_eq!(&*said, b"no such key: [redacted]*********");
/// ```
#[derive(Debug)]
pub struct ScrubbedChunks {
    scrubber: Arc<Scrubber>,
    /// The unredacted end of the earlier chunks, as far as a credential may go on from it.
    before: Vec<u8>,
}

impl ScrubbedChunks {
    /// Starts before the first chunk.
    pub fn new(scrubber: Arc<Scrubber>) -> Self {
        Self {
            scrubber,
            before: Vec::new(),
        }
    }

    /// Returns the next chunk, with each credential overwritten by a text of its length.
    pub fn next(&mut self, chunk: Bytes) -> Bytes {
        let Some(needles) = &self.scrubber.needles else {
            return chunk;
        };
        let before = self.before.len();
        // Between two events of a stream nothing is left, and nothing is copied.
        let text = match before {
            0 => &*chunk,
            _ => {
                self.before.extend_from_slice(&chunk);
                &self.before
            }
        };
        let everything = || iter::once(before..text.len()).collect();
        let found = self.scrubber.find(text).unwrap_or_else(everything);
        let mut clean = None::<Vec<u8>>;
        for found in found.iter().filter(|found| found.end > before) {
            let clean = clean.get_or_insert_with(|| chunk.to_vec());
            overwrite(&mut clean[found.start.saturating_sub(before)..found.end - before]);
        }
        let goes_on = needles.open_end(text, BEFORE);
        if before == 0 {
            self.before.extend_from_slice(&chunk[goes_on..]);
        } else {
            self.before.drain(..goes_on);
        }
        clean.map_or(chunk, Bytes::from)
    }
}

fn overwrite(secret: &mut [u8]) {
    const MARK: &[u8] = b"[redacted]";
    secret.fill(b'*');
    if let Some(begin) = secret.get_mut(..MARK.len()) {
        begin.copy_from_slice(MARK);
    }
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrubber").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};

    use super::properties::encodings;
    use super::*;

    const TOKEN: &str = "s3cret/\"+token?of~32 bytes & more";

    fn scrubber() -> Scrubber {
        let value = format!("Bearer {TOKEN}");
        Scrubber::new([value.as_bytes()])
    }

    #[test]
    fn a_credential_is_found_in_every_form() {
        let json = serde_json::to_string(TOKEN).unwrap();
        let percent = encodings::percent(TOKEN.as_bytes());
        for form in [
            TOKEN.to_owned(),
            json[1..json.len() - 1].to_owned(),
            json[1..json.len() - 1].replace('/', "\\/"),
            json[1..json.len() - 1].replace('&', "\\u0026"),
            TOKEN
                .replace('"', "\\u0022")
                .replace('+', "\\u002B")
                .replace('&', "\\u0026"),
            percent.clone(),
            percent.to_ascii_lowercase(),
            STANDARD.encode(TOKEN),
            URL_SAFE.encode(TOKEN),
            STANDARD_NO_PAD.encode(TOKEN),
            encodings::hex(TOKEN.as_bytes()),
            encodings::hex(TOKEN.as_bytes()).to_uppercase(),
        ] {
            let text = format!("you sent {form}, and this");
            assert_eq!(
                scrubber().text(text),
                "you sent [redacted:credential], and this"
            );
        }
    }

    #[test]
    fn a_credential_is_found_in_the_base64_of_a_longer_text() {
        for before in ["", "a", "ab", "abc", "Authorization: Bearer "] {
            for after in ["", "\r", "\r\n", "\r\nx: y"] {
                let encoded = STANDARD.encode(format!("{before}{TOKEN}{after}"));
                let clean = scrubber().text(encoded.clone());
                assert!(clean.contains("[redacted:credential]"), "{encoded}");
                let middle = &STANDARD.encode(TOKEN)[4..20];
                assert!(!clean.contains(middle), "{clean}");
            }
        }
    }

    #[test]
    fn the_password_of_basic_authentication_is_a_secret_of_its_own() {
        let value = format!("Basic {}", STANDARD.encode("user:pass-word-1"));
        let clean = Scrubber::new([value.as_bytes()]).text(format!("{value} pass-word-1 user"));
        assert_eq!(
            clean,
            "Basic [redacted:credential] [redacted:credential] user"
        );
    }

    #[test]
    fn escapes_far_from_the_end_of_a_secret_hide_none_of_it() {
        let tail = "0123456789abcdefghijklmnopqrstuvwxyz";
        let token = format!("front/of+it/{tail}");
        let scrubber = Scrubber::new([token.as_bytes()]);
        for form in [
            token.replace('/', "\\/"),
            token.replace('+', "\\u002B"),
            token.replace('/', "%2F").replace('+', "%2B"),
            token.replace('/', "%2f").replace('+', "%2b"),
        ] {
            assert_eq!(scrubber.text(form), "[redacted:credential]");
        }
    }

    #[test]
    fn a_line_break_between_a_backslash_and_its_letter_hides_nothing() {
        let scrubber = Scrubber::new([b"Bearer AaAaaAaA_\"Aa&_&00~Aa>-A_".as_slice()]);
        // Quoted-printable around JSON, and HTML around both.
        let text = "\\u0061\\u0041\\u0061\\u0061\\&#061;\r\nu0041\\u0061\\u0041\\u005f\\u&#061;\r\n0022\\u0041\\u0061\\u0026";
        assert_eq!(scrubber.text(text.into()), "[redacted:credential]");
    }

    #[test]
    fn the_secret_within_a_value_is_found_by_itself() {
        for (value, secret) in [
            ("Bot bot-s3cret-1", "bot-s3cret-1"),
            ("GoogleLogin auth=log-s3cret-1", "log-s3cret-1"),
            ("Token token=\"tok-s3cret-1\", id=\"me\"", "tok-s3cret-1"),
            ("key=key-s3cret-1", "key-s3cret-1"),
            ("theme=dark; session=ses-s3cret-1", "ses-s3cret-1"),
            ("Bearer bea-s3cret==", "bea-s3cret=="),
        ] {
            let scrubber = Scrubber::new([value.as_bytes()]);
            let text = format!("got <{secret}>, and {value}!");
            let clean = scrubber.text(text);
            assert!(!clean.contains("s3cret"), "{clean}");
            assert!(clean.starts_with("got <[redacted:credential]>"), "{clean}");
        }
    }

    #[test]
    fn parts_that_may_be_words_are_redacted_with_the_whole_only() {
        let value = "consent=accepted; pin=12345678; session=0123456789abcdef";
        let scrubber = Scrubber::new([value.as_bytes()]);
        assert_eq!(
            scrubber.text(format!("{value} accepted")),
            "[redacted:credential] accepted"
        );
    }

    #[test]
    fn a_value_of_many_parts_costs_no_more_than_a_few() {
        let value: String = (0..1000).map(|n| format!("n{n}=value-{n:08};")).collect();
        let scrubber = Scrubber::new([value.as_bytes()]);
        let bytes = scrubber.needles.as_ref().unwrap().memory();
        assert!(bytes < value.len() * 3 / 2, "{bytes}");
        assert_eq!(scrubber.text(value), "[redacted:credential]");
    }

    #[test]
    fn ten_thousand_connections_have_room_for_what_they_look_for() {
        let token = "tok/en+0123456789abcdef=".repeat(80);
        let scrubber = Scrubber::new([format!("Bearer {token}").as_bytes()]);
        let bytes = scrubber.needles.unwrap().memory();
        assert!(bytes < 20_000, "{bytes}");
    }

    #[test]
    fn what_only_begins_like_a_token_stays() {
        let long = |seed: u32| -> String {
            let mut state = seed;
            let digit = std::iter::repeat_with(move || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                char::from(b'a' + (state >> 24) as u8 % 26)
            });
            "eyJhbGciOiJIUzI1NiJ9."
                .chars()
                .chain(digit.take(2000))
                .collect()
        };
        let (token, other) = (long(5), long(7));
        let scrubber = Scrubber::new([format!("Bearer {token}").as_bytes()]);
        assert_eq!(scrubber.text(other.clone()), other);
        assert_eq!(
            scrubber.text(token + &other),
            format!("[redacted:credential]{other}")
        );
    }

    #[test]
    fn short_values_and_no_values_change_nothing() {
        for scrubber in [
            Scrubber::default(),
            Scrubber::new([]),
            Scrubber::new([b"v2".as_slice()]),
        ] {
            assert_eq!(scrubber.text("v2 is here".into()), "v2 is here");
        }
    }

    #[test]
    fn a_secret_twice_in_a_row_is_replaced_twice() {
        let text = format!("{TOKEN}{TOKEN}");
        assert_eq!(
            scrubber().text(text),
            "[redacted:credential][redacted:credential]"
        );
    }

    #[test]
    fn a_secret_in_two_chunks_is_found_and_no_byte_waits() {
        let text = format!("you sent {TOKEN}, and this");
        for cut in 0..text.len() {
            let mut chunks = ScrubbedChunks::new(Arc::new(scrubber()));
            let (one, two) = text.split_at(cut);
            let clean =
                [one, two].map(|chunk| chunks.next(Bytes::copy_from_slice(chunk.as_bytes())));
            assert_eq!(
                clean.clone().map(|clean| clean.len()),
                [one.len(), two.len()]
            );
            let clean = String::from_utf8(clean.concat()).unwrap();
            assert!(clean.starts_with("you sent "), "{clean}");
            assert!(clean.ends_with(", and this"), "{clean}");
            assert!(!clean.contains(&TOKEN[TOKEN.len() - 12..]), "{clean}");
        }
    }

    #[test]
    fn json_stays_json() {
        for (secret, text) in [
            (
                "123456789012",
                r#"{"a":123456789012,"b":[ 99123456789012.5 ],"c":"123456789012"}"#,
            ),
            (
                "nAbCdEfGhIjKlM",
                r#"["x\nAbCdEfGhIjKlM", "\\nAbCdEfGhIjKlM"]"#,
            ),
            ("2BAbCdEfGhIjKlM", r#"["x\u002BAbCdEfGhIjKlM"]"#),
        ] {
            let clean = Scrubber::new([secret.as_bytes()]).text(text.to_owned());
            let read = serde_json::from_str::<serde_json::Value>(&clean);
            assert!(read.is_ok(), "{clean}");
            assert!(!clean.contains(&secret[2..]), "{clean}");
        }
    }

    #[test]
    fn a_text_that_is_too_dear_to_look_through_is_not_passed_on() {
        // A letter behind each sequence of five escapes of two kinds.
        let pieces = (0..32).map(|kinds| {
            (0..5).fold("A".to_owned(), |text, bit| {
                let escape = if kinds >> bit & 1 == 0 { '%' } else { '=' };
                format!("{escape}{:02X}{}", text.as_bytes()[0], &text[1..])
            })
        });
        let text = pieces.collect::<Vec<_>>().join(" ").repeat(1000);
        let clean = scrubber().text(text.clone());
        assert_eq!(clean.as_bytes(), UNREADABLE);
        let mut chunks = ScrubbedChunks::new(Arc::new(scrubber()));
        let clean = chunks.next(text.clone().into());
        assert_eq!(clean.len(), text.len());
        assert!(clean.iter().skip(10).all(|byte| *byte == b'*'));
    }

    #[test]
    fn a_secret_without_end_costs_no_more_than_its_length() {
        let scrubber = Scrubber::new([b"123456789012".as_slice()]);
        let clean = scrubber.text(format!("[{}]", "123456789012".repeat(50_000)));
        assert!(!clean.contains("123456789012"));
    }

    #[test]
    fn what_nearly_is_a_secret_stays() {
        for near in ["s3cret/\"+to,", "000000000000", "a=3D&amp;%25%32%35 "] {
            let text = near.repeat(20_000);
            assert_eq!(scrubber().text(text.clone()), text);
        }
    }
}
