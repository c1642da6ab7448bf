//! Bytes of bodies that are held in memory: a limit for all of them and one for each caller's.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::settings::Limits;

/// A body of this size may take the last eighth of the room, which larger ones leave free: whoever
/// fills it with large bodies keeps nobody from asking a short question.
const SMALL: usize = 64 << 10;

/// Callers that are remembered before those who hold nothing are forgotten.
const CALLERS: usize = 1024;

/// The room for the bodies of one layer.
#[derive(Debug, Default)]
pub(crate) struct Room {
    taken: AtomicUsize,
    /// What each caller holds, by a keyed hash: no key of a caller's is kept.
    callers: Mutex<HashMap<u64, Arc<AtomicUsize>>>,
    hasher: RandomState,
}

impl Room {
    /// A place for a body of the caller `whose`, with nothing in it yet.
    pub(crate) fn of(self: &Arc<Self>, whose: &impl Hash, limits: &Limits) -> Held {
        Held {
            caller: self.caller(self.hasher.hash_one(whose)),
            room: Arc::clone(self),
            all: limits.all_body_bytes,
            share: limits.caller_body_bytes,
            bytes: 0,
        }
    }

    fn caller(&self, whose: u64) -> Arc<AtomicUsize> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= CALLERS && callers.len() == callers.capacity() {
            // Before it grows, so that looking through it costs no more than growing.
            callers.retain(|_, held| Arc::strong_count(held) > 1);
        }
        Arc::clone(callers.entry(whose).or_default())
    }
}

/// What one body holds of the room, and gives back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    room: Arc<Room>,
    caller: Arc<AtomicUsize>,
    all: usize,
    share: usize,
    bytes: usize,
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// That of all bodies.
    All,
    /// That of the caller's.
    Share,
}

impl Held {
    /// Holds `bytes` more.
    ///
    /// # Errors
    /// There is no room for them. They count all the same until they are let go: they are there.
    pub(crate) fn add(&mut self, bytes: usize) -> Result<(), Full> {
        self.hold(self.bytes + bytes)
    }

    /// Holds `bytes` from now on, whatever it was before. Errors as those of [`Held::add`].
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Full> {
        let before = std::mem::replace(&mut self.bytes, bytes);
        let Some(more) = bytes.checked_sub(before) else {
            self.room.taken.fetch_sub(before - bytes, Ordering::Relaxed);
            self.caller.fetch_sub(before - bytes, Ordering::Relaxed);
            return Ok(());
        };
        let taken = more + self.room.taken.fetch_add(more, Ordering::Relaxed);
        let own = more + self.caller.fetch_add(more, Ordering::Relaxed);
        let is_small = bytes <= SMALL;
        let kept = if is_small { 0 } else { self.all / 8 };
        // Whoever shares a key with somebody who fills its share may still ask a short question.
        if own > self.share && !is_small {
            Err(Full::Share)
        } else if taken > self.all - kept {
            Err(Full::All)
        } else {
            Ok(())
        }
    }

    /// A place for another body of the same caller.
    pub(crate) fn another(&self) -> Self {
        Self {
            room: Arc::clone(&self.room),
            caller: Arc::clone(&self.caller),
            bytes: 0,
            ..*self
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // What is let go always fits.
        let _ = self.hold(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(all: usize, share: usize) -> Limits {
        Limits {
            all_body_bytes: all,
            caller_body_bytes: share,
            ..Limits::default()
        }
    }

    #[test]
    fn what_is_dropped_is_free_again_also_what_did_not_fit() {
        let (room, limits) = (Arc::new(Room::default()), limits(1000 * SMALL, 300 * SMALL));
        let mut held = room.of(&"a", &limits);
        assert_eq!(held.add(200 * SMALL), Ok(()));
        let mut second = held.another();
        assert_eq!(second.add(101 * SMALL), Err(Full::Share));
        let mut other = room.of(&"b", &limits);
        assert_eq!(other.add(300 * SMALL), Ok(()));
        drop(second);
        assert_eq!(held.add(100 * SMALL), Ok(()));
        drop(held);
        assert_eq!(room.taken.load(Ordering::Relaxed), 300 * SMALL);
        assert_eq!(room.of(&"a", &limits).add(300 * SMALL), Ok(()));
    }

    #[test]
    fn the_last_eighth_is_for_small_bodies() {
        let all = 8 << 20;
        let (room, limits) = (Arc::new(Room::default()), limits(all, all));
        let mut large = room.of(&"a", &limits);
        assert_eq!(large.add(all / 8 * 7), Ok(()));
        assert_eq!(room.of(&"b", &limits).add(SMALL + 1), Err(Full::All));
        let small: Vec<_> = (0..all / 8 / SMALL)
            .map(|who| {
                let mut held = room.of(&who, &limits);
                assert_eq!(held.add(SMALL), Ok(()));
                held
            })
            .collect();
        assert_eq!(room.of(&"c", &limits).add(1), Err(Full::All));
        drop(small);
        assert_eq!(room.of(&"c", &limits).add(1), Ok(()));
    }

    #[test]
    fn callers_who_hold_nothing_are_forgotten() {
        let (room, limits) = (Arc::new(Room::default()), limits(1000 * SMALL, 300 * SMALL));
        let mut held = room.of(&"a", &limits);
        assert_eq!(held.add(300 * SMALL), Ok(()));
        for who in 0..100_000 {
            assert_eq!(room.of(&who, &limits).add(1), Ok(()));
        }
        assert!(room.callers.lock().unwrap().len() < 10 * CALLERS);
        assert_eq!(room.of(&"a", &limits).add(SMALL + 1), Err(Full::Share));
    }
}
