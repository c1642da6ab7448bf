//! Replaces old results by notes, where a history is too long for its model.

use bytes::Bytes;

use super::{fit::without_result, said::read, turn::KeptTurn};

impl KeptTurn {
    /// The messages that are kept beside the turn itself: executed turns, and results.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &Bytes> {
        let results = self.calls.iter().filter_map(|call| call.result.as_ref());
        let tails = self.tails.iter().flat_map(|tail| &tail.messages);
        let before = self.before.iter().chain(results);
        before.chain(&self.media).chain(tails)
    }
}

/// Makes notes of those results among `messages` that are ours: of all turns but the last that has
/// any, or, if there is nothing to leave out of these, all of that turn but its last. Returns
/// `false` if there was nothing.
///
/// All, and not as many as might do: nobody knows how much is too much, each request is restored
/// whole and so is longer than the one before, and it is asked once more only. What the model has
/// just called for stays, else it would call again.
pub(crate) fn note_old_results<'a>(
    messages: impl Iterator<Item = &'a mut Bytes>,
    is_ours: impl Fn(&Bytes) -> bool,
) -> bool {
    let mut turn = 0;
    let mut results = Vec::new();
    for message in messages {
        match is_result(message) {
            true if is_ours(message) => results.push((turn, message)),
            true => {}
            false => turn += 1,
        }
    }
    let Some(last) = results.last().map(|(turn, _)| *turn) else {
        return false;
    };
    let of_last = results.iter().position(|(turn, _)| *turn == last);
    let (old, new) = results.split_at_mut(of_last.unwrap_or_default());
    let newest = new.len().saturating_sub(1);
    note(old) || note(&mut new[..newest])
}

/// Makes notes of these results; returns `false` if none of them gets shorter.
fn note(results: &mut [(usize, &mut Bytes)]) -> bool {
    let mut is_shorter = false;
    for (_, message) in results {
        if let Some(note) = without_result(message).filter(|note| note.len() < message.len()) {
            **message = note;
            is_shorter = true;
        }
    }
    is_shorter
}

fn is_result(message: &Bytes) -> bool {
    let role = read(message).and_then(|message| message.string("role").map(|role| role == "tool"));
    role == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each letter is a message: `a` an assistant's, `o` a long result of ours, `c` one of the
    /// caller's, `s` a short one of ours. Notes become `n`.
    fn noted(letters: &str) -> Option<String> {
        let text = |letter| match letter {
            'a' => r#"{"role":"assistant","content":"x"}"#.to_owned(),
            's' => r#"{"role":"tool","content":"s"}"#.to_owned(),
            long => format!(
                r#"{{"role":"tool","content":"{}"}}"#,
                long.to_string().repeat(500)
            ),
        };
        let mut messages: Vec<Bytes> = letters.chars().map(|l| text(l).into()).collect();
        let sent = messages.clone();
        let is_ours = |message: &Bytes| !message.ends_with(b"cc\"}");
        let is_noted = note_old_results(messages.iter_mut(), is_ours);
        let letters = letters.chars().zip(sent.iter().zip(&messages));
        let told = letters.map(|(letter, (sent, now))| if sent == now { letter } else { 'n' });
        is_noted.then(|| told.collect())
    }

    #[test]
    fn all_results_of_ours_become_notes_but_those_of_the_last_turn() {
        for (messages, expected) in [
            ("aoaoao", Some("ananao")),
            ("aocoaocac", Some("ancnaocac")),
            ("aooo", Some("anno")),
            ("aoasao", Some("anasao")),
            ("asaoo", Some("asano")),
            ("ao", None),
            ("acac", None),
            ("asas", None),
            ("", None),
        ] {
            assert_eq!(noted(messages).as_deref(), expected, "{messages}");
        }
    }
}
