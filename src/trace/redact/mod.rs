//! Masks what looks like a secret in a text that is to be kept.
//!
//! Two things give a secret away: the name in front of it (`"password": …`, `api_key=…`,
//! `Authorization: …`), and its own form (`Bearer …`, `ghp_…`, a JWT, a private key). The text is
//! read as it stands and never as a tree: JSON that was cut, JSON in a string of JSON, and JSON
//! amid prose are masked like whole documents.
//!
//! However a text is crafted, each of its bytes is visited only a few times: a caller must not be
//! able to make redaction expensive.
//!
//! It errs on the side of masking, and it is a net with holes: a secret that looks like any other
//! word, under a name that says nothing, stays.

mod finds;
mod form;
mod mark;
mod name;

use memchr::{memchr, memmem};

use self::{
    finds::Finds,
    form::plain,
    mark::{REDACTED, visited},
    name::Name,
};

/// The most levels of JSON within JSON strings that are searched.
const NESTED: usize = 3;

/// `text` without what looks like a secret.
pub(crate) fn redacted(text: &str) -> String {
    masked(text, Finds::All)
}

/// `text` without what has the form of a secret, whatever its name; `None` if there is nothing of it.
pub(crate) fn without_secrets(text: &str) -> Option<String> {
    Some(masked(text, Finds::Forms)).filter(|masked| masked != text)
}

fn masked(text: &str, finds: Finds) -> String {
    let mut out = String::with_capacity(text.len());
    match memmem::find(text.as_bytes(), KEY_BEGINS) {
        Some(_) => scan(&without_private_keys(text), finds, 0, &mut out),
        None => scan(text, finds, 0, &mut out),
    }
    out
}

const KEY_BEGINS: &[u8] = b"-----BEGIN ";

/// `text` up to the quote, escaped or not, that ends a JSON string; PEM has none.
fn in_string(text: &str) -> &str {
    let end = memchr(b'"', text.as_bytes()).unwrap_or(text.len());
    text[..end].trim_end_matches('\\')
}

/// The text without private keys in PEM; one without an end goes to the end of its JSON string.
fn without_private_keys(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = memmem::find(rest.as_bytes(), KEY_BEGINS) {
        let behind = &rest[begin + KEY_BEGINS.len()..];
        let inside = in_string(behind);
        let label = inside
            .split_once("-----")
            .map_or(inside, |(label, _)| label);
        if !label.contains("PRIVATE KEY") && !"PRIVATE KEY".starts_with(label) {
            let body = begin + KEY_BEGINS.len() + label.len();
            out.push_str(&rest[..body]);
            rest = &rest[body..];
            continue;
        }
        out.push_str(&rest[..begin]);
        out.push_str(REDACTED);
        let end = format!("-----END {label}-----");
        let key = inside.find(&*end).map_or(inside.len(), |at| at + end.len());
        rest = &behind[key..];
    }
    out.push_str(rest);
    out
}

/// Copies `text`, string by string.
fn scan(text: &str, finds: Finds, depth: usize, out: &mut String) {
    let mut rest = text;
    // A member `name` has named a secret: the member `value` beside it is one.
    let mut named = false;
    // How much of the text was left when a string turned out not to end within its line: no quote
    // before that is the beginning of one that does.
    let mut unended = usize::MAX;
    while let Some(quote) = memchr(b'"', rest.as_bytes()) {
        let (before, from) = rest.split_at(quote);
        let is_assigned = plain(before, finds, out);
        let literal = match from.len() > unended {
            true => None,
            false => literal(from).inspect_err(|left| unended = *left).ok(),
        };
        let Some(literal) = literal else {
            match is_assigned {
                // Cut: the rest is what was assigned.
                true => out.push_str(REDACTED),
                false => out.push('"'),
            }
            rest = if is_assigned { "" } else { &from[1..] };
            continue;
        };
        let behind = &from[literal.len()..];
        let Some(gap) = gap(behind).filter(|_| finds == Finds::All) else {
            match is_assigned {
                true => quoted(REDACTED, out),
                false => string(literal, finds, depth, out),
            }
            rest = behind;
            continue;
        };
        out.push_str(literal);
        out.push_str(&behind[..gap]);
        rest = &behind[gap..];
        let name = Name::of(&literal[1..literal.len() - 1]);
        if (name.is_secret() || named && name.is("value"))
            && let Some(hidden) = hidden(rest, name.counts())
        {
            quoted(REDACTED, out);
            rest = &rest[hidden..];
            named = false;
        } else if name.is("name") || name.is("key") || name.is("header") {
            named = rest.starts_with('"')
                && self::literal(rest)
                    .is_ok_and(|text| Name::of(text.trim_matches('"')).is_secret());
        }
    }
    plain(rest, finds, out);
}

