//! The lease of a record of the exchange store: nobody else takes it while this process holds it.
//!
//! The lease is renewed for as long as somebody has the [`Lease`]; with the last clone the record
//! is let go, or removed. If the process dies, the lease ends by itself.

use std::{
    mem,
    sync::{self, Arc, OnceLock, PoisonError},
    time::Duration,
};

use tokio::{sync::Mutex, task::AbortHandle, time::sleep};

use crate::{
    registry::{Error, ExchangeId, ExchangeOwner, ExchangeRecord, ExchangeStore},
    to_its_end::ToItsEnd,
    tool_loop::running::Ends,
    within::within,
};

/// The time for which a record is held without being renewed: a repeat waits so long for somebody
/// who has died, and a process that stands still for longer loses what it holds.
const LEASE: Duration = Duration::from_secs(5);

/// The time between two renewals: one of them may fail.
const RENEWAL: Duration = Duration::from_secs(2);

/// The longest wait for the store: every batch waits for it, and a caller with it. A good one takes
/// milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// The first pause between two looks at a record that somebody holds; doubled up to the second.
pub(crate) const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// A record's place.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) exchanges: Arc<dyn ExchangeStore>,
    pub(crate) owner: ExchangeOwner,
    pub(crate) id: ExchangeId,
    /// The topic under which repeats find it.
    pub(crate) topic: Option<[u8; 32]>,
    /// The time for which it is kept once it is let go.
    pub(crate) life: Option<Duration>,
}

impl Place {
    /// Notes for this time that a request waits for what has this topic to end, so that its answer is
    /// kept: nearly always nobody waits, and thousands of answers would push out what
    /// conversations need.
    pub(crate) async fn await_end(&self, time: Duration) {
        let Some(id) = self.awaits() else {
            return;
        };
        let note = ExchangeRecord::new("").with_life(time);
        let put = self.exchanges.put(&self.owner, id, note, None);
        if let Ok(Ok(None)) = within(PATIENCE, put).await {
            // Another waits as well. The note begins its life anew.
            self.is_awaited().await;
        }
    }

    /// Returns `true` if a request waits, or may do so.
    async fn is_awaited(&self) -> bool {
        let Some(id) = self.awaits() else {
            return false;
        };
        let ids = [id];
        let get = self.exchanges.get(&self.owner, &ids);
        !matches!(within(PATIENCE, get).await, Ok(Ok(found)) if found.is_empty())
    }

    /// The record that says that a request waits.
    fn awaits(&self) -> Option<ExchangeId> {
        let mut id = ExchangeId([0; 12]);
        // The id of a key has the bytes before.
        id.0.copy_from_slice(&self.topic?[12..24]);
        Some(id)
    }
}

/// A record under a lease; clones hold it together.
#[derive(Clone)]
pub(crate) struct Lease(Arc<Holding>);

struct Holding {
    place: Place,
    state: Mutex<State>,
    /// Whoever waits for it to be let go.
    ends: sync::Mutex<Option<Ends>>,
    /// The task that renews it. Most are over before it has anything to do, and it goes with them:
    /// thousands that sleep would scatter the memory of all others.
    renews: OnceLock<AbortHandle>,
}

/// The record as it is stored, as far as we know.
struct State {
    /// `None` if it is not stored yet.
    version: Option<u64>,
    data: Arc<str>,
    /// The text of a write whose outcome is not known: the store was slow, or we did not wait.
    tried: Option<Arc<str>>,
    room: usize,
    /// The last text was not stored.
    is_behind: bool,
    /// Somebody else has it.
    is_lost: bool,
    after: After,
}

/// The fate of the record once nobody holds it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum After {
    /// It is let go, for others to take.
    Release,
    /// The same with this text: what the stored one announces has not begun.
    PutBack(Arc<str>),
    Remove,
    /// It stays as it is.
    Nothing,
}

/// A change of the record.
struct Change {
    /// `None` leaves the text.
    data: Option<Arc<str>>,
    room: usize,
    lease: Option<Duration>,
    life: Option<Duration>,
}

