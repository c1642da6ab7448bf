//! Keys in a server's URL: found, covered for those who look, and put back for those who send.
//!
//! Some servers take a key as a parameter (`?api_key=…`), others as a part of the path. Which
//! parameter is a key nobody can tell, so every parameter's value is one. Of the path it is what
//! looks random: it has ten characters or more in pieces that are neither words nor numbers.
//! The origin, words of the path and names of parameters are for everybody to see.

use percent_encoding::percent_decode_str;
use url::Url;

/// Stands where a key is.
const COVER: &str = "…";
/// The same as a URL has it.
const COVERED: &str = "%E2%80%A6";

/// Characters of a path's segment that are in no word and no number, from which on it is a key: a
/// UUID has 20 and more of them, a random token almost all.
const RANDOM: usize = 10;
/// The longest word, and the longest number.
const WORD: usize = 24;
const NUMBER: usize = 8;

/// The URL without its keys.
pub(crate) fn covered(url: &Url) -> Url {
    let mut covered = url.clone();
    let segments = url.path().split('/').map(cover_segment);
    covered.set_path(&segments.collect::<Vec<_>>().join("/"));
    if let Some(query) = url.query() {
        let parameters = query.split('&').map(cover_parameter);
        covered.set_query(Some(&parameters.collect::<Vec<_>>().join("&")));
    }
    covered
}

/// The URL without its keys, for people: each is shown as `…`.
pub(crate) fn shown(url: &Url) -> String {
    covered(url).as_str().replace(COVERED, COVER)
}

/// Whether something is covered in `url` itself.
pub(crate) fn is_covered(url: &Url) -> bool {
    url.path().contains(COVERED) || url.query().is_some_and(|query| query.contains(COVERED))
}

/// `entered` with the keys of `stored` where it has covers; `None` where `stored` has none there.
///
/// Whether both have one origin is for the caller to know.
pub(crate) fn uncovered(entered: &Url, stored: &Url) -> Option<Url> {
    let mut url = entered.clone();
    url.set_path(&put_back(
        entered.path(),
        stored.path(),
        '/',
        cover_segment,
    )?);
    if let Some(query) = entered.query() {
        let stored = stored.query().unwrap_or_default();
        url.set_query(Some(&put_back(query, stored, '&', cover_parameter)?));
    }
    (!is_covered(&url)).then_some(url)
}

/// The keys of the path, as they are written and as they are meant.
pub(crate) fn in_path(url: &Url) -> impl Iterator<Item = String> {
    let keys = url.path().split('/').filter(|segment| is_key(segment));
    keys.flat_map(|segment| [Some(segment.to_owned()), decoded(segment)])
        .flatten()
}

/// Each part of `entered` that is covered becomes the next one of `stored` that is covered alike.
fn put_back(
    entered: &str,
    stored: &str,
    separator: char,
    cover: fn(&str) -> String,
) -> Option<String> {
    let mut kept: Vec<_> = stored.split(separator).map(Some).collect();
    let parts = entered.split(separator).map(|part| {
        if !part.contains(COVERED) {
            return Some(part);
        }
        let is_it = |kept: &&mut Option<&str>| kept.is_some_and(|kept| cover(kept) == part);
        kept.iter_mut().find(is_it)?.take()
    });
    let parts: Option<Vec<_>> = parts.collect();
    parts.map(|parts| parts.join(&separator.to_string()))
}

fn cover_segment(segment: &str) -> String {
    let is_key = is_key(segment);
    (if is_key { COVERED } else { segment }).to_owned()
}

fn cover_parameter(parameter: &str) -> String {
    match parameter.split_once('=') {
        None if parameter.is_empty() => String::new(),
        None => COVERED.to_owned(),
        Some((name, "")) if !is_key(name) => parameter.to_owned(),
        Some((name, _)) => format!("{}={COVERED}", cover_segment(name)),
    }
}

fn is_key(segment: &str) -> bool {
    let decoded = decoded(segment);
    let text = decoded.as_deref().unwrap_or(segment);
    let pieces = text.split(|c: char| !c.is_alphanumeric());
    let random = pieces.filter(|piece| !is_plain(piece));
    random.map(|piece| piece.chars().count()).sum::<usize>() >= RANDOM
}

