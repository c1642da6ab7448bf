//! Storage for what later requests need of an exchange.

use std::{fmt, sync::Arc, time::Duration};

use super::{error::Error, future::BoxFuture};

/// The key of a store's records: 96 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(pub [u8; 12]);

/// The caller to whom a record belongs; nobody else gets it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ExchangeOwner {
    /// The organization.
    pub organization: Arc<str>,
    /// The project, to whose share the record counts.
    pub project: Arc<str>,
    /// A keyed hash of everything that tells callers apart.
    pub caller: [u8; 32],
}

/// What is to be stored.
#[derive(Clone)]
pub struct ExchangeRecord {
    /// A keyed hash under which a repeat of the request finds the record; `None` for none.
    pub topic: Option<[u8; 32]>,
    /// The text; `None` leaves what is stored.
    pub data: Option<Arc<str>>,
    /// The bytes that the record may grow to, which count as used: at least those of the data.
    pub room: usize,
    /// The time for which nobody else may take the record; `None` to let it go.
    pub lease: Option<Duration>,
    /// The time after which it is removed, unless it is read or put again before; `None` for the
    /// store's own, which is what conversations need.
    pub life: Option<Duration>,
}

/// What is stored.
#[derive(Clone)]
pub struct StoredExchange {
    /// Its id.
    pub id: ExchangeId,
    /// The version, which every put changes.
    pub version: u64,
    /// The text.
    pub data: Arc<str>,
    /// `true` while somebody's lease lasts.
    pub is_leased: bool,
}

/// Keeps exchanges between the requests of a conversation, and between a request and its repeat.
pub trait ExchangeStore: Send + Sync + 'static {
    /// The key with which ids are signed and callers hashed: 32 random bytes, the same for all who
    /// share the storage, and for as long as anything is stored.
    fn key(&self) -> BoxFuture<'_, Result<[u8; 32], Error>>;

    /// Stores a record where the stored version is `expected` (`None`: none is stored); returns the
    /// new version, or `None` where another is.
    ///
    /// # Errors
    /// [`Error::Full`] if there is no room, not even after the project's own oldest records that
    /// nobody leases were removed.
    fn put<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        id: ExchangeId,
        record: ExchangeRecord,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<Option<u64>, Error>>;

    /// The records of these ids that belong to `owner` and have not expired, in any order. Reading
    /// renews their lives.
    fn get<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        ids: &'a [ExchangeId],
    ) -> BoxFuture<'a, Result<Vec<StoredExchange>, Error>>;

    /// The latest records, at most 8, of `owner` with this topic that have not expired.
    fn find<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        topic: &'a [u8; 32],
    ) -> BoxFuture<'a, Result<Vec<StoredExchange>, Error>>;

    /// Removes a record where the stored version is `version`; returns `true` if it did.
    fn remove<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        id: ExchangeId,
        version: u64,
    ) -> BoxFuture<'a, Result<bool, Error>>;
}

impl fmt::Debug for ExchangeOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeOwner").finish_non_exhaustive()
    }
}

impl fmt::Debug for ExchangeRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeRecord").finish_non_exhaustive()
    }
}

impl fmt::Debug for StoredExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredExchange").finish_non_exhaustive()
    }
}
