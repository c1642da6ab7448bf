//! An exchange store in memory.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    error::Error,
    exchange::{EXCHANGE_LEN, ExchangeId, ExchangeOwner, ExchangeRecord, StoredExchange},
    exchange_store::{ExchangeStore, FOUND},
    future::BoxFuture,
};
use crate::random::fill_random;

/// The memory of a store, in bytes: eight projects at their most.
const BYTES: usize = 64 << 20;
/// The part of it that one project can have.
const SHARES: usize = 8;
/// The least that a record counts with, since it takes memory beside its text.
const LEAST: usize = 1024;
/// The life of a record: a conversation that was left in the evening goes on in the morning.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest lease and life; nobody means more.
const LONGEST_LEASE: Duration = Duration::from_secs(60 * 60);
const LONGEST_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// An exchange store in memory: 64 MiB, of which a project has at most an eighth, for 24 hours
/// after a record's last use. It is lost with the process.
///
/// `Clone` is cheap, and clones are the same store. Replicas that keep exchanges in memory need a
/// load balancer that leads a caller to the same one each time.
///
/// ```
/// use mcp_layer::registry::{
///     ExchangeId, ExchangeOwner, ExchangeRecord, ExchangeStore, MemoryExchanges,
/// };
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let store = MemoryExchanges::default();
/// let owner = ExchangeOwner::new("default", "web", [7; 32]);
/// let id = ExchangeId::random();
/// let version = store.put(&owner, id, ExchangeRecord::new("a turn"), None).await?;
/// assert_eq!(&*store.get(&owner, &[id]).await?[0].data, "a turn");
///
/// // Of all who have read this version, one can put the next.
/// assert!(store.put(&owner, id, ExchangeRecord::new("mine"), version).await?.is_some());
/// assert!(store.put(&owner, id, ExchangeRecord::new("theirs"), version).await?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MemoryExchanges(Arc<Inner>);

struct Inner {
    key: [u8; 32],
    limit: usize,
    // Held for map operations, never across an await.
    kept: Mutex<Kept>,
}

impl Default for MemoryExchanges {
    fn default() -> Self {
        Self::with_bytes(BYTES)
    }
}

