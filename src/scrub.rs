//! Keeps live credentials out of what servers say.
//!
//! A server knows the credential that it was sent, and some repeat it: in an error page, in a
//! tool that shows the request's headers. [`Scrubber`] finds it in the forms in which that
//! happens: as it is, in base64 (also of a longer text that it is a part of), percent-encoded,
//! escaped as in JSON, and in hex. A server that hides it on purpose can hide it from us.

use std::borrow::Cow;
use std::fmt;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// What a credential is replaced by.
const REDACTED: &[u8] = b"[redacted:credential]";

/// Shorter values are not looked for: `1` or `v2` are in every text, and no credentials.
const SHORTEST: usize = 8;

/// How much of the end of a secret is searched for; what stands before it is compared then. The
/// end, because all tokens of an issuer often begin alike; no more, so that long tokens cost no
/// more than short ones.
const SEARCHED: usize = 32;

/// Finds the credentials of one server.
#[derive(Default)]
pub(crate) struct Scrubber {
    /// One pattern for each form: its end.
    ends: Option<AhoCorasick>,
    forms: Vec<Zeroizing<Vec<u8>>>,
}

impl Scrubber {
    /// A scrubber for these header values: whole, without their scheme (`Bearer …`), and the
    /// password of a `Basic` one.
    pub(crate) fn new<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut forms = Vec::new();
        for value in values {
            let Some((scheme, token)) = scheme_and_token(value) else {
                add_forms(value, &mut forms);
                continue;
            };
            add_forms(token, &mut forms);
            if !scheme.eq_ignore_ascii_case(b"basic") {
                continue;
            }
            let Ok(pair) = STANDARD.decode(token).map(Zeroizing::new) else {
                continue;
            };
            add_forms(&pair, &mut forms);
            if let Some(colon) = pair.iter().position(|byte| *byte == b':') {
                add_forms(&pair[colon + 1..], &mut forms);
            }
        }
        let ends = forms
            .iter()
            .map(|form: &Zeroizing<Vec<u8>>| &form[form.len().saturating_sub(SEARCHED)..]);
        // Only far too many patterns fail, and these are a few dozen.
        let ends = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(ends)
            .ok()
            .filter(|_| !forms.is_empty());
        Self { ends, forms }
    }

    /// `bytes` without the credentials.
    pub(crate) fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(ends) = &self.ends else {
            return Cow::Borrowed(bytes);
        };
        let mut clean = Vec::new();
        let mut kept = 0;
        for end in ends.find_iter(bytes) {
            let form = &self.forms[end.pattern().as_usize()];
            let before = &form[..form.len() - end.len()];
            let same = bytes[kept..end.start()].iter().rev();
            let same = same.zip(before.iter().rev());
            let same = same.take_while(|(text, form)| text == form).count();
            clean.extend_from_slice(&bytes[kept..end.start() - same]);
            clean.extend_from_slice(REDACTED);
            kept = end.end();
        }
        if kept == 0 {
            return Cow::Borrowed(bytes);
        }
        clean.extend_from_slice(&bytes[kept..]);
        tracing::warn!("a server repeated a credential; it was redacted");
        Cow::Owned(clean)
    }

    /// `text` without the credentials.
    pub(crate) fn text(&self, text: String) -> String {
        match self.bytes(text.as_bytes()) {
            Cow::Borrowed(_) => text,
            // Every form is ASCII, or ends and begins at the borders of characters.
            Cow::Owned(clean) => String::from_utf8_lossy(&clean).into_owned(),
        }
    }
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrubber").finish_non_exhaustive()
    }
}

/// The parts of a value such as `Bearer …`; the scheme is no secret.
fn scheme_and_token(value: &[u8]) -> Option<(&[u8], &[u8])> {
    const SCHEMES: [&str; 5] = ["bearer", "basic", "token", "apikey", "negotiate"];
    let blank = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, token) = (&value[..blank], value[blank..].trim_ascii());
    let is_known = |known: &str| scheme.eq_ignore_ascii_case(known.as_bytes());
    SCHEMES
        .iter()
        .any(|known| is_known(known))
        .then_some((scheme, token))
}

/// Adds the forms in which `secret` may show up.
fn add_forms(secret: &[u8], forms: &mut Vec<Zeroizing<Vec<u8>>>) {
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
}
