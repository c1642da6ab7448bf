//! The types of tokens that are exchanged for others.

use serde::{Deserialize, Serialize};

/// The type of the callers' tokens, as an exchange names it (RFC 8693 section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SubjectTokenType {
    /// An access token of OAuth 2.0.
    #[default]
    AccessToken,
    /// An ID token of OpenID Connect.
    IdToken,
    /// Another JWT.
    Jwt,
}

impl SubjectTokenType {
    /// All with their names, in the order in which they are listed.
    pub const ALL: [(&'static str, Self); 3] = [
        ("access_token", Self::AccessToken),
        ("id_token", Self::IdToken),
        ("jwt", Self::Jwt),
    ];

    /// The identifier in requests.
    #[cfg(feature = "oauth")]
    pub(crate) fn uri(self) -> &'static str {
        match self {
            Self::AccessToken => "urn:ietf:params:oauth:token-type:access_token",
            Self::IdToken => "urn:ietf:params:oauth:token-type:id_token",
            Self::Jwt => "urn:ietf:params:oauth:token-type:jwt",
        }
    }
}
