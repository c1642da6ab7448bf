//! Invisible characters: one list, for pages and for models.
//!
//! A model reads invisible characters as plainly as any other text, so a description can hide a
//! second one that its operator never sees. Pages show such characters as badges; models get texts
//! without them, except for those that scripts and emoji are written with. Fingerprints and checks
//! use what the server wrote. A name with invisible characters is not cleaned, since the model must
//! repeat it exactly: the tool is left out. The exceptions are:
//!
//! | stays | where |
//! |---|---|
//! | line breaks, tabs, form feeds | anywhere: they are layout |
//! | one joiner or non-joiner | behind a letter of a script that has them (Arabic, Persian, the scripts of India), or an emoji |
//! | one variation selector | behind a character that has variants: an emoji, a digit, an ideograph, a Mongolian letter |
//! | tags | in the flags of England, Scotland and Wales |
//!
//! All direction marks are removed: they matter for drawing a text, and a model reads it in its
//! logical order.

use std::borrow::Cow;

/// Returns true if a reader would not see this character, or would see others elsewhere.
pub(crate) fn is_unseen(letter: char) -> bool {
    match letter {
        '\n' | '\t' => false,
        // Soft hyphen, fillers, and characters that only combine.
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' => {
            true
        }
        '\u{180b}'..='\u{180f}' | '\u{3164}' | '\u{ffa0}' | '\u{2800}' => true,
        // Zero width, directions, separators, invisible operators.
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' => true,
        // Variation selectors except those of emoji, and tags.
        '\u{fe00}'..='\u{fe0d}' | '\u{e0000}'..='\u{e0fff}' => true,
        letter => letter.is_control(),
    }
}

/// Returns `text` as a model gets it; borrowed if there is nothing to remove.
pub(crate) fn cleaned(text: &str) -> Cow<'_, str> {
    let Some(first) = first(text) else {
        return Cow::Borrowed(text);
    };
    let mut kept = String::with_capacity(text.len());
    kept.push_str(&text[..first]);
    let mut rest = &text[first..];
    while let Some(letter) = rest.chars().next() {
        let behind = &rest[letter.len_utf8()..];
        rest = match letter {
            '\u{e0000}'..='\u{e0fff}' if !is_ideographic_variant(letter) => {
                let flag = kept.ends_with(FLAG).then(|| region(rest)).flatten();
                kept.push_str(flag.unwrap_or_default());
                flag.map_or(behind, |flag| &rest[flag.len()..])
            }
            // They end a line, or are as wide as a letter.
            '\u{2028}' | '\u{2029}' => {
                kept.push('\n');
                behind
            }
            '\u{2800}' | '\u{3164}' => {
                kept.push(' ');
                behind
            }
            letter => {
                if stays(letter, kept.chars().next_back()) {
                    kept.push(letter);
                }
                behind
            }
        };
    }
    match kept == text {
        true => Cow::Borrowed(text),
        false => Cow::Owned(kept),
    }
}

/// Returns a JSON text without any invisible character, plain or escaped: what people read, who see
/// none of them. `None` if there is none, as in nearly all texts.
pub(crate) fn as_seen(json: &str) -> Option<String> {
    let mut seen: Option<String> = None;
    let mut at = 0;
    while let Some(step) = json[at..].bytes().position(|byte| !is_plain(byte)) {
        let from = at + step;
        if let Some(seen) = &mut seen {
            seen.push_str(&json[at..from]);
        }
        let (length, letter) = next(&json[from..]);
        at = from + length;
        if letter.is_some_and(|letter| is_unseen(letter) && letter != '\r') {
            seen.get_or_insert_with(|| json[..from].to_owned());
        } else if let Some(seen) = &mut seen {
            seen.push_str(&json[from..at]);
        }
    }
    if let Some(seen) = &mut seen {
        seen.push_str(&json[at..]);
    }
    seen
}

fn is_plain(byte: u8) -> bool {
    byte != b'\\' && byte.is_ascii() && !byte.is_ascii_control()
}