impl Lease {
    /// Takes the record at `place` from `version`, or a new one; `None` if it is not to be had.
    pub(crate) async fn take(
        place: Place,
        version: Option<u64>,
        data: Arc<str>,
        room: usize,
        after: After,
    ) -> Option<Self> {
        let state = State {
            version,
            data: data.clone(),
            tried: None,
            room,
            is_behind: false,
            is_lost: false,
            after,
        };
        let lease = Self(Arc::new(Holding {
            place,
            state: Mutex::new(state),
            ends: sync::Mutex::default(),
            renews: OnceLock::new(),
        }));
        if !lease.put(data, room).await {
            if version.is_none() {
                // If it was stored after all, it tells of what is not kept.
                lease.set_after(After::Remove).await;
            }
            return None;
        }
        lease.renew_on();
        Some(lease)
    }

    /// Writes the record; returns `true` if it is stored.
    pub(crate) async fn put(&self, data: Arc<str>, room: usize) -> bool {
        self.0.write(self.0.change(data, room)).await
    }

    /// Writes what is to be done next; returns `true` if it is stored. Until that has
    /// [begun](Self::begun), it is taken back once nobody holds the record.
    pub(crate) async fn announce(&self, data: Arc<str>, room: usize) -> bool {
        let mut state = self.0.state.lock().await;
        if state.after == After::Release {
            state.after = After::PutBack(state.data.clone());
        }
        let change = self.0.change(data, room);
        self.0.write_to(&mut state, change).await
    }

    /// What was announced begins.
    pub(crate) async fn begun(&self) {
        self.set_after(After::Release).await;
    }

    /// The caller whose record it is.
    pub(crate) fn owner(&self) -> &ExchangeOwner {
        &self.0.place.owner
    }

    /// Returns `true` if a request waits for its end, here or at another process, or may do so.
    pub(crate) async fn is_awaited(&self) -> bool {
        self.0.place.is_awaited().await
    }

    /// Returns `true` if somebody else has the record.
    pub(crate) async fn is_lost(&self) -> bool {
        self.0.state.lock().await.is_lost
    }

    /// Writes the record for the last time, and lets it go for so long.
    pub(crate) async fn put_last(&self, data: Arc<str>, life: Duration) -> bool {
        let change = Change {
            room: data.len(),
            data: Some(data),
            lease: None,
            life: Some(life),
        };
        let is_stored = self.0.write(change).await;
        if is_stored {
            self.set_after(After::Nothing).await;
        }
        is_stored
    }

    /// Lets the record go, or removes it, as far as that goes at once; returns `true` if it did.
    pub(crate) async fn let_go(&self) -> bool {
        let mut state = self.0.state.lock().await;
        let after = state.after.clone();
        let is_done = self.0.let_go(&mut state, &after).await;
        if is_done {
            state.after = After::Nothing;
        }
        is_done
    }

    /// The version that is stored, if it has the last text.
    pub(crate) async fn version(&self) -> Option<u64> {
        let state = self.0.state.lock().await;
        let is_known = state.tried.is_none() && !state.is_lost && !state.is_behind;
        state.version.filter(|_| is_known)
    }

    /// Returns `true` if there was no room for the last text.
    pub(crate) async fn lacks_room(&self) -> bool {
        let state = self.0.state.lock().await;
        state.is_behind && state.tried.is_none() && !state.is_lost
    }

    /// Keeps this until the record is let go.
    pub(crate) fn ends(&self, ends: Ends) {
        *self.0.ends.lock().unwrap_or_else(PoisonError::into_inner) = Some(ends);
    }

    /// Decides what becomes of the record.
    pub(crate) async fn set_after(&self, after: After) {
        self.0.state.lock().await.after = after;
    }

    fn renew_on(&self) {
        let held = Arc::downgrade(&self.0);
        let renews = tokio::spawn(async move {
            loop {
                sleep(RENEWAL).await;
                let Some(held) = held.upgrade() else {
                    return;
                };
                held.renew().await;
            }
        });
        let _ = self.0.renews.set(renews.abort_handle());
    }
}

impl Holding {
    /// A change to this text, under a lease.
    fn change(&self, data: Arc<str>, room: usize) -> Change {
        Change {
            room: room.max(data.len()),
            data: Some(data),
            lease: Some(LEASE),
            life: self.place.life,
        }
    }

    async fn renew(&self) {
        let mut state = self.state.lock().await;
        if state.after != After::Nothing {
            let change = Change {
                data: None,
                room: state.room,
                lease: Some(LEASE),
                life: self.place.life,
            };
            self.write_to(&mut state, change).await;
        }
    }

    async fn write(&self, change: Change) -> bool {
        let mut state = self.state.lock().await;
        self.write_to(&mut state, change).await
    }

