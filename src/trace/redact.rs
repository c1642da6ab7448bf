//! Masks what looks like a secret in a text that is to be kept.
//!
//! Two things give a secret away: the name in front of it (`"password": …`, `api_key=…`,
//! `Authorization: …`), and its own form (`Bearer …`, `ghp_…`, a JWT, a private key). The text is
//! read as it stands and never as a tree: JSON that was cut, JSON in a string of JSON, and JSON
//! amid prose are masked like whole documents.
//!
//! It errs on the side of masking, and it is a net with holes: a secret that looks like any other
//! word, under a name that says nothing, stays.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, Input, MatchKind};
use memchr::{memchr, memmem};

/// What a secret becomes.
const REDACTED: &str = "[redacted]";

/// How deep JSON in strings of JSON is looked into.
const NESTED: usize = 3;

/// Names that have one of these in them, in whatever case and with whatever separators.
const NAMES: [&str; 19] = [
    "accesskey",
    "apikey",
    "authorization",
    "bearer",
    "clientassertion",
    "codeverifier",
    "connectionstring",
    "cookie",
    "credential",
    "encryptionkey",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "pwd",
    "secret",
    "signingkey",
    "token",
    "xmcpauth",
];

/// Names that are one of these.
const WHOLE_NAMES: [&str; 7] = ["auth", "jwt", "otp", "pass", "pin", "sessionid", "sid"];

/// How the secrets of well-known issuers begin, as they are written.
const PREFIXES: [&str; 33] = [
    "sk-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "rk_test_",
    "whsec_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xoxr-",
    "xoxs-",
    "xapp-",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "GOCSPX-",
    "npm_",
    "pypi-",
    "hf_",
    "gsk_",
    "dop_v1_",
    "shpat_",
    "SG.",
    "lin_api_",
    "eyJ",
];

/// The schemes of credentials that stand in front of them.
const SCHEMES: [&str; 2] = ["bearer ", "basic "];

/// Names in front of `=` or `:`, as people write them.
const WRITTEN: [&str; 15] = [
    "access_key",
    "access-key",
    "api_key",
    "api-key",
    "apikey",
    "authorization",
    "cookie",
    "credential",
    "passphrase",
    "passwd",
    "password",
    "private_key",
    "pwd",
    "secret",
    "token",
];

/// Shorter words are none of the secrets that have a form.
const SHORTEST: usize = 8;
/// The same behind a prefix that is short: `sk-` begins words, too.
const SHORTEST_WITH_PREFIX: usize = 16;

/// All that is searched for in plain text, by its first places in this order.
static FORMS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let forms = ["://"].into_iter().chain(SCHEMES).chain(WRITTEN);
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::LeftmostFirst)
        .build(forms.chain(PREFIXES))
        .ok()
});

static IN_NAMES: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| AhoCorasick::new(NAMES).ok());

/// `text` without what looks like a secret.
pub(super) fn redacted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    match memmem::find(text.as_bytes(), KEY_BEGINS) {
        Some(_) => scan(&without_private_keys(text), 0, &mut out),
        None => scan(text, 0, &mut out),
    }
    out
}

const KEY_BEGINS: &[u8] = b"-----BEGIN ";

/// The text without private keys in PEM; one that was cut goes to the end.
fn without_private_keys(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = memmem::find(rest.as_bytes(), KEY_BEGINS) {
        let label = &rest[begin + KEY_BEGINS.len()..];
        let label = label.split_once("-----").map_or(label, |(label, _)| label);
        let body = begin + KEY_BEGINS.len() + label.len();
        if !label.contains("PRIVATE KEY") && !"PRIVATE KEY".starts_with(label) {
            out.push_str(&rest[..body]);
            rest = &rest[body..];
            continue;
        }
        out.push_str(&rest[..begin]);
        out.push_str(REDACTED);
        let end = format!("-----END {label}-----");
        rest = rest[body..]
            .split_once(&*end)
            .map_or("", |(_, behind)| behind);
    }
    out.push_str(rest);
    out
}

