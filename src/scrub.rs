//! Keeps live credentials out of what servers say.
//!
//! A server knows the credential that it was sent, and some repeat it: in an error page, in a
//! tool that shows the request's headers. [`Scrubber`] finds it in the forms in which that
//! happens: as it is, in base64 (also of a longer text that it is a part of), percent-encoded,
//! escaped as in JSON, and in hex. A server that hides it on purpose can hide it from us.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use zeroize::Zeroizing;

/// What a credential is replaced by.
const REDACTED_TEXT: &str = "[redacted:credential]";
const REDACTED: &[u8] = REDACTED_TEXT.as_bytes();

/// Shorter values are not looked for: `1` or `v2` are in every text, and no credentials.
const SHORTEST: usize = 8;

/// The same for a part of a value, which need not be the secret one: `accepted` in a cookie.
const SHORTEST_PART: usize = 12;

/// Parts of one value that are looked for; cookies can have hundreds.
const PARTS: usize = 8;

/// How much of the end of a secret is searched for; what stands before it is compared then. The
/// end, because all tokens of an issuer often begin alike; no more, so that long tokens cost no
/// more than short ones.
const SEARCHED: usize = 32;

/// How much of what went before is looked at together with a chunk.
const BEFORE: usize = 512;

/// Finds the credentials that a server was sent in what it says.
///
/// Cheap to ask, dear to make: make one for each credential, and share it.
///
/// ```
/// # use mcp_layer::Scrubber;
/// let scrubber = Scrubber::new([b"Bearer sk-0123456789abcdef".as_slice()]);
/// let said = scrubber.bytes(b"no such key: sk-0123456789abcdef");
/// assert_eq!(&*said, b"no such key: [redacted:credential]");
/// ```
#[derive(Default)]
pub struct Scrubber {
    whole: Forms,
    /// Sought in what is left: one that was found first would tear a whole value apart.
    parts: Forms,
}

/// Texts that are looked for.
#[derive(Default)]
struct Forms {
    /// One pattern for each form: its end.
    ends: Option<AhoCorasick>,
    forms: Vec<Form>,
}

type Form = Zeroizing<Vec<u8>>;

impl Scrubber {
    /// A scrubber for these header values: whole, without their scheme (`Bearer …`), the password
    /// of a `Basic` one, and the values of parameters in them (`token="…"`, cookies).
    pub fn new<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let (mut whole, mut parts) = (Vec::new(), Vec::new());
        for value in values {
            let (scheme, token) = scheme_and_token(value);
            if is_known(scheme) {
                add_forms(token, &mut whole);
            } else {
                add_forms(value, &mut whole);
                add_part(token, &mut parts);
            }
            parameters(token)
                .take(PARTS)
                .for_each(|part| add_part(part, &mut parts));
            if !scheme.eq_ignore_ascii_case(b"basic") {
                continue;
            }
            let Ok(pair) = STANDARD.decode(token).map(Zeroizing::new) else {
                continue;
            };
            add_forms(&pair, &mut whole);
            if let Some(colon) = pair.iter().position(|byte| *byte == b':') {
                add_forms(&pair[colon + 1..], &mut whole);
            }
        }
        parts.retain(|part| !whole.contains(part));
        Self {
            whole: Forms::new(whole),
            parts: Forms::new(parts),
        }
    }

    /// `bytes` without the credentials.
    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let found = self.find(bytes);
        if found.is_empty() {
            return Cow::Borrowed(bytes);
        }
        let mut clean = Vec::with_capacity(bytes.len());
        let mut kept = 0;
        for found in found {
            clean.extend_from_slice(&bytes[kept..found.start]);
            clean.extend_from_slice(REDACTED);
            kept = found.end;
        }
        clean.extend_from_slice(&bytes[kept..]);
        Cow::Owned(clean)
    }

    /// Where the credentials are, from the first to the last.
    fn find(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut found = self.whole.find(bytes);
        let whole = found.len();
        for part in self.parts.find(bytes) {
            let apart = |whole: &Range<usize>| part.end <= whole.start || whole.end <= part.start;
            if found[..whole].iter().all(apart) {
                found.push(part);
            }
        }
        if !found.is_empty() {
            tracing::warn!("a credential was repeated to us; it was redacted");
            found.sort_unstable_by_key(|found| found.start);
        }
        found
    }

    /// `text` without the credentials.
    pub fn text(&self, text: String) -> String {
        match self.bytes(text.as_bytes()) {
            Cow::Borrowed(_) => text,
            // Every form is ASCII, or ends and begins at the borders of characters.
            Cow::Owned(clean) => String::from_utf8_lossy(&clean).into_owned(),
        }
    }
}

