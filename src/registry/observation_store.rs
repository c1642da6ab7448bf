//! Storage for observations of servers.

use std::{sync::Arc, time::Duration};

use super::{error::Error, future::BoxFuture, observation::Observation, server_id::ServerId};

/// Stores [`Observation`]s of servers.
///
/// Replicas that share a store agree on which tools were accepted, and on which replica probes
/// which server.
///
/// # Contract
/// An implementor guarantees that
///
/// - it stores observations of any server, not only of its own: a file's servers are observed, too;
/// - an observation comes back as it went in, apart from its version; times may lose anything below
///   a millisecond;
/// - of several concurrent calls of [`observe`](Self::observe) with the same version, exactly one
///   succeeds;
/// - if it also stores the server, changed pins are part of every later answer,
///   [`find`](super::ServerRegistry::find) included, within a second in every replica; and removing
///   the server removes its observation;
/// - organizations share nothing, not even observations of servers with the same id.
///
/// `conformance::observations` (feature `conformance`) tests what can be seen of this contract
/// within one process.
pub trait ObservationStore: Send + Sync + 'static {
    /// Returns the observation of a server; `None` if it was never observed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the storage failed.
    fn observation<'a>(
        &'a self,
        organization: &'a str,
        server: &'a ServerId,
    ) -> BoxFuture<'a, Result<Option<Observation>, Error>>;

    /// Returns the observations of these servers, in their order, without the text of definitions.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the storage failed.
    fn observations<'a>(
        &'a self,
        organization: &'a str,
        servers: &'a [ServerId],
    ) -> BoxFuture<'a, Result<Vec<Option<Observation>>, Error>>;

    /// Replaces the observation, if the stored one still has the version of `observation` (0 for
    /// none); the version then counts up. Returns `true` if it was replaced.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the storage failed.
    fn observe<'a>(
        &'a self,
        organization: &'a str,
        server: &'a ServerId,
        observation: &'a Observation,
    ) -> BoxFuture<'a, Result<bool, Error>>;

    /// Claims the probes of `servers`, except those that another caller has claimed within the last
    /// `every`. Returns, in their order, which ones the caller is to probe.
    ///
    /// A claim ends by itself, after the `every` of the caller that made it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the storage failed.
    fn claim_probes<'a>(
        &'a self,
        organization: &'a str,
        servers: &'a [ServerId],
        every: Duration,
    ) -> BoxFuture<'a, Result<Vec<bool>, Error>>;
}

impl<S: ObservationStore + ?Sized> ObservationStore for Arc<S> {
    fn observation<'a>(
        &'a self,
        organization: &'a str,
        server: &'a ServerId,
    ) -> BoxFuture<'a, Result<Option<Observation>, Error>> {
        (**self).observation(organization, server)
    }

    fn observations<'a>(
        &'a self,
        organization: &'a str,
        servers: &'a [ServerId],
    ) -> BoxFuture<'a, Result<Vec<Option<Observation>>, Error>> {
        (**self).observations(organization, servers)
    }

    fn observe<'a>(
        &'a self,
        organization: &'a str,
        server: &'a ServerId,
        observation: &'a Observation,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        (**self).observe(organization, server, observation)
    }

    fn claim_probes<'a>(
        &'a self,
        organization: &'a str,
        servers: &'a [ServerId],
        every: Duration,
    ) -> BoxFuture<'a, Result<Vec<bool>, Error>> {
        (**self).claim_probes(organization, servers, every)
    }
}