/// Copies `text`, string by string.
fn scan(text: &str, depth: usize, out: &mut String) {
    let mut rest = text;
    // A member `name` has named a secret: the member `value` beside it is one.
    let mut named = false;
    while let Some(quote) = memchr(b'"', rest.as_bytes()) {
        let (before, from) = rest.split_at(quote);
        let is_assigned = plain(before, out);
        let Some(literal) = literal(from) else {
            match is_assigned {
                // Cut: the rest is what was assigned.
                true => out.push_str(REDACTED),
                false => out.push('"'),
            }
            rest = if is_assigned { "" } else { &from[1..] };
            continue;
        };
        let behind = &from[literal.len()..];
        let Some(gap) = gap(behind) else {
            match is_assigned {
                true => quoted(REDACTED, out),
                false => string(literal, depth, out),
            }
            rest = behind;
            continue;
        };
        out.push_str(literal);
        out.push_str(&behind[..gap]);
        rest = &behind[gap..];
        let name = Name::of(&literal[1..literal.len() - 1]);
        let value = value(rest);
        if (name.is_secret() || named && name.is("value")) && name.hides(value) {
            quoted(REDACTED, out);
            rest = &rest[value.len()..];
            named = false;
        } else if name.is("name") || name.is("key") || name.is("header") {
            named = value.len() > 2 && Name::of(value.trim_matches('"')).is_secret();
        }
    }
    plain(rest, out);
}

/// The string that `text` begins with, with its quotes; none of JSON has a line break in it.
fn literal(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'\\' => at += 2,
            b'"' => return Some(&text[..=at]),
            b'\n' => return None,
            _ => at += 1,
        }
    }
}

/// How far it is from the name of a member to its value; `None` where no value follows.
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
                Some(literal) => at += literal.len(),
                None => return text,
            },
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' | b',' | b'\n' | b' ' if depth == 0 => return &text[..at],
            b'}' | b']' => {
                depth -= 1;
                at += 1;
            }
            _ => at += 1,
        }
        if depth == 0 && matches!(byte, b'"' | b'}' | b']') {
            return &text[..at];
        }
    }
    text
}

fn quoted(text: &str, out: &mut String) {
    out.push('"');
    out.push_str(text);
    out.push('"');
}

/// Copies a string of JSON, which may have JSON in it.
fn string(literal: &str, depth: usize, out: &mut String) {
    let content = &literal[1..literal.len() - 1];
    if depth < NESTED
        && content.contains("\\\"")
        && let Ok(inner) = serde_json::from_str::<String>(literal)
    {
        let mut masked = String::with_capacity(inner.len());
        scan(&inner, depth + 1, &mut masked);
        if masked != inner {
            // Writing a string does not fail.
            out.push_str(&serde_json::to_string(&masked).unwrap_or_default());
            return;
        }
    }
    out.push('"');
    plain(content, out);
    out.push('"');
}

/// Copies text that has no strings of JSON in it. Whether it ends with a name and `=`, so that
/// what comes next is its value.
fn plain(text: &str, out: &mut String) -> bool {
    let Some(forms) = &*FORMS else {
        return false;
    };
    let (mut copied, mut at) = (0, 0);
    let mut is_assigned = false;
    // Most of what stands between the strings of JSON is a comma.
    while text.len() - at > 2
        && let Some(found) = forms.find(Input::new(text).span(at..text.len()))
    {
        at = found.end();
        let form = &text[found.range()];
        let is_word = text[..found.start()]
            .bytes()
            .next_back()
            .is_none_or(|byte| !byte.is_ascii_alphanumeric());
        let secret = if form == "://" {
            password(text, found.end())
        } else if WRITTEN.iter().any(|name| form.eq_ignore_ascii_case(name)) {
            match assigned(text, found.end()) {
                Assigned::To(start, end) => Some((start, end)),
                Assigned::ToWhatFollows => {
                    is_assigned = true;
                    None
                }
                Assigned::Not => None,
            }
        } else if form.ends_with(' ') {
            let end = word_end(text, found.end());
            let length = end - found.end();
            (is_word && length >= SHORTEST).then_some((found.end(), end))
        } else {
            let end = word_end(text, found.end());
            let length = end - found.start();
            let is_form = is_word && length >= SHORTEST_WITH_PREFIX && PREFIXES.contains(&form);
            is_form.then_some((found.start(), end))
        };
        if let Some((start, end)) = secret {
            out.push_str(&text[copied..start]);
            out.push_str(REDACTED);
            (copied, at) = (end, end);
        }
    }
    out.push_str(&text[copied..]);
    is_assigned
}

