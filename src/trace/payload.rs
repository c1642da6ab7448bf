//! Payloads: the parts of arguments and results that are recorded.

use serde::{Deserialize, Serialize, Serializer};

use super::redact::redacted;

/// The most that is recorded of one text, in bytes, with the note that it was cut: enough to see what
/// it was about.
const KEPT: usize = 8 * 1024;

/// The additional bytes that are inspected, so that a secret at the cut is seen whole.
const MARGIN: usize = 1024;

/// The parts of arguments and results that records contain, by
/// [`McpLayer::with_trace_payloads`](crate::McpLayer::with_trace_payloads). Default:
/// [`Redacted`](Self::Redacted).
///
/// All together, one record contains at most 1 MiB of them; payloads beyond that are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Payloads {
    /// Sizes only.
    Off,
    /// Up to 8 KiB of each text, with probable secrets masked: the values of members whose names
    /// suggest a secret, and texts in the form of well-known keys. Masking is best effort.
    #[default]
    Redacted,
    /// Up to 8 KiB of each text, unmasked.
    Full,
}

impl Payloads {
    /// The part of `text` that is logged: enough to decide later what a record may contain.
    pub(super) fn logged(self, text: &str) -> Option<&str> {
        match self {
            Self::Off => None,
            Self::Redacted | Self::Full => Some(&text[..text.floor_char_boundary(KEPT + MARGIN)]),
        }
    }

    /// The part that a record may contain of a text of `whole` bytes, of which `logged` was logged.
    pub(super) fn kept(self, logged: &str, whole: usize) -> String {
        let mut kept = self.masked(logged);
        // A mask may be longer than what it hides.
        if whole.max(kept.len()) > KEPT {
            let note = format!("\n[cut: the whole has {whole} bytes]");
            // Where masks are shorter than what they hide, the end of what was inspected comes near: a
            // secret that goes on behind it is not seen whole.
            let unseen = if whole > logged.len() { MARGIN } else { 0 };
            let end = kept.len().saturating_sub(unseen).min(KEPT - note.len());
            kept.truncate(kept.floor_char_boundary(end));
            kept.push_str(&note);
        }
        kept
    }

    /// The part of `text` that a record may contain.
    pub(crate) fn recorded(self, text: &str) -> Option<String> {
        let logged = self.logged(text)?;
        Some(self.kept(logged, text.len()))
    }

    /// Masks a text that is always recorded, such as the reason of a refusal.
    pub(crate) fn masked(self, text: &str) -> String {
        match self {
            Self::Full => text.to_owned(),
            Self::Off | Self::Redacted => redacted(text),
        }
    }
}

/// The part of a text that may be shown as records have it by default, masked once it is written.
pub(crate) struct Excerpt {
    logged: String,
    /// The length of the whole.
    whole: usize,
}

impl Excerpt {
    pub(crate) fn of(text: &str) -> Self {
        let logged = Payloads::Redacted.logged(text).unwrap_or_default();
        Self {
            logged: logged.to_owned(),
            whole: text.len(),
        }
    }

    /// The bytes that are kept of it.
    pub(crate) fn len(&self) -> usize {
        self.logged.len()
    }
}

impl Serialize for Excerpt {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&Payloads::Redacted.kept(&self.logged, self.whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(payloads: Payloads, text: &str) -> Option<String> {
        let logged = payloads.logged(text);
        logged.map(|logged| payloads.kept(logged, text.len()))
    }

    #[test]
    fn a_cut_says_so_and_splits_no_character() {
        let text = "ä".repeat(KEPT);
        for payloads in [Payloads::Full, Payloads::Redacted] {
            let kept = keep(payloads, &text).unwrap();
            assert!(
                kept.ends_with("ä\n[cut: the whole has 16384 bytes]"),
                "{kept}"
            );
            assert!((KEPT - 1..=KEPT).contains(&kept.len()), "{}", kept.len());
        }
        assert_eq!(keep(Payloads::Off, &text), None);
        assert_eq!(keep(Payloads::Full, "short").as_deref(), Some("short"));
    }

    #[test]
    fn what_masks_make_longer_is_cut_as_well() {
        let text = "pwd=x ".repeat(KEPT / 6);
        let kept = keep(Payloads::Redacted, &text).unwrap();
        assert!(kept.len() <= KEPT && kept.ends_with("\n[cut: the whole has 8190 bytes]"));
    }

    #[test]
    fn a_secret_across_the_cut_is_not_kept_in_part() {
        for secret in [
            "ghp_0123456789abcdef0123456789abcdef",
            "password=hunter2hunter2",
        ] {
            for before in KEPT - secret.len()..KEPT {
                let text = format!("{} {secret} {}", "x".repeat(before - 1), "y".repeat(KEPT));
                let kept = keep(Payloads::Redacted, &text).unwrap();
                assert!(
                    !kept.contains("ghp_0") && !kept.contains("hunter"),
                    "{before}"
                );
            }
        }
        // Also where others before it were longer than their masks.
        let long = format!("password={} ", "x".repeat(2_000));
        let before = "y".repeat(KEPT + MARGIN - long.len() - 16);
        let text = format!("{long}{before} ghp_0123456789abcdef0123456789abcdef {before}");
        let kept = keep(Payloads::Redacted, &text).unwrap();
        assert!(
            !kept.contains("ghp_0") && kept.contains("\n[cut: "),
            "{kept}"
        );
    }
}
