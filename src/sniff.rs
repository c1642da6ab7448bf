//! A quick test of bytes for a possible member `mcp`, or an id of a call that went back to the caller.

use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::{self, Finder};

/// The beginning of the plain name, and of ids.
const NAME: &[u8] = b"\"mcp";
/// The plain name.
const MEMBER: &[u8] = b"\"mcp\"";
/// The beginning of the escapes for its letters, U+006D, U+0063 and U+0070, and what may follow it.
/// Common escapes, such as `\u00e9` and `\u001b`, do not match.
const ESCAPE: &[u8] = b"\\u00";
const LETTERS: [&[u8]; 2] = [b"6", b"70"];
/// One less than the longest of all: the most of a match that one frame can end with.
const OVERLAP: usize = 5;

/// Returns true if one of the spellings occurs in `frames`, even across their borders.
///
/// `false` is certain; `true` means that the body has to be parsed.
pub(crate) fn may_have_mcp<'a>(frames: impl Iterator<Item = &'a Bytes>) -> bool {
    // The end of the earlier frames, to which the beginning of the next is appended.
    let (mut border, mut length) = ([0; 2 * OVERLAP], 0);
    for frame in frames {
        let begun = &frame[..frame.len().min(OVERLAP)];
        let both = length + begun.len();
        border[length..both].copy_from_slice(begun);
        // Before the first frame there is no border.
        if length > 0 && has_spelling(&border[..both]) || has_spelling(frame) {
            return true;
        }
        // A frame this short is in the border already.
        let end = match frame.len() < OVERLAP {
            true => &border[both.saturating_sub(OVERLAP)..both],
            false => &frame[frame.len() - OVERLAP..],
        };
        let mut kept = [0; OVERLAP];
        length = end.len();
        kept[..length].copy_from_slice(end);
        border[..OVERLAP].copy_from_slice(&kept);
    }
    false
}

/// Returns true if the name occurs in `body`, and not only the beginning of an id.
pub(crate) fn names_mcp(body: &[u8]) -> bool {
    memmem::find(body, MEMBER).is_some() || has_escape(body)
}

fn has_spelling(bytes: &[u8]) -> bool {
    // To build a finder takes as long as to search a short body.
    static FINDER: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(NAME));
    FINDER.find(bytes).is_some() || has_escape(bytes)
}

fn has_escape(bytes: &[u8]) -> bool {
    static FINDER: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(ESCAPE));
    let is_letter = |at: usize| {
        let behind = &bytes[at + ESCAPE.len()..];
        LETTERS.iter().any(|letter| behind.starts_with(letter))
    };
    FINDER.find_iter(bytes).any(is_letter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sniff(frames: &[&'static str]) -> bool {
        let frames: Vec<Bytes> = frames
            .iter()
            .map(|frame| Bytes::from_static(frame.as_bytes()))
            .collect();
        may_have_mcp(frames.iter())
    }

    #[test]
    fn every_spelling_of_the_name_is_a_hit() {
        for name in [
            r#""mcp""#,
            r#""\u006dcp""#,
            r#""m\u0063p""#,
            r#""mc\u0070""#,
            r#""\u006D\u0063\u0070""#,
        ] {
            assert_eq!(serde_json::from_str::<String>(name).unwrap(), "mcp");
            assert!(may_have_mcp(
                [Bytes::from(format!("{{{name}:{{}}}}"))].iter()
            ));
        }
        assert!(sniff(&[r#"{"id":"mcp_0"}"#]) && !names_mcp(br#"{"id":"mcp_0"}"#));
        assert!(!sniff(&[r#"{"model":"my-mcp-1","messages":[]}"#]));
        assert!(!sniff(&[
            r#"{"content":"caf\u00e9 \u001b \u0000","xmcp":1}"#
        ]));
        assert!(!sniff(&[]));
    }

    #[test]
    fn a_hit_is_found_across_frames_however_they_are_cut() {
        for text in [r#"{"mcp":1}"#, r#"{"\u006dcp":1}"#] {
            for a in 0..=text.len() {
                for b in a..=text.len() {
                    for c in b..=text.len() {
                        assert!(
                            sniff(&[&text[..a], &text[a..b], "", &text[b..c], &text[c..]]),
                            "{a} {b} {c}"
                        );
                    }
                }
            }
            let bytes: Vec<&'static str> = (0..text.len()).map(|i| &text[i..i + 1]).collect();
            assert!(sniff(&bytes));
        }
    }

    proptest! {
        #[test]
        fn a_body_in_any_frames_is_sniffed_as_a_plain_search_of_the_whole_finds(
            frames in prop::collection::vec(prop_oneof!["[\"mcp\\\\u0067]{0,9}", "\"mcp|\\\\u00|cp\""], 0..6)
        ) {
            let whole = frames.concat();
            let spellings = ["\"mcp", "\\u006", "\\u0070"];
            let found = spellings.iter().any(|spelling| whole.contains(spelling));
            let frames: Vec<_> = frames.into_iter().map(Bytes::from).collect();
            prop_assert_eq!(may_have_mcp(frames.iter()), found);
        }
    }
}
