//! What the other side said, in its own words and cleaned, for the operator alone.
//!
//! A status without a reason leaves an operator guessing: "refused" may be a policy, a firewall or
//! a scope. So an error keeps one line of what was answered. It is text of a stranger, which may
//! hold anything: tags and invisible characters go, and so does what looks like a token. It is in
//! no `Display` and no `Debug`, since those reach callers.

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::tolerated::object;
use crate::{unseen::is_unseen, url_keys::covered};

/// The most characters of a line.
const LONGEST: usize = 160;
/// The shortest run of characters with letters and digits that is taken for a token.
const TOKEN: usize = 20;

/// An answer: its status, and what it says for itself.
pub(super) fn answer(status: StatusCode, media_type: &str, body: &[u8]) -> String {
    let status = status.as_u16();
    let line = match object::<Words>(body) {
        Some(words) => words.line(),
        None => line(&String::from_utf8_lossy(body)),
    };
    match (line.is_empty(), media_type) {
        (false, _) => format!("status {status}, {line:?}"),
        (true, "") => format!("status {status}"),
        (true, media_type) => format!("status {status}, {}", line_of(media_type)),
    }
}

/// An answer that is no refusal, so that its body may be worth hiding.
pub(super) fn kind_of_answer(status: StatusCode, media_type: &str) -> String {
    match media_type {
        "" => format!("status {}, no media type", status.as_u16()),
        kind => format!("status {}, {}", status.as_u16(), line_of(kind)),
    }
}

/// A redirect, with its target as far as that is safe to show.
pub(super) fn redirect(status: StatusCode, from: &Url, location: &str) -> String {
    let target = from.join(location).map(|target| place(&target));
    let target = target.unwrap_or_else(|_| "an address that is none".to_owned());
    format!("status {}, redirects to {target}", status.as_u16())
}

/// A place where something was asked for: without its query, and without what may be a key.
pub(super) fn place(url: &Url) -> String {
    let mut url = covered(url);
    url.set_query(None);
    url.set_fragment(None);
    // They fail only for URLs that have neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    line(url.as_str())
}

/// The first line of a text of somebody else's that has something to read.
pub(super) fn line(text: &str) -> String {
    let text = untagged(text);
    let lines = text.lines().map(line_of);
    lines
        .into_iter()
        .find(|line| !line.is_empty())
        .unwrap_or_default()
}

/// One line, visible and within bounds, with what may be a token covered.
fn line_of(text: &str) -> String {
    let words = text.split_whitespace().map(|word| {
        let seen: String = word.chars().filter(|letter| !is_unseen(*letter)).collect();
        match seen.split_once("://") {
            Some((scheme, rest)) => format!("{}://{}", covered_word(scheme), address(rest)),
            None => covered_word(&seen),
        }
    });
    let mut line = String::new();
    for word in words.filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line += &word;
        if line.chars().count() > LONGEST {
            line = line.chars().take(LONGEST).collect();
            line.push('…');
            break;
        }
    }
    line
}

/// The rest of a URL behind its scheme: the host, and a path without keys. Issuers differ by single
/// characters, so nothing else is changed about it.
fn address(rest: &str) -> String {
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{host}{}", covered_word(path))
}

/// A word with `…` in the place of what may be a token, a code or a state.
fn covered_word(word: &str) -> String {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "-_~+=%".contains(letter);
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while !rest.is_empty() {
        let end = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
        let (run, behind) = rest.split_at(end);
        let has = |is: fn(&u8) -> bool| run.bytes().any(|byte| is(&byte));
        let is_token =
            run.len() >= TOKEN && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
        out += if is_token { "…" } else { run };
        let next = behind.chars().next().map_or(0, char::len_utf8);
        out += &behind[..next];
        rest = &behind[next..];
    }
    out
}

/// The text without the tags of HTML, and without what scripts and styles have in them.
fn untagged(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, tag)) = rest.split_once('<') {
        out += before;
        let name = tag.trim_start_matches('/');
        let hidden = ["script", "style"].into_iter().find(|hidden| {
            let begins = name.get(..hidden.len());
            begins.is_some_and(|begins| begins.eq_ignore_ascii_case(hidden))
        });
        rest = match hidden {
            Some(hidden) if !tag.starts_with('/') => tag
                .find(&format!("</{hidden}"))
                .map_or("", |end| &tag[end + 2..]),
            _ => tag,
        };
        rest = rest.split_once('>').map_or("", |(_, behind)| behind);
        out.push('\n');
    }
    out + &rest.replace('>', " ")
}

