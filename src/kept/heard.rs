//! Tells equal texts in a history apart, by what precedes each.

use std::collections::HashMap;

use bytes::Bytes;

use super::{
    history::may_have_id,
    said::{answered, asked, hash},
};
use crate::keyed::{Digest, Keyed};

/// The messages so far, as far as they tell the texts that follow apart.
#[derive(Default)]
pub(super) struct Heard {
    /// The hash of the user's last message.
    asked: Digest,
    /// How often each text answered each message of the user since the last turn of ours; only what
    /// is before that may have been dropped by the client.
    answers: HashMap<(Digest, Digest), u64>,
}

/// Finds a final text: a hash of it and of its number among equal ones, and a hash of the user's
/// message before it.
pub(super) type Key = (Digest, Digest);

impl Heard {
    /// What is heard of these messages.
    pub(super) fn of(messages: &[Bytes]) -> Self {
        let ours = messages.iter().rposition(is_ours);
        let (before, since) = messages.split_at(ours.unwrap_or_default());
        let mut heard = Self {
            asked: before.iter().rev().find_map(asked).unwrap_or_default(),
            ..Self::default()
        };
        since.iter().for_each(|message| heard.add(message));
        heard
    }

    /// Hears another message.
    pub(super) fn add(&mut self, message: &Bytes) {
        if let Some(asked) = asked(message) {
            self.asked = asked;
        } else if is_ours(message) {
            self.answers.clear();
        } else if let Some(text) = answered(message) {
            *self.answers.entry((hash(&text), self.asked)).or_default() += 1;
        }
    }

    /// The key of the text `said` as the next message.
    pub(super) fn key(&self, said: &str) -> Key {
        let said = hash(said);
        let known = self.answers.get(&(said, self.asked)).copied();
        let number = known.unwrap_or_default().to_be_bytes();
        let said = Keyed::without_key("answer").with(said).with(number);
        (said.finish(), self.asked)
    }
}

/// Returns `true` for messages that seem to belong to a turn of ours, without the key to know it.
fn is_ours(message: &Bytes) -> bool {
    may_have_id(message) && asked(message).is_none()
}
