//! Keys in a URL's path, told from words by how random they look.

use percent_encoding::percent_decode_str;
use url::Url;

/// A path segment with this many characters outside words and numbers is a key: a UUID has 20 and
/// more, a random token almost only such.
const RANDOM: usize = 10;
/// The length of the longest word, and of the longest number.
const WORD: usize = 24;
const NUMBER: usize = 8;

/// Returns the keys of the path, as written and decoded.
pub(crate) fn in_path(url: &Url) -> impl Iterator<Item = String> {
    let keys = url.path().split('/').filter(|segment| is_key(segment));
    keys.flat_map(|segment| [Some(segment.to_owned()), decoded(segment)])
        .flatten()
}

/// Returns true if a part of a path may be a key, or the cover of one.
pub(crate) fn may_be_key(segment: &str) -> bool {
    is_key(segment) || decoded(segment).as_deref() == Some("…")
}

pub(super) fn is_key(segment: &str) -> bool {
    let decoded = decoded(segment);
    let text = decoded.as_deref().unwrap_or(segment);
    let pieces = text.split(|c: char| !c.is_alphanumeric());
    let random = pieces.filter(|piece| !is_plain(piece));
    random.map(|piece| piece.chars().count()).sum::<usize>() >= RANDOM
}

/// Decodes a segment, if the result is text.
fn decoded(segment: &str) -> Option<String> {
    let decoded = percent_decode_str(segment).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// Returns true for a word, perhaps with a short number after it, such as `mcp`, `v1`, `server2024`
/// and `getUser`, and for a number.
fn is_plain(piece: &str) -> bool {
    let word = piece.trim_end_matches(|c: char| c.is_ascii_digit());
    let (letters, digits) = (word.chars().count(), piece.len() - word.len());
    if letters == 0 {
        return digits <= NUMBER;
    }
    // Few capitals inside the word: each begins a new one.
    let pairs = word.chars().zip(word.chars().skip(1));
    let bumps = pairs.filter(|(a, b)| a.is_lowercase() && b.is_uppercase());
    let is_word = word.chars().all(char::is_alphabetic) && letters <= WORD;
    is_word && digits <= 4 && bumps.count() <= letters / 4
}
