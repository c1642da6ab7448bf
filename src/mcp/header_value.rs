//! Text as a header's value (2026-07-28, basic/transports/streamable-http, "Value encoding").

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;

const OPEN: &str = "=?base64?";
const CLOSE: &str = "?=";

/// Writes `text` as it is if a header can carry it unchanged, and otherwise in base64 between
/// markers; also a text that already looks like that.
///
/// The value is marked as sensitive: a model's words do not belong in a log of headers.
pub(super) fn encoded(text: &str) -> HeaderValue {
    let marked;
    let value = if needs_base64(text) {
        marked = format!("{OPEN}{}{CLOSE}", BASE64_STANDARD.encode(text));
        &marked
    } else {
        text
    };
    // Visible ASCII and inner blanks are always a value, so the empty one never stands in.
    let value = HeaderValue::from_bytes(value.as_bytes());
    let mut value = value.unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

fn needs_base64(text: &str) -> bool {
    text.bytes().any(|byte| !(b' '..=b'~').contains(&byte))
        || text.starts_with(' ')
        || text.ends_with(' ')
        || (text.starts_with(OPEN) && text.ends_with(CLOSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_plain_where_they_can_be() {
        for (text, value) in [
            ("", ""),
            ("us-west1", "us-west1"),
            ("two words", "two words"),
            ("~!\"%", "~!\"%"),
            ("=?base64?x", "=?base64?x"),
            ("=?BASE64?x?=", "=?BASE64?x?="),
            (" x", "=?base64?IHg=?="),
            ("x ", "=?base64?eCA=?="),
            ("\tx", "=?base64?CXg=?="),
            ("a\tb", "=?base64?YQli?="),
            ("a\r\nb: c", "=?base64?YQ0KYjogYw==?="),
            ("\u{7f}", "=?base64?fw==?="),
            ("é", "=?base64?w6k=?="),
            ("日本", "=?base64?5pel5pys?="),
            ("=?base64?eA==?=", "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
            ("=?base64?=", "=?base64?PT9iYXNlNjQ/PQ==?="),
        ] {
            let encoded = encoded(text);
            assert_eq!(encoded.as_bytes(), value.as_bytes(), "{text:?}");
            assert!(encoded.is_sensitive());
        }
    }
}
