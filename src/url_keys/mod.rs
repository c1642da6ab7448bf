//! Keys in a server's URL: found, covered for those who look, and put back for those who send.
//!
//! Some servers take a key as a parameter (`?api_key=…`), others as a part of the path. Which
//! parameter is a key nobody can tell, so every parameter's value is one. Of the path it is what
//! looks random: it has ten characters or more in pieces that are neither words nor numbers.
//! The origin, words of the path and names of parameters are for everybody to see.

#[cfg(any(feature = "admin", feature = "postgres", feature = "sqlite"))]
mod cover;
#[cfg(feature = "admin")]
mod shown;

use percent_encoding::percent_decode_str;
use url::Url;

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use self::cover::covered;
#[cfg(feature = "admin")]
pub(crate) use self::shown::{is_covered, shown, uncovered};

/// Characters of a path's segment that are in no word and no number, from which on it is a key: a
/// UUID has 20 and more of them, a random token almost all.
const RANDOM: usize = 10;
/// The longest word, and the longest number.
const WORD: usize = 24;
const NUMBER: usize = 8;

/// The keys of the path, as they are written and as they are meant.
pub(crate) fn in_path(url: &Url) -> impl Iterator<Item = String> {
    let keys = url.path().split('/').filter(|segment| is_key(segment));
    keys.flat_map(|segment| [Some(segment.to_owned()), decoded(segment)])
        .flatten()
}

fn is_key(segment: &str) -> bool {
    let decoded = decoded(segment);
    let text = decoded.as_deref().unwrap_or(segment);
    let pieces = text.split(|c: char| !c.is_alphanumeric());
    let random = pieces.filter(|piece| !is_plain(piece));
    random.map(|piece| piece.chars().count()).sum::<usize>() >= RANDOM
}

/// A segment that is text once it is decoded.
fn decoded(segment: &str) -> Option<String> {
    let decoded = percent_decode_str(segment).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// A word with a short number behind it, such as `mcp`, `v1`, `server2024` and `getUser`, or a
/// number.
fn is_plain(piece: &str) -> bool {
    let word = piece.trim_end_matches(|c: char| c.is_ascii_digit());
    let (letters, digits) = (word.chars().count(), piece.len() - word.len());
    if letters == 0 {
        return digits <= NUMBER;
    }
    // Few capitals amid the word: each begins a new one.
    let pairs = word.chars().zip(word.chars().skip(1));
    let bumps = pairs.filter(|(a, b)| a.is_lowercase() && b.is_uppercase());
    let is_word = word.chars().all(char::is_alphabetic) && letters <= WORD;
    is_word && digits <= 4 && bumps.count() <= letters / 4
}