/// Where the word ends that goes on at `from`.
fn word_end(text: &str, from: usize) -> usize {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.~+/=".contains(byte);
    let bytes = text.as_bytes()[from..].iter();
    from + bytes.take_while(|byte| is_part(byte)).count()
}

/// The password in the user part of an address, which begins at `from`.
fn password(text: &str, from: usize) -> Option<(usize, usize)> {
    let rest = &text[from..];
    let end = rest.find(|c: char| c == '/' || c.is_whitespace() || "\"'<>?#".contains(c));
    let authority = &rest[..end.unwrap_or(rest.len())];
    let at = authority.rfind('@')?;
    let colon = authority[..at].find(':')?;
    Some((from + colon + 1, from + at))
}

/// What is given to a name.
enum Assigned {
    /// This part of the text.
    To(usize, usize),
    /// What comes behind the text.
    ToWhatFollows,
    Not,
}

/// What is given to the name that goes on at `from`.
fn assigned(text: &str, from: usize) -> Assigned {
    let bytes = text.as_bytes();
    let skip = |from: usize, skipped: &dyn Fn(&u8) -> bool| {
        from + bytes[from..]
            .iter()
            .take_while(|byte| skipped(byte))
            .count()
    };
    let name = skip(from, &|byte| {
        byte.is_ascii_alphanumeric() || b"_-".contains(byte)
    });
    let sign = skip(name, &|byte| b"' ".contains(byte));
    if !matches!(bytes.get(sign), Some(b'=' | b':')) {
        return Assigned::Not;
    }
    let start = skip(sign + 1, &|byte| b" >".contains(byte));
    let (start, end) = match bytes.get(start) {
        None => return Assigned::ToWhatFollows,
        Some(b'\'') => {
            let rest = &bytes[start + 1..];
            (
                start + 1,
                start + 1 + memchr(b'\'', rest).unwrap_or(rest.len()),
            )
        }
        Some(_) => (start, line_or_word(text, name, start)),
    };
    if start == end {
        return Assigned::Not;
    }
    Assigned::To(start, end)
}

/// Where the value ends that begins at `start`: a header's with its line, any other with its
/// word.
fn line_or_word(text: &str, name: usize, start: usize) -> usize {
    let name = &text.as_bytes()[..name];
    let is_header = [&b"authorization"[..], b"cookie"].iter().any(|header| {
        let tail = name.len().checked_sub(header.len());
        tail.is_some_and(|tail| name[tail..].eq_ignore_ascii_case(header))
    });
    let until = |from: usize, ends: &str| {
        let end = text[from..].find(|c: char| ends.contains(c));
        end.map_or(text.len(), |end| from + end)
    };
    if is_header {
        return until(start, "\r\n\"\\");
    }
    let end = until(start, " \t\r\n&,;\"'<>)}]\\");
    let scheme = text[start..end].to_ascii_lowercase();
    match SCHEMES.iter().any(|known| known.trim_end() == scheme) {
        true => until((end + 1).min(text.len()), " \t\r\n&,;\"'<>)}]\\"),
        false => end,
    }
}

/// The name of a member, without case and separators.
struct Name {
    bytes: [u8; Self::LEN],
    len: usize,
}

impl Name {
    /// Longer names are no names of secrets, as far as their end goes.
    const LEN: usize = 64;

