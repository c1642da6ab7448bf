//! Sessions of exchanges that went back to their callers, for the requests that go on from them.
//!
//! They belong to this process: a request that goes on at another replica gets new ones.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::session::{ExchangeSessions, Session};
use crate::{project::Project, registry::ExchangeId};

/// The time for which they wait: a tool of the caller's may be a person's approval, but a browser
/// that nobody comes back to takes memory of its server.
const LIFE: Duration = Duration::from_secs(10 * 60);
/// The exchanges whose sessions wait at once, as many as one server has sessions of callers. A
/// project has at most an eighth, and gives up its own that wait longest.
const MOST: usize = 1_000;
const SHARE: usize = MOST / 8;
/// The records under which sessions are found: a caller goes back by a few steps, if at all.
const RECORDS: usize = 64;

/// The sessions that wait.
#[derive(Default)]
pub(super) struct Parked(Mutex<State>);

/// All that is behind the lock, which is never held across an await.
#[derive(Default)]
struct State {
    entries: HashMap<u64, Entry>,
    /// The entries by their records.
    numbers: HashMap<ExchangeId, u64>,
    next: u64,
    /// A task waits for the first to end.
    is_swept: bool,
}

/// The sessions of an exchange, and of those that went on from it.
struct Entry {
    project: Project,
    /// In the order in which they were kept.
    records: Vec<ExchangeId>,
    sessions: Arc<ExchangeSessions>,
    ends: Instant,
}

impl Parked {
    /// The sessions that were left at one of these records, of several those that were used last.
    /// They stay for others who go on from there.
    pub(super) fn find(
        &self,
        records: impl IntoIterator<Item = ExchangeId>,
    ) -> Option<Arc<ExchangeSessions>> {
        let mut state = self.state();
        let State {
            entries, numbers, ..
        } = &mut *state;
        let found = records
            .into_iter()
            .filter_map(|record| numbers.get(&record));
        let number = found.max_by_key(|number| entries.get(number).map(|entry| entry.ends))?;
        let entry = entries.get_mut(number)?;
        entry.ends = Instant::now() + LIFE;
        Some(entry.sessions.clone())
    }

    /// Leaves sessions at a record, if there are any.
    pub(super) fn park(
        self: &Arc<Self>,
        project: &Project,
        record: ExchangeId,
        sessions: &Arc<ExchangeSessions>,
    ) {
        if sessions.is_empty() {
            return;
        }
        let mut state = self.state();
        let number = state.number(project, sessions);
        state.add(number, record);
        let gone = state.make_room(project, number);
        if !mem::replace(&mut state.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
        drop(state);
        // They end here, unless they are in use.
        drop(gone);
    }

    /// Takes all sessions out, to be ended.
    pub(super) fn take_all(&self) -> Vec<Arc<Session>> {
        let mut state = self.state();
        state.numbers.clear();
        let entries = mem::take(&mut state.entries);
        drop(state);
        let entries = entries.into_values();
        entries.flat_map(|entry| entry.sessions.take()).collect()
    }

    /// Ends those whose time is over; returns the time at which the next one's is.
    fn end_old(&self) -> Option<Instant> {
        let mut state = self.state();
        let now = Instant::now();
        let old = state.entries.iter().filter(|(_, entry)| entry.ends <= now);
        let old: Vec<u64> = old.map(|(number, _)| *number).collect();
        let gone: Vec<_> = old.into_iter().map(|number| state.remove(number)).collect();
        let next = state.entries.values().map(|entry| entry.ends).min();
        state.is_swept = next.is_some();
        drop(state);
        drop(gone);
        next
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The number of the entry of these sessions.
    fn number(&mut self, project: &Project, sessions: &Arc<ExchangeSessions>) -> u64 {
        let is_it = |entry: &Entry| Arc::ptr_eq(&entry.sessions, sessions);
        let known = self.entries.iter().find(|(_, entry)| is_it(entry));
        if let Some((number, _)) = known {
            return *number;
        }
        self.next += 1;
        let entry = Entry {
            project: project.clone(),
            records: Vec::new(),
            sessions: sessions.clone(),
            ends: Instant::now(),
        };
        self.entries.insert(self.next, entry);
        self.next
    }

    fn add(&mut self, number: u64, record: ExchangeId) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        entry.ends = Instant::now() + LIFE;
        if self.numbers.insert(record, number) == Some(number) {
            return;
        }
        if entry.records.len() >= RECORDS {
            self.numbers.remove(&entry.records.remove(0));
        }
        entry.records.push(record);
    }

    /// Takes away what is beyond the limits, of this project; `new` only where it has nothing else.
    fn make_room(&mut self, project: &Project, new: u64) -> Vec<Option<Entry>> {
        let mut gone = Vec::new();
        loop {
            let of_project = self.entries.iter();
            let of_project = of_project.filter(|(_, entry)| entry.project == *project);
            if of_project.clone().count() <= SHARE && self.entries.len() <= MOST {
                return gone;
            }
            let others = of_project.filter(|(number, _)| **number != new);
            let oldest = others.min_by_key(|(_, entry)| entry.ends);
            let oldest = oldest.map_or(new, |(number, _)| *number);
            gone.push(self.remove(oldest));
        }
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        for record in &entry.records {
            if self.numbers.get(record) == Some(&number) {
                self.numbers.remove(record);
            }
        }
        Some(entry)
    }
}

/// Ends sessions when their time is over, for as long as there are any.
async fn sweep(parked: Weak<Parked>) {
    loop {
        let next = match parked.upgrade() {
            Some(parked) => parked.end_old(),
            None => None,
        };
        let Some(next) = next else {
            return;
        };
        sleep_until(next).await;
    }
}
