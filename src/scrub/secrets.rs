//! Extraction of the secrets to look for from header values.
//!
//! Session ids and keys in a server's URL are credentials, too. The parts of a cookie, or of a
//! value with an unknown scheme, are evidence only from a length on at which they are not words.

use std::iter;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::escapes::unescaped;
use super::known::{is_scheme, is_wordy, keys, prefix};

/// The shortest value that is looked for: `1` or `v2` occur in every text, and are no credentials.
const SHORTEST: usize = 8;

/// The length of a piece that is found; a shorter secret is found as a whole.
pub(super) const WINDOW: usize = 12;

/// The most parts of one value that are evidence; cookies can have hundreds.
const PARTS: usize = 8;

/// The bytes of a match that only the secret contains.
pub(super) const OWN: usize = 4;

/// One text to look for.
pub(super) struct Secret {
    pub(super) text: Zeroizing<Vec<u8>>,
    /// The length of a match.
    pub(super) least: usize,
    /// The ranges that occur in no other text; a match overlaps them.
    pub(super) own: Vec<Range<usize>>,
}

/// Extracts the secrets in a header value: the part after its scheme (`Bearer …`), the password of
/// a `Basic` one, and the values of parameters (`token="…"`, cookies).
pub(super) fn secrets(value: &[u8]) -> Vec<Secret> {
    let mut all = Vec::new();
    let (scheme, token) = scheme_and_token(value);
    let at = value.len() - token.len();
    if is_scheme(scheme) {
        add(token, own_parts(token, 0), &mut all);
    } else {
        add(value, own_parts(value, at), &mut all);
    }
    if scheme.eq_ignore_ascii_case(b"basic")
        && let Ok(pair) = STANDARD.decode(token).map(Zeroizing::new)
    {
        add_pair(&pair, &mut all);
    }
    all
}

/// Adds both parts of a pair: services that accept a key there leave the other one empty.
fn add_pair(pair: &[u8], all: &mut Vec<Secret>) {
    let colon = pair.iter().position(|byte| *byte == b':');
    let password = colon.map_or(0, |colon| colon + 1)..pair.len();
    if password.len() < WINDOW {
        add(&pair[password.clone()], one(0..password.len()), all);
    }
    let user = 0..password.start.saturating_sub(1);
    let own = [password, user]
        .into_iter()
        .find(|part| part.len() >= WINDOW);
    add(pair, own.into_iter().collect(), all);
}

/// Adds a secret, and the forms in which parsers read it.
fn add(text: &[u8], own: Vec<Range<usize>>, all: &mut Vec<Secret>) {
    if text.len() < SHORTEST {
        return;
    }
    let plain = unescaped(text);
    if plain.len() >= SHORTEST && **plain != *text {
        let own = own_parts(&plain, 0);
        add(&plain, own, all);
    }
    if text.contains(&b' ') {
        let plus: Zeroizing<Vec<u8>> = Zeroizing::new(
            text.iter()
                .map(|byte| if *byte == b' ' { b'+' } else { *byte })
                .collect(),
        );
        push(&plus, own.clone(), all);
    }
    push(text, own, all);
}

fn push(text: &[u8], own: Vec<Range<usize>>, all: &mut Vec<Secret>) {
    let own = own
        .into_iter()
        .map(|part| part.start + prefix(&text[part.clone()])..part.end);
    let own: Vec<_> = own.filter(|part| part.len() >= OWN).collect();
    let whole = own.is_empty() || text.len() < WINDOW;
    if all.iter().any(|known| *known.text == text) {
        return;
    }
    all.push(Secret {
        least: if whole { text.len() } else { WINDOW },
        own: if whole { one(0..text.len()) } else { own },
        text: Zeroizing::new(text.to_vec()),
    });
}

/// Returns the parts of `text` that are secrets by themselves, if it begins with a name of `from`
/// bytes.
fn own_parts(text: &[u8], from: usize) -> Vec<Range<usize>> {
    if is_wordy(text) {
        return keys(text).take(PARTS).collect();
    }
    // A longer word before a blank is not a scheme.
    let from = if from > WINDOW { 0 } else { from };
    let parts: Vec<_> = parameters(text, from)
        .filter(|part| part.len() >= WINDOW)
        .take(PARTS)
        .collect();
    match text.len() - from >= WINDOW {
        _ if !parts.is_empty() => parts,
        // Each of them may be a word.
        _ if parameters(text, from).nth(1).is_some() => Vec::new(),
        true => one(from..text.len()),
        false => one(0..text.len()),
    }
}

fn one(part: Range<usize>) -> Vec<Range<usize>> {
    iter::once(part).collect()
}

/// Splits a value such as `Bearer …`; the scheme is empty if it is one piece.
fn scheme_and_token(value: &[u8]) -> (&[u8], &[u8]) {
    let value = value.trim_ascii();
    let ends_word = |byte: &u8| matches!(byte, b' ' | b'=' | b';' | b',');
    let end = value.iter().position(ends_word);
    let blank = end.filter(|end| value[*end] == b' ').unwrap_or(0);
    (&value[..blank], value[blank..].trim_ascii())
}

/// Finds the values of `name=value; name="value"`, also with commas between them.
fn parameters(text: &[u8], mut from: usize) -> impl Iterator<Item = Range<usize>> {
    let parameters = text[from..].split(|byte| matches!(byte, b';' | b','));
    parameters.filter_map(move |parameter| {
        let start = from;
        from += parameter.len() + 1;
        let equals = parameter.iter().position(|byte| *byte == b'=')?;
        let value = parameter[equals + 1..].trim_ascii_start();
        let start = start + parameter.len() - value.len();
        let value = value.trim_ascii_end();
        let unquoted = value
            .strip_prefix(b"\"")
            .and_then(|v| v.strip_suffix(b"\""));
        Some(match unquoted {
            Some(value) => start + 1..start + 1 + value.len(),
            None => start..start + value.len(),
        })
    })
}