/// `text` without these header values, where it has them as they are or as JSON writes them: for
/// a text that is looked at once, and not worth a [`Scrubber`].
pub(crate) fn without<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
    text: &str,
) -> Option<String> {
    let mut clean = None;
    for value in values {
        let (scheme, token) = scheme_and_token(value);
        let secret = if is_known(scheme) { token } else { value };
        let Ok(secret) = std::str::from_utf8(secret) else {
            continue;
        };
        let escaped = serde_json::to_string(secret).unwrap_or_default();
        for form in [secret, escaped.trim_matches('"')] {
            let text = clean.as_deref().unwrap_or(text);
            if form.len() >= SHORTEST && text.contains(form) {
                clean = Some(text.replace(form, REDACTED_TEXT));
            }
        }
    }
    clean
}

/// Keeps the credentials out of a text that comes in chunks, such as a body that is passed on.
///
/// No byte waits for a later one, and each chunk stays as long as it was, so that streams flow and
/// a `content-length` stays true. Of a credential that begins at the end of a chunk, at most so
/// much gets by as is not looked for in a whole text either; the rest is found with it.
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
    /// The end of what went before, as it came.
    before: Vec<u8>,
}

impl ScrubbedChunks {
    /// The first chunk is still to come.
    pub fn new(scrubber: Arc<Scrubber>) -> Self {
        Self {
            scrubber,
            before: Vec::new(),
        }
    }

