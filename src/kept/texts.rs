//! What kept turns say, and whether a client says the same.

use super::{
    said::{letters, read, streamed, text},
    turn::KeptTurn,
};

/// What a kept turn says.
#[derive(Default)]
pub(super) struct Texts {
    pub(super) own: String,
    /// The same without blanks, and with what was said before it in the same request: a stream has
    /// both.
    pub(super) letters: String,
    pub(super) streamed: String,
}

impl Texts {
    pub(super) fn of(kept: &KeptTurn) -> Self {
        let own = read(&kept.turn).map(|turn| text(&turn));
        let own = own.unwrap_or_default();
        Self {
            letters: letters(&own),
            streamed: letters(&streamed(kept.before.iter().chain([&kept.turn]))),
            own,
        }
    }

    /// Returns `true` if a client that says `said`, with these letters, has changed nothing.
    pub(super) fn are(&self, said: &str, letters: &str) -> bool {
        self.own == said || self.streamed == letters
    }
}

/// Returns `true` if these texts one behind the other are `whole`. They are not joined: a caller can
/// have many large ones, and ask often.
pub(super) fn are_all<'a>(texts: impl Iterator<Item = &'a str>, whole: &str) -> bool {
    let mut rest = Some(whole);
    for text in texts {
        rest = rest.and_then(|rest| rest.strip_prefix(text));
    }
    rest.is_some_and(str::is_empty)
}
