//! Restores a history: puts back into it what is kept of its turns.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::{
    answers::answers,
    changed::Changed,
    gone,
    heard::Heard,
    history::{Calls, History, Mark},
    known::Known,
    output::{Output, Part, Restored},
    said::{answered, letters, read},
    tail::Tail,
    tails::Tails,
    texts::{Texts, are_all},
    turn::KeptTurn,
};
use crate::registry::ExchangeId;

impl History {
    /// Restores the history with at most `most` bytes of what is `kept`: beyond them the oldest turns
    /// count as gone.
    pub(crate) fn restore(self, kept: &HashMap<ExchangeId, KeptTurn>, most: usize) -> Restored {
        Restoring::new(&self, kept, most).run()
    }
}

struct Restoring<'a> {
    history: &'a History,
    /// What is kept of each turn; `None` for those that are gone, and those that were put out.
    known: Vec<Option<Known<'a>>>,
    texts: Vec<Texts>,
    /// What the client says that each turn says, as far as it says anything.
    said: Vec<Option<Said>>,
    /// The messages whose text is in one of the turns.
    taken: HashSet<usize>,
    tails: Tails<'a>,
    /// The last turn that is kept.
    last: Option<ExchangeId>,
    is_incomplete: bool,
    /// The messages so far, where there are tails to be found by them.
    heard: Heard,
    output: Output,
}

/// The text of a turn, in the client's words.
#[derive(Clone, Copy)]
enum Said {
    /// What is kept.
    Same,
    /// That of this message.
    Other(usize),
}

impl<'a> Restoring<'a> {
    fn new(history: &'a History, all: &'a HashMap<ExchangeId, KeptTurn>, most: usize) -> Self {
        let mut left = Some(most);
        let known = history.turns.iter().rev().map(|turn| {
            let kept = all.get(&turn.record)?;
            left = left.and_then(|left| left.checked_sub(kept.size()));
            left.and_then(|_| Known::of(kept))
        });
        let mut known: Vec<_> = known.collect();
        known.reverse();
        let texts = known.iter().map(|known| known.as_ref().map(Texts::of));
        let last = known.iter().rposition(Option::is_some);
        Self {
            history,
            texts: texts.map(Option::unwrap_or_default).collect(),
            said: vec![None; known.len()],
            taken: HashSet::new(),
            tails: Tails::of(&known),
            last: last.map(|turn| history.turns[turn].record),
            is_incomplete: known.iter().any(Option::is_none),
            heard: Heard::default(),
            output: Output::default(),
            known,
        }
    }

    fn run(mut self) -> Restored {
        self.listen();
        let mut marks = self.history.marks.iter().peekable();
        for (index, message) in self.history.messages.iter().enumerate() {
            match marks.next_if(|(marked, _)| *marked == index) {
                Some((_, mark)) => self.marked(index, mark),
                None if self.taken.contains(&index) => self.output.skip(),
                None => self.own(index, message),
            }
            if !self.tails.is_empty() {
                self.heard.add(message);
            }
        }
        let mut restored = self.output.finish();
        (restored.last, restored.is_incomplete) = (self.last, self.is_incomplete);
        restored
    }

    /// Finds out what the client says that the turns say.
    fn listen(&mut self) {
        let history = self.history;
        for (index, mark) in &history.marks {
            match mark {
                Mark::Calls(calls) if !calls.text.is_empty() => {
                    self.hear(*index, &calls.turns, &calls.text);
                }
                _ => self.look_before(*index, mark.turns()),
            }
        }
    }