    /// The next chunk, with each credential overwritten by a text of its length.
    pub fn next(&mut self, chunk: Bytes) -> Bytes {
        let before = self.before.len();
        self.before.extend_from_slice(&chunk);
        let found = self.scrubber.find(&self.before);
        let mut clean = None::<Vec<u8>>;
        for found in found.iter().filter(|found| found.end > before) {
            let clean = clean.get_or_insert_with(|| chunk.to_vec());
            overwrite(&mut clean[found.start.saturating_sub(before)..found.end - before]);
        }
        self.before
            .drain(..self.before.len().saturating_sub(BEFORE));
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

impl Forms {
    fn new(forms: Vec<Form>) -> Self {
        let ends = forms.iter().map(|form| end_of(form));
        // Every connection has one, and there may be ten thousand: a table that is a little faster
        // takes 40 kB and more for a token, this one a sixth of it.
        // Only far too many patterns fail, and these are some hundreds at most.
        let ends = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(ends)
            .ok()
            .filter(|_| !forms.is_empty());
        Self { ends, forms }
    }

    fn find(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let Some(ends) = &self.ends else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let mut kept = 0;
        for end in ends.find_iter(bytes) {
            let same = self.same_before(&bytes[kept..end.start()], &bytes[end.range()]);
            found.push(end.start() - same..end.end());
            kept = end.end();
        }
        found
    }

    /// How much of the end of `before` belongs to a form that ends in `end`. The forms of one
    /// secret may end alike, and differ in an escape further ahead.
    fn same_before(&self, before: &[u8], end: &[u8]) -> usize {
        let forms = self.forms.iter().filter(|form| end_of(form) == end);
        let same = forms.map(|form| {
            let form = &form[..form.len() - end.len()];
            let pairs = before.iter().rev().zip(form.iter().rev());
            pairs.take_while(|(text, form)| text == form).count()
        });
        same.max().unwrap_or(0)
    }
}

/// What of a form is searched for.
fn end_of(form: &[u8]) -> &[u8] {
    &form[form.len().saturating_sub(SEARCHED)..]
}

/// The parts of a value such as `Bearer …`; no scheme where it is in one piece.
fn scheme_and_token(value: &[u8]) -> (&[u8], &[u8]) {
    let ends_word = |byte: &u8| matches!(byte, b' ' | b'=' | b';' | b',');
    let end = value.iter().position(ends_word);
    let blank = end.filter(|end| value[*end] == b' ').unwrap_or(0);
    (&value[..blank], value[blank..].trim_ascii())
}

/// Whether it is a scheme for sure, and so no secret and no part of one.
fn is_known(scheme: &[u8]) -> bool {
    const SCHEMES: [&str; 5] = ["bearer", "basic", "token", "apikey", "negotiate"];
    let is = |known: &str| scheme.eq_ignore_ascii_case(known.as_bytes());
    SCHEMES.iter().any(|known| is(known))
}

/// The values of `name=value; name="value"`, also with commas between them.
fn parameters(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let parameters = text.split(|byte| matches!(byte, b';' | b','));
    parameters.filter_map(|parameter| {
        let equals = parameter.iter().position(|byte| *byte == b'=')?;
        let value = parameter[equals + 1..].trim_ascii();
        let unquoted = value
            .strip_prefix(b"\"")
            .and_then(|v| v.strip_suffix(b"\""));
        Some(unquoted.unwrap_or(value))
    })
}

/// Adds the forms of what may be a secret, or only a word.
fn add_part(part: &[u8], forms: &mut Vec<Form>) {
    if part.len() >= SHORTEST_PART {
        add_forms(part, forms);
    }
}

/// Adds the forms in which `secret` may show up.
fn add_forms(secret: &[u8], forms: &mut Vec<Form>) {
    let mut add = |form: Vec<u8>| {
        let form = Zeroizing::new(form);
        if form.len() >= SHORTEST && !forms.contains(&form) {
            forms.push(form);
        }
    };
    if secret.len() < SHORTEST {
        return;
    }
    add(secret.to_vec());
    for escaped in json_escaped(secret) {
        add(escaped);
    }
    add(percent_encoded(secret, b"0123456789ABCDEF", b"%20"));
    add(percent_encoded(secret, b"0123456789abcdef", b"%20"));
    add(percent_encoded(secret, b"0123456789ABCDEF", b"+"));
    add(hex(secret, b"0123456789abcdef"));
    add(hex(secret, b"0123456789ABCDEF"));
    add(STANDARD.encode(secret).into_bytes());
    add(URL_SAFE.encode(secret).into_bytes());
    for shift in 0..3 {
        add(shifted(secret, shift, &STANDARD_NO_PAD));
        add(shifted(secret, shift, &URL_SAFE_NO_PAD));
    }
}

/// What is the same in the base64 of every text that has `secret` after `shift` bytes (modulo
/// three): without the characters that depend on the neighbours.
fn shifted(secret: &[u8], shift: usize, engine: &impl Engine) -> Vec<u8> {
    let mut text = Zeroizing::new(vec![0; shift]);
    text.extend_from_slice(secret);
    let own = text.len() * 8 / 6;
    let neighbours = [0, 2, 3][shift];
    engine.encode(&*text).as_bytes()[neighbours..own].to_vec()
}

fn percent_encoded(secret: &[u8], digits: &[u8; 16], blank: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(secret.len() * 3);
    for byte in secret {
        match byte {
            b' ' => encoded.extend_from_slice(blank),
            b'-' | b'.' | b'_' | b'~' => encoded.push(*byte),
            _ if byte.is_ascii_alphanumeric() => encoded.push(*byte),
            _ => {
                encoded.push(b'%');
                encoded.extend_from_slice(&hex(&[*byte], digits));
            }
        }
    }
    encoded
}

fn hex(secret: &[u8], digits: &[u8; 16]) -> Vec<u8> {
    let digit = |nibble: u8| digits[usize::from(nibble)];
    secret
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// As in a JSON string. All encoders escape quotes and backslashes; PHP's the slash as well, and
/// those that think of HTML more: Go's and Ruby's, Gson, .NET's. Base64 has some of that in it.
fn json_escaped(secret: &[u8]) -> [Vec<u8>; 5] {
    let slash = |_| "\\/".to_owned();
    let lower = |byte| format!("\\u{byte:04x}");
    let upper = |byte| format!("\\u{byte:04X}");
    let escaped = |special: &[u8], escape: &dyn Fn(u8) -> String| {
        let mut form = Vec::with_capacity(secret.len() + 8);
        for byte in secret {
            match byte {
                _ if special.contains(byte) => form.extend_from_slice(escape(*byte).as_bytes()),
                b'"' | b'\\' => form.extend_from_slice(&[b'\\', *byte]),
                // The only control character that a header has.
                b'\t' => form.extend_from_slice(b"\\t"),
                _ => form.push(*byte),
            }
        }
        form
    };
    [
        escaped(b"", &slash),
        escaped(b"/", &slash),
        escaped(b"<>&", &lower),
        escaped(b"<>&='", &lower),
        escaped(b"<>&'\"+`", &upper),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "s3cret/\"+token?of~32 bytes & more";

    fn scrubber() -> Scrubber {
        let value = format!("Bearer {TOKEN}");
        Scrubber::new([value.as_bytes()])
    }

    #[test]
    fn a_credential_is_found_in_every_form() {
        let json = serde_json::to_string(TOKEN).unwrap();
        let percent = percent_encoded(TOKEN.as_bytes(), b"0123456789ABCDEF", b"%20");
        for form in [
            TOKEN.to_owned(),
            json[1..json.len() - 1].to_owned(),
            json[1..json.len() - 1].replace('/', "\\/"),
            json[1..json.len() - 1].replace('&', "\\u0026"),
            TOKEN
                .replace('"', "\\u0022")
                .replace('+', "\\u002B")
                .replace('&', "\\u0026"),
            String::from_utf8(percent.clone()).unwrap(),
            String::from_utf8(percent).unwrap().to_ascii_lowercase(),
            STANDARD.encode(TOKEN),
            URL_SAFE.encode(TOKEN),
            STANDARD_NO_PAD.encode(TOKEN),
            String::from_utf8(hex(TOKEN.as_bytes(), b"0123456789abcdef")).unwrap(),
            String::from_utf8(hex(TOKEN.as_bytes(), b"0123456789ABCDEF")).unwrap(),
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
        let forms = scrubber.parts.forms.len();
        assert!(forms < 200, "{forms}");
        assert_eq!(scrubber.text(value), "[redacted:credential]");
    }

    #[test]
    fn ten_thousand_connections_have_room_for_what_they_look_for() {
        let token = "tok/en+0123456789abcdef=".repeat(80);
        let scrubber = Scrubber::new([format!("Bearer {token}").as_bytes()]);
        let bytes = scrubber.whole.ends.unwrap().memory_usage();
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
            assert!(!clean.contains(&TOKEN[TOKEN.len() - SHORTEST..]), "{clean}");
        }
    }
}