/// The length of the secret value at the beginning of `text`; `None` for a value that only says
/// that there is a secret, and for a count of tokens.
fn hidden(text: &str, counts: bool) -> Option<usize> {
    if counts && !text.starts_with(['"', '[']) {
        return None;
    }
    let value = value(text);
    let is_hidden = !matches!(value, "" | "null" | "true" | "false" | "\"\"");
    is_hidden.then_some(value.len())
}

/// The string that `text` begins with, with its quotes. None of JSON has a line break in it; where
/// it does not end, how much of the text is left there.
fn literal(text: &str) -> Result<&str, usize> {
    let bytes = text.as_bytes();
    let mut at = 1;
    loop {
        match bytes.get(at) {
            Some(b'\\') => at += 2,
            Some(b'"') => {
                visited(at);
                return Ok(&text[..=at]);
            }
            Some(b'\n') | None => {
                visited(at);
                return Err(bytes.len().saturating_sub(at));
            }
            Some(_) => at += 1,
        }
    }
}

/// The distance from the name of a member to its value; `None` if no value follows.
fn gap(behind: &str) -> Option<usize> {
    let colon = behind.len() - behind.trim_ascii_start().len();
    let after = behind[colon..].strip_prefix(':')?;
    Some(behind.len() - after.trim_ascii_start().len())
}

/// The value that `text` begins with; all of it where its end was cut.
fn value(text: &str) -> &str {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => match literal(&text[at..]) {
                Ok(literal) => at += literal.len(),
                Err(_) => return text,
            },
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' | b',' | b'\n' | b' ' if depth == 0 => {
                visited(at);
                return &text[..at];
            }
            b'}' | b']' => {
                depth -= 1;
                at += 1;
            }
            _ => at += 1,
        }
        if depth == 0 && matches!(byte, b'"' | b'}' | b']') {
            visited(at);
            return &text[..at];
        }
    }
    visited(at);
    text
}

fn quoted(text: &str, out: &mut String) {
    out.push('"');
    out.push_str(text);
    out.push('"');
}

