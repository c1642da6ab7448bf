//! Texts by others, for people to read.

use std::fmt::{self, Write};

use askama::filters::HtmlSafe;
use serde_json::Value;

use crate::unseen::is_unseen;

/// A text that is not ours, as HTML: escaped, isolated in its direction, and with a badge in place
/// of each invisible character.
#[derive(Clone, Debug)]
pub(super) struct Shown(String);

impl Shown {
    pub(super) fn of(text: &str) -> Self {
        let mut html = String::with_capacity(text.len() + 16);
        html.push_str("<bdi>");
        for letter in text.chars() {
            push(&mut html, letter);
        }
        html.push_str("</bdi>");
        Self(html)
    }

    /// Shows at most `longest` characters, and says if there are more.
    pub(super) fn short(text: &str, longest: usize) -> Self {
        match text.char_indices().nth(longest) {
            Some((end, _)) => Self::of(&format!("{}…", &text[..end])),
            None => Self::of(text),
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Shown {}

/// Turns a message of ours into a sentence: errors begin in lower case and end without a full stop.
pub(super) fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    let end = match message.ends_with(['.', '!', '?']) {
        true => "",
        false => ".",
    };
    format!("{}{}{end}", first.unwrap_or_default(), letters.as_str())
}

fn push(html: &mut String, letter: char) {
    match letter {
        '&' => html.push_str("&amp;"),
        '<' => html.push_str("&lt;"),
        '>' => html.push_str("&gt;"),
        '"' => html.push_str("&quot;"),
        '\'' => html.push_str("&#39;"),
        letter if is_unseen(letter) => {
            let code = u32::from(letter);
            // Writing to a String cannot fail.
            let _ = write!(html, "<span class=\"unseen\">U+{code:04X}</span>");
        }
        letter => html.push(letter),
    }
}

/// A JSON value in words.
pub(super) fn words(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_text() {
        let shown = Shown::of("<img src=x onerror='a(\"&\")'>").to_string();
        assert_eq!(
            shown,
            "<bdi>&lt;img src=x onerror=&#39;a(&quot;&amp;&quot;)&#39;&gt;</bdi>"
        );
    }

    #[test]
    fn what_cannot_be_seen_is_made_visible() {
        for (text, code) in [
            ("a\u{202e}b", "U+202E"),
            ("a\u{200b}b", "U+200B"),
            ("a\u{e0041}b", "U+E0041"),
            ("a\0b", "U+0000"),
            ("a\u{1b}b", "U+001B"),
            ("a\u{85}b", "U+0085"),
            ("a\u{feff}b", "U+FEFF"),
            ("a\u{3164}b", "U+3164"),
        ] {
            let shown = Shown::of(text).to_string();
            let expected = format!("<bdi>a<span class=\"unseen\">{code}</span>b</bdi>");
            assert_eq!(shown, expected);
        }
        let plain = "Zürich, 東京\n\tשלום 👍";
        assert_eq!(Shown::of(plain).to_string(), format!("<bdi>{plain}</bdi>"));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(Shown::short("äöü", 2).to_string(), "<bdi>äö…</bdi>");
        assert_eq!(Shown::short("äö", 2).to_string(), "<bdi>äö</bdi>");
    }
}
