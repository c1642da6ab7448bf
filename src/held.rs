//! Accounting of body bytes in memory, with a limit for all callers and one for each.
//!
//! Bytes are counted while they are there, not when a `content-length` announces them: that costs
//! nothing until they arrive. [`Held`] travels with what was read, and a request's with its
//! exchange, which uses it again for each turn, so no path can forget to give room back. An answer
//! without room is treated like one that is too large: before tools have run it passes through as
//! it comes.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::settings::Limits;

/// The size up to which a body may use the last eighth of the room, which larger ones leave free:
/// filling it with large bodies blocks no short question.
const SMALL: usize = 64 << 10;

/// The callers remembered before those who hold nothing are forgotten.
const CALLERS: usize = 1024;

/// The room for the bodies of one layer.
#[derive(Debug, Default)]
pub(crate) struct Room {
    taken: AtomicUsize,
    /// The bytes that each caller holds, by a keyed hash: no caller's key is kept.
    callers: Mutex<HashMap<u64, Arc<AtomicUsize>, BuildHasherDefault<Hashed>>>,
    hasher: RandomState,
}

/// The hash of a number that is one already, by a key that callers do not know.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        // Not reached with keys that are numbers.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Room {
    /// Returns an empty reservation for a body of the caller `whose`.
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
            // Just before it grows, so that the scan costs no more than growing.
            callers.retain(|_, held| Arc::strong_count(held) > 1);
        }
        Arc::clone(callers.entry(whose).or_default())
    }
}

/// The room held by one body, released when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    room: Arc<Room>,
    caller: Arc<AtomicUsize>,
    all: usize,
    share: usize,
    bytes: usize,
}

/// The limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The limit of all bodies.
    All,
    /// The caller's share.
    Share,
}

impl Held {
    /// Reserves `bytes` more.
    ///
    /// # Errors
    /// [`Full`] if there is no room. The bytes count until they are released all the same, since
    /// they are in memory.
    pub(crate) fn add(&mut self, bytes: usize) -> Result<(), Full> {
        self.hold(self.bytes + bytes)
    }

    /// Sets the reservation to `bytes`, with the errors of [`Held::add`].
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
        // If others who use the key fill its share, short questions are still possible.
        if own > self.share && !is_small {
            Err(Full::Share)
        } else if taken > self.all - kept {
            Err(Full::All)
        } else {
            Ok(())
        }
    }

    /// Returns an empty reservation for another body of the same caller.
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
        // Releasing always fits.
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
