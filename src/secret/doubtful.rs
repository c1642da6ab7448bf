//! Texts of a configuration that may be a secret in the wrong place.

use std::fmt;

/// The longest word. Random text has longer runs of letters and digits.
const WORD: usize = 14;
/// The most digits at a word's end: `KEY2`, and process ids in file names.
const DIGITS: usize = 7;
/// The longest text that is shown.
const LONGEST: usize = 256;

/// Shows a text of a configuration in messages: as it is if it reads as words, as names and paths
/// do, otherwise as its length, such as `(32 characters)`.
///
/// A secret may have been pasted where the name of its variable, its file or a key belongs. A
/// secret made of words alone cannot be told from a name.
///
/// ```
/// use mcp_layer::secret::Doubtful;
///
/// assert_eq!(Doubtful("OPENAI_API_KEY").to_string(), "OPENAI_API_KEY");
/// assert_eq!(Doubtful("/run/secrets/upstream").to_string(), "/run/secrets/upstream");
/// assert_eq!(Doubtful("sk-proj-4fQ0b1").to_string(), "(14 characters)");
/// ```
#[derive(Clone, Copy)]
pub struct Doubtful<'a>(pub &'a str);

impl Doubtful<'_> {
    /// Returns true if the text is shown.
    pub fn is_shown(&self) -> bool {
        let is_usual = |c: char| c.is_ascii() && !matches!(c, '+' | '=' | '@' | '?' | '#');
        let words = self.0.split(|c: char| !c.is_ascii_alphanumeric());
        self.0.len() <= LONGEST && self.0.chars().all(is_usual) && words.into_iter().all(is_word)
    }
}

/// Returns true for capitals, small letters and digits, each at most once and in this order.
fn is_word(run: &str) -> bool {
    let word = run.trim_end_matches(|c: char| c.is_ascii_digit());
    let small = word.trim_start_matches(|c: char| c.is_ascii_uppercase());
    let is_word = small.bytes().all(|byte| byte.is_ascii_lowercase());
    is_word && word.len() <= WORD && run.len() - word.len() <= DIGITS
}

impl fmt::Display for Doubtful<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_shown() {
            true => write!(f, "{}", self.0.escape_debug()),
            false => write!(f, "({} characters)", self.0.chars().count()),
        }
    }
}

/// Shows no more than `Display`.
impl fmt::Debug for Doubtful<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Doubtful({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_are_shown() {
        for text in [
            "KEY",
            "AUTH0_SECRET2",
            "NOT_SET_HERE",
            "/etc/proxy.d/keys.txt",
            "/tmp/mcp-layer-test-123456-3/proxy.keys",
            "http://localhost:8080",
            "streaming",
            "max_tool_rounds_cap",
            "",
        ] {
            assert_eq!(Doubtful(text).to_string(), text);
        }
        assert_eq!(Doubtful("x\ny").to_string(), "x\\ny");
    }

    #[test]
    fn what_may_be_a_secret_is_told_by_its_length() {
        for text in [
            "s3cret",
            "sk-proj-abcDEF",
            "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
            "AKIAIOSFODNN7EXAMPLE",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "xoxb-17653672481-19874698323-pdFZKVeTuE8sk7oOcHrzzqgy",
            "deadbeefdeadbeefdeadbeef",
            "550e8400-e29b-41d4-a716-446655440000",
            "eyJhbGciOiJIUzI1NiJ9.e30.ZRrHA1JJJW8opsbCGfG",
            "https://user:secret@host",
            "https://host/?key=secret",
            "12345678901234567890",
            "c2VjcmV0Cg==",
            "pässword",
        ] {
            let length = text.chars().count();
            assert_eq!(Doubtful(text).to_string(), format!("({length} characters)"));
        }
    }
}
