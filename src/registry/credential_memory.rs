//! A credential store in memory.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{
    credential::{
        CredentialKey, Expected, Lease, STATES_PER_SERVER, StateHash, StoredCredential, check_len,
    },
    credential_store::CredentialStore,
    error::Error,
    future::BoxFuture,
};
use crate::{
    hex::hex,
    secret::{KeyId, KeyRing, OpenError, SecretString},
};

/// A credential store in memory. It is lost with the process: every server then has to be connected
/// again.
///
/// Secrets are sealed as they would be on disk. `Clone` is cheap, and clones are the same store;
/// `Default` seals with a random key.
///
/// ```
/// use mcp_layer::registry::{CredentialKey, CredentialStore, Expected, MemoryCredentialStore, Server};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let server = Server::new("tracker", "https://mcp.example.com/mcp")?;
/// let key = CredentialKey::of(&server);
/// let store = MemoryCredentialStore::default();
/// assert!(store.swap(&key, Expected::Nothing, Some("token 1".into())).await?);
///
/// let stored = store.load(&key).await?.ok_or("nothing")?;
/// assert!(store.swap(&key, Expected::Version(stored.version), Some("token 2".into())).await?);
/// // Somebody else was faster: read again.
/// assert!(!store.swap(&key, Expected::Version(stored.version), Some("token 3".into())).await?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MemoryCredentialStore {
    // Held for map operations and the cipher, never across an await.
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    ring: KeyRing,
    credentials: BTreeMap<CredentialKey, Record>,
    states: BTreeMap<StateHash, State>,
    leases: BTreeMap<CredentialKey, Held>,
    /// The last version of any key. Sharing one counter means that nothing has to be kept of a key
    /// that was removed.
    last_version: u64,
}

/// A sealed secret.
struct Record {
    version: u64,
    sealed: Vec<u8>,
}

/// A pending authorization.
struct State {
    key: CredentialKey,
    expires_at: SystemTime,
    record: Record,
}

/// A lease in force.
struct Held {
    holder: [u8; 16],
    until: Instant,
}

impl MemoryCredentialStore {
    /// Creates an empty store that seals with the newest key of `ring`.
    ///
    /// Only needed to control the keys, for instance in tests of rotation; `default()` is enough
    /// otherwise.
    pub fn new(ring: KeyRing) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                ring,
                credentials: BTreeMap::new(),
                states: BTreeMap::new(),
                leases: BTreeMap::new(),
                last_version: 0,
            })),
        }
    }

    /// Counts the records that each key seals, pending authorizations included. Keys of the ring
    /// that seal none have 0, and can be removed from it.
    pub fn sealed_by_key(&self) -> BTreeMap<KeyId, u64> {
        let inner = self.lock();
        let mut counts: BTreeMap<_, _> = inner.ring.ids().map(|id| (id, 0)).collect();
        for record in inner.records() {
            if let Some(id) = KeyRing::sealed_by(&record.sealed) {
                *counts.entry(id).or_default() += 1;
            }
        }
        counts
    }

    /// Replaces the key ring, and seals everything again with its newest key. The call blocks
    /// meanwhile.
    ///
    /// Versions stay the same, so users of the store do not notice.
    ///
    /// # Errors
    /// [`Error::Sealed`] if a record cannot be opened with `ring`; nothing has changed then.
    pub fn reseal(&self, ring: KeyRing) -> Result<(), Error> {
        let mut inner = self.lock();
        inner.forget_expired();
        let credentials = inner.credentials.iter().map(|(key, record)| {
            let resealed = record.resealed(&ring, key, CREDENTIAL)?;
            Ok((key.clone(), resealed))
        });
        let credentials = credentials.collect::<Result<_, _>>().map_err(sealed)?;
        let states = inner.states.iter().map(|(hash, state)| {
            let record = state.record.resealed(&ring, &state.key, &field(hash))?;
            let state = State {
                key: state.key.clone(),
                expires_at: state.expires_at,
                record,
            };
            Ok((*hash, state))
        });
        let states = states.collect::<Result<_, _>>().map_err(sealed)?;
        inner.credentials = credentials;
        inner.states = states;
        inner.ring = ring;
        Ok(())
    }

    // A panic while the lock is held leaves the maps whole: every change is one map operation,
    // and a version that was counted but not used does no harm.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryCredentialStore {
    fn default() -> Self {
        Self::new(KeyRing::generate())
    }
}

