//! The records of an exchange store: texts, each of which belongs to one caller.

use std::{fmt, sync::Arc, time::Duration};

use crate::random::fill_random;

/// The longest text of a record, and the most room that it can have, in bytes.
pub const EXCHANGE_LEN: usize = 8 << 20;

/// The id of a record: 96 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(pub [u8; 12]);

impl ExchangeId {
    /// Makes an id that no other record has.
    ///
    /// # Panics
    /// Panics if the operating system has no random numbers.
    pub fn random() -> Self {
        let mut id = [0; 12];
        fill_random(&mut id);
        Self(id)
    }
}

/// The caller to whom a record belongs; nobody else gets it.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ExchangeOwner {
    /// The organization.
    pub organization: Arc<str>,
    /// The project, to whose share the record counts.
    pub project: Arc<str>,
    /// A keyed hash of everything that tells callers apart.
    pub caller: [u8; 32],
}

impl ExchangeOwner {
    /// Creates the owner with this hash, within a project.
    pub fn new(
        organization: impl Into<Arc<str>>,
        project: impl Into<Arc<str>>,
        caller: [u8; 32],
    ) -> Self {
        Self {
            organization: organization.into(),
            project: project.into(),
            caller,
        }
    }
}

/// A record to be stored.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct ExchangeRecord {
    /// A keyed hash under which a repeat of the request finds the record; `None` for none.
    pub topic: Option<[u8; 32]>,
    /// The text; `None` leaves what is stored, and is an empty text where nothing is.
    pub data: Option<Arc<str>>,
    /// The bytes that the record may grow to, which count as used. The text counts with its own
    /// length if that is more.
    pub room: usize,
    /// The time for which the record counts as being worked on, at most an hour; `None` to let it
    /// go.
    pub lease: Option<Duration>,
    /// The time after which it is removed, unless it is read or put again before; `None` for the
    /// store's own, which is what conversations need.
    pub life: Option<Duration>,
}

impl ExchangeRecord {
    /// Creates a record of this text, without topic, lease or further room.
    pub fn new(data: impl Into<Arc<str>>) -> Self {
        Self {
            data: Some(data.into()),
            ..Self::unchanged()
        }
    }

    /// Creates a record that leaves the stored text, without topic, lease or further room.
    pub fn unchanged() -> Self {
        Self::default()
    }

    /// Sets the topic; by default none.
    #[must_use]
    pub fn with_topic(mut self, topic: [u8; 32]) -> Self {
        self.topic = Some(topic);
        self
    }

    /// Sets the bytes that the record may grow to, which count as used at once; by default the length
    /// of its text.
    #[must_use]
    pub fn with_room(mut self, room: usize) -> Self {
        self.room = room;
        self
    }

    /// Sets the lease, at most an hour; by default none.
    #[must_use]
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Sets the life; by default the store's own.
    #[must_use]
    pub fn with_life(mut self, life: Duration) -> Self {
        self.life = Some(life);
        self
    }
}

/// A record as it is stored.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
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

impl StoredExchange {
    /// Creates the record of this id and version.
    pub fn new(id: ExchangeId, version: u64, data: impl Into<Arc<str>>, is_leased: bool) -> Self {
        Self {
            id,
            version,
            data: data.into(),
            is_leased,
        }
    }
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
