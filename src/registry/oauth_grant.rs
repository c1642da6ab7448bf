//! The kinds of grants of OAuth 2.0, by whom they authorize.

use serde::{Deserialize, Serialize};

/// The way in which the gateway gets access tokens: who authorizes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OAuthGrant {
    /// A person does, once, in a browser (RFC 6749 section 4.1). All callers use that authorization.
    #[default]
    AuthorizationCode,
    /// The gateway itself is authorized, as a client with a secret or a key (RFC 6749 section 4.4). All
    /// callers use that authorization, and no browser is needed.
    ClientCredentials,
    /// Each caller is: the token that says who the caller is
    /// ([`SubjectToken`](crate::SubjectToken)) is exchanged for one for the server (RFC 8693).
    TokenExchange,
}

impl OAuthGrant {
    /// All with their names, in the order in which they are listed.
    pub const ALL: [(&'static str, Self); 3] = [
        ("authorization_code", Self::AuthorizationCode),
        ("client_credentials", Self::ClientCredentials),
        ("token_exchange", Self::TokenExchange),
    ];
}
