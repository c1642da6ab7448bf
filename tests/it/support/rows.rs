//! A credential store as one over a database would be: sealed rows, which somebody can read, move
//! about and put back; and which fails on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use mcp_layer::registry::{
    BoxFuture, CredentialKey, CredentialStore, Error, Expected, Lease, StateHash, StoredCredential,
};
use mcp_layer::secret::{KeyRing, Place, SecretString};
use tokio::time::Instant;

/// What goes wrong with the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fault {
    #[default]
    None,
    /// Nothing can be written.
    ReadOnly,
    /// What is written is written, and the answer is lost.
    Mute,
    /// Nothing can be read.
    Unreadable,
    /// Whoever reads waits for ever.
    Stuck,
    /// The same, after some more have been answered.
    StuckSoon,
}

/// What happened, in order; the doubles that share it write lines into it.
pub type Log = Arc<Mutex<Vec<String>>>;

/// The store. Clones share it, as the processes of a gateway would.
#[derive(Clone)]
pub struct Rows(Arc<Mutex<Table>>);

struct Table {
    ring: KeyRing,
    rows: BTreeMap<CredentialKey, Row>,
    states: BTreeMap<StateHash, (CredentialKey, SystemTime, Vec<u8>)>,
    leases: BTreeMap<CredentialKey, ([u8; 16], Instant)>,
    versions: u64,
    fault: Fault,
    /// How many more calls the fault is for; none: all.
    faulty: Option<usize>,
    log: Log,
}

/// One row of the database.
#[derive(Clone)]
pub struct Row {
    pub version: u64,
    pub sealed: Vec<u8>,
}

impl Rows {
    /// An empty store that writes `stored` and `removed` into `log`.
    pub fn new(log: Log) -> Self {
        Self(Arc::new(Mutex::new(Table {
            ring: KeyRing::generate(),
            rows: BTreeMap::new(),
            states: BTreeMap::new(),
            leases: BTreeMap::new(),
            versions: 0,
            fault: Fault::None,
            faulty: None,
            log,
        })))
    }

    /// Fails so from now on.
    pub fn fail(&self, fault: Fault) {
        let mut table = self.lock();
        (table.fault, table.faulty) = (fault, None);
    }

    /// Fails so the next few times.
    pub fn fail_times(&self, fault: Fault, times: usize) {
        let mut table = self.lock();
        (table.fault, table.faulty) = (fault, Some(times));
    }

    /// Answers some more, and then nobody who reads.
    pub fn stick_after(&self, answers: usize) {
        self.fail_times(Fault::StuckSoon, answers);
    }

    /// The rows as whoever has the database sees and changes them.
    pub fn edit<T>(&self, edit: impl FnOnce(&mut BTreeMap<CredentialKey, Row>) -> T) -> T {
        edit(&mut self.lock().rows)
    }

    /// Gives each pending authorization the record of another one.
    pub fn exchange_states(&self) {
        let states = &mut self.lock().states;
        let mut records: Vec<_> = states.values().cloned().collect();
        records.rotate_left(1);
        for (state, record) in states.values_mut().zip(records) {
            *state = record;
        }
    }

    /// Everything that lies in the database, pending authorizations too.
    pub fn bytes(&self) -> Vec<u8> {
        let table = self.lock();
        let rows = table.rows.values().map(|row| &row.sealed);
        let states = table.states.values().map(|(_, _, sealed)| sealed);
        rows.chain(states).flatten().copied().collect()
    }

    /// The credential as it is stored, opened.
    pub async fn opened(&self, key: &CredentialKey) -> Option<SecretString> {
        Some(self.load(key).await.unwrap()?.secret)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap()
    }
}