/// Copies a string of JSON, which may have JSON in it, or the signs around a secret spelt as
/// escapes, as PHP writes `/` and Gson `=`.
fn string(literal: &str, finds: Finds, depth: usize, out: &mut String) {
    let content = &literal[1..literal.len() - 1];
    if depth < NESTED
        && ["\\\"", "\\/", "\\u", "\\t"]
            .iter()
            .any(|escape| content.contains(escape))
        && let Ok(inner) = serde_json::from_str::<String>(literal)
    {
        let mut masked = String::with_capacity(inner.len());
        scan(&inner, finds, depth + 1, &mut masked);
        if masked != inner {
            // Writing a string does not fail.
            out.push_str(&serde_json::to_string(&masked).unwrap_or_default());
            return;
        }
    }
    out.push('"');
    plain(content, finds, out);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::{mark::VISITED, *};

    #[test]
    fn a_private_key_without_an_end_leaves_the_json_around_it() {
        for (text, expected) in [
            (
                r#"{"cmd":"x-----BEGIN RSA PRIVATE KEY-----abc","n":1}"#,
                r#"{"cmd":"x[redacted]","n":1}"#,
            ),
            (
                r#"{"a":"-----BEGIN PRIVATE KEY--","b":"-----END PRIVATE KEY-----"}"#,
                r#"{"a":"[redacted]","b":"-----END PRIVATE KEY-----"}"#,
            ),
            ("a -----BEGIN PRIVATE KEY-----\nabc", "a [redacted]"),
        ] {
            assert_eq!(redacted(text), expected, "{text}");
        }
    }

    #[test]
    fn no_text_is_looked_at_more_than_a_few_times() {
        const SIZE: usize = 200_000;
        for piece in [
            "token",
            "TOKEN-",
            "sk-",
            "SK-",
            "xeyJ",
            "eyJ",
            "bearer ",
            "token ",
            "token'",
            "token=",
            "token='",
            "password\t: ",
            "cookie:",
            "a://",
            "://a:b@",
            "://:",
            "\"",
            "\\\"",
            "\"a\":",
            "{\"a\":",
            "{\"tokens\":",
            "{\"token\":null,\"a\":",
            "\"name\":",
            "\"name\":\"",
            "\"name\":\"\\",
            "{\"key\":{",
            "[",
            "\"token\":\\\"",
            "\\u0041\"",
            "-----BEGIN ",
            "-----BEGIN PRIVATE KEY",
            "-----BEGIN PRIVATE KEY-----",
            "-----END ",
        ] {
            for (before, behind) in [
                ("", ""),
                ("\"", ""),
                ("\"", "\""),
                ("{\"a\":\"", "\"}"),
                ("x", "\n"),
            ] {
                let text = format!("{before}{}{behind}", piece.repeat(SIZE / piece.len()));
                for finds in [Finds::All, Finds::Forms] {
                    VISITED.with(|visited| visited.set(0));
                    masked(&text, finds);
                    let times = VISITED.with(Cell::get) / text.len();
                    assert!(times <= 16, "{piece:?} in {before:?}: {times} times");
                }
            }
        }
    }

    #[test]
    fn members_whose_names_sound_like_secrets_lose_their_values() {
        for (text, expected) in [
            (r#"{"password":"hunter2"}"#, r#"{"password":"[redacted]"}"#),
            (
                r#"{"user":"ann","Pass-Word" : "a\"b","n":1}"#,
                r#"{"user":"ann","Pass-Word" : "[redacted]","n":1}"#,
            ),
            (
                r#"{"a":{"b":[{"API_KEY":12345}]}}"#,
                r#"{"a":{"b":[{"API_KEY":"[redacted]"}]}}"#,
            ),
            (
                r#"{"x-api-key":["a","b"],"c":"d"}"#,
                r#"{"x-api-key":"[redacted]","c":"d"}"#,
            ),
            (
                r#"{"credentials":{"user":"u","pw":"}"},"c":"d"}"#,
                r#"{"credentials":"[redacted]","c":"d"}"#,
            ),
            (
                r#"{"p\u0061ssword":"x","z":null}"#,
                r#"{"p\u0061ssword":"[redacted]","z":null}"#,
            ),
            (
                r#"{"headers":[{"name":"Authorization","value":"x"},{"name":"Accept","value":"y"}]}"#,
                r#"{"headers":[{"name":"Authorization","value":"[redacted]"},{"name":"Accept","value":"y"}]}"#,
            ),
            // JSON in a string of JSON.
            (
                r#"{"body":"{\"secret\":\"s\",\"n\":1}"}"#,
                r#"{"body":"{\"secret\":\"[redacted]\",\"n\":1}"}"#,
            ),
            // Signs that are spelt as escapes.
            (
                r#"{"u":"https:\/\/ann:hunter2@h\/"}"#,
                r#"{"u":"https://ann:[redacted]@h/"}"#,
            ),
            (r#"{"q":"token\u003dabc"}"#, r#"{"q":"token=[redacted]"}"#),
            (
                r#"{"q":"password:\thunter2"}"#,
                r#"{"q":"password:\t[redacted]"}"#,
            ),
            // Cut off.
            (r#"{"clientSecret":"abc"#, r#"{"clientSecret":"[redacted]""#),
            (r#"{"auth":{"user":"u","#, r#"{"auth":"[redacted]""#),
            // Amid prose.
            (
                r#"Saved {"refresh_token": "r"} for you"#,
                r#"Saved {"refresh_token": "[redacted]"} for you"#,
            ),
        ] {
            assert_eq!(redacted(text), expected, "{text}");
        }
    }

    #[test]
    fn a_form_is_found_under_any_name_and_a_name_alone_is_none() {
        for (text, expected) in [
            (
                r#"{"q":"ghp_0123456789abcdef0123","page_token":"CAUQAA"}"#,
                r#"{"q":"[redacted]","page_token":"CAUQAA"}"#,
            ),
            (r#"{"ghp_0123456789abcdef0123":1}"#, r#"{"[redacted]":1}"#),
            (
                r#"{"a":"\u0067hp_0123456789abcdef0123"}"#,
                r#"{"a":"[redacted]"}"#,
            ),
            (
                r#"{"a":"{\"b\":\"sk-0123456789abcdef\"}"}"#,
                r#"{"a":"{\"b\":\"[redacted]\"}"}"#,
            ),
            (
                "Authorization: Bearer 0123456789abcdef\nx",
                "Authorization: Bearer [redacted]\nx",
            ),
            ("see https://u:hunter2@h/", "see https://u:[redacted]@h/"),
            (
                r#"{"k":"-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\n"}"#,
                r#"{"k":"[redacted]\n"}"#,
            ),
        ] {
            assert_eq!(without_secrets(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            r#"{"password":"hunter2","token":"abc","n": 12345678901234567890}"#,
            "password=hunter2, a basic understanding, a bearer of instruments",
            "npm_config_registry, hf_hub_download_file, sk-learn-contrib-package",
            r#"an unclosed " quote and "a whole one""#,
        ] {
            assert_eq!(without_secrets(text), None, "{text}");
        }
    }

    #[test]
    fn what_only_sounds_like_a_secret_stays() {
        for text in [
            r#"{"max_tokens":100,"prompt_tokens_details":{"cached_tokens":3}}"#,
            r#"{"has_password":true,"token":null,"secret":""}"#,
            r#"{"author":"ann","monkey":"b","keys":["a"],"passenger":"p"}"#,
            "The password was changed. She asked for a token of thanks.",
            "sk-short, ASIAn food, asiatic-elephants-are-smaller, a bearer of news",
            "https://example.com/a:b@c and http://user@example.com/",
            r#"an unclosed " quote and "a whole one""#,
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
            "",
            "\"",
            "{\"a\":\"\\",
        ] {
            assert_eq!(redacted(text), text);
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::super::*;

        proptest! {
            #[test]
            fn json_stays_json_and_the_secret_is_gone(
                name in "[a-z]{0,3}[ _-]?(password|api_?key|Secret|TOKEN|Private-Key)",
                before in "[a-z\"\\\\: =,{}\\[\\]é]{0,12}",
                behind in "[a-z\"\\\\: =,{}\\[\\]é]{0,12}",
            ) {
                let json = serde_json::json!({"a": before, "b": [{name: format!("{before}hunter2{behind}")}], "c": behind});
                let text = redacted(&json.to_string());
                prop_assert!(!text.contains("hunter2"), "{text}");
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
            }

            #[test]
            fn no_text_is_too_odd(text in "(\"|\\\\|:|=|'|password|token|eyJ|://|@|\\{|\\}|\\[|é|-----BEGIN |PRIVATE KEY-----| |\n|x){0,24}") {
                redacted(&text);
            }
        }
    }
}
