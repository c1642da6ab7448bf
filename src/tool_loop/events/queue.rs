//! The events that wait for the caller's stream.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::event::Event;

/// The shortest time between two events of progress: a bar that moves ten times a second moves
/// smoothly, and a server may send thousands.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// The most bytes of texts that wait. A caller who reads more slowly gets events without theirs; a
/// round of eight calls at once has no more than 150 KiB of them.
const TEXTS: usize = 512 << 10;

/// The events of one request that wait. There are at most three of each call (its beginning, its
/// latest progress, its end), and no more calls than
/// [`Limits::calls`](crate::settings::Limits::calls).
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Event>,
    /// The bytes of their texts.
    texts: usize,
    /// The time from which progress may be told again.
    next_progress: Option<Instant>,
    /// A part of what earlier requests left is gone.
    is_incomplete: bool,
    /// Nobody reads any more.
    is_closed: bool,
}

impl Queue {
    /// Adds an event, which never waits.
    pub(super) fn put(&self, event: Event) {
        let mut waiting = self.waiting();
        if waiting.is_closed {
            return;
        }
        waiting.put(event);
        drop(waiting);
        self.changed.notify_one();
    }

    /// Waits for events, and takes them.
    pub(super) async fn next(&self) -> Vec<Event> {
        loop {
            let changed = self.changed.notified();
            let (events, due) = self.waiting().due(Instant::now());
            if !events.is_empty() {
                return events;
            }
            match due {
                Some(due) => timeout_at(due, changed).await.unwrap_or_default(),
                None => changed.await,
            }
        }
    }

    /// Takes all events.
    pub(super) fn take_all(&self) -> Vec<Event> {
        self.waiting().take()
    }

    /// Takes no more events.
    pub(super) fn close(&self) {
        let mut waiting = self.waiting();
        waiting.is_closed = true;
        waiting.take();
    }

    pub(super) fn tell_incomplete(&self) {
        self.waiting().is_incomplete = true;
    }

    pub(super) fn is_incomplete(&self) -> bool {
        self.waiting().is_incomplete
    }

    /// Locks what waits, never across an await.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Adds an event; newer progress of a call takes the place of older.
    fn put(&mut self, mut event: Event) {
        let older = self.progress_of(&event);
        let freed = older.map_or(0, |older| older.kind.text_len());
        self.texts -= freed;
        if self.texts + event.kind.text_len() > TEXTS {
            event.kind.drop_text();
        }
        self.texts += event.kind.text_len();
        match self.progress_of(&event) {
            Some(older) => *older = event,
            None => self.events.push_back(event),
        }
    }

    /// The progress of the same call that waits, if `event` is some.
    fn progress_of(&mut self, event: &Event) -> Option<&mut Event> {
        let is_older =
            |older: &&mut Event| older.is_progress() && Arc::ptr_eq(&older.head, &event.head);
        let mut waiting = self.events.iter_mut();
        event.is_progress().then(|| waiting.rfind(is_older))?
    }

    /// What may be told now, or the time from which there will be something.
    fn due(&mut self, now: Instant) -> (Vec<Event>, Option<Instant>) {
        let may_tell = self.next_progress.is_none_or(|next| next <= now);
        let all_is_progress = self.events.iter().all(Event::is_progress);
        if all_is_progress && !may_tell {
            let due = self.next_progress.filter(|_| !self.events.is_empty());
            return (Vec::new(), due);
        }
        let events = self.take();
        if events.iter().any(Event::is_progress) {
            self.next_progress = Some(now + PROGRESS_EVERY);
        }
        (events, None)
    }

    fn take(&mut self) -> Vec<Event> {
        self.texts = 0;
        mem::take(&mut self.events).into()
    }
}
