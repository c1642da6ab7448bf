//! Stores of exchanges in memory that misbehave by a rule: that fail on demand, die, or are slow.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use mcp_layer::registry::{
    BoxFuture, Error, ExchangeId, ExchangeOwner, ExchangeRecord, ExchangeStore, MemoryExchanges,
    StoredExchange,
};
use tokio::time::sleep;

/// A call of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Put,
    Get,
    Find,
    Remove,
}

/// What becomes of calls of a store.
pub trait Rule: Send + Sync + 'static {
    /// Makes a call, or something in its place.
    fn apply<T: Send>(
        &self,
        call: Call,
        made: BoxFuture<'_, Result<T, Error>>,
    ) -> impl Future<Output = Result<T, Error>> + Send;
}

/// A store whose calls go by a rule, but for `key`. Clones share everything.
#[derive(Clone, Default)]
pub struct Exchanges<R> {
    /// What is stored, without the rule.
    pub store: MemoryExchanges,
    rule: R,
}

impl<R> Exchanges<R> {
    /// A store by this rule over another.
    pub fn over(store: MemoryExchanges, rule: R) -> Self {
        Self { store, rule }
    }
}

impl<R> Deref for Exchanges<R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.rule
    }
}

impl<R: Rule> ExchangeStore for Exchanges<R> {
    fn key(&self) -> BoxFuture<'_, Result<[u8; 32], Error>> {
        self.store.key()
    }

    fn put<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        id: ExchangeId,
        record: ExchangeRecord,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        let made = self.store.put(owner, id, record, expected);
        Box::pin(self.rule.apply(Call::Put, made))
    }

    fn get<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        ids: &'a [ExchangeId],
    ) -> BoxFuture<'a, Result<Vec<StoredExchange>, Error>> {
        Box::pin(self.rule.apply(Call::Get, self.store.get(owner, ids)))
    }

    fn find<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        topic: &'a [u8; 32],
    ) -> BoxFuture<'a, Result<Vec<StoredExchange>, Error>> {
        Box::pin(self.rule.apply(Call::Find, self.store.find(owner, topic)))
    }

    fn remove<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        id: ExchangeId,
        version: u64,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        let made = self.store.remove(owner, id, version);
        Box::pin(self.rule.apply(Call::Remove, made))
    }
}

/// How a store fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It answers that it is not available.
    Away,
    /// It has no room for anything.
    Full,
    /// It does not answer.
    Slow,
}

/// A store whose puts and gets fail on demand.
pub type FailingExchanges = Exchanges<Failing>;

/// The rule of [`FailingExchanges`].
#[derive(Clone)]
pub struct Failing {
    fault: Fault,
    /// So many puts and gets succeed from now on.
    works: Arc<AtomicUsize>,
}

impl FailingExchanges {
    pub fn new(fault: Fault) -> Self {
        let works = Arc::new(AtomicUsize::new(usize::MAX));
        Self::over(MemoryExchanges::default(), Failing { fault, works })
    }
}

impl Failing {
    /// Lets it fail after so many puts and gets.
    pub fn fail_after(&self, calls: usize) {
        self.works.store(calls, SeqCst);
    }

    pub fn recover(&self) {
        self.works.store(usize::MAX, SeqCst);
    }
}

impl Rule for Failing {
    async fn apply<T: Send>(
        &self,
        call: Call,
        made: BoxFuture<'_, Result<T, Error>>,
    ) -> Result<T, Error> {
        if matches!(call, Call::Find | Call::Remove) {
            return made.await;
        }
        let left = self.works.load(SeqCst);
        if left > 0 {
            self.works.store(left - 1, SeqCst);
            return made.await;
        }
        match self.fault {
            Fault::Away => Err(Error::unavailable("away")),
            Fault::Full => Err(Error::Full),
            Fault::Slow => std::future::pending().await,
        }
    }
}

/// A store that cannot be reached any more once its process is dead.
pub type Mortal = Exchanges<Death>;

/// The rule of [`Mortal`].
#[derive(Clone, Default)]
pub struct Death {
    pub is_dead: Arc<AtomicBool>,
}

impl Rule for Death {
    async fn apply<T: Send>(
        &self,
        _: Call,
        made: BoxFuture<'_, Result<T, Error>>,
    ) -> Result<T, Error> {
        match self.is_dead.load(SeqCst) {
            true => Err(Error::unavailable("dead")),
            false => made.await,
        }
    }
}

/// The rule of a store whose writes take this long.
pub struct SlowWrites(pub Duration);

impl Rule for SlowWrites {
    async fn apply<T: Send>(
        &self,
        call: Call,
        made: BoxFuture<'_, Result<T, Error>>,
    ) -> Result<T, Error> {
        if call == Call::Put {
            sleep(self.0).await;
        }
        made.await
    }
}
