//! Client authentication at OAuth token endpoints.

use serde::{Deserialize, Serialize};

/// The client's authentication at the token endpoint (RFC 6749 section 2.3.1, RFC 7591 section 2, OpenID
/// Connect Core section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TokenAuth {
    /// Id and secret in the `Authorization` header.
    ClientSecretBasic,
    /// Id and secret in the body.
    ClientSecretPost,
    /// An assertion that the client signs with its private key (RFC 7523 section 2.2).
    PrivateKeyJwt,
    /// No secret: a public client, which PKCE protects.
    None,
}