impl CredentialStore for MemoryCredentialStore {
    fn load<'a>(
        &'a self,
        key: &'a CredentialKey,
    ) -> BoxFuture<'a, Result<Option<StoredCredential>, Error>> {
        Box::pin(async move {
            let inner = self.lock();
            let Some(record) = inner.credentials.get(key) else {
                return Ok(None);
            };
            let secret = record.open(&inner.ring, key, CREDENTIAL).map_err(sealed)?;
            let version = record.version;
            Ok(Some(StoredCredential { version, secret }))
        })
    }

    fn swap<'a>(
        &'a self,
        key: &'a CredentialKey,
        expected: Expected,
        new: Option<SecretString>,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            new.as_ref().map_or(Ok(()), check_len)?;
            let mut inner = self.lock();
            let stored = inner.credentials.get(key).map(|record| record.version);
            if !expected.is(stored) {
                return Ok(false);
            }
            match new {
                Some(secret) => {
                    let record = inner.seal(key, CREDENTIAL, &secret);
                    inner.credentials.insert(key.clone(), record);
                }
                None => {
                    inner.credentials.remove(key);
                }
            }
            Ok(true)
        })
    }

    fn lease<'a>(
        &'a self,
        key: &'a CredentialKey,
        duration: Duration,
    ) -> BoxFuture<'a, Result<Option<Lease>, Error>> {
        Box::pin(async move {
            let now = Instant::now();
            let mut inner = self.lock();
            inner.leases.retain(|_, held| now < held.until);
            if inner.leases.contains_key(key) {
                return Ok(None);
            }
            let lease = Lease::new(key.clone());
            let held = Held {
                holder: lease.holder(),
                until: now + duration.min(LONGEST_LEASE),
            };
            inner.leases.insert(key.clone(), held);
            Ok(Some(lease))
        })
    }

    fn release(&self, lease: Lease) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let mut inner = self.lock();
            let held = inner.leases.get(lease.key());
            if held.is_some_and(|held| held.holder == lease.holder()) {
                inner.leases.remove(lease.key());
            }
            Ok(())
        })
    }

    fn put_state<'a>(
        &'a self,
        key: &'a CredentialKey,
        state: StateHash,
        expires_at: SystemTime,
        pending: SecretString,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            check_len(&pending)?;
            let mut inner = self.lock();
            inner.forget_expired();
            inner.make_room(key);
            let record = inner.seal(key, &field(&state), &pending);
            let pending = State {
                key: key.clone(),
                expires_at,
                record,
            };
            inner.states.insert(state, pending);
            Ok(())
        })
    }

    fn take_state<'a>(
        &'a self,
        state: &'a StateHash,
    ) -> BoxFuture<'a, Result<Option<(CredentialKey, SecretString)>, Error>> {
        Box::pin(async move {
            let mut inner = self.lock();
            inner.forget_expired();
            let Some(State { key, record, .. }) = inner.states.remove(state) else {
                return Ok(None);
            };
            let opened = record.open(&inner.ring, &key, &field(state));
            Ok(Some((key, opened.map_err(sealed)?)))
        })
    }
}

/// The field under which credentials are sealed; it tells the records of one server apart.
const CREDENTIAL: &str = "credential";

/// The longest lease: no refresh takes a day, and the sum with the present time stays in bounds.
const LONGEST_LEASE: Duration = Duration::from_secs(24 * 60 * 60);

