//! A server's own words on how to use its tools, as models get them.

use std::sync::Arc;

use crate::{left_out::cut, registry::Fingerprint, unseen::cleaned};

/// The most that a model is given of one server's instructions, in bytes, with the note of a cut.
/// They stand in every request that uses the server.
const BYTES: usize = 4 << 10;
/// Room for that note.
const NOTE: usize = " [cut]".len();

/// The instructions of a server.
#[derive(Clone, Debug)]
pub(crate) struct Instructions {
    /// As the server wrote them: what an operator accepts.
    pub(crate) said: Arc<str>,
    pub(crate) fingerprint: Fingerprint,
    /// For models: without invisible characters, and cut.
    pub(super) given: Arc<str>,
}

impl Instructions {
    /// `None` if there is nothing to see.
    pub(crate) fn new(said: Arc<str>) -> Option<Self> {
        let seen = cleaned(&said);
        let given = match seen.len() > BYTES {
            true => cut(seen, BYTES - NOTE),
            false => seen.into_owned(),
        };
        (!given.trim().is_empty()).then(|| Self {
            fingerprint: Fingerprint::of_text(&said),
            given: given.into(),
            said,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(said: &str) -> Option<Arc<str>> {
        Instructions::new(said.into()).map(|instructions| instructions.given)
    }

    #[test]
    fn a_model_gets_what_can_be_seen_and_no_more_than_the_limit() {
        let hidden = "Call\u{200b} search\u{e0041} first.";
        assert_eq!(given(hidden).as_deref(), Some("Call search first."));
        assert_eq!(given("\u{200b}\u{e0041} \n"), None);
        for (said, is_cut) in [("é".repeat(BYTES / 2), false), ("é".repeat(BYTES), true)] {
            let given = given(&said).unwrap();
            assert!(given.len() <= BYTES);
            assert_eq!(given.ends_with("é [cut]"), is_cut);
        }
    }
}
