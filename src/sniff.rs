//! A quick test of bytes for a possible member `mcp`.

use bytes::Bytes;
use memchr::memmem;

/// The plain name, and the beginnings of the escapes for its letters, U+006D, U+0063 and U+0070.
/// Common escapes, such as `\u00e9` and `\u001b`, do not match.
const SPELLINGS: [&[u8]; 3] = [b"\"mcp\"", b"\\u006", b"\\u0070"];
/// One less than the longest of them: the most of a match that one frame can end with.
const OVERLAP: usize = 5;

/// Returns true if one of the spellings occurs in `frames`, even across their borders.
///
/// `false` is certain; `true` means that the body has to be parsed.
pub(crate) fn may_have_mcp<'a>(frames: impl Iterator<Item = &'a Bytes>) -> bool {
    // The end of the earlier frames, to which the beginning of the next is appended.
    let mut border = Vec::with_capacity(2 * OVERLAP);
    for frame in frames {
        if !border.is_empty() {
            border.extend_from_slice(&frame[..frame.len().min(OVERLAP)]);
            if has_spelling(&border) {
                return true;
            }
        }
        if has_spelling(frame) {
            return true;
        }
        if frame.len() >= OVERLAP {
            border.clear();
            border.extend_from_slice(&frame[frame.len() - OVERLAP..]);
        } else {
            // A frame this short is already in the border, unless that was empty.
            if border.is_empty() {
                border.extend_from_slice(frame);
            }
            border.drain(..border.len().saturating_sub(OVERLAP));
        }
    }
    false
}

fn has_spelling(bytes: &[u8]) -> bool {
    SPELLINGS
        .iter()
        .any(|spelling| memmem::find(bytes, spelling).is_some())
}

#[cfg(test)]
mod tests {
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
        assert!(!sniff(&[r#"{"model":"mcp-1","messages":[]}"#]));
        assert!(!sniff(&[
            r#"{"content":"caf\u00e9 \u001b \u0000","mcpx":1}"#
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
}
