//! Patterns: those that every provider's engine reads, and reads alike.
//!
//! JSON Schema has ECMAScript's patterns. OpenAI reads them as Python's (Dokploy/mcp#72: an open
//! bracket in a class; agigante80/actual-mcp-server#293: `\p`), and llama.cpp makes a grammar of
//! them, which needs both anchors (ggml-org/llama.cpp#26930) and knows neither classes such as `\d`
//! (NousResearch/hermes-agent#18530) nor a look at what follows (codefuturist/email-mcp#58). Each of
//! them refuses the whole request for one pattern that it cannot read.

/// The longest pattern that is offered, in bytes: grammars grow with it.
const LONGEST: usize = 512;

/// The signs that may be escaped: llama.cpp knows no others, not even where they mean the same.
const SIGNS: [char; 15] = [
    '^', '$', '.', '[', ']', '(', ')', '|', '{', '}', '*', '+', '?', '\\', '"',
];
/// Those within a class.
const SIGNS_IN_CLASS: [char; 4] = ['[', ']', '\\', '"'];

/// Returns true if `pattern` is read alike everywhere: the whole text from `^` to `$`, and in
/// between only characters, classes, plain groups, alternatives and repetitions.
pub(super) fn is_portable(pattern: &str) -> bool {
    let inner = pattern
        .strip_prefix('^')
        .and_then(|rest| rest.strip_suffix('$'));
    inner.is_some_and(|inner| inner.len() <= LONGEST && is_plain(inner))
}

fn is_plain(pattern: &str) -> bool {
    let (mut open, mut repeats) = (0_usize, false);
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        let can_repeat = repeats;
        repeats = true;
        match letter {
            '\\' => match escaped(rest, &SIGNS) {
                Some(behind) => rest = behind,
                None => return false,
            },
            '[' => match behind_class(rest) {
                Some(behind) => rest = behind,
                None => return false,
            },
            '(' => {
                // `(?` begins a look around, a flag, a name, or a group that llama.cpp before
                // ggml-org/llama.cpp#21124 died of.
                if rest.starts_with(['?', '*', '+', '{', ')', '|']) {
                    return false;
                }
                (open, repeats) = (open + 1, false);
            }
            ')' if open > 0 && can_repeat => open -= 1,
            '|' if can_repeat => repeats = false,
            '*' | '+' | '?' if can_repeat => repeats = false,
            '{' if can_repeat => match behind_count(rest) {
                Some(behind) => (rest, repeats) = (behind, false),
                None => return false,
            },
            // Anchors within, or what cannot stand here.
            ')' | '|' | '*' | '+' | '?' | '{' | '}' | ']' | '^' | '$' => return false,
            letter if letter.is_control() => return false,
            _ => {}
        }
        // What was repeated may end a group or an alternative.
        if matches!(letter, '*' | '+' | '?' | '{') && !rest.starts_with(['*', '+', '?', '{']) {
            repeats = true;
        }
    }
    open == 0 && (repeats || pattern.is_empty())
}

/// What follows a backslash and one of `signs`, which then means itself.
fn escaped<'a>(rest: &'a str, signs: &[char]) -> Option<&'a str> {
    rest.strip_prefix(signs)
}

/// What follows the class whose bracket has been read.
fn behind_class(rest: &str) -> Option<&str> {
    let mut rest = rest.strip_prefix('^').unwrap_or(rest);
    let mut is_empty = true;
    loop {
        let letter = rest.chars().next()?;
        rest = &rest[letter.len_utf8()..];
        match letter {
            ']' => return (!is_empty).then_some(rest),
            '\\' => rest = escaped(rest, &SIGNS_IN_CLASS)?,
            // A class in a class, to some engines.
            '[' => return None,
            '&' | '~' | '-' if rest.starts_with(letter) => return None,
            letter if letter.is_control() => return None,
            _ => {}
        }
        is_empty = false;
    }
}

/// What follows a count such as `2,5}`.
fn behind_count(rest: &str) -> Option<&str> {
    let (count, behind) = rest.split_once('}')?;
    let is_number = |text: &str| text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (least, most) = count.split_once(',').unwrap_or((count, "1"));
    (!least.is_empty() && is_number(least) && is_number(most)).then_some(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_all_engines_read_alike_are_portable() {
        for pattern in [
            "^$",
            "^abc$",
            "^[a-z0-9_-]{1,64}$",
            "^(a|bc)+$",
            "^([A-Z][a-z]*)( [A-Z][a-z]*){0,3}$",
            r"^a\.b-c$",
            "^.+@.+$",
            r"^[0-9]{4}-[0-9]{2}(T[0-9]+)?$",
            r"^[^\]\\]+$",
        ] {
            assert!(is_portable(pattern), "{pattern}");
        }
    }

    #[test]
    fn patterns_that_one_engine_refuses_are_not() {
        for pattern in [
            "abc",
            "^abc",
            r"\S",
            r"^\d+$",
            r"^a\-b\/c$",
            r"^[a\-z]$",
            r"^\p{L}+$",
            r"^[\p{L} ]+$",
            r"^[\w]+$",
            "^(?:a)b$",
            "^(?=a)b$",
            "^(?!x).*$",
            "^(?<n>a)$",
            "^(?P<n>a)$",
            "^(?i)a$",
            r"^(a)\1$",
            r"^[a[\]b]*$",
            "^[a&&b]$",
            "^[]$",
            "^a{,3}$",
            "^a{2$",
            "^(a$",
            "^a)$",
            "^a**$",
            "^*$",
            "^a$|^b$",
            r"^a\$",
            r"^\u0041$",
            "^\n$",
        ] {
            assert!(!is_portable(pattern), "{pattern}");
        }
        assert!(!is_portable(&format!("^{}$", "a".repeat(600))));
    }
}
