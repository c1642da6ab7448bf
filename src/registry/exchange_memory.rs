//! An exchange store in memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use super::{
    error::Error,
    exchange_store::{ExchangeId, ExchangeOwner, ExchangeRecord, ExchangeStore, StoredExchange},
    future::BoxFuture,
};
use crate::random::fill_random;

/// An exchange store in memory.
#[derive(Clone, Debug)]
pub struct MemoryExchanges(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    key: [u8; 32],
    kept: Mutex<HashMap<ExchangeId, Kept>>,
}

#[derive(Clone, Debug)]
struct Kept {
    owner: ExchangeOwner,
    version: u64,
    topic: Option<[u8; 32]>,
    data: Arc<str>,
    leased_until: Option<Instant>,
}

impl Default for MemoryExchanges {
    fn default() -> Self {
        let mut key = [0; 32];
        fill_random(&mut key);
        let kept = Mutex::default();
        Self(Arc::new(Inner { key, kept }))
    }
}

impl MemoryExchanges {
    fn kept(&self) -> MutexGuard<'_, HashMap<ExchangeId, Kept>> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn stored(&self, id: ExchangeId) -> StoredExchange {
        StoredExchange {
            id,
            version: self.version,
            data: self.data.clone(),
            is_leased: self
                .leased_until
                .is_some_and(|until| until > Instant::now()),
        }
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
        Box::pin(async move {
            let mut kept = self.kept();
            let stored = kept.get(&id).filter(|kept| kept.owner == *owner);
            if stored.map(|kept| kept.version) != expected {
                return Ok(None);
            }
            let data = record.data.or_else(|| stored.map(|kept| kept.data.clone()));
            let version = expected.unwrap_or_default() + 1;
            let new = Kept {
                owner: owner.clone(),
                version,
                topic: record.topic,
                data: data.unwrap_or_default(),
                leased_until: record.lease.map(|lease| Instant::now() + lease),
            };
            kept.insert(id, new);
            Ok(Some(version))
        })
    }

    fn get<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        ids: &'a [ExchangeId],
    ) -> BoxFuture<'a, Result<Vec<StoredExchange>, Error>> {
        Box::pin(async move {
            let kept = self.kept();
            let found = ids.iter().filter_map(|id| {
                let found = kept.get(id).filter(|kept| kept.owner == *owner)?;
                Some(found.stored(*id))
            });
            Ok(found.collect())
        })
    }

    fn find<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        topic: &'a [u8; 32],
    ) -> BoxFuture<'a, Result<Vec<StoredExchange>, Error>> {
        Box::pin(async move {
            let kept = self.kept();
            let found = kept
                .iter()
                .filter(|(_, kept)| kept.owner == *owner && kept.topic == Some(*topic));
            Ok(found.map(|(id, kept)| kept.stored(*id)).collect())
        })
    }

    fn remove<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        id: ExchangeId,
        version: u64,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let mut kept = self.kept();
            let is_there = kept
                .get(&id)
                .is_some_and(|kept| kept.owner == *owner && kept.version == version);
            if is_there {
                kept.remove(&id);
            }
            Ok(is_there)
        })
    }
}
