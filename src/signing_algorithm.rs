//! The algorithms by which JWTs are signed here, or checked.

use serde::{Deserialize, Serialize};

/// An algorithm by which a JWT is signed (RFC 7518 section 3.1, RFC 8037). There is no `none`, and
/// none with a shared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SigningAlgorithm {
    /// RSA with PKCS #1 v1.5 and SHA-256; the default of an RSA key.
    #[serde(rename = "RS256")]
    Rs256,
    /// RSA with PSS and SHA-256.
    #[serde(rename = "PS256")]
    Ps256,
    /// ECDSA over P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// EdDSA over Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl SigningAlgorithm {
    /// All with their names in the head of a JWT, in the order in which they are listed.
    pub const ALL: [(&'static str, Self); 4] = [
        ("RS256", Self::Rs256),
        ("PS256", Self::Ps256),
        ("ES256", Self::Es256),
        ("EdDSA", Self::EdDsa),
    ];

    /// The algorithm of this name.
    #[cfg(feature = "admin")]
    pub(crate) fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, algorithm)| algorithm)
    }

    /// The name of this algorithm.
    #[cfg(feature = "oauth")]
    pub(crate) fn name(self) -> &'static str {
        let found = Self::ALL.into_iter().find(|(_, known)| *known == self);
        found.map_or("", |(name, _)| name)
    }
}
