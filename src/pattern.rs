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

/// Patterns by the first bytes that they fix, up to eight: of hundreds nearly all are ruled out by them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Starts(Vec<Start>);

/// Patterns that fix the same number of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Start {
    /// The bits of those bytes.
    fixed: u64,
    /// The bytes of each pattern, in their order, with what it belongs to.
    patterns: Vec<(u64, usize)>,
}

impl Starts {
    /// Adds a pattern of `owner`.
    pub(crate) fn add(&mut self, pattern: &str, owner: usize) {
        let literal = pattern.split('*').next().unwrap_or_default();
        let fixed = match literal.len().min(8) {
            0 => 0,
            length => u64::MAX >> (64 - 8 * length),
        };
        let known = self.0.iter().position(|start| start.fixed == fixed);
        let at = known.unwrap_or_else(|| {
            let patterns = Vec::new();
            self.0.push(Start { fixed, patterns });
            self.0.len() - 1
        });
        let patterns = &mut self.0[at].patterns;
        let entry = (first_bytes(literal), owner);
        patterns.insert(patterns.partition_point(|other| *other <= entry), entry);
    }

    /// The owners of patterns that `name` may match; no other matches it.
    pub(crate) fn near(&self, name: &str) -> impl Iterator<Item = usize> {
        let first = first_bytes(name);
        self.0.iter().flat_map(move |start| {
            let bytes = first & start.fixed;
            let begin = start.patterns.partition_point(|(other, _)| *other < bytes);
            let near = start.patterns[begin..].iter();
            let near = near.take_while(move |(other, _)| *other == bytes);
            near.map(|(_, owner)| *owner)
        })
    }
}

/// The first eight bytes of a name, with zeros behind a shorter one.
fn first_bytes(name: &str) -> u64 {
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
            let mut starts = Starts::default();
            for (owner, pattern) in ["a*", &pattern, "b", &pattern].into_iter().enumerate() {
                starts.add(pattern, owner);
            }
            let near: Vec<_> = starts.near(&text).collect();
            let is_near = near.contains(&1) && near.contains(&3);
            prop_assert!(is_near || !fits(&pattern, &text));
        }
    }

    #[test]
    fn what_begins_otherwise_is_ruled_out() {
        let mut starts = Starts::default();
        for (owner, pattern) in ["gpt-5*", "gpt-5-turbo", "*", "gpt-5"]
            .into_iter()
            .enumerate()
        {
            starts.add(pattern, owner);
        }
        let near = |name: &str| {
            let mut near: Vec<_> = starts.near(name).collect();
            near.sort_unstable();
            near
        };
        assert_eq!(near("gpt-4o"), [2]);
        assert_eq!(near("gpt"), [2]);
        assert_eq!(near(""), [2]);
        assert_eq!(near("gpt-5-mini"), [0, 2, 3]);
        assert_eq!(near("gpt-5-turbo"), [0, 1, 2, 3]);
    }
}
