//! How targets of the fuzzer read their bytes.

use bytes::Bytes;
use url::Url;

/// The input as text, and nothing where it is none.
pub(crate) fn text(data: &[u8]) -> &str {
    std::str::from_utf8(data).unwrap_or_default()
}

/// The first line and the rest.
pub(crate) fn line(text: &str) -> (&str, &str) {
    text.split_once('\n').unwrap_or((text, ""))
}

/// A number that the fuzzer can choose, and the rest.
pub(crate) fn number(data: &[u8]) -> (usize, &[u8]) {
    match data {
        [first, rest @ ..] => (usize::from(*first), rest),
        [] => (0, data),
    }
}

/// `bytes` in two pieces, cut where the fuzzer chooses.
pub(crate) fn halves(bytes: &[u8], at: usize) -> [Bytes; 2] {
    let bytes = Bytes::copy_from_slice(bytes);
    let at = at.min(bytes.len());
    [bytes.slice(..at), bytes.slice(at..)]
}

/// A URL that is one.
pub(crate) fn url(text: &str) -> Url {
    text.parse().expect("a URL of ours")
}