impl Table {
    /// Whether this call is one that the fault is for.
    fn strikes(&mut self, fault: Fault) -> bool {
        if self.fault != fault {
            return false;
        }
        match &mut self.faulty {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    fn is_stuck(&mut self) -> bool {
        match self.fault {
            Fault::StuckSoon => !self.strikes(Fault::StuckSoon),
            _ => self.strikes(Fault::Stuck),
        }
    }

    fn note(&self, line: &str) {
        self.log.lock().unwrap().push(line.to_owned());
    }

    fn apply(
        &mut self,
        key: &CredentialKey,
        expected: Expected,
        new: Option<SecretString>,
    ) -> bool {
        if !expected.is(self.rows.get(key).map(|row| row.version)) {
            return false;
        }
        match new {
            None => {
                self.rows.remove(key);
                self.note("removed");
            }
            Some(secret) => {
                self.versions += 1;
                let version = self.versions;
                let sealed = self.ring.seal(&place(key, "credential", version), &secret);
                self.rows.insert(key.clone(), Row { version, sealed });
                self.note("stored");
            }
        }
        true
    }
}

impl CredentialStore for Rows {
    fn load<'a>(
        &'a self,
        key: &'a CredentialKey,
    ) -> BoxFuture<'a, Result<Option<StoredCredential>, Error>> {
        Box::pin(async move {
            if self.lock().is_stuck() {
                std::future::pending::<()>().await;
            }
            let mut table = self.lock();
            if table.strikes(Fault::Unreadable) {
                return Err(outage());
            }
            let Some(Row { version, sealed }) = table.rows.get(key) else {
                return Ok(None);
            };
            let opened = table.ring.open(&place(key, "credential", *version), sealed);
            Ok(Some(StoredCredential {
                version: *version,
                secret: opened.map_err(Error::sealed)?,
            }))
        })
    }

    fn swap<'a>(
        &'a self,
        key: &'a CredentialKey,
        expected: Expected,
        new: Option<SecretString>,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let mut table = self.lock();
            if table.strikes(Fault::ReadOnly) {
                return Err(outage());
            }
            let swapped = table.apply(key, expected, new);
            if table.strikes(Fault::Mute) {
                return Err(outage());
            }
            Ok(swapped)
        })
    }

    fn lease<'a>(
        &'a self,
        key: &'a CredentialKey,
        duration: Duration,
    ) -> BoxFuture<'a, Result<Option<Lease>, Error>> {
        Box::pin(async move {
            let mut table = self.lock();
            let now = Instant::now();
            table.leases.retain(|_, (_, until)| now < *until);
            if table.leases.contains_key(key) {
                return Ok(None);
            }
            let lease = Lease::new(key.clone());
            let held = (lease.holder(), now + duration);
            table.leases.insert(key.clone(), held);
            Ok(Some(lease))
        })
    }

    fn release(&self, lease: Lease) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let mut table = self.lock();
            let held = table.leases.get(lease.key());
            if held.is_some_and(|(holder, _)| *holder == lease.holder()) {
                table.leases.remove(lease.key());
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
            let mut table = self.lock();
            let sealed = table.ring.seal(&place(key, &field(&state), 0), &pending);
            table
                .states
                .insert(state, (key.clone(), expires_at, sealed));
            Ok(())
        })
    }

    fn take_state<'a>(
        &'a self,
        state: &'a StateHash,
    ) -> BoxFuture<'a, Result<Option<(CredentialKey, SecretString)>, Error>> {
        Box::pin(async move {
            let mut table = self.lock();
            // When it expires is left to whoever takes it.
            let Some((key, _, sealed)) = table.states.remove(state) else {
                return Ok(None);
            };
            let opened = table.ring.open(&place(&key, &field(state), 0), &sealed);
            let pending = opened.map_err(Error::sealed)?;
            Ok(Some((key, pending)))
        })
    }
}

fn place<'a>(key: &'a CredentialKey, field: &'a str, version: u64) -> Place<'a> {
    let server = key.server.as_str();
    Place::new(&key.organization, server, field, &key.origin).with_version(version)
}

fn field(state: &StateHash) -> String {
    format!("state:{:?}", state.0)
}

fn outage() -> Error {
    Error::unavailable("the database at 10.0.0.7 is in recovery")
}
