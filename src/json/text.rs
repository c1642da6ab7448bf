//! JSON texts: strings in and out, and how deep they nest.

use std::borrow::Cow;

use memchr::memchr2;
use serde::Deserialize;

use super::scan::plain;

/// The text of the JSON string that `text` is.
pub(crate) fn string(text: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    // Names, ids and roles have nothing to decode.
    let between = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    if let Some(between) = between
        && plain(between.as_bytes()) == between.len()
    {
        return Some(between.into());
    }
    serde_json::from_str(text).ok().map(|Text(text)| text)
}

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    // Straight into the string: results of tools are large. Writing a string does not fail.
    serde_json::to_string(text).unwrap_or_default()
}

/// The number of levels that `json` nests.
///
/// `RawValue` is read without recursion, so it accepts any depth: limits of it are ours.
pub(crate) fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut rest = json;
    while let [byte, behind @ ..] = rest {
        rest = behind;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => rest = behind_string(rest),
            _ => {}
        }
    }
    deepest
}

/// The rest of `json` behind the string that it begins inside of.
fn behind_string(mut json: &[u8]) -> &[u8] {
    // Nearly all of a conversation is inside of strings: this is what makes it fast.
    while let Some(place) = memchr2(b'"', b'\\', json) {
        match json[place] {
            b'"' => return &json[place + 1..],
            _ => json = json.get(place + 2..).unwrap_or_default(),
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_of_strings() {
        assert_eq!(depth(b"1"), 0);
        assert_eq!(depth(br#"{"a":[{}],"b":"[[[\\\"[[["}"#), 3);
        assert!(depth(br#"{"a":["[[[[\"[["]}"#) <= 2);
        assert!(depth(br#"{"a":[[]]}"#) > 2);
        let deep = "[".repeat(100_000);
        assert!(depth(deep.as_bytes()) > 64);
    }
}