    /// The name that is written so in JSON.
    fn of(written: &str) -> Self {
        let mut name = Self {
            bytes: [0; Self::LEN],
            len: 0,
        };
        if written.contains('\\')
            && let Ok(text) = serde_json::from_str::<String>(&format!("\"{written}\""))
        {
            name.fill(&text);
        } else {
            name.fill(written);
        }
        name
    }

    fn fill(&mut self, text: &str) {
        let letters = text.bytes().filter(u8::is_ascii_alphanumeric);
        for (place, letter) in self.bytes.iter_mut().zip(letters) {
            *place = letter.to_ascii_lowercase();
            self.len += 1;
        }
    }

    fn letters(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn is(&self, name: &str) -> bool {
        self.letters() == name.as_bytes()
    }

    fn is_secret(&self) -> bool {
        let letters = self.letters();
        WHOLE_NAMES.iter().any(|name| self.is(name))
            || IN_NAMES
                .as_ref()
                .is_some_and(|names| names.is_match(letters))
    }

    /// Whether `value` is to be masked under this name: not what says only whether there is a
    /// secret, and no count of tokens.
    fn hides(&self, value: &str) -> bool {
        let counts = memmem::find(self.letters(), b"tokens").is_some();
        match value {
            "" | "null" | "true" | "false" | "\"\"" => false,
            value if counts => value.starts_with(['"', '[']),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn secrets_are_known_by_their_form() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
        for secret in [
            "sk-proj-0123456789abcdef",
            "sk_live_0123456789abcdef",
            "ghp_0123456789abcdef0123456789abcdef0123",
            "github_pat_11ABCDEFG0123456789_abcdef",
            "glpat-0123456789abcdefghij",
            "xoxb-1234567890-abcdefghij",
            "AKIAIOSFODNN7EXAMPLE",
            "AIzaSyA-0123456789abcdefghijklmnopqrstu",
            "hf_0123456789abcdefghij",
            jwt,
        ] {
            for (before, behind) in [
                ("", ""),
                ("it is ", "."),
                ("https://h/?k=", "&x=1"),
                ("(", ")"),
            ] {
                let text = redacted(&format!("{before}{secret}{behind}"));
                assert!(
                    text.contains("[redacted]") && !text.contains(&secret[4..]),
                    "{text}"
                );
                let json = serde_json::json!({"note": format!("{before}{secret}{behind}")});
                let text = redacted(&json.to_string());
                assert!(!text.contains(&secret[4..]), "{text}");
                serde_json::from_str::<serde_json::Value>(&text).unwrap();
            }
        }
    }

    #[test]
    fn what_is_given_to_the_name_of_a_secret_is_masked_in_text_too() {
        for (text, expected) in [
            ("password=hunter2 user=ann", "password=[redacted] user=ann"),
            (
                "DB_PASSWORD: hunter2\nPORT: 1",
                "DB_PASSWORD: [redacted]\nPORT: 1",
            ),
            ("?access_token=abc&x=1", "?access_token=[redacted]&x=1"),
            (
                "{'password': 'a b', 'n': 1}",
                "{'password': '[redacted]', 'n': 1}",
            ),
            ("api_key = \"abc def\";", "api_key = \"[redacted]\";"),
            (
                "Authorization: Basic dTpw\r\nAccept: a",
                "Authorization: [redacted]\r\nAccept: a",
            ),
            (
                "Set-Cookie: a=b; Path=/\nX: y",
                "Set-Cookie: [redacted]\nX: y",
            ),
            ("token: Bearer abcdefghij x", "token: [redacted] x"),
            (
                "curl -H 'x: Bearer abcdefghij'",
                "curl -H 'x: Bearer [redacted]'",
            ),
            (
                "postgres://u:p%40ss@h:5432/d",
                "postgres://u:[redacted]@h:5432/d",
            ),
            (
                "a\n-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nb",
                "a\n[redacted]\nb",
            ),
            ("-----BEGIN PRIVATE KEY-----\nMII", "[redacted]"),
        ] {
            assert_eq!(redacted(text), expected, "{text}");
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
