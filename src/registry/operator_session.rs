//! Sessions of operators, and where they are kept.

use std::{sync::Arc, time::SystemTime};

use super::{error::Error, future::BoxFuture};

/// A browser that is signed in.
///
/// Times are kept in whole milliseconds.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperatorSession {
    /// Its id, 32 hex digits. It opens nothing: the browser has a sealed cookie.
    pub id: String,
    /// The organization whose operator it is.
    pub organization: String,
    /// The operator's name.
    pub operator: String,
    /// The role that the operator had when it was last looked at.
    pub role: String,
    /// How the operator signed in: `token` or `oidc`.
    pub via: String,
    /// The address that it began from; empty where it is not known.
    pub from: String,
    /// When it began.
    pub began_at: SystemTime,
    /// When it was last used, to the minute.
    pub used_at: SystemTime,
    /// When it ends by itself.
    pub ends_at: SystemTime,
    /// When a provider last said that the role is so.
    pub looked_at: SystemTime,
    /// Until when somebody is asking the provider again; in the past for nobody.
    pub looking_until: SystemTime,
    /// What the provider is asked with, sealed by whoever keeps it here.
    pub grant: Option<Vec<u8>>,
    /// Counts its changes.
    pub version: u64,
}

impl OperatorSession {
    /// Creates a session that begins now; all that is not named is empty, and no time is later.
    pub fn new(
        organization: impl Into<String>,
        id: impl Into<String>,
        operator: impl Into<String>,
        began_at: SystemTime,
        ends_at: SystemTime,
    ) -> Self {
        Self {
            id: id.into(),
            organization: organization.into(),
            operator: operator.into(),
            role: String::new(),
            via: String::new(),
            from: String::new(),
            began_at,
            used_at: began_at,
            ends_at,
            looked_at: began_at,
            looking_until: began_at,
            grant: None,
            version: 1,
        }
    }
}

impl std::fmt::Debug for OperatorSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperatorSession")
            .field("id", &self.id)
            .field("operator", &self.operator)
            .field("role", &self.role)
            .field("via", &self.via)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Keeps the sessions of operators, so that each can be seen and ended, in all replicas.
///
/// What is not here is not signed in. A session that has ended by itself may still be here: readers
/// look at [`ends_at`](OperatorSession::ends_at).
///
/// `conformance::operator_sessions` (feature `conformance`) tests what can be seen of this contract.
/// `Arc<S>` implements the trait for every `S`.
pub trait OperatorSessionStore: Send + Sync + 'static {
    /// Adds a session. An operator has at most 100 in an organization: one more ends the one of
    /// theirs that was not used for longest, and nobody else's.
    ///
    /// For all operators together a store may have a limit as well, of 10,000 or more, at which those
    /// that were not used for longest end.
    ///
    /// # Errors
    /// [`Error::Invalid`] for texts that are too long, or an id that is there;
    /// [`Error::Unavailable`].
    fn begin_session<'a>(
        &'a self,
        session: &'a OperatorSession,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Returns a session of the organization.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn session<'a>(
        &'a self,
        organization: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<OperatorSession>, Error>>;

    /// Returns the sessions of the organization, the last used first, at most 1,000.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn sessions<'a>(
        &'a self,
        organization: &'a str,
    ) -> BoxFuture<'a, Result<Vec<OperatorSession>, Error>>;

    /// Replaces a session, whose version becomes one more; `false`, and nothing is changed, if this
    /// version is not there: somebody has changed or ended it since it was read.
    ///
    /// # Errors
    /// [`Error::Invalid`] for texts that are too long; [`Error::Unavailable`].
    fn replace_session<'a>(
        &'a self,
        session: &'a OperatorSession,
    ) -> BoxFuture<'a, Result<bool, Error>>;

    /// Ends a session; `false` if it is not there.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn end_session<'a>(
        &'a self,
        organization: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<bool, Error>>;
}

impl<S: OperatorSessionStore + ?Sized> OperatorSessionStore for Arc<S> {
    fn begin_session<'a>(
        &'a self,
        session: &'a OperatorSession,
    ) -> BoxFuture<'a, Result<(), Error>> {
        (**self).begin_session(session)
    }

    fn session<'a>(
        &'a self,
        organization: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<OperatorSession>, Error>> {
        (**self).session(organization, id)
    }

    fn sessions<'a>(
        &'a self,
        organization: &'a str,
    ) -> BoxFuture<'a, Result<Vec<OperatorSession>, Error>> {
        (**self).sessions(organization)
    }

    fn replace_session<'a>(
        &'a self,
        session: &'a OperatorSession,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        (**self).replace_session(session)
    }

    fn end_session<'a>(
        &'a self,
        organization: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        (**self).end_session(organization, id)
    }
}