    async fn write_to(&self, state: &mut State, change: Change) -> bool {
        if state.is_lost || !self.knows(state).await {
            return false;
        }
        let Place { owner, id, .. } = &self.place;
        let text = change.data.clone().unwrap_or_else(|| state.data.clone());
        state.tried = Some(text.clone());
        state.is_behind |= change.data.is_some();
        let has_no_text = change.data.is_none();
        let record = ExchangeRecord {
            topic: self.place.topic,
            data: change.data,
            room: change.room,
            lease: change.lease,
            life: change.life,
        };
        let put = self.place.exchanges.put(owner, *id, record, state.version);
        match within(PATIENCE, put).await {
            Ok(Ok(Some(version))) => {
                state.version = Some(version);
                state.is_behind &= has_no_text;
                state.data = text;
                state.room = change.room;
                state.tried = None;
                return true;
            }
            Ok(Ok(None)) => state.is_lost = true,
            Ok(Err(Error::Full)) => {
                tracing::warn!("there is no room to keep an exchange");
                state.tried = None;
            }
            Ok(Err(error)) => tracing::warn!(%error, "the store of exchanges failed"),
            Err(_) => tracing::warn!("the store of exchanges did not answer in time"),
        }
        false
    }

    /// Finds out what became of a write whose outcome is not known; `false` if that is not to be
    /// found out.
    async fn knows(&self, state: &mut State) -> bool {
        let Some(tried) = &state.tried else {
            return true;
        };
        let Place { owner, id, .. } = &self.place;
        let ids = [*id];
        let get = self.place.exchanges.get(owner, &ids);
        let Ok(Ok(found)) = within(PATIENCE, get).await else {
            return false;
        };
        match found.into_iter().next() {
            // No two writers store the same text.
            Some(stored) if stored.data == state.data || stored.data == *tried => {
                state.version = Some(stored.version);
                state.is_behind &= stored.data != *tried;
                state.data = stored.data;
            }
            None if state.version.is_none() => {}
            _ => state.is_lost = true,
        }
        state.tried = None;
        !state.is_lost
    }

    /// Does what is to be done once nobody holds the record; returns `true` if it is done.
    async fn let_go(&self, state: &mut State, after: &After) -> bool {
        match after {
            After::Release => {
                let change = Change {
                    data: None,
                    room: state.data.len(),
                    lease: None,
                    life: self.place.life,
                };
                self.write_to(state, change).await
            }
            After::PutBack(text) => {
                let change = Change {
                    lease: None,
                    ..self.change(text.clone(), state.room)
                };
                self.write_to(state, change).await
            }
            After::Remove => self.remove(state).await,
            After::Nothing => true,
        }
    }

    /// The same, again if it fails: a store that was away for a moment would keep what nobody has any
    /// more.
    async fn end(self, after: After) {
        let mut state = self.state.lock().await;
        for _ in 0..3 {
            if self.let_go(&mut state, &after).await || state.is_lost {
                return;
            }
            sleep(Duration::from_secs(1)).await;
        }
        match after {
            After::PutBack(_) => tracing::error!(
                "the store of exchanges is away: calls that have not begun count as lost, since it could not be told"
            ),
            _ if state.is_behind => tracing::error!(
                "the store of exchanges is away: what calls have yielded is lost to repeats of their request"
            ),
            _ => {}
        }
    }

    async fn remove(&self, state: &mut State) -> bool {
        if !self.knows(state).await {
            return false;
        }
        let Some(version) = state.version else {
            return true;
        };
        let Place { owner, id, .. } = &self.place;
        let remove = self.place.exchanges.remove(owner, *id, version);
        matches!(within(PATIENCE, remove).await, Ok(Ok(_)))
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        if let Some(renews) = self.renews.get() {
            renews.abort();
        }
        let state = self.state.get_mut();
        let is_stored = state.version.is_some() || state.tried.is_some();
        if state.after == After::Nothing || state.is_lost || !is_stored {
            return;
        }
        let after = mem::replace(&mut state.after, After::Nothing);
        // It may be dropped before it is done, and must not begin another then.
        let state = State {
            tried: state.tried.take(),
            data: mem::replace(&mut state.data, "".into()),
            after: After::Nothing,
            ..*state
        };
        let held = Self {
            place: self.place.clone(),
            state: Mutex::new(state),
            ends: mem::take(&mut self.ends),
            renews: OnceLock::new(),
        };
        // Without a runtime the lease ends by itself.
        ToItsEnd::new(held.end(after)).begin();
    }
}
