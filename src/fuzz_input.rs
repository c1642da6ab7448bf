//! Input of fuzz targets.

use bytes::Bytes;
use url::Url;

/// Returns the input as text; empty if it is not UTF-8.
pub(crate) fn text(data: &[u8]) -> &str {
    std::str::from_utf8(data).unwrap_or_default()
}

/// Splits off the first line.
pub(crate) fn line(text: &str) -> (&str, &str) {
    text.split_once('\n').unwrap_or((text, ""))
}

/// Splits off a number of the fuzzer's choice.
pub(crate) fn number(data: &[u8]) -> (usize, &[u8]) {
    match data {
        [first, rest @ ..] => (usize::from(*first), rest),
        [] => (0, data),
    }
}

/// Cuts `bytes` in two where the fuzzer chooses.
pub(crate) fn halves(bytes: &[u8], at: usize) -> [Bytes; 2] {
    let bytes = Bytes::copy_from_slice(bytes);
    let at = at.min(bytes.len());
    [bytes.slice(..at), bytes.slice(at..)]
}

/// Returns `text` as a URL, or a fixed one if it is not one.
pub(crate) fn url(text: &str) -> Url {
    text.parse().expect("a URL of ours")
}
