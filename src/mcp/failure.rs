//! A failed request, and what may still be done about it.

use super::error::Error;
use super::meaning::Meaning;

/// An error with what our client may do before it gives up. Callers only see the error.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) remedy: Remedy,
}

/// A remedy that never runs a tool twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Remedy {
    None,
    /// The server does not know our session any more, so it executed nothing: begin another
    /// session and send the request again.
    NewSession,
    /// The session may be at fault, but the request may have run: another session is begun for the
    /// next one.
    Doubt,
    /// The server does not speak our revision any more, so it executed nothing: find out what it
    /// speaks, and send the request again.
    Rediscover,
    /// The request was not sent at all: send it again.
    SendAgain,
    /// The endpoint does not speak this transport: try the older one.
    OlderTransport,
}

impl Remedy {
    /// What may be done about a refusal by a server with sessions.
    pub(super) fn in_session(meaning: Meaning) -> Self {
        match meaning {
            Meaning::SessionLost => Self::NewSession,
            Meaning::SessionDoubtful => Self::Doubt,
            Meaning::OtherRevision => Self::Rediscover,
            Meaning::Plain => Self::None,
        }
    }

    /// What may be done about a refusal by a server that was thought to have none.
    pub(super) fn without_sessions(meaning: Meaning) -> Self {
        match meaning {
            Meaning::SessionLost | Meaning::OtherRevision => Self::Rediscover,
            Meaning::SessionDoubtful | Meaning::Plain => Self::None,
        }
    }
}

impl Failure {
    pub(super) fn new(error: Error, remedy: Remedy) -> Self {
        Self { error, remedy }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error, Remedy::None)
    }
}
