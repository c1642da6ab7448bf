//! A store of exchanges that fails on demand.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use mcp_layer::registry::{
    BoxFuture, Error, ExchangeId, ExchangeOwner, ExchangeRecord, ExchangeStore, MemoryExchanges,
    StoredExchange,
};

/// How the store fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It answers that it is not available.
    Away,
    /// It has no room for anything.
    Full,
    /// It does not answer.
    Slow,
}

/// Clones share everything.
#[derive(Clone)]
pub struct FailingExchanges {
    inner: MemoryExchanges,
    fault: Fault,
    /// So many calls succeed from now on.
    works: Arc<AtomicUsize>,
}

impl FailingExchanges {
    pub fn new(fault: Fault) -> Self {
        Self {
            inner: MemoryExchanges::default(),
            fault,
            works: Arc::new(AtomicUsize::new(usize::MAX)),
        }
    }

    /// Lets it fail after so many calls; those of `key` do not count.
    pub fn fail_after(&self, calls: usize) {
        self.works.store(calls, SeqCst);
    }

    pub fn recover(&self) {
        self.works.store(usize::MAX, SeqCst);
    }

    async fn unless_it_fails<T>(&self, call: BoxFuture<'_, Result<T, Error>>) -> Result<T, Error> {
        let left = self.works.load(SeqCst);
        if left > 0 {
            self.works.store(left - 1, SeqCst);
            return call.await;
        }
        match self.fault {
            Fault::Away => Err(Error::unavailable("away")),
            Fault::Full => Err(Error::Full),
            Fault::Slow => std::future::pending().await,
        }
    }
}

impl ExchangeStore for FailingExchanges {
    fn key(&self) -> BoxFuture<'_, Result<[u8; 32], Error>> {
        self.inner.key()
    }

    fn put<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        id: ExchangeId,
        record: ExchangeRecord,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        Box::pin(self.unless_it_fails(self.inner.put(owner, id, record, expected)))
    }

    fn get<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        ids: &'a [ExchangeId],
    ) -> BoxFuture<'a, Result<Vec<StoredExchange>, Error>> {
        Box::pin(self.unless_it_fails(self.inner.get(owner, ids)))
    }

    fn find<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        topic: &'a [u8; 32],
    ) -> BoxFuture<'a, Result<Vec<StoredExchange>, Error>> {
        self.inner.find(owner, topic)
    }

    fn remove<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        id: ExchangeId,
        version: u64,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        self.inner.remove(owner, id, version)
    }
}