/// The members in which refusals say what is wrong, by OAuth's names and by those of others.
#[derive(Deserialize)]
struct Words {
    #[serde(default)]
    error: Value,
    #[serde(default)]
    error_code: Value,
    #[serde(default)]
    error_description: Value,
    #[serde(default, rename = "errorSummary")]
    error_summary: Value,
    #[serde(default)]
    message: Value,
    #[serde(default)]
    msg: Value,
    #[serde(default)]
    detail: Value,
}

impl Words {
    /// The code and the description, each if there is one.
    fn line(&self) -> String {
        let code = [
            &self.error,
            &self.error["code"],
            &self.error["type"],
            &self.error_code,
        ];
        let description = [
            &self.error_description,
            &self.error["message"],
            &self.error_summary,
            &self.message,
            &self.msg,
            &self.detail,
        ];
        let first = |texts: &[&Value]| {
            let mut texts = texts.iter().filter_map(|text| text.as_str());
            texts.find(|text| !text.is_empty()).map(line)
        };
        let found = [first(&code), first(&description)];
        let found: Vec<_> = found
            .into_iter()
            .flatten()
            .filter(|text| !text.is_empty())
            .collect();
        found.join(": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_readable_line_is_kept_of_what_a_stranger_says() {
        for (text, expected) in [
            ("  \n upstream   is down\nmore", "upstream is down"),
            (
                "<html><head><title>502 Bad Gateway</title></head>",
                "502 Bad Gateway",
            ),
            (
                "<!doctype html><script>let a = 1</script>\n<p>No &amp;",
                "No &amp;",
            ),
            ("<script>alert(1)", ""),
            ("<SCRIPT src=x>alert(1)</SCRIPT>", ""),
            ("a\u{202e}b\u{200b}c\u{7}", "abc"),
            ("code 4f1c9d0e8b7a6a5f4e3d2c1b is used", "code … is used"),
            (
                "see https://as.example/help?code=c0de#x now",
                "see https://as.example/help now",
            ),
            (
                "at https://u:p@cognito-idp.eu-west-1.amazonaws.com/4f1c9d0e8b7a6a5f4e3d2c1b/a",
                "at https://cognito-idp.eu-west-1.amazonaws.com/…/a",
            ),
            ("eyJhbGciOiJSUzI1NiJ9000.x", "….x"),
            ("AADSTS9010010: no", "AADSTS9010010: no"),
        ] {
            assert_eq!(line(text), expected, "{text}");
        }
        assert_eq!(line(&"ab ".repeat(1000)).chars().count(), LONGEST + 1);
    }

    #[test]
    fn refusals_are_read_in_their_many_forms() {
        let said = |body: &str| answer(StatusCode::FORBIDDEN, "application/json", body.as_bytes());
        for (body, expected) in [
            (
                r#"{"error": "insufficient_scope", "error_description": "Policy 'Trusted Hosts' rejected request"}"#,
                r#"status 403, "insufficient_scope: Policy 'Trusted Hosts' rejected request""#,
            ),
            (
                r#"{"error": {"code": "a", "message": "b"}}"#,
                r#"status 403, "a: b""#,
            ),
            (
                r#"{"code": 400, "error_code": "refresh_token_not_found", "msg": "No"}"#,
                r#"status 403, "refresh_token_not_found: No""#,
            ),
            (
                r#"{"access_token": "s3cret"}"#,
                "status 403, application/json",
            ),
            ("Forbidden", r#"status 403, "Forbidden""#),
        ] {
            assert_eq!(said(body), expected);
        }
    }

    #[test]
    fn a_target_is_shown_without_what_may_be_secret() {
        let from = "https://as.example/a".parse().unwrap();
        for (location, expected) in [
            ("/a/", "https://as.example/a/"),
            (
                "https://u:p@login.example/in?state=s#x",
                "https://login.example/in",
            ),
            ("//", "an address that is none"),
        ] {
            let said = redirect(StatusCode::TEMPORARY_REDIRECT, &from, location);
            assert_eq!(said, format!("status 307, redirects to {expected}"));
        }
    }
}
