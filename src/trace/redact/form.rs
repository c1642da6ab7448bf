//! Secrets in plain text: by the form that their issuers give them, or by what they are given to.

use std::{ops::Range, sync::LazyLock};

use aho_corasick::{AhoCorasick, Input, MatchKind};
use memchr::memchr;

use super::{
    finds::Finds,
    mark::{REDACTED, visited},
};

/// The prefixes of well-known issuers' secrets, as they are written.
const PREFIXES: [&str; 34] = [
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
    "mcpk_",
    "eyJ",
];

/// The schemes of credentials that stand in front of them, as in headers and as in URLs.
const SCHEMES: [&str; 4] = ["bearer ", "basic ", "bearer%20", "basic%20"];

/// Names in front of `=` or `:`, as people write them.
const WRITTEN: [&str; 18] = [
    // What signs an address opens it.
    "-signature",
    "?sig",
    "&sig",
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
/// The shortest secret behind a short prefix: `sk-` begins words, too.
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

/// Copies text that has no strings of JSON in it. Whether it ends with a name and `=`, so that
/// what comes next is its value.
pub(super) fn plain(text: &str, finds: Finds, out: &mut String) -> bool {
    let Some(forms) = &*FORMS else {
        return false;
    };
    let (mut copied, mut at) = (0, 0);
    let mut is_assigned = false;
    // Up to here all is part of one name that nothing is given to, or of one word that is no secret.
    let mut nothing = 0;
    // Most of what stands between the strings of JSON is a comma.
    while text.len() - at > 2
        && let Some(form) = forms.find(Input::new(text).span(at..text.len()))
    {
        visited(form.end() - at);
        at = form.end();
        match secret(text, finds, form.range(), &mut nothing) {
            Found::At(start, end) => {
                out.push_str(&text[copied..start]);
                out.push_str(REDACTED);
                (copied, at) = (end, end);
            }
            Found::Behind => is_assigned = true,
            Found::Nothing => {}
        }
    }
    out.push_str(&text[copied..]);
    is_assigned
}

/// The position of a secret.
enum Found {
    At(usize, usize),
    /// A secret that begins after the text, which ends with its name.
    Behind,
    Nothing,
}

/// The secret that the form at this place of `text` gives away.
fn secret(
    text: &str,
    finds: Finds,
    Range { start, end }: Range<usize>,
    nothing: &mut usize,
) -> Found {
    let form = &text[start..end];
    if form == "://" {
        return password(text, end);
    }
    if WRITTEN.iter().any(|name| form.eq_ignore_ascii_case(name)) {
        return match end <= *nothing || finds == Finds::Forms {
            true => Found::Nothing,
            false => assigned(text, end, nothing),
        };
    }
    let before = &text.as_bytes()[..start];
    let is_inside = before.last().is_some_and(u8::is_ascii_alphanumeric);
    let begins = !is_inside || ends_with_escape(before);
    let is_scheme = form.ends_with(' ') || form.ends_with("%20");
    if !begins || !is_scheme && !PREFIXES.contains(&form) {
        return Found::Nothing;
    }
    if finds == Finds::Forms && end <= *nothing {
        return Found::Nothing;
    }
    let word = word_end(text, end);
    let begin = if is_scheme { end } else { start };
    let shortest = match finds {
        Finds::All if is_scheme => SHORTEST,
        _ => SHORTEST_WITH_PREFIX,
    };
    // Ordinary words follow `basic` and `sk-`, too; made-up ones have digits.
    let is_made_up = || text[end..word].bytes().any(|byte| byte.is_ascii_digit());
    match word - begin >= shortest && (finds == Finds::All || is_made_up()) {
        true => Found::At(begin, word),
        false if finds == Finds::Forms => {
            *nothing = word;
            Found::Nothing
        }
        false => Found::Nothing,
    }
}

/// Returns `true` if the last letters of `text` spell a sign that no word has: `\n`, `\x0a` and `\u000a`
/// as in JSON and in programs, `%20` as in URLs, also encoded twice, `[31m` as for terminals.
fn ends_with_escape(text: &[u8]) -> bool {
    let before_hex = |digits: usize| {
        let (before, hex) = text.split_at_checked(text.len().checked_sub(digits)?)?;
        hex.iter().all(u8::is_ascii_hexdigit).then_some(before)
    };
    let ends = |digits: usize, signs: &[&str]| {
        let before = before_hex(digits);
        before.is_some_and(|before| signs.iter().any(|sign| before.ends_with(sign.as_bytes())))
    };
    let letter = matches!(
        text,
        [
            ..,
            b'\\',
            b'n' | b'r' | b't' | b'b' | b'f' | b'v' | b'a' | b'e' | b'0'
        ] | [.., b'[' | b'0'..=b'9', b'm']
    );
    letter || ends(2, &["%", "%25", "\\x"]) || ends(4, &["\\u"])
}

/// The end of the word that continues at `from`.
fn word_end(text: &str, from: usize) -> usize {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.~+/=".contains(byte);
    let bytes = text.as_bytes()[from..].iter();
    let length = bytes.take_while(|byte| is_part(byte)).count();
    visited(length);
    from + length
}

/// The password in the user part of an address, which begins at `from`.
fn password(text: &str, from: usize) -> Found {
    let rest = &text[from..];
    let end = rest.find(|c: char| c == '/' || c.is_whitespace() || "\"'<>?#".contains(c));
    let authority = &rest[..end.unwrap_or(rest.len())];
    visited(authority.len());
    let user = authority.rfind('@').map(|at| &authority[..at]);
    let password = user.and_then(|user| Some((user.find(':')? + 1, user.len())));
    password.map_or(Found::Nothing, |(start, end)| {
        Found::At(from + start, from + end)
    })
}

/// The value assigned to the name that continues at `from`. If there is none, `nothing` is set
/// to the end of the name.
fn assigned(text: &str, from: usize, nothing: &mut usize) -> Found {
    let bytes = text.as_bytes();
    let skip = |from: usize, skipped: &dyn Fn(&u8) -> bool| {
        let bytes = bytes[from..].iter();
        let length = bytes.take_while(|byte| skipped(byte)).count();
        visited(length);
        from + length
    };
    let name = skip(from, &|byte| {
        byte.is_ascii_alphanumeric() || b"_-".contains(byte)
    });
    let sign = skip(name, &|byte| b"' \t".contains(byte));
    if !matches!(bytes.get(sign), Some(b'=' | b':')) {
        *nothing = name;
        return Found::Nothing;
    }
    let start = skip(sign + 1, &|byte| b" \t>=".contains(byte));
    let (start, end) = match bytes.get(start) {
        None => return Found::Behind,
        Some(b'\'') => {
            let rest = &bytes[start + 1..];
            let end = memchr(b'\'', rest).unwrap_or(rest.len());
            visited(end);
            (start + 1, start + 1 + end)
        }
        Some(_) => (start, line_or_word(text, name, start)),
    };
    match start == end {
        true => Found::Nothing,
        false => Found::At(start, end),
    }
}

/// The end of the value that begins at `start`: of a header, the end of its line; otherwise, of its
/// word.
fn line_or_word(text: &str, name: usize, start: usize) -> usize {
    let name = &text.as_bytes()[..name];
    let is_header = [&b"authorization"[..], b"cookie"].iter().any(|header| {
        let tail = name.len().checked_sub(header.len());
        tail.is_some_and(|tail| name[tail..].eq_ignore_ascii_case(header))
    });
    let until = |from: usize, ends: &str| {
        let end = text[from..].find(|c: char| ends.contains(c));
        let end = end.map_or(text.len(), |end| from + end);
        visited(end - from);
        end
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

#[cfg(test)]
mod tests {
    use super::super::{redacted, without_secrets};

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
            "mcpk_0123456789ABCDEFGHIJ0123456789abcdefghij0123",
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
    fn a_sign_that_is_spelt_as_an_escape_hides_no_secret() {
        for before in [
            "line\\n",
            "line\\r",
            "\\t",
            "\\b",
            "\\f",
            "a\\\\n",
            "\\x0a",
            "\\u000A",
            "A%20",
            "a%0A",
            "%2520",
            "\u{1b}[0;31m",
        ] {
            for (secret, masked) in [
                ("ghp_0123456789abcdef0123", "[redacted]"),
                ("AKIAIOSFODNN7EXAMPLE", "[redacted]"),
                ("Bearer 0123456789abcdef", "Bearer [redacted]"),
                ("?h=Bearer%200123456789abcdef", "?h=Bearer%20[redacted]"),
            ] {
                let expected = format!("{before}{masked}");
                for text in [
                    format!("{before}{secret}"),
                    format!("'A=1{before}{secret}'"),
                ] {
                    for redacted in [Some(redacted(&text)), without_secrets(&text)] {
                        let redacted = redacted.unwrap_or_default();
                        assert!(redacted.contains(&expected), "{text}: {redacted}");
                    }
                }
            }
        }
        for (text, expected) in [
            (
                r#"{"t":"line\nghp_0123456789abcdef0123"}"#,
                r#"{"t":"line\n[redacted]"}"#,
            ),
            (
                r#"{"a":"{\"file\":\"A=1\\nghp_0123456789abcdef0123\"}"}"#,
                r#"{"a":"{\"file\":\"A=1\\n[redacted]\"}"}"#,
            ),
        ] {
            assert_eq!(without_secrets(text).as_deref(), Some(expected), "{text}");
        }
        for word in ["tasknghp_0123456789abcdef0123", "20AKIAIOSFODNN7EXAMPLE"] {
            assert_eq!(without_secrets(word), None, "{word}");
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
            ("password:\thunter2", "password:\t[redacted]"),
            ("password\t= hunter2", "password\t= [redacted]"),
            ("password := hunter2", "password := [redacted]"),
            (
                "https://h/b?sv=1&sig=a%2Bb&se=2",
                "https://h/b?sv=1&sig=[redacted]&se=2",
            ),
            (
                "https://h/b?X-Amz-Signature=abc&x=1",
                "https://h/b?X-Amz-Signature=[redacted]&x=1",
            ),
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
}
