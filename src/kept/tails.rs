//! Finds the tails that belong before the texts of a history.

use std::collections::HashMap;

use super::{heard::Key, known::Known, tail::Tail};

/// The tails of some kept turns, each to be found once.
pub(super) struct Tails<'a> {
    /// With the place of its turn, in the order of turns; `None` once it was found.
    all: Vec<Option<(usize, &'a Tail)>>,
    /// Their places by what they are found by.
    places: HashMap<Key, Vec<usize>>,
}

impl<'a> Tails<'a> {
    pub(super) fn of(turns: &[Option<Known<'a>>]) -> Self {
        let turns = turns.iter().enumerate();
        let tails = turns.filter_map(|(turn, known)| Some((turn, &known.as_ref()?.kept.tails)));
        let tails = tails.flat_map(|(turn, tails)| tails.iter().map(move |tail| (turn, tail)));
        let all: Vec<_> = tails.map(Some).collect();
        let mut places = HashMap::<Key, Vec<usize>>::new();
        for (place, (_, tail)) in all.iter().flatten().enumerate() {
            let mut add = |said| places.entry((said, tail.asked)).or_default().push(place);
            add(tail.text);
            tail.streamed.iter().copied().for_each(add);
        }
        Self { all, places }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The tail that is found by `key`, of the last of those turns for which `is_before` is true.
    pub(super) fn take(
        &mut self,
        key: &Key,
        is_before: impl Fn(usize) -> bool,
    ) -> Option<&'a Tail> {
        let places = self.places.get_mut(key)?;
        let all = &self.all;
        let mut end = places.partition_point(|place| {
            // Those that were found are of turns before.
            all[*place].is_none_or(|(turn, _)| is_before(turn))
        });
        while end > 0 {
            end -= 1;
            if let Some((_, tail)) = self.all[places.remove(end)].take() {
                return Some(tail);
            }
        }
        None
    }
}