impl MemoryExchanges {
    /// A store of so many bytes, of which a project can have an eighth; the default's are 64 MiB. A
    /// record counts with its room or its text, whichever is more, and with at least 1 KiB.
    pub fn with_bytes(bytes: usize) -> Self {
        let mut key = [0; 32];
        fill_random(&mut key);
        Self(Arc::new(Inner {
            key,
            limit: bytes,
            kept: Mutex::default(),
        }))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Topic = ([u8; 32], [u8; 32]);
type Project = (Arc<str>, Arc<str>);

/// The records, and the orders in which they are looked for.
#[derive(Default)]
struct Kept {
    records: HashMap<ExchangeId, Record>,
    /// By the ends of their lives.
    ends: BTreeSet<(Instant, ExchangeId)>,
    /// By caller and topic, in the order of puts.
    topics: BTreeSet<(Topic, u64, ExchangeId)>,
    projects: HashMap<Project, Share>,
    bytes: usize,
    /// Counts puts and reads.
    count: u64,
}

/// What a project has.
#[derive(Default)]
struct Share {
    bytes: usize,
    /// By their last uses.
    uses: BTreeSet<(u64, ExchangeId)>,
}

struct Record {
    owner: ExchangeOwner,
    /// The count at its put: no version is used twice.
    version: u64,
    topic: Option<[u8; 32]>,
    data: Arc<str>,
    /// The bytes that it counts with.
    size: usize,
    leased_until: Option<Instant>,
    life: Duration,
    /// The count at its last use.
    used: u64,
    ends: Instant,
}

impl Record {
    fn is_leased(&self, now: Instant) -> bool {
        self.leased_until.is_some_and(|until| until > now)
    }

    fn topic(&self, id: ExchangeId) -> Option<(Topic, u64, ExchangeId)> {
        let topic = (self.owner.caller, self.topic?);
        Some((topic, self.version, id))
    }

    fn project(&self) -> Project {
        project(&self.owner)
    }

    fn stored(&self, id: ExchangeId, now: Instant) -> StoredExchange {
        let is_leased = self.is_leased(now);
        StoredExchange::new(id, self.version, self.data.clone(), is_leased)
    }
}

fn project(owner: &ExchangeOwner) -> Project {
    (owner.organization.clone(), owner.project.clone())
}

impl Kept {
    fn count(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// The record of an owner, if its life has not ended.
    fn of(&self, owner: &ExchangeOwner, id: ExchangeId, now: Instant) -> Option<&Record> {
        let record = self.records.get(&id)?;
        (record.owner == *owner && record.ends > now).then_some(record)
    }

    fn insert(&mut self, id: ExchangeId, record: Record) {
        self.ends.insert((record.ends, id));
        self.topics.extend(record.topic(id));
        let share = self.projects.entry(record.project()).or_default();
        share.bytes += record.size;
        share.uses.insert((record.used, id));
        self.bytes += record.size;
        self.records.insert(id, record);
    }

    fn remove(&mut self, id: ExchangeId) {
        let Some(record) = self.records.remove(&id) else {
            return;
        };
        self.ends.remove(&(record.ends, id));
        if let Some(topic) = record.topic(id) {
            self.topics.remove(&topic);
        }
        self.bytes -= record.size;
        let project = record.project();
        if let Some(share) = self.projects.get_mut(&project) {
            share.bytes -= record.size;
            share.uses.remove(&(record.used, id));
            if share.uses.is_empty() {
                self.projects.remove(&project);
            }
        }
    }

    fn remove_expired(&mut self, now: Instant) {
        while let Some((ends, id)) = self.ends.first().copied()
            && ends <= now
        {
            self.remove(id);
        }
    }

    /// Makes room for a record of this size in place of the one that is there, or changes nothing.
    fn make_room(
        &mut self,
        owner: &ExchangeOwner,
        id: ExchangeId,
        size: usize,
        limit: usize,
    ) -> Result<(), Error> {
        let now = Instant::now();
        let replaced = self.records.get(&id).map_or(0, |record| record.size);
        let share = self.projects.get(&project(owner));
        let of_project = share.map_or(0, |share| share.bytes) - replaced + size;
        let beyond = of_project.saturating_sub(limit / SHARES);
        let needed = beyond.max((self.bytes - replaced + size).saturating_sub(limit));
        let (mut freed, mut given) = (0, Vec::new());
        // Those that are leased were used lately, so hardly one is passed over.
        let mut oldest = share.into_iter().flat_map(|share| &share.uses);
        while freed < needed {
            let Some((_, other)) = oldest.next() else {
                return Err(Error::Full);
            };
            if let Some(record) = self.records.get(other)
                && *other != id
                && !record.is_leased(now)
            {
                freed += record.size;
                given.push(*other);
            }
        }
        given.into_iter().for_each(|id| self.remove(id));
        Ok(())
    }

    /// Begins the life of a record anew.
    fn renew(&mut self, id: ExchangeId, now: Instant) {
        let used = self.count();
        if let Some(record) = self.records.get_mut(&id) {
            self.ends.remove(&(record.ends, id));
            record.ends = now + record.life;
            self.ends.insert((record.ends, id));
            if let Some(share) = self.projects.get_mut(&record.project()) {
                share.uses.remove(&(record.used, id));
                share.uses.insert((used, id));
            }
            record.used = used;
        }
    }

    fn put(
        &mut self,
        owner: &ExchangeOwner,
        id: ExchangeId,
        record: ExchangeRecord,
        expected: Option<u64>,
        limit: usize,
    ) -> Result<Option<u64>, Error> {
        let now = Instant::now();
        self.remove_expired(now);
        let stored = self.of(owner, id, now);
        let is_anothers = stored.is_none() && self.records.contains_key(&id);
        if is_anothers || stored.map(|stored| stored.version) != expected {
            return Ok(None);
        }
        let data = record.data.or_else(|| Some(stored?.data.clone()));
        let data = data.unwrap_or_default();
        let room = record.room.max(data.len());
        if room > EXCHANGE_LEN {
            return Err(Error::Full);
        }
        let size = room.max(LEAST);
        self.make_room(owner, id, size, limit)?;
        self.remove(id);
        let life = record.life.unwrap_or(LIFE).min(LONGEST_LIFE);
        let version = self.count();
        let lease = record.lease.map(|lease| lease.min(LONGEST_LEASE));
        let new = Record {
            owner: owner.clone(),
            version,
            topic: record.topic,
            data,
            size,
            leased_until: lease.map(|lease| now + lease),
            life,
            used: version,
            ends: now + life,
        };
        self.insert(id, new);
        Ok(Some(version))
    }
}

impl ExchangeStore for MemoryExchanges {
    fn key(&self) -> BoxFuture<'_, Result<[u8; 32], Error>> {
        Box::pin(async { Ok(self.0.key) })
    }

    fn put<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        id: ExchangeId,
        record: ExchangeRecord,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        Box::pin(async move { self.kept().put(owner, id, record, expected, self.0.limit) })
    }

    fn get<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        ids: &'a [ExchangeId],
    ) -> BoxFuture<'a, Result<Vec<StoredExchange>, Error>> {
        Box::pin(async move {
            let (now, mut kept) = (Instant::now(), self.kept());
            let ids: HashSet<_> = ids.iter().copied().collect();
            let mut found = Vec::with_capacity(ids.len());
            for id in ids {
                if let Some(record) = kept.of(owner, id, now) {
                    found.push(record.stored(id, now));
                    kept.renew(id, now);
                }
            }
            Ok(found)
        })
    }

    fn find<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        topic: &'a [u8; 32],
    ) -> BoxFuture<'a, Result<Vec<StoredExchange>, Error>> {
        Box::pin(async move {
            let (now, kept) = (Instant::now(), self.kept());
            let topic = (owner.caller, *topic);
            let least = (topic, 0, ExchangeId([0; 12]));
            let most = (topic, u64::MAX, ExchangeId([u8::MAX; 12]));
            let latest = kept.topics.range(least..=most).rev();
            let found = latest.filter_map(|(_, _, id)| {
                let record = kept.of(owner, *id, now)?;
                Some(record.stored(*id, now))
            });
            Ok(found.take(FOUND).collect())
        })
    }

    fn remove<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        id: ExchangeId,
        version: u64,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let (now, mut kept) = (Instant::now(), self.kept());
            let stored = kept.of(owner, id, now);
            let is_there = stored.is_some_and(|stored| stored.version == version);
            if is_there {
                kept.remove(id);
            }
            Ok(is_there)
        })
    }
}

