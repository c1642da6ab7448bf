//! JSON as people write it in configuration files, made into JSON.

use zeroize::Zeroizing;

/// The text with blanks in the place of what JSON does not have: a byte order mark, comments, and a
/// comma behind the last item. All else stays where it is, lines included.
///
/// What is not JSON for another reason is left for the parser to refuse.
pub(super) fn relaxed(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(text.to_vec());
    if text.starts_with(b"\xef\xbb\xbf") {
        text[..3].fill(b' ');
    }
    let mut at = 0;
    // The comma that nothing but blanks and comments has followed.
    let mut comma = None;
    while at < text.len() {
        match text[at] {
            b'"' => {
                comma = None;
                at = behind_string(&text, at);
            }
            b'/' => match comment(&text[at..]) {
                Some(length) => {
                    for byte in &mut text[at..at + length] {
                        if !b"\r\n".contains(byte) {
                            *byte = b' ';
                        }
                    }
                    at += length;
                }
                None => return text,
            },
            b',' => {
                comma = Some(at);
                at += 1;
            }
            b']' | b'}' => {
                if let Some(comma) = comma.take() {
                    text[comma] = b' ';
                }
                at += 1;
            }
            byte => {
                if !byte.is_ascii_whitespace() {
                    comma = None;
                }
                at += 1;
            }
        }
    }
    text
}

/// The place behind the string that begins at `start`.
fn behind_string(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < text.len() {
        match text[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// The length of the comment that `text` begins with, without the end of its line; `None` if it
/// begins with none that ends.
fn comment(text: &[u8]) -> Option<usize> {
    match text.get(1)? {
        b'/' => Some(memchr::memchr2(b'\n', b'\r', text).unwrap_or(text.len())),
        b'*' => {
            let end = memchr::memmem::find(&text[2..], b"*/")?;
            Some(end + 4)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        String::from_utf8(relaxed(text.as_bytes()).to_vec()).unwrap()
    }

    #[test]
    fn comments_and_last_commas_become_blanks() {
        for (text, json) in [
            ("{\"a\": 1, // one\n}", "{\"a\": 1        \n}"),
            ("[1, /* a, b ] */ 2,\r\n]", "[1,              2 \r\n]"),
            ("[1,/**/]", "[1     ]"),
            ("{\"a\": [], }\n//", "{\"a\": []  }\n  "),
            ("\u{feff}{}", "   {}"),
        ] {
            assert_eq!(read(text), json);
            assert!(serde_json::from_str::<serde_json::Value>(&read(text)).is_ok());
        }
    }

    #[test]
    fn strings_stay_as_they_are_and_so_does_what_is_no_json_anyway() {
        for text in [
            r#"{"a": "b // c", "d": "\",]/*", "e": "\\"}"#,
            r#"["a,]"]"#,
            "[1,,2]",
            "{/",
            "{/* ",
            "\"a",
            "\"\\",
            "[,1]",
        ] {
            assert_eq!(read(text), text);
        }
        // The one that is left is refused.
        assert_eq!(read("[1,,]"), "[1, ]");
    }
}