fn field(state: &StateHash) -> String {
    format!("state:{}", hex(&state.0))
}

fn sealed(error: OpenError) -> Error {
    Error::sealed(error)
}

impl Inner {
    fn seal(&mut self, key: &CredentialKey, field: &str, secret: &SecretString) -> Record {
        self.last_version += 1;
        let version = self.last_version;
        let sealed = self.ring.seal(&key.place(field, version), secret);
        Record { version, sealed }
    }

    fn records(&self) -> impl Iterator<Item = &Record> {
        let pending = self.states.values().map(|state| &state.record);
        self.credentials.values().chain(pending)
    }

    fn forget_expired(&mut self) {
        let now = SystemTime::now();
        self.states.retain(|_, state| now < state.expires_at);
    }

    /// Removes the oldest state of the server of `key`, if there is no room for another one.
    fn make_room(&mut self, key: &CredentialKey) {
        let of_server = |state: &State| {
            state.key.organization == key.organization && state.key.server == key.server
        };
        let mut states: Vec<_> = self
            .states
            .iter()
            .filter(|(_, state)| of_server(state))
            .map(|(hash, state)| (state.record.version, *hash))
            .collect();
        if states.len() >= STATES_PER_SERVER {
            states.sort_unstable();
            self.states.remove(&states[0].1);
        }
    }
}

impl Record {
    fn open(
        &self,
        ring: &KeyRing,
        key: &CredentialKey,
        field: &str,
    ) -> Result<SecretString, OpenError> {
        ring.open(&key.place(field, self.version), &self.sealed)
    }

    fn resealed(
        &self,
        ring: &KeyRing,
        key: &CredentialKey,
        field: &str,
    ) -> Result<Self, OpenError> {
        let secret = self.open(ring, key, field)?;
        Ok(Self {
            version: self.version,
            sealed: ring.seal(&key.place(field, self.version), &secret),
        })
    }
}