impl fmt::Debug for MemoryExchanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryExchanges").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::conformance;

    #[tokio::test(start_paused = true)]
    async fn it_is_a_store_of_exchanges() {
        conformance::exchanges::all(async || MemoryExchanges::default()).await;
        let make = async || Arc::new(MemoryExchanges::default()) as Arc<dyn ExchangeStore>;
        conformance::exchanges::all(make).await;
    }

    fn of_project(number: usize) -> ExchangeOwner {
        ExchangeOwner::new("default", format!("p{number}"), [7; 32])
    }

    async fn put(store: &MemoryExchanges, owner: &ExchangeOwner, len: usize) -> ExchangeId {
        let id = ExchangeId::random();
        let put = store.put(owner, id, ExchangeRecord::new("x".repeat(len)), None);
        assert!(put.await.unwrap().is_some());
        id
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_given_back() {
        let store = MemoryExchanges::default();
        for number in 0..200 {
            // The ninth project finds no room, and takes none of the others'.
            let owner = of_project(number % 8);
            put(&store, &owner, 1 << 20).await;
            assert!(store.kept().bytes <= BYTES);
        }
        assert_eq!(store.kept().bytes, BYTES);
        let record = ExchangeRecord::new("late");
        let late = of_project(8);
        let put = store.put(&late, ExchangeId::random(), record.clone(), None);
        assert!(matches!(put.await, Err(Error::Full)));
        tokio::time::advance(LIFE).await;
        let put = store.put(&late, ExchangeId::random(), record, None);
        assert!(put.await.unwrap().is_some());
        let kept = store.kept();
        assert_eq!((kept.records.len(), kept.bytes), (1, LEAST));
        let orders = (kept.ends.len(), kept.topics.len(), kept.projects.len());
        assert_eq!(orders, (1, 0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_read_stays_longer_than_what_is_not() {
        let store = MemoryExchanges::with_bytes(8 * 4 * LEAST);
        let owner = of_project(1);
        let mut ids = Vec::new();
        for _ in 0..4 {
            ids.push(put(&store, &owner, 1).await);
        }
        store.get(&owner, &ids[..1]).await.unwrap();
        put(&store, &owner, 1).await;
        let left = store.get(&owner, &ids).await.unwrap();
        assert_eq!(left.len(), 3);
        assert!(left.iter().all(|stored| stored.id != ids[1]));
    }
}
