//! What later requests need of exchanges.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use mcp_layer::{
    registry::{
        BoxFuture, EXCHANGE_LEN, Error, ExchangeId, ExchangeOwner, ExchangeRecord, ExchangeStore,
        StoredExchange,
    },
    secret::{ExposeSecret, KeyRing, Place},
};

/// The most bytes of a project.
const SHARE: usize = 2 * EXCHANGE_LEN;
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// No lease and no life is longer; it keeps the sum with the present time within bounds.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// An [`ExchangeStore`].
pub struct Exchanges {
    key: [u8; 32],
    ring: KeyRing,
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    last_version: u64,
    rows: HashMap<ExchangeId, Row>,
}

struct Row {
    owner: ExchangeOwner,
    version: u64,
    topic: Option<[u8; 32]>,
    sealed: Vec<u8>,
    len: usize,
    room: usize,
    leased_until: Instant,
    used_at: Instant,
    life: Duration,
}

impl Row {
    fn is(&self, owner: &ExchangeOwner) -> bool {
        self.owner == *owner && self.used_at.elapsed() < self.life
    }
}

impl Default for Exchanges {
    fn default() -> Self {
        let mut key = [0; 32];
        // Ids are as random as keys.
        for part in key.chunks_mut(12) {
            let random = ExchangeId::random().0;
            part.copy_from_slice(&random[..part.len()]);
        }
        Self {
            key,
            ring: KeyRing::generate(),
            tables: Mutex::default(),
        }
    }
}

impl Exchanges {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables
            .rows
            .retain(|_, row| row.used_at.elapsed() < row.life);
        tables
    }

    fn stored(&self, id: ExchangeId, row: &Row) -> Result<StoredExchange, Error> {
        let (id_text, caller) = (format!("{:?}", id.0), format!("{:?}", row.owner.caller));
        let place = Place::new(&row.owner.organization, &id_text, "exchange", &caller);
        let data = self.ring.open(&place, &row.sealed).map_err(Error::sealed)?;
        let is_leased = row.leased_until > Instant::now();
        let data = data.expose_secret();
        Ok(StoredExchange::new(id, row.version, data, is_leased))
    }

    fn seal(&self, owner: &ExchangeOwner, id: ExchangeId, data: &str) -> Vec<u8> {
        let (id_text, caller) = (format!("{:?}", id.0), format!("{:?}", owner.caller));
        let place = Place::new(&owner.organization, &id_text, "exchange", &caller);
        self.ring.seal(&place, &data.into())
    }

    fn put_now(
        &self,
        owner: &ExchangeOwner,
        id: ExchangeId,
        record: &ExchangeRecord,
        expected: Option<u64>,
    ) -> Result<Option<u64>, Error> {
        let mut tables = self.tables();
        let stored = tables.rows.get(&id);
        if stored.is_some_and(|row| !row.is(owner)) || stored.map(|row| row.version) != expected {
            return Ok(None);
        }
        let len = match (&record.data, stored) {
            (None, Some(row)) => row.len,
            (data, _) => data.as_ref().map_or(0, |data| data.len()),
        };
        let room = record.room.max(len);
        if room > EXCHANGE_LEN {
            return Err(Error::Full);
        }
        let sealed = match (&record.data, stored) {
            (None, Some(row)) => row.sealed.clone(),
            (data, _) => self.seal(owner, id, data.as_deref().unwrap_or_default()),
        };
        make_room(&mut tables.rows, owner, id, room)?;
        tables.last_version += 1;
        let now = Instant::now();
        let row = Row {
            owner: owner.clone(),
            version: tables.last_version,
            topic: record.topic,
            sealed,
            len,
            room,
            leased_until: now + record.lease.unwrap_or_default().min(LONGEST),
            used_at: now,
            life: record.life.unwrap_or(LIFE).min(LONGEST),
        };
        tables.rows.insert(id, row);
        Ok(Some(tables.last_version))
    }
}

/// Removes the oldest of a project until there is room for a record, or nothing.
fn make_room(
    rows: &mut HashMap<ExchangeId, Row>,
    owner: &ExchangeOwner,
    id: ExchangeId,
    room: usize,
) -> Result<(), Error> {
    let of_project = rows.iter().filter(|(other, row)| {
        let is_same = row.owner.organization == owner.organization;
        **other != id && is_same && row.owner.project == owner.project
    });
    let mut of_project: Vec<_> = of_project.collect();
    of_project.sort_by_key(|(_, row)| row.used_at);
    let mut used: usize = of_project.iter().map(|(_, row)| row.room).sum();
    let mut oldest = Vec::new();
    for (id, row) in of_project {
        if used + room > SHARE && row.leased_until <= Instant::now() {
            used -= row.room;
            oldest.push(*id);
        }
    }
    if used + room > SHARE {
        return Err(Error::Full);
    }
    rows.retain(|id, _| !oldest.contains(id));
    Ok(())
}

impl ExchangeStore for Exchanges {
    fn key(&self) -> BoxFuture<'_, Result<[u8; 32], Error>> {
        Box::pin(async { Ok(self.key) })
    }

    fn put<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        id: ExchangeId,
        record: ExchangeRecord,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        Box::pin(async move { self.put_now(owner, id, &record, expected) })
    }

    fn get<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        ids: &'a [ExchangeId],
    ) -> BoxFuture<'a, Result<Vec<StoredExchange>, Error>> {
        Box::pin(async move {
            let mut tables = self.tables();
            let ids: HashSet<_> = ids.iter().collect();
            let mut found = Vec::new();
            for id in ids {
                if let Some(row) = tables.rows.get_mut(id)
                    && row.is(owner)
                {
                    row.used_at = Instant::now();
                    found.push(self.stored(*id, row)?);
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
            let tables = self.tables();
            let rows = tables.rows.iter();
            let found = rows.filter(|(_, row)| row.is(owner) && row.topic == Some(*topic));
            let mut found: Vec<_> = found.collect();
            found.sort_by_key(|(_, row)| std::cmp::Reverse(row.version));
            let latest = found.into_iter().take(8);
            latest.map(|(id, row)| self.stored(*id, row)).collect()
        })
    }

    fn remove<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        id: ExchangeId,
        version: u64,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let mut tables = self.tables();
            let row = tables.rows.get(&id);
            let is_there = row.is_some_and(|row| row.is(owner) && row.version == version);
            if is_there {
                tables.rows.remove(&id);
            }
            Ok(is_there)
        })
    }
}