/// Returns the first character of `json`, decoded, and the length of its spelling.
fn next(json: &str) -> (usize, Option<char>) {
    let Some(behind) = json.strip_prefix('\\') else {
        let letter = json.chars().next();
        return (letter.map_or(1, char::len_utf8), letter);
    };
    let unit = |escape: &str| {
        let digits = escape.strip_prefix('u')?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let Some(first) = unit(behind) else {
        // Such as a line break, which is kept, or a backslash.
        let escaped = behind.chars().next().map_or(0, char::len_utf8);
        return (1 + escaped, None);
    };
    let second = behind[5..].strip_prefix('\\').and_then(unit);
    let pair = [first, second.unwrap_or_default()];
    match char::decode_utf16(pair).next() {
        Some(Ok(letter)) => (6 * letter.len_utf16(), Some(letter)),
        Some(Err(_)) | None => (6, None),
    }
}

/// Finds the first character that may have to be removed. Nearly all texts have none.
fn first(text: &str) -> Option<usize> {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\t' | b'\r' | 0x0c);
    let plain = text.bytes().position(|byte| !is_plain(&byte))?;
    let mut letters = text[plain..].char_indices();
    let (place, _) = letters.find(|(_, letter)| match letter {
        ' '..='~' | '\n' | '\t' | '\r' | '\u{c}' => false,
        letter => is_unseen(*letter) || matches!(letter, '\u{fe0e}' | '\u{fe0f}'),
    })?;
    Some(plain + place)
}

/// Returns true if `letter` is kept after `before`, the last character kept.
fn stays(letter: char, before: Option<char>) -> bool {
    let is_behind = |has: fn(char) -> bool| before.is_some_and(has);
    match letter {
        '\r' | '\u{c}' => true,
        '\u{200c}' | '\u{200d}' => is_behind(is_joined),
        '\u{fe00}'..='\u{fe0f}' => is_behind(has_variants),
        '\u{e0100}'..='\u{e01ef}' => is_behind(is_ideograph),
        '\u{180b}'..='\u{180d}' | '\u{180f}' => is_behind(|c| matches!(c, '\u{1820}'..='\u{18aa}')),
        letter => !is_unseen(letter),
    }
}

/// Returns true for letters of scripts that use joiners, and for emoji that can be joined.
fn is_joined(letter: char) -> bool {
    match letter {
        // From Arabic to Mongolian, with all scripts of India and their neighbours.
        '\u{620}'..='\u{1cff}' => letter != '\u{1160}' && !is_unseen(letter),
        '\u{a800}'..='\u{abff}' | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' => true,
        '\u{10a00}'..='\u{11fff}' | '\u{1e900}'..='\u{1e95f}' => true,
        '\u{fe0f}' => true,
        letter => is_emoji(letter),
    }
}

fn has_variants(letter: char) -> bool {
    matches!(letter, '#' | '*' | '0'..='9' | '\u{a9}' | '\u{ae}')
        || is_emoji(letter)
        || is_ideograph(letter)
        || matches!(letter, '\u{1000}'..='\u{109f}' | '\u{a840}'..='\u{a87f}')
}

fn is_emoji(letter: char) -> bool {
    matches!(letter, '\u{203c}' | '\u{2049}' | '\u{2122}'..='\u{27ff}' | '\u{2900}'..='\u{2bff}'
        | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{1f000}'..='\u{1faff}')
}

fn is_ideograph(letter: char) -> bool {
    matches!(letter, '\u{3000}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{ff00}'..='\u{ff60}' | '\u{20000}'..='\u{3fffd}')
}

fn is_ideographic_variant(letter: char) -> bool {
    matches!(letter, '\u{e0100}'..='\u{e01ef}')
}

/// The flag emoji that tags of regions follow.
const FLAG: char = '\u{1f3f4}';

/// Returns the tags that turn a flag into that of a region, if there is one.
fn region(tags: &str) -> Option<&str> {
    const REGIONS: [&str; 3] = [
        "\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
        "\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
        "\u{e0067}\u{e0062}\u{e0077}\u{e006c}\u{e0073}\u{e007f}",
    ];
    REGIONS.into_iter().find(|region| tags.starts_with(region))
}

/// JSON as a model gets it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Json {
    /// There is nothing to remove.
    Clean,
    Cleaned(String),
    /// A member's name would change: a model could not repeat it.
    InAName,
}

/// Removes invisible characters from the strings of the valid JSON text `json`.
pub(crate) fn json(json: &str) -> Json {
    // An escape may spell an invisible character.
    if first(json).is_none() && !json.contains("\\u") {
        return Json::Clean;
    }
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    let mut is_clean = true;
    while let Some(quote) = rest.find('"') {
        let literal = literal(&rest[quote..]);
        let behind = &rest[quote + literal.len()..];
        out.push_str(&rest[..quote]);
        let text = serde_json::from_str::<String>(literal).unwrap_or_default();
        match cleaned(&text) {
            Cow::Borrowed(_) => out.push_str(literal),
            Cow::Owned(_) if behind.trim_ascii_start().starts_with(':') => return Json::InAName,
            Cow::Owned(text) => {
                is_clean = false;
                // Writing a string does not fail.
                out.push_str(&serde_json::to_string(&text).unwrap_or_default());
            }
        }
        rest = behind;
    }
    out.push_str(rest);
    match is_clean {
        true => Json::Clean,
        false => Json::Cleaned(out),
    }
}

/// Returns the string at the start of `json`, with its quotes.
fn literal(json: &str) -> &str {
    let bytes = json.as_bytes();
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return &json[..=at],
            _ => at += 1,
        }
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_without_what_nobody_sees() {
        for text in [
            "",
            "plain",
            r#"{"a":"x\ny\t\\u200b \u00e9 \ud83d"}"#,
            "é\n😀",
        ] {
            assert_eq!(as_seen(text), None, "{text}");
        }
        for (text, expected) in [
            ("a\u{200b}b", "ab"),
            (r"a\u200bb\u00ADc", "abc"),
            (r"a\u0001b", "ab"),
            ("a\u{1}b\u{7f}", "ab"),
            (r"a\udb40\udc41b", "ab"),
            ("a\u{e0041}b é", "ab é"),
            (r"\\\u200b\\u200b", r"\\\\u200b"),
            (r"\u200b\u12", r"\u12"),
            ("\u{200b}", ""),
        ] {
            assert_eq!(as_seen(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_a_model_would_read_and_nobody_see_goes() {
        let hidden: String = "ignore"
            .bytes()
            .map(|b| char::from_u32(0xe0000 + u32::from(b)).unwrap())
            .collect();
        let selectors: String = (0xe0100..0xe0140).filter_map(char::from_u32).collect();
        for (text, expected) in [
            (format!("a{hidden}b"), "ab"),
            (format!("\u{1f3f4}{hidden}\u{e007f}"), "\u{1f3f4}"),
            (format!("👍{selectors}!"), "👍!"),
            ("👍\u{fe0f}\u{fe0e}\u{fe0f}".into(), "👍\u{fe0f}"),
            ("see\u{202e}n \u{2066}x\u{2069}\u{200f}".into(), "seen x"),
            ("a\u{200b}b\u{2060}c\u{feff}d\u{ad}e".into(), "abcde"),
            ("pass\u{200d}word\u{200c}".into(), "password"),
            ("\u{1b}[31mred\0\u{7}\u{85}".into(), "[31mred"),
            ("a\u{2028}b".into(), "a\nb"),
            ("م\u{200c}\u{200d}\u{200c}ی".into(), "م\u{200c}ی"),
            ("a\u{3164}b\u{ffa0}".into(), "a b"),
        ] {
            assert_eq!(cleaned(&text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_people_write_with_them_stays_and_is_not_copied() {
        for text in [
            "",
            "plain\r\n\ttext\u{c}",
            "Zürich, 東京, שלום",
            "می\u{200c}خواهم",
            "क्\u{200d}ष, ক্\u{200c}ষ",
            "👩\u{200d}👩\u{200d}👧 🏳\u{fe0f}\u{200d}🌈 👩🏽\u{200d}💻 ❤\u{fe0f}",
            "1\u{fe0f}\u{20e3}",
            "葛\u{e0100}城",
            "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
            "ᠠ\u{180b}",
        ] {
            assert!(
                matches!(cleaned(text), Cow::Borrowed(same) if same == text),
                "{text:?}"
            );
        }
    }

    #[test]
    fn json_is_cleaned_in_its_strings_and_kept_byte_for_byte_elsewhere() {
        for (text, expected) in [
            (r#"{ "a" : "x\u00e9" }"#, Json::Clean),
            (
                r#"{"a":"\u200bx","b": 1.0}"#,
                Json::Cleaned(r#"{"a":"x","b": 1.0}"#.into()),
            ),
            (
                "{\"a\":[\"x\\\"\u{202e}y\"]}",
                Json::Cleaned(r#"{"a":["x\"y"]}"#.into()),
            ),
            (
                r#"{"a":"\udb40\udc41"}"#,
                Json::Cleaned(r#"{"a":""}"#.into()),
            ),
            (r#"{"pattern":"[\\u200b]"}"#, Json::Clean),
            (r#"{"a\u200b" : 1}"#, Json::InAName),
        ] {
            assert_eq!(json(text), expected, "{text}");
        }
    }
}
