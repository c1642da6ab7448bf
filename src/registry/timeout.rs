//! A wrapper that limits the time of a store.

use std::time::{Duration, SystemTime};

use tokio::time::timeout;

use super::{
    credential::{CredentialKey, Expected, Lease, StateHash, StoredCredential},
    credential_store::CredentialStore,
    error::Error,
    future::BoxFuture,
    observation::Observation,
    observation_store::ObservationStore,
    server_id::ServerId,
};
use crate::secret::SecretString;

/// The longest wait for an answer of a store. While a refresh waits, every request that needs the
/// token waits too, and the refresh must not outlast its lease. A database that needs longer is in
/// trouble.
const LIMIT: Duration = Duration::from_secs(3);

/// Wraps a store so that each call returns within 3 s, if only with [`Error::Unavailable`]. The
/// call may have had its effect even so.
pub(crate) struct Timeout<S>(S);

impl<S> Timeout<S> {
    pub(crate) fn new(store: S) -> Self {
        Self(store)
    }
}

fn in_time<'a, T: 'a>(answer: BoxFuture<'a, Result<T, Error>>) -> BoxFuture<'a, Result<T, Error>> {
    Box::pin(async move {
        let answer = timeout(LIMIT, answer).await;
        answer.unwrap_or_else(|late| Err(Error::unavailable(late)))
    })
}

impl<S: CredentialStore> CredentialStore for Timeout<S> {
    fn load<'a>(
        &'a self,
        key: &'a CredentialKey,
    ) -> BoxFuture<'a, Result<Option<StoredCredential>, Error>> {
        in_time(self.0.load(key))
    }

    fn swap<'a>(
        &'a self,
        key: &'a CredentialKey,
        expected: Expected,
        new: Option<SecretString>,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        in_time(self.0.swap(key, expected, new))
    }

    fn lease<'a>(
        &'a self,
        key: &'a CredentialKey,
        duration: Duration,
    ) -> BoxFuture<'a, Result<Option<Lease>, Error>> {
        in_time(self.0.lease(key, duration))
    }

    fn release(&self, lease: Lease) -> BoxFuture<'_, Result<(), Error>> {
        in_time(self.0.release(lease))
    }

    fn put_state<'a>(
        &'a self,
        key: &'a CredentialKey,
        state: StateHash,
        expires_at: SystemTime,
        pending: SecretString,
    ) -> BoxFuture<'a, Result<(), Error>> {
        in_time(self.0.put_state(key, state, expires_at, pending))
    }

    fn take_state<'a>(
        &'a self,
        state: &'a StateHash,
    ) -> BoxFuture<'a, Result<Option<(CredentialKey, SecretString)>, Error>> {
        in_time(self.0.take_state(state))
    }
}

impl<S: ObservationStore> ObservationStore for Timeout<S> {
    fn observation<'a>(
        &'a self,
        organization: &'a str,
        server: &'a ServerId,
    ) -> BoxFuture<'a, Result<Option<Observation>, Error>> {
        in_time(self.0.observation(organization, server))
    }

    fn observations<'a>(
        &'a self,
        organization: &'a str,
        servers: &'a [ServerId],
    ) -> BoxFuture<'a, Result<Vec<Option<Observation>>, Error>> {
        in_time(self.0.observations(organization, servers))
    }

    fn observe<'a>(
        &'a self,
        organization: &'a str,
        server: &'a ServerId,
        observation: &'a Observation,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        in_time(self.0.observe(organization, server, observation))
    }

    fn claim_probes<'a>(
        &'a self,
        organization: &'a str,
        servers: &'a [ServerId],
        every: Duration,
    ) -> BoxFuture<'a, Result<Vec<bool>, Error>> {
        in_time(self.0.claim_probes(organization, servers, every))
    }
}