impl fmt::Debug for MemoryCredentialStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        f.debug_struct("MemoryCredentialStore")
            .field("ring", &inner.ring)
            .field("credentials", &inner.credentials.len())
            .field("states", &inner.states.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Server, conformance};
    use super::*;
    use crate::secret::ExposeSecret;

    #[tokio::test(start_paused = true)]
    async fn every_clause_of_a_credential_store_holds() {
        conformance::credentials::all(async || MemoryCredentialStore::default()).await;
        conformance::credentials::all(async || Arc::new(MemoryCredentialStore::default())).await;
    }

    fn key() -> CredentialKey {
        CredentialKey::of(&Server::new("a", "https://mcp.example.com/mcp").unwrap())
    }

    fn far() -> SystemTime {
        SystemTime::now() + Duration::from_secs(600)
    }

    fn ring() -> KeyRing {
        KeyRing::generate()
    }

    /// A store with a credential and a state.
    async fn filled(ring: KeyRing, key: &CredentialKey) -> MemoryCredentialStore {
        let store = MemoryCredentialStore::new(ring);
        assert!(
            store
                .swap(key, Expected::Nothing, Some("s3cret".into()))
                .await
                .unwrap()
        );
        let state = StateHash([1; 32]);
        store
            .put_state(key, state, far(), "pending s3cret".into())
            .await
            .unwrap();
        store
    }

    async fn holds_all(store: &MemoryCredentialStore, key: &CredentialKey) {
        let stored = store.load(key).await.unwrap().unwrap();
        assert_eq!(
            (stored.version, stored.secret.expose_secret()),
            (1, "s3cret")
        );
        let taken = store
            .take_state(&StateHash([1; 32]))
            .await
            .unwrap()
            .unwrap();
        assert_eq!((&taken.0, taken.1.expose_secret()), (key, "pending s3cret"));
    }

    #[tokio::test]
    async fn what_is_kept_is_sealed_and_not_shown() {
        let key = key();
        let store = filled(ring(), &key).await;
        for record in store.lock().records() {
            let has = |part: &[u8]| record.sealed.windows(part.len()).any(|w| w == part);
            assert!(!has(b"s3cret"));
        }
        let stored = store.load(&key).await.unwrap().unwrap();
        assert!(!format!("{store:?} {stored:?}").contains("s3cret"));
    }

    #[tokio::test]
    async fn keys_are_rotated_while_the_store_is_in_use() {
        let (mut ring, key) = (ring(), key());
        let old = ring.newest();
        let store = filled(ring.clone(), &key).await;
        let new = ring.add().unwrap();
        assert_eq!(store.sealed_by_key(), BTreeMap::from([(old, 2)]));
        store.reseal(ring.clone()).unwrap();
        assert_eq!(store.sealed_by_key(), BTreeMap::from([(old, 0), (new, 2)]));
        ring.remove(old, store.sealed_by_key()[&old]).unwrap();
        store.reseal(ring).unwrap();
        assert_eq!(store.sealed_by_key(), BTreeMap::from([(new, 2)]));
        holds_all(&store, &key).await;
    }

    #[tokio::test]
    async fn a_ring_that_does_not_open_everything_is_not_taken() {
        let (ring, key) = (ring(), key());
        let store = filled(ring.clone(), &key).await;
        let error = store.reseal(KeyRing::generate()).unwrap_err();
        assert!(matches!(error, Error::Sealed { .. }));
        assert_eq!(store.sealed_by_key(), BTreeMap::from([(ring.newest(), 2)]));
        holds_all(&store, &key).await;
    }

    #[tokio::test]
    async fn a_record_that_was_tampered_with_is_told_from_an_outage_and_can_be_replaced() {
        let key = key();
        let store = filled(ring(), &key).await;
        for record in store.lock().credentials.values_mut() {
            record.sealed[40] ^= 1;
        }
        for state in store.lock().states.values_mut() {
            state.record.sealed[40] ^= 1;
        }
        let error = store.load(&key).await.unwrap_err();
        assert!(matches!(error, Error::Sealed { .. }));
        assert_eq!(error.to_string(), "the stored credential cannot be opened");
        assert!(
            store
                .swap(&key, Expected::Version(1), Some("anew".into()))
                .await
                .unwrap()
        );
        let stored = store.load(&key).await.unwrap().unwrap();
        assert_eq!(stored.secret.expose_secret(), "anew");

        let state = StateHash([1; 32]);
        assert!(matches!(
            store.take_state(&state).await,
            Err(Error::Sealed { .. })
        ));
        assert!(store.take_state(&state).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn records_that_were_swapped_do_not_open() {
        let (one, other) = (key(), key());
        let store = filled(ring(), &one).await;
        assert!(
            store
                .swap(&other, Expected::Nothing, Some("other".into()))
                .await
                .unwrap()
        );
        let hash = StateHash([2; 32]);
        store
            .put_state(&one, hash, far(), "other".into())
            .await
            .unwrap();
        {
            let mut inner = store.lock();
            let mine = inner.credentials.remove(&one).unwrap();
            let record = inner.credentials.insert(other.clone(), mine).unwrap();
            inner.credentials.insert(one.clone(), record);
            let mine = inner.states.remove(&StateHash([1; 32])).unwrap();
            inner.states.insert(hash, mine);
        }
        assert!(store.load(&one).await.is_err());
        assert!(store.load(&other).await.is_err());
        assert!(store.take_state(&hash).await.is_err());
    }

    #[tokio::test]
    async fn a_clone_is_the_same_store() {
        let (store, key) = (MemoryCredentialStore::default(), key());
        assert!(
            store
                .clone()
                .swap(&key, Expected::Nothing, Some("x".into()))
                .await
                .unwrap()
        );
        assert!(store.load(&key).await.unwrap().is_some());
    }
}
