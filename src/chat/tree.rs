//! Trees of JSON in which there may be halves of characters.

use std::borrow::Cow;

use serde_json::Value;

/// The tree of `text`, in which a half of a character is U+FFFD: strings of a tree hold whole ones,
/// and upstreams that count in UTF-16 cut a text anywhere.
pub(super) fn tree(text: &str) -> Option<Value> {
    let whole = || serde_json::from_str(&without_halves(text)).ok();
    serde_json::from_str(text).ok().or_else(whole)
}

/// `text` with `\ufffd` for each surrogate that has no other beside it.
fn without_halves(text: &str) -> Cow<'_, str> {
    let mut whole = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let escape = &rest[at..];
        let length = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                whole.push_str(&rest[..at]);
                whole.push_str("\\ufffd");
                rest = &escape[6..];
                continue;
            }
            // Of `\\u` the second backslash begins nothing.
            _ => 2.min(escape.len()),
        };
        let Some((done, behind)) = rest.split_at_checked(at + length) else {
            break;
        };
        whole.push_str(done);
        rest = behind;
    }
    match whole.is_empty() {
        true => rest.into(),
        false => (whole + rest).into(),
    }
}

/// The unit of UTF-16 that `escape` begins with.
fn unit(escape: &str) -> Option<u16> {
    let digits = escape.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn halves_are_replaced_and_whole_characters_stay() {
        for (text, expected) in [
            (r#""\ud83d""#, json!("\u{fffd}")),
            (
                r#""\ude00\ud83d\ude00\\ud83d""#,
                json!("\u{fffd}\u{1f600}\\ud83d"),
            ),
            (
                r#"["\ud83d\ud83d\n","é"]"#,
                json!(["\u{fffd}\u{fffd}\n", "é"]),
            ),
        ] {
            assert_eq!(tree(text), Some(expected), "{text}");
        }
        assert_eq!(tree("\"\\é"), None);
    }
}
