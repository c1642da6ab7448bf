//! What an operator is told of a body that is no answer: its first line, or its title.

use serde_json::Value;

use crate::{scrub::Scrubber, unseen};

/// The bytes of a body that are looked at: pages of proxies have their title early.
const LOOKED_AT: usize = 8 * 1024;

/// The characters that are shown.
const SHOWN: usize = 200;

/// The members, in their order, in which servers and gateways put what is wrong.
const MEMBERS: [&str; 6] = [
    "message",
    "error_description",
    "detail",
    "error",
    "title",
    "reason",
];

/// The first line that says something, for people: of a page its title, of JSON its message.
/// `None` if there is nothing to read.
pub(super) fn first_line(body: &[u8], scrubber: &Scrubber) -> Option<String> {
    let end = body.len().min(LOOKED_AT);
    let text = String::from_utf8_lossy(&body[..end]);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let line = match text.as_bytes().first()? {
        b'<' => of_page(text),
        b'{' => of_json(body).or_else(|| lines(text)),
        _ => lines(text),
    };
    let line = line.map(|line| shown(&line, scrubber));
    line.filter(|line| !line.is_empty())
}

/// `text` in one line, without characters that nobody sees and without credentials, and cut: in
/// this order, since a credential with such a character in it, or cut in two, would not be found.
pub(super) fn shown(text: &str, scrubber: &Scrubber) -> String {
    let seen = unseen::cleaned(text);
    let words = seen.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    let mut line = scrubber.text(words.join(" "));
    if let Some((end, _)) = line.char_indices().nth(SHOWN) {
        line.truncate(end);
        line.push('…');
    }
    line
}

fn lines(text: &str) -> Option<String> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.map(ToOwned::to_owned)
}

/// The title of a page, or its first text.
fn of_page(page: &str) -> Option<String> {
    let lower = page.to_ascii_lowercase();
    let title = lower.find("<title").and_then(|at| {
        let from = at + lower[at..].find('>')? + 1;
        let to = from + lower[from..].find('<')?;
        lines(&page[from..to])
    });
    title.or_else(|| {
        page.split('<')
            .find_map(|tag| lines(tag.split_once('>')?.1))
    })
}

/// The message in a JSON object, or in its member `error`.
fn of_json(body: &[u8]) -> Option<String> {
    let end = body.len().min(64 * 1024);
    let value: Value = serde_json::from_slice(&body[..end]).ok()?;
    let within = |value: &Value| {
        let mut found = MEMBERS.iter().filter_map(|name| value.get(*name)?.as_str());
        found.find_map(lines)
    };
    value
        .get("error")
        .and_then(within)
        .or_else(|| within(&value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_line(body: &[u8]) -> Option<String> {
        super::first_line(body, &Scrubber::new([]))
    }

    #[test]
    fn a_credential_is_found_before_anything_is_cut_or_taken_out_and_after() {
        let scrubber = Scrubber::new([&b"k3y-5f0c9d1e7a2b"[..]]);
        for body in [
            format!("{} k3y-5f0c9d1e7a2b", "x".repeat(190)),
            "bad key k3y-5f0c\u{200b}9d1e7a2b".to_owned(),
            r#"{"message":"bad key k3y-\u0035f0c9d1e7a2b"}"#.to_owned(),
            "<title>k3y-5f0c9d1e7a2b</title>".to_owned(),
        ] {
            let line = super::first_line(body.as_bytes(), &scrubber).expect("a line");
            assert!(!line.contains("k3y-5"), "{line}");
        }
    }

    #[test]
    fn the_first_words_for_people_are_found() {
        for (body, line) in [
            (
                "\n  Access is only allowed at localhost:9206\nmore",
                "Access is only allowed at localhost:9206",
            ),
            (
                "<html>\n<head><title>\n 502 Bad Gateway</title>",
                "502 Bad Gateway",
            ),
            (
                "<!DOCTYPE html><TITLE>Just a moment...</TITLE>",
                "Just a moment...",
            ),
            ("<h1>Forbidden</h1>", "Forbidden"),
            (
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Not Acceptable"}}"#,
                "Not Acceptable",
            ),
            (
                r#"{"error":"invalid_token","error_description":"expired"}"#,
                "expired",
            ),
            (
                "{\n  \"detail\": \"Invalid Host header\"\n}",
                "Invalid Host header",
            ),
            ("a\u{200b}\u{1b}[31mb\tc", "a[31mb c"),
        ] {
            assert_eq!(first_line(body.as_bytes()).as_deref(), Some(line), "{body}");
        }
        for body in ["", " \n", "<html>", "<title>"] {
            assert_eq!(first_line(body.as_bytes()), None, "{body:?}");
        }
        let long = first_line("x".repeat(9000).as_bytes()).expect("a line");
        assert_eq!(long.chars().count(), 201);
        assert!(first_line(b"\xff\xfe").is_some());
    }
}
