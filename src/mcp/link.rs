//! A connection in use: its age, and how far it is trusted.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::connection::{Connection, Dialect, Dialled};

/// The time for which a verdict on the server's revision is kept that an outage may have given.
const DOUBTFUL_VERDICT: Duration = Duration::from_secs(5 * 60);

/// No doubt; a listing failed here; or a call did, in a way that another session may mend.
const NO_DOUBT: u8 = 0;
const LISTINGS: u8 = 1;
const ALL: u8 = 2;

/// A connection that callers share. One that is replaced on a mere doubt has its session ended at
/// the server, when the last caller has left it.
pub(super) struct Link {
    pub(super) connection: Connection,
    /// When it was established.
    pub(super) born: Instant,
    is_certain: bool,
    doubt: AtomicU8,
}

/// What a server was found to speak.
#[derive(Clone, Copy)]
pub(super) struct Known {
    dialect: Dialect,
    /// The end of a verdict that an outage may have given.
    until: Option<Instant>,
}

impl Link {
    pub(super) fn new(dialled: Dialled) -> Self {
        Self {
            connection: dialled.connection,
            born: Instant::now(),
            is_certain: dialled.is_certain,
            doubt: AtomicU8::new(NO_DOUBT),
        }
    }

    /// What the connection shows of the server.
    pub(super) fn shows(&self) -> Known {
        Known {
            dialect: self.connection.dialect(),
            until: (!self.is_certain).then(|| self.born + DOUBTFUL_VERDICT),
        }
    }

    /// The next request begins another session.
    pub(super) fn doubt(&self) {
        self.doubt.fetch_max(ALL, Ordering::Relaxed);
    }

    /// The next listing begins another session. Calls go on in this one, which may have a state
    /// that they need.
    pub(super) fn doubt_listings(&self) {
        self.doubt.fetch_max(LISTINGS, Ordering::Relaxed);
    }

    /// Returns `true` if a request may be sent here; a listing wants more trust than a call.
    pub(super) fn is_trusted(&self, by_listing: bool) -> bool {
        match self.doubt.load(Ordering::Relaxed) {
            NO_DOUBT => true,
            LISTINGS => !by_listing,
            _ => false,
        }
    }
}

impl Known {
    /// What is still known.
    pub(super) fn dialect(self) -> Option<Dialect> {
        let holds = self.until.is_none_or(|until| Instant::now() < until);
        holds.then_some(self.dialect)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if *self.doubt.get_mut() != NO_DOUBT {
            self.connection.close_aside();
        }
    }
}
