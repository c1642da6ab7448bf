//! The keys of what must not be shared: anything that changes how a server is reached, or who holds
//! its state.
//!
//! A key is a salted hash, so nothing that was learned with one credential is used with another,
//! and a record that changes starts anew.

use super::access::Access;
use crate::{
    keyed::{Digest, Keyed},
    registry::{Server, ShareSession},
    whose::Whose,
};

/// Names a server as it is reached with one credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PeerKey(Digest);

impl PeerKey {
    pub(super) fn new(server: &Server, access: &Access) -> Self {
        let mut hash = Keyed::new("reached")
            .with(&*server.organization)
            .with(server.id.as_str())
            .with(server.name.as_str())
            .with(server.url.as_str())
            .with([server.transport as u8]);
        match &access.token {
            // The grant, not the token: sessions and lists outlive a refresh.
            Some(token) => hash.add(token.grant.as_bytes()),
            None => {
                for (name, value) in &access.headers {
                    hash.add(name.as_str());
                    hash.add(value);
                }
            }
        }
        Self(hash.finish())
    }
}

/// The holder of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// All who use the credential.
    Everybody,
    /// A single project, caller or token.
    Some(Digest),
    /// One exchange.
    Exchange,
}

impl Holder {
    pub(super) fn of(server: &Server, whose: &Whose) -> Self {
        match server.share_session {
            ShareSession::All => Self::Everybody,
            ShareSession::Project => Self::Some(whose.project),
            ShareSession::Caller => Self::Some(whose.caller),
            ShareSession::Exchange => Self::Exchange,
        }
    }
}
