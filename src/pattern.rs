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

/// Returns true if all that fits `pattern` fits `wide` as well.
#[cfg(feature = "admin")]
pub(crate) fn covers(wide: &str, pattern: &str) -> bool {
    // No pattern has this character, so it stands for any text: only a star can match it.
    fits(wide, &pattern.replace('*', "\0"))
}

/// What a pattern says of the first bytes of a name, as one number: of hundreds of patterns nearly
/// all are ruled out by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    bytes: u64,
    /// The bits of those bytes that the pattern fixes.
    fixed: u64,
}

impl Start {
    /// The beginning of what matches `pattern`.
    pub(crate) fn of(pattern: &str) -> Self {
        let literal = pattern.split('*').next().unwrap_or_default();
        let fixed = match literal.len().min(8) {
            0 => 0,
            length => u64::MAX >> (64 - 8 * length),
        };
        Self {
            bytes: first_bytes(literal),
            fixed,
        }
    }

    /// Returns false if a name with these [`first_bytes`] does not match the pattern.
    pub(crate) fn allows(self, first_bytes: u64) -> bool {
        first_bytes & self.fixed == self.bytes
    }
}

/// The first eight bytes of a name, with zeros behind a shorter one.
pub(crate) fn first_bytes(name: &str) -> u64 {
    let mut bytes = [0; 8];
    let length = name.len().min(8);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stands_for_any_text_and_for_none() {
        for (pattern, text) in [
            ("*", ""),
            ("gpt-5*", "gpt-5"),
            ("gpt-5*", "gpt-5-mini"),
            ("*mini", "mini"),
            ("a*b*c", "abbc"),
            ("", ""),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("gpt-5", "gpt-5-mini"),
            ("a*a", "a"),
            ("", "a"),
            ("A*", "a"),
        ] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    #[cfg(feature = "admin")]
    #[test]
    fn a_pattern_covers_what_leaves_nothing_beside_it() {
        for (wide, pattern) in [
            ("*", "*"),
            ("*", "gpt-5"),
            ("gpt*", "gpt-5*"),
            ("a*b*", "ab*"),
            ("a*b", "a*c*b"),
            ("gpt-5", "gpt-5"),
        ] {
            assert!(covers(wide, pattern), "{wide} {pattern}");
        }
        for (wide, pattern) in [
            ("gpt-5", "gpt-5*"),
            ("gpt-5*", "gpt*"),
            ("gpt*", "*mini"),
            ("a*b", "a*"),
            ("*a*", "*"),
        ] {
            assert!(!covers(wide, pattern), "{wide} {pattern}");
        }
    }

    #[cfg(feature = "admin")]
    proptest! {
        #[test]
        fn what_fits_a_pattern_fits_those_that_cover_it(
            wide in "[ab*]{0,5}", pattern in "[ab*]{0,5}", text in "[ab]{0,6}"
        ) {
            let is_beside = fits(&pattern, &text) && !fits(&wide, &text);
            prop_assert!(!(covers(&wide, &pattern) && is_beside));
        }
    }

    proptest! {
        #[test]
        fn the_start_of_a_pattern_rules_out_nothing_that_fits(
            pattern in "[ab*é]{0,12}", text in "[abé]{0,12}"
        ) {
            let may_fit = Start::of(&pattern).allows(first_bytes(&text));
            prop_assert!(may_fit || !fits(&pattern, &text));
        }
    }

    #[test]
    fn what_begins_otherwise_is_ruled_out() {
        assert!(!Start::of("gpt-5*").allows(first_bytes("gpt-4o")));
        assert!(!Start::of("gpt-5-turbo").allows(first_bytes("gpt")));
        assert!(Start::of("*").allows(first_bytes("")));
    }
}
