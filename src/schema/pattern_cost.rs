//! Estimates of the size of a pattern's automaton.
//!
//! A pattern of twenty letters can need a megabyte: a counted repetition multiplies its operand,
//! and one Unicode class takes forty kilobytes. The estimate reads the text once and compiles
//! nothing, since compiling is what must be avoided. It errs on the large side, and the engine is
//! held to it, so a larger pattern does not compile.

/// The size of any automaton, whatever the pattern.
const FLOOR: u64 = 4 << 10;
/// The size of a character, a group or an assertion.
const ATOM: u64 = 64;
/// The size of a negated class, or a range beyond ASCII: byte sequences.
const WIDE: u64 = 3 << 10;
/// The size of a Unicode class such as `\p{L}`, by far the largest that can be written so briefly.
const UNICODE: u64 = 48 << 10;
/// The factor by which ignoring case enlarges a class.
const CASELESS: u64 = 4;

/// Estimates the bytes of the automaton of `pattern`, seldom too low.
pub(crate) fn bytes(pattern: &str) -> u64 {
    let mut text = Text(pattern);
    let mut open = Vec::new();
    let mut here = Sequence::default();
    let mut groups = 0_u64;
    let mut case = 1;
    while let Some(letter) = text.next() {
        match letter {
            '(' => {
                groups += u64::from(!text.0.starts_with('?'));
                if text.take("?") {
                    case = case.max(text.prefix());
                }
                open.push(std::mem::take(&mut here));
            }
            ')' => {
                let group = std::mem::replace(&mut here, open.pop().unwrap_or_default());
                here.add(group.whole().saturating_add(ATOM));
            }
            '|' => here.add(ATOM),
            '*' | '+' | '?' => here.repeat(2),
            '{' => match text.count() {
                Some(times) => here.repeat(times),
                None => here.add(ATOM),
            },
            '[' => {
                let class = text.class();
                here.add(class);
            }
            '.' => here.add(WIDE),
            '\\' => {
                let escape = text.escape();
                here.add(escape);
            }
            letter => here.add(ATOM * letter.len_utf8() as u64),
        }
    }
    let whole = open
        .drain(..)
        .fold(here.whole(), |sum, open| sum.saturating_add(open.whole()));
    // Engines keep two slots for each group and state, besides the automaton.
    let whole = whole.saturating_mul(case);
    whole
        .saturating_add((whole / 4).saturating_mul(groups))
        .saturating_add(FLOOR)
}

/// The size of a sequence, and of what a repetition after it would repeat.
#[derive(Default)]
struct Sequence {
    before: u64,
    last: u64,
}

impl Sequence {
    fn add(&mut self, atom: u64) {
        self.before = self.whole();
        self.last = atom;
    }

    fn repeat(&mut self, times: u64) {
        self.last = (self.last.saturating_add(ATOM)).saturating_mul(times.max(1));
    }

    fn whole(&self) -> u64 {
        self.before.saturating_add(self.last)
    }
}

/// The rest of a pattern.
struct Text<'a>(&'a str);

