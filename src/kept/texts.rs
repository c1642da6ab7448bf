//! The texts of kept turns, compared with what a client has of them.

use super::{
    known::Known,
    said::{letters, text_of, texts},
};

/// The texts of a kept turn.
#[derive(Default)]
pub(super) struct Texts {
    pub(super) own: String,
    /// The same without blanks, and with what was said before it in the same request: a stream has
    /// both.
    pub(super) letters: String,
    pub(super) streamed: String,
    /// Where each text begins in it. The stream of a repeat has only those since it went on.
    begins: Vec<usize>,
}

impl Texts {
    pub(super) fn of(known: &Known<'_>) -> Self {
        let own = text_of(known.message.content);
        let own_letters = letters(&own);
        let (mut streamed, mut begins) = (String::new(), Vec::new());
        for said in texts(&known.kept.before) {
            begins.push(streamed.len());
            streamed += &letters(&said);
        }
        begins.push(streamed.len());
        streamed += &own_letters;
        Self {
            letters: own_letters,
            streamed,
            begins,
            own,
        }
    }

    /// Returns `true` if a client that says `said`, with these letters, has changed nothing.
    pub(super) fn are(&self, said: &str, letters: &str) -> bool {
        let begin = self.streamed.len().checked_sub(letters.len());
        let is_run = begin.is_some_and(|begin| self.begins.contains(&begin));
        self.own == said || is_run && self.streamed.ends_with(letters)
    }
}

/// Returns `true` if these texts make up `whole` in their order. They are not joined: a caller can
/// have many large ones, and ask often.
pub(super) fn are_all<'a>(texts: impl Iterator<Item = &'a str>, whole: &str) -> bool {
    let mut rest = Some(whole);
    for text in texts {
        rest = rest.and_then(|rest| rest.strip_prefix(text));
    }
    rest.is_some_and(str::is_empty)
}
