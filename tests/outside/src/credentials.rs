//! Credentials that change by themselves, sealed as they would be on a disk.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use mcp_layer::{
    registry::{
        BoxFuture, CREDENTIAL_LEN, CredentialKey, CredentialStore, Error, Expected, Lease,
        STATES_PER_SERVER, StateHash, StoredCredential,
    },
    secret::{ExposeSecret, KeyRing, SecretString},
};

/// No lease lasts longer; it keeps the sum with the present time within bounds.
const LONGEST: Duration = Duration::from_secs(3600);

/// A [`CredentialStore`].
pub struct Credentials {
    ring: KeyRing,
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    last_version: u64,
    /// Versions and sealed records.
    credentials: BTreeMap<CredentialKey, (u64, Vec<u8>)>,
    leases: HashMap<CredentialKey, ([u8; 16], Instant)>,
    states: HashMap<StateHash, State>,
}

struct State {
    key: CredentialKey,
    expires_at: SystemTime,
    version: u64,
    sealed: Vec<u8>,
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            ring: KeyRing::generate(),
            tables: Mutex::default(),
        }
    }
}

impl Credentials {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn next_version(&mut self) -> u64 {
        self.last_version += 1;
        self.last_version
    }

    /// Drops what has expired, and the oldest state of a server that has too many.
    fn make_room(&mut self, key: &CredentialKey) {
        let now = SystemTime::now();
        self.states.retain(|_, state| now < state.expires_at);
        let is_same_server = |state: &State| {
            state.key.organization == key.organization && state.key.server == key.server
        };
        let of_server = self
            .states
            .iter()
            .filter(|(_, state)| is_same_server(state));
        let mut versions: Vec<_> = of_server
            .map(|(hash, state)| (state.version, *hash))
            .collect();
        versions.sort_unstable();
        if versions.len() >= STATES_PER_SERVER {
            self.states.remove(&versions[0].1);
        }
    }
}

fn check(secret: &SecretString) -> Result<(), Error> {
    match secret.expose_secret().len() <= CREDENTIAL_LEN {
        true => Ok(()),
        false => Err(Error::invalid("credential", "is too long")),
    }
}

fn field(state: &StateHash) -> String {
    format!("state {:?}", state.0)
}

impl CredentialStore for Credentials {
    fn load<'a>(
        &'a self,
        key: &'a CredentialKey,
    ) -> BoxFuture<'a, Result<Option<StoredCredential>, Error>> {
        Box::pin(async move {
            let tables = self.tables();
            let Some((version, sealed)) = tables.credentials.get(key) else {
                return Ok(None);
            };
            let opened = self.ring.open(&key.place("credential", *version), sealed);
            let secret = opened.map_err(Error::sealed)?;
            Ok(Some(StoredCredential::new(*version, secret)))
        })
    }

    fn swap<'a>(
        &'a self,
        key: &'a CredentialKey,
        expected: Expected,
        new: Option<SecretString>,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            new.as_ref().map_or(Ok(()), check)?;
            let mut tables = self.tables();
            let stored = tables.credentials.get(key).map(|(version, _)| *version);
            if !expected.is(stored) {
                return Ok(false);
            }
            match new {
                Some(secret) => {
                    let version = tables.next_version();
                    let sealed = self.ring.seal(&key.place("credential", version), &secret);
                    tables.credentials.insert(key.clone(), (version, sealed));
                }
                None => {
                    tables.credentials.remove(key);
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
            let mut tables = self.tables();
            tables.leases.retain(|_, (_, until)| now < *until);
            if tables.leases.contains_key(key) {
                return Ok(None);
            }
            let lease = Lease::new(key.clone());
            let held = (lease.holder(), now + duration.min(LONGEST));
            tables.leases.insert(key.clone(), held);
            Ok(Some(lease))
        })
    }

    fn release(&self, lease: Lease) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let mut tables = self.tables();
            let held = tables.leases.get(lease.key());
            if held.is_some_and(|(holder, _)| *holder == lease.holder()) {
                tables.leases.remove(lease.key());
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
            check(&pending)?;
            let mut tables = self.tables();
            tables.make_room(key);
            let version = tables.next_version();
            let sealed = self
                .ring
                .seal(&key.place(&field(&state), version), &pending);
            let key = key.clone();
            let stored = State {
                key,
                expires_at,
                version,
                sealed,
            };
            tables.states.insert(state, stored);
            Ok(())
        })
    }

    fn take_state<'a>(
        &'a self,
        state: &'a StateHash,
    ) -> BoxFuture<'a, Result<Option<(CredentialKey, SecretString)>, Error>> {
        Box::pin(async move {
            let taken = self.tables().states.remove(state);
            let Some(taken) = taken.filter(|taken| SystemTime::now() < taken.expires_at) else {
                return Ok(None);
            };
            let field = field(state);
            let opened = self
                .ring
                .open(&taken.key.place(&field, taken.version), &taken.sealed);
            Ok(Some((taken.key, opened.map_err(Error::sealed)?)))
        })
    }
}
