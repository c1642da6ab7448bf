//! Trees of JSON that serde_json does not build: with halves of characters, numbers beyond an `f64`,
//! or too many levels.

use std::borrow::Cow;

use serde_json::Value;

use super::Object;

/// The levels of a tool call above its arguments: the call and its `function`.
const LEVELS: usize = 2;

/// The tree of the JSON value `text`; the smallest part that no tree holds becomes a string of its JSON,
/// which for `arguments` is the form that OpenAI gives them anyway.
///
/// Nothing is left out: a call that is missing from a message shifts those behind it.
pub(crate) fn tree_or_text(text: &str) -> Value {
    below(text, LEVELS)
}

fn below(text: &str, levels: usize) -> Value {
    if let Some(tree) = tree(text) {
        return tree;
    }
    match Object::parse(text) {
        Ok(object) if levels > 0 => {
            let members = object.iter();
            members
                .map(|(name, value)| (name.to_owned(), below(value, levels - 1)))
                .collect()
        }
        _ => text.into(),
    }
}

/// The tree of `text`, in which a half of a character is U+FFFD: strings of a tree hold whole ones,
/// and upstreams that count in UTF-16 cut a text anywhere.
fn tree(text: &str) -> Option<Value> {
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
    fn what_no_tree_holds_stays_as_text_where_it_stands() {
        let call = r#"{"id":"a","note":[1e999],"function":{"name":"f","arguments":{"x":1e999}}}"#;
        assert_eq!(
            tree_or_text(call),
            json!({"id": "a", "note": "[1e999]", "function": {"name": "f", "arguments": "{\"x\":1e999}"}})
        );
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert_eq!(tree_or_text(&deep), json!(deep));
    }

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
