//! The keys of what must not be shared: anything that changes how a server is reached, or who holds
//! its state.
//!
//! A key is a salted hash, so nothing that was learned with one credential is used with another,
//! and a record that changes starts anew.

use std::sync::Arc;

use http::HeaderMap;
use url::Url;

use super::access::Access;
use crate::{
    keyed::{Digest, Keyed},
    mcp::Transport,
    name::ServerName,
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

/// A key with what it was made of, apart from the server's id: whoever comes with the same as the
/// last one needs no hash.
pub(super) struct KnownKey {
    key: PeerKey,
    name: ServerName,
    url: Url,
    transport: Transport,
    credential: Credential,
}

/// What tells credentials apart.
enum Credential {
    Grant(Arc<str>),
    Headers(HeaderMap),
}

impl KnownKey {
    /// The key of a credential of the server's own. What callers bring is not kept.
    pub(super) fn new(server: &Server, access: &Access) -> Self {
        Self {
            key: PeerKey::new(server, access),
            name: server.name.clone(),
            url: server.url.clone(),
            transport: server.transport,
            credential: match &access.token {
                Some(token) => Credential::Grant(token.grant.clone()),
                None => Credential::Headers(access.headers.clone()),
            },
        }
    }

    pub(super) fn key(&self) -> PeerKey {
        self.key
    }

    /// The key, if the record still leads to the same server with the same credential, as far as the
    /// record tells.
    pub(super) fn reaches(&self, server: &Server) -> Option<PeerKey> {
        let is_same = match &self.credential {
            Credential::Grant(_) => matches!(server.auth, crate::registry::Auth::OAuth2(_)),
            Credential::Headers(headers) => *headers == server.auth.headers(),
        };
        (is_same && self.is_at(server)).then_some(self.key)
    }

    /// The key, if it is that of the same server with `access`.
    pub(super) fn of(&self, server: &Server, access: &Access) -> Option<PeerKey> {
        let is_same = match (&self.credential, &access.token) {
            (Credential::Grant(grant), Some(token)) => *grant == token.grant,
            (Credential::Headers(headers), None) => *headers == access.headers,
            _ => false,
        };
        (is_same && self.is_at(server)).then_some(self.key)
    }

    fn is_at(&self, server: &Server) -> bool {
        self.url == server.url && self.name == server.name && self.transport == server.transport
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

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::connect::access::Token;

    fn with_header(value: &'static str) -> Access {
        Access {
            headers: HeaderMap::from_iter([(
                http::header::AUTHORIZATION,
                http::HeaderValue::from_static(value),
            )]),
            token: None,
            payer: None,
            subject: None,
        }
    }

    fn with_token(grant: &str, version: u64) -> Access {
        Access {
            headers: HeaderMap::new(),
            token: Some(Token {
                value: SecretString::from("token"),
                grant: grant.into(),
                version,
            }),
            payer: None,
            subject: None,
        }
    }

    #[test]
    fn a_known_key_is_the_one_that_would_be_hashed() {
        let server = |name, url| Server::new(name, url).unwrap();
        let servers = [
            server("a", "https://a.example/mcp"),
            server("a", "https://a.example/mcp?key=1"),
            server("b", "https://a.example/mcp"),
        ];
        let accesses = [
            with_header("one"),
            with_header("two"),
            with_token("one", 1),
            with_token("one", 2),
            with_token("two", 1),
        ];
        // An id is random, and all of these are one server's, as its record changes.
        let all = || {
            let servers = servers.iter().map(|server| Server {
                id: servers[0].id.clone(),
                ..server.clone()
            });
            servers.flat_map(|server| accesses.iter().map(move |access| (server.clone(), access)))
        };
        for (before, with) in all() {
            let known = KnownKey::new(&before, with);
            for (now, access) in all() {
                let hashed = PeerKey::new(&now, access);
                let same = known.of(&now, access);
                assert_eq!(same, (hashed == known.key).then_some(hashed));
            }
        }
    }
}
