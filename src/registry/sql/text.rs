//! Text in columns: its limits, and its lower case for searching.

use crate::registry::{error::Error, server::Server};

/// The longest organization, project and origin, in bytes: they are in indexes, whose entries
/// PostgreSQL limits to a third of a page.
const SHORT: usize = 512;
/// The longest text for people, in bytes.
const LONG: usize = 8 * 1024;

/// The separator of the searched fields, which no search contains.
const SEPARATOR: char = '\u{1f}';

/// Returns `true` if a text can be in a column that is compared; any other is in none.
pub(super) fn fits(text: &str) -> bool {
    text.len() <= SHORT && !text.contains('\0')
}

/// Refuses what [`fits`] does not take.
pub(super) fn check(field: &'static str, text: &str) -> Result<(), Error> {
    if fits(text) {
        return Ok(());
    }
    let reason = format!("is longer than {SHORT} bytes, or has a NUL");
    Err(Error::invalid(field, reason))
}

/// Refuses text for people that is too long.
pub(super) fn check_long(field: &'static str, text: &str) -> Result<(), Error> {
    if text.len() <= LONG && !text.contains('\0') {
        return Ok(());
    }
    let reason = format!("is longer than {LONG} bytes, or has a NUL");
    Err(Error::invalid(field, reason))
}

/// The text that is searched, as `Filter::matches` compares it.
pub(super) fn search(server: &Server) -> String {
    let texts = [
        Some(server.name.as_str()),
        server.display_name.as_deref(),
        server.description.as_deref(),
    ];
    let lower: Vec<_> = texts.into_iter().flatten().map(str::to_lowercase).collect();
    lower.join(&SEPARATOR.to_string())
}

/// The pattern for `LIKE … ESCAPE '!'` by which `text` is found; `None` if it is nowhere.
pub(super) fn pattern(text: &str) -> Option<String> {
    let text = text.to_lowercase();
    // A text in lower case is at most half as long again.
    if text.len() > 2 * LONG || text.contains(['\0', SEPARATOR]) {
        return None;
    }
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    Some(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_to_like_is_escaped() {
        assert_eq!(pattern("A_b%!").unwrap(), "%a!_b!%!!%");
        assert_eq!(pattern("").unwrap(), "%%");
        assert_eq!(pattern("a\u{1f}b"), None);
        assert_eq!(pattern(&"x".repeat(2 * LONG + 1)), None);
    }
}
