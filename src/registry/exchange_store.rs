//! The trait of stores that keep exchanges for later requests.

use std::sync::Arc;

use super::{
    error::Error,
    exchange::{ExchangeId, ExchangeOwner, ExchangeRecord, StoredExchange},
    future::BoxFuture,
};

/// Keeps exchanges between the requests of a conversation, and between a request and its repeat.
///
/// A record is a text with an id. The store knows nothing of what is in it.
///
/// # Contract
/// An implementor guarantees that
///
/// - every promise holds across all processes that share the underlying storage;
/// - a text comes back byte for byte, up to [`EXCHANGE_LEN`](super::EXCHANGE_LEN) bytes, and only
///   for its owner: to anybody else, a record is as if it were not there;
/// - a put happens only at the version that it expects, and every put makes a new one, which no
///   record of that id has had before, not even one that was removed. So whoever puts a record at
///   the version that was read, with a lease, has claimed it, once;
/// - room that was granted is there until the record is put again or removed: a later put that
///   needs no more of it does not fail for want of room;
/// - a project has a share of the storage, and loses only records of its own for want of room:
///   those whose last put or renewal is longest ago first, and none that is leased;
/// - a record is there until its life ends, unless it is removed, or gives way to others of its
///   project; reading it by its id and putting it begin its life anew. A store may round that by a
///   thirtieth of the life;
/// - a put is durable when its method returns;
/// - texts, owners and topics appear in no error and no log. A store that outlasts the process
///   seals texts at rest: they are parts of conversations.
///
/// A lease locks nothing: [`put`](Self::put), [`get`](Self::get) and [`remove`](Self::remove) work
/// as ever. It tells others that somebody works on the record, and protects it from giving way.
///
/// After an error or a dropped future, callers assume nothing about the stored state, and read it
/// again.
///
/// [`MemoryExchanges`](super::MemoryExchanges) is an implementation in memory.
/// `conformance::exchanges` (feature `conformance`) tests what can be seen of this contract within
/// one process. `Arc<S>` implements the trait for every store `S`, `Arc<dyn ExchangeStore>`
/// included.
///
/// # Cancellation
/// Every method may be dropped at any point. Its effect has then happened completely or not at all,
/// and the caller does not know which.
pub trait ExchangeStore: Send + Sync + 'static {
    /// Returns the key with which ids are signed and callers hashed: 32 random bytes, the same for
    /// all who share the storage, and for as long as anything is stored.
    ///
    /// # Errors
    /// [`Error::Sealed`] if it does not open, [`Error::Unavailable`] if the storage failed.
    fn key(&self) -> BoxFuture<'_, Result<[u8; 32], Error>>;

    /// Stores a record where the stored version is `expected` (`None`: none is stored); returns the
    /// new version, or `None` where another is, and nothing has changed.
    ///
    /// Of several puts that expect the same version, exactly one gets through. Topic, room, lease
    /// and life become those of `record`; so does the text, if there is one.
    ///
    /// # Errors
    /// [`Error::Full`] if there is no room: text or room are beyond
    /// [`EXCHANGE_LEN`](super::EXCHANGE_LEN), or the project's share is used up even without its
    /// older records. Nothing has changed then. [`Error::Invalid`] for an owner that the store
    /// cannot take, [`Error::Unavailable`] if the storage failed.
    fn put<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        id: ExchangeId,
        record: ExchangeRecord,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<Option<u64>, Error>>;

    /// Returns the records of these ids that belong to `owner` and have not expired, each once, in
    /// any order, and renews their lives.
    ///
    /// Where there are more than 32 MiB of text, a store may leave records out, those first that
    /// stand first among `ids`: of a conversation, the oldest. A record that does not open is left
    /// out.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the storage failed.
    fn get<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        ids: &'a [ExchangeId],
    ) -> BoxFuture<'a, Result<Vec<StoredExchange>, Error>>;

    /// Returns the records of `owner` with this topic that have not expired, the one that was put
    /// last first, at most 8. Their lives are not renewed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the storage failed.
    fn find<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        topic: &'a [u8; 32],
    ) -> BoxFuture<'a, Result<Vec<StoredExchange>, Error>>;

    /// Removes a record where the stored version is `version`; returns `true` if it did.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the storage failed.
    fn remove<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        id: ExchangeId,
        version: u64,
    ) -> BoxFuture<'a, Result<bool, Error>>;
}

/// The most records that [`ExchangeStore::find`] returns.
pub(super) const FOUND: usize = 8;

impl<S: ExchangeStore + ?Sized> ExchangeStore for Arc<S> {
    fn key(&self) -> BoxFuture<'_, Result<[u8; 32], Error>> {
        (**self).key()
    }

    fn put<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        id: ExchangeId,
        record: ExchangeRecord,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        (**self).put(owner, id, record, expected)
    }

    fn get<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        ids: &'a [ExchangeId],
    ) -> BoxFuture<'a, Result<Vec<StoredExchange>, Error>> {
        (**self).get(owner, ids)
    }

    fn find<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        topic: &'a [u8; 32],
    ) -> BoxFuture<'a, Result<Vec<StoredExchange>, Error>> {
        (**self).find(owner, topic)
    }

    fn remove<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        id: ExchangeId,
        version: u64,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        (**self).remove(owner, id, version)
    }
}
