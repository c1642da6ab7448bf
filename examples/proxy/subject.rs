//! The header in which callers send the token that says who their user is, for servers whose tokens are
//! each user's own.

use http::{HeaderName, header};
use mcp_layer::registry::{Auth, Filter, OAuthGrant, Server, Store};

use crate::{config::Invalid, storage};

/// Headers that mean something else, to this proxy or to the upstream.
const TAKEN: [HeaderName; 5] = [
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::HOST,
];

/// The name of the header.
#[derive(Clone)]
pub struct SubjectHeader(HeaderName);

impl SubjectHeader {
    pub fn parse(name: &str) -> Result<Self, Invalid> {
        let name: Option<HeaderName> = name.parse().ok();
        let is_free =
            |name: &HeaderName| !TAKEN.contains(name) && !name.as_str().starts_with("x-mcp-");
        match name.filter(is_free) {
            Some(name) => Ok(Self(name)),
            None => Err(Invalid::new(
                "subject_token_header must be the name of a header of its own, such as \"x-subject-token\"",
            )),
        }
    }

    /// The name. The layer takes it off every request that goes on to the upstream.
    pub fn name(&self) -> &HeaderName {
        &self.0
    }
}

/// Why a server for which nobody can send a token is in vain.
pub const IN_VAIN: &str = "its grant is token_exchange, and callers have no header for the token that is exchanged: set subject_token_header";

/// Returns `true` for a server whose callers' tokens are exchanged, without a header in which they come.
pub fn is_in_vain(server: &Server, subject: Option<&SubjectHeader>) -> bool {
    let Auth::OAuth2(oauth) = &server.auth else {
        return false;
    };
    subject.is_none() && oauth.grant == OAuthGrant::TokenExchange
}

/// Warns of each server that is in vain.
pub async fn warn(registry: &dyn Store, subject: Option<&SubjectHeader>) {
    // If they cannot be listed now, requests say so.
    let servers = storage::list(registry, &Filter::default(), usize::MAX).await;
    for server in servers.unwrap_or_default() {
        if server.enabled && is_in_vain(&server, subject) {
            tracing::warn!(server = %server.name, "nobody can use the server: {IN_VAIN}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_means_something_else_is_refused() {
        for name in ["authorization", "Cookie", "x-mcp-auth-a", "x y", ""] {
            assert!(SubjectHeader::parse(name).is_err(), "{name}");
        }
    }
}
