//! Patterns of names, in which `*` stands for any text.

/// Returns true if `text` matches `pattern`, in which `*` matches any text.
pub(crate) fn fits<'a>(pattern: &str, text: &'a str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    let between = text
        .strip_prefix(start)
        .and_then(|text| text.strip_suffix(end));
    // The first match of each part leaves most text to those behind it, so nothing is tried twice.
    let after = |text: &'a str, part: &str| Some(&text[text.find(part)? + part.len()..]);
    between
        .and_then(|text| middle.split('*').try_fold(text, after))
        .is_some()
}