/// A segment that is text once it is decoded.
fn decoded(segment: &str) -> Option<String> {
    let decoded = percent_decode_str(segment).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// A word with a short number behind it, such as `mcp`, `v1`, `server2024` and `getUser`, or a
/// number.
fn is_plain(piece: &str) -> bool {
    let word = piece.trim_end_matches(|c: char| c.is_ascii_digit());
    let (letters, digits) = (word.chars().count(), piece.len() - word.len());
    if letters == 0 {
        return digits <= NUMBER;
    }
    // Few capitals amid the word: each begins a new one.
    let pairs = word.chars().zip(word.chars().skip(1));
    let bumps = pairs.filter(|(a, b)| a.is_lowercase() && b.is_uppercase());
    let is_word = word.chars().all(char::is_alphabetic) && letters <= WORD;
    is_word && digits <= 4 && bumps.count() <= letters / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> String {
        super::shown(&url.parse().unwrap())
    }

    #[test]
    fn keys_are_covered_and_the_rest_is_shown() {
        for (url, expected) in [
            ("https://a.example/mcp", "https://a.example/mcp"),
            ("https://a.example/", "https://a.example/"),
            (
                "https://a.example/mcp?api_key=k&profile=web&flag&empty=&",
                "https://a.example/mcp?api_key=…&profile=…&…&empty=&",
            ),
            ("https://a.example/?s3cret", "https://a.example/?…"),
            ("https://a.example/mcp?", "https://a.example/mcp?"),
            (
                "https://a.example/mcp?4cFz8-Qw2xY7-pLk93=1",
                "https://a.example/mcp?…=…",
            ),
            (
                "https://a.example/api/mcp/s/NzA5ZjQwYzItMTc4Yi00/mcp",
                "https://a.example/api/mcp/s/…/mcp",
            ),
            (
                "https://a.example/u/550e8400-e29b-41d4-a716-446655440000/sse",
                "https://a.example/u/…/sse",
            ),
            (
                "https://a.example/sk_live_51H8xJ2eZvKYlo2C",
                "https://a.example/…",
            ),
            (
                "https://a.example/token=abc123def456/mcp",
                "https://a.example/…/mcp",
            ),
            (
                "https://a.example/%61bc123def456g/mcp",
                "https://a.example/…/mcp",
            ),
        ] {
            assert_eq!(shown(url), expected, "{url}");
        }
    }

    #[test]
    fn words_versions_and_dates_of_a_path_are_no_keys() {
        for path in [
            "v1/mcp",
            "@modelcontextprotocol/server-everything",
            "composio/github-readonly/mcp",
            "2025-11-25/mcp",
            "eu-west-1a/tenant_42/getUserProjects",
            "server2024/beta-3.1.0-rc2",
            "internal-tools-for-the-whole-company-2",
            "r%C3%A9sum%C3%A9/d%C3%A9mo",
            "20260101/mcp",
        ] {
            let url = format!("https://a.example/{path}");
            assert_eq!(shown(&url).matches(COVER).count(), 0, "{path}");
        }
    }

    #[test]
    fn what_is_shown_and_sent_back_is_what_is_stored() {
        let stored: Url = "https://a.example/NzA5ZjQwYzItMTc4Yi00/mcp?a=1&k=x%20y&k=z&bare"
            .parse()
            .unwrap();
        let back = |text: &str| uncovered(&text.parse().unwrap(), &stored).map(String::from);
        assert_eq!(back(&super::shown(&stored)), Some(stored.to_string()));
        // Beside what is changed the rest stays; what is left out is gone.
        let changed = back("https://a.example/v2/…?k=…&a=new&k=…").unwrap();
        assert_eq!(
            changed,
            "https://a.example/v2/NzA5ZjQwYzItMTc4Yi00?k=x%20y&a=new&k=z"
        );
        for nothing in ["?b=…", "?k=…&k=…&k=…", "?a=x…", "…/…"] {
            let entered = format!("https://a.example/{nothing}");
            assert_eq!(back(&entered), None, "{nothing}");
        }
        // What does not open has nothing to be put back.
        let closed = covered(&stored);
        assert_eq!(uncovered(&closed, &closed), None);
    }
}