    /// Takes the text of a message for that of its turns. Of several messages of a turn the first
    /// that has a text counts.
    fn hear(&mut self, index: usize, turns: &[usize], said: &str) {
        let letters = letters(said);
        let texts = || turns.iter().map(|turn| &self.texts[*turn]);
        let is_all = turns.len() > 1
            && (are_all(texts().map(|texts| &*texts.letters), &letters)
                || are_all(texts().map(|texts| &*texts.streamed), &letters));
        let is_same = |turn: &usize| is_all || self.texts[*turn].are(said, &letters);
        let same: Vec<usize> = turns.iter().copied().filter(is_same).collect();
        let first = turns.iter().find(|turn| self.said[**turn].is_none());
        let (turns, how) = match same.is_empty() {
            false => (same, Said::Same),
            true => (Vec::from_iter(first.copied()), Said::Other(index)),
        };
        if !turns.is_empty() {
            self.taken.insert(index);
        }
        for turn in turns {
            self.said[turn].get_or_insert(how);
        }
    }

    /// Some clients make two messages of a turn, one of its text and one of its calls, or keep of
    /// both only the text.
    fn look_before(&mut self, index: usize, turns: &[usize]) {
        let Some(turn) = turns.first().copied() else {
            return;
        };
        let texts = &self.texts[turn];
        let is_first = self.history.turns[turn].first == index && !texts.streamed.is_empty();
        if let Some(before) = index.checked_sub(1).filter(|_| is_first)
            && let Some(said) = answered(&self.history.messages[before])
            && !said.is_empty()
            && texts.are(&said, &letters(&said))
        {
            self.taken.insert(before);
            self.said[turn] = Some(Said::Same);
        }
    }

    fn marked(&mut self, index: usize, mark: &Mark) {
        for turn in mark.turns() {
            if self.history.turns[*turn].first == index {
                self.turn(*turn);
            }
        }
        if let Mark::Calls(calls) = mark
            && !calls.rest.is_empty()
        {
            self.rest(index, calls);
        }
    }

    /// Puts out all that is known of a turn.
    fn turn(&mut self, turn: usize) {
        let history = self.history;
        let seen = &history.turns[turn];
        let said = self.said[turn];
        let other = match said {
            Some(Said::Other(index)) => read(&history.messages[index]),
            _ => None,
        };
        let content = other.as_ref().and_then(|message| message.get("content"));
        let Some(known) = self.known[turn].take() else {
            let first = seen.messages.first();
            let is_taken = first.is_some_and(|first| self.taken.contains(first));
            let content = content.or(is_taken.then_some("null"));
            let messages = gone::messages(history, seen, content);
            self.output.turn(messages.into_iter().map(Part::Message));
            return;
        };
        let kept = known.kept;
        let turn = Changed::of(&known, seen, content);
        let before = kept.before.iter().cloned().chain([turn.message.clone()]);
        self.output.turn(before.map(Part::Message));
        self.output.turn(answers(history, &known, seen, &turn));
    }

    /// Puts out a message without the calls of ours that it had.
    fn rest(&mut self, index: usize, calls: &Calls) {
        let Some(message) = read(&self.history.messages[index]) else {
            return;
        };
        let rest: Vec<_> = calls
            .rest
            .iter()
            .map(|call| String::from_utf8_lossy(call))
            .collect();
        let rest = format!("[{}]", rest.join(","));
        let mut members = vec![("tool_calls", &*rest)];
        if self.taken.contains(&index) {
            members.push(("content", "null"));
        }
        self.output
            .rest(message.edited(message.set(&members)).into());
    }

    /// Puts out a message that has no id of ours, behind the turns that led to it.
    fn own(&mut self, index: usize, message: &Bytes) {
        if let Some(tail) = self.tail(index, message) {
            let messages = tail.messages.iter().cloned();
            self.output.turn(messages.map(Part::Message));
            // Without a text each client has its own way to say so, which providers take of it.
            if answered(&tail.last).is_some_and(|said| !said.is_empty()) {
                return self.output.turn([Part::Message(tail.last.clone())]);
            }
        }
        self.output.own(message);
    }

    fn tail(&mut self, index: usize, message: &Bytes) -> Option<&'a Tail> {
        if self.tails.is_empty() {
            return None;
        }
        let key = self.heard.key(&answered(message)?);
        self.output.settle();
        let is_before = |turn: usize| self.history.turns[turn].first < index;
        self.tails.take(&key, is_before)
    }
}
