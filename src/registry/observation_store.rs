//! Storage for what is known of servers from probing and using them.

use std::{sync::Arc, time::Duration};

use super::{error::Error, future::BoxFuture, observation::Observation, server_id::ServerId};

/// Stores [`Observation`]s of servers.
///
/// Replicas that share one agree on which tools were accepted, and on who
/// probes which server.
///
/// # Contract
/// An implementor guarantees that
///
/// - a server need not be one of its own: those of a file are observed too;
/// - an observation comes back as it went in, its version apart; times may lose what is finer than
///   a millisecond;
/// - of concurrent calls of [`observe`](Self::observe) with the same version, exactly one is taken;
/// - where it stores the server too, pins that differ are in what
///   [`find`](super::ServerRegistry::find) and every other answer has from then on, within a second
///   in every replica; and what is known of a server goes when the server is removed;
/// - organizations share nothing, not even what is known of servers of the same id.
///
/// `conformance::observations` (feature `conformance`) tries what one process can see of this.
pub trait ObservationStore: Send + Sync + 'static {
    /// Returns all that is known of a server; `None` where nothing was observed.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn observation<'a>(
        &'a self,
        organization: &'a str,
        server: &'a ServerId,
    ) -> BoxFuture<'a, Result<Option<Observation>, Error>>;

    /// Returns what is known of these servers, in their order, without the text of definitions.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn observations<'a>(
        &'a self,
        organization: &'a str,
        servers: &'a [ServerId],
    ) -> BoxFuture<'a, Result<Vec<Option<Observation>>, Error>>;

    /// Replaces what is known, if what is stored still has the version of `observation` (0 where
    /// nothing is); the version then counts up. Returns whether it was replaced.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn observe<'a>(
        &'a self,
        organization: &'a str,
        server: &'a ServerId,
        observation: &'a Observation,
    ) -> BoxFuture<'a, Result<bool, Error>>;

    /// Claims the probes of those of `servers` that nobody has claimed within the last `every`;
    /// returns, in their order, which are the caller's.
    ///
    /// A claim ends by itself; one that somebody else made lasts as long as *they* asked for.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
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