impl Text<'_> {
    fn next(&mut self) -> Option<char> {
        let letter = self.0.chars().next()?;
        self.0 = &self.0[letter.len_utf8()..];
        Some(letter)
    }

    fn take(&mut self, text: &str) -> bool {
        let rest = self.0.strip_prefix(text);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// Reads the prefix between `(?` and the group: flags, a name, or a lookaround.
    fn prefix(&mut self) -> u64 {
        let flags = self
            .0
            .bytes()
            .take_while(|byte| byte.is_ascii_alphabetic() || *byte == b'-');
        let flags = &self.0[..flags.count()];
        let caseless = flags.contains('i');
        let name = self
            .0
            .starts_with(['<', 'P'])
            .then(|| self.0.find('>'))
            .flatten();
        let end = name.map_or(flags.len(), |end| end + 1);
        self.0 = &self.0[end..];
        self.take(":");
        if caseless { CASELESS } else { 1 }
    }

    /// Reads the most repetitions that `{…}` allows; `None` if it is plain text.
    fn count(&mut self) -> Option<u64> {
        let (inside, behind) = self.0.split_once('}')?;
        let mut numbers = inside
            .split(',')
            .map(str::trim)
            .filter(|number| !number.is_empty());
        let most = numbers.try_fold(0_u64, |most, number| {
            let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| most.max(number.parse().unwrap_or(u64::MAX)))
        })?;
        self.0 = behind;
        // An unbounded repetition has one more.
        Some(most.saturating_add(u64::from(inside.ends_with(','))))
    }

    /// Reads what follows a backslash.
    fn escape(&mut self) -> u64 {
        match self.next() {
            Some('p' | 'P') => {
                if self.take("{") {
                    let behind = self.0.split_once('}').map_or("", |(_, behind)| behind);
                    self.0 = behind;
                } else {
                    self.next();
                }
                UNICODE
            }
            Some('w' | 'd') => 3 * ATOM,
            Some('W' | 'D' | 's' | 'S' | 'b' | 'B') => WIDE,
            _ => 4 * ATOM,
        }
    }

    /// Reads a class, from after its bracket to its end.
    fn class(&mut self) -> u64 {
        let mut size = if self.take("^") { WIDE } else { ATOM };
        let mut is_first = true;
        while let Some(letter) = self.next() {
            let item = match letter {
                ']' if !is_first => break,
                '\\' => self.escape().max(ATOM),
                letter if letter.is_ascii() => ATOM,
                _ => WIDE,
            };
            size = size.saturating_add(item);
            is_first = false;
        }
        size
    }
}

#[cfg(test)]
mod tests {
    use jsonschema::PatternOptions;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn builds(pattern: &str, limit: u64) -> bool {
        let options = PatternOptions::regex().size_limit(limit as usize);
        let options = jsonschema::options().with_pattern_options(options);
        options.build(&json!({"pattern": pattern})).is_ok()
    }

    #[test]
    fn what_people_write_is_small_and_large_enough_for_its_engine() {
        for pattern in [
            "^[a-z0-9](-?[a-z0-9])*$",
            r"^[\w.+-]+@[\w-]+\.[\w.-]+$",
            "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
            r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$",
            r"^(?:https?|ftp)://[^\s/$.?#].[^\s]*$",
            "^.{1,64}$",
            r"^\S+$",
            "(?i)^(low|medium|high)$",
            "^(?P<owner>[^/]{1,39})/(?<repo>[^/]{1,100})$",
            r"^[\p{L}\p{N} _-]+$",
            r"^#[0-9A-Fa-f]{6}$",
            "",
            "^$",
            r"\u{1F600}|\x41|\cA",
            "[]a]",
            "a{2}{3}",
            "{x}",
        ] {
            let estimate = bytes(pattern);
            assert!(estimate < 2 << 20, "{pattern}: {estimate}");
            let largest = builds(pattern, 64 << 20);
            assert_eq!(builds(pattern, estimate), largest, "{pattern}: {estimate}");
        }
        assert!(bytes("^[a-z0-9-]{1,63}$") < 64 << 10);
    }

    #[test]
    fn what_multiplies_is_large() {
        for pattern in [
            r"\p{L}{30}N",
            "((a{64}){64}){64}",
            r"(?i)[^a]{2000}",
            ".{9999}",
            "(a|b){18446744073709551615}",
            &"()".repeat(1000),
        ] {
            assert!(
                bytes(pattern) > 1 << 20,
                "{}",
                &pattern[..pattern.len().min(40)]
            );
        }
    }

    const PIECES: [&str; 22] = [
        "a",
        "é",
        ".",
        r"\w",
        r"\S",
        r"\p{L}",
        r"\P{Greek}",
        "[a-f]",
        "[^é]",
        r"[ä-ü\d]",
        "(a|é)",
        "(?:b.)",
        "{1,9}",
        "{3}",
        "{2,}",
        "*",
        "+?",
        "?",
        "|",
        r"[\p{N}_-]",
        r"\b",
        r"\u{1F600}",
    ];

    proptest! {
        #[test]
        fn the_engine_never_needs_more(pieces in prop::collection::vec(prop::sample::select(&PIECES), 1..8)) {
            let pattern = pieces.concat();
            prop_assert!(!builds(&pattern, 64 << 20) || builds(&pattern, bytes(&pattern)), "{pattern}: {}", bytes(&pattern));
        }
    }
}
