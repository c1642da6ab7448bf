//! What a client proves with who it is: a secret, or a private key.

use std::time::SystemTime;

use secrecy::SecretString;

use crate::registry::OAuth2;

/// A proof of a client, and when it was entered, if known.
pub(crate) type Entered<T> = (Option<T>, Option<SystemTime>);

/// The kind of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientProof {
    Secret,
    Key,
}

impl ClientProof {
    pub(crate) const ALL: [Self; 2] = [Self::Secret, Self::Key];

    /// The name of the member that has it.
    pub(crate) fn member(self) -> &'static str {
        match self {
            Self::Secret => "client_secret",
            Self::Key => "private_key",
        }
    }

    /// The proof of this kind that `oauth` has.
    pub(crate) fn of(self, oauth: &OAuth2) -> Entered<&SecretString> {
        match self {
            Self::Secret => (oauth.client_secret.as_ref(), oauth.client_secret_set_at),
            Self::Key => (oauth.private_key.as_ref(), oauth.private_key_set_at),
        }
    }

    /// Replaces the proof of this kind.
    pub(super) fn set(self, oauth: &mut OAuth2, (proof, set_at): Entered<SecretString>) {
        match self {
            Self::Secret => (oauth.client_secret, oauth.client_secret_set_at) = (proof, set_at),
            Self::Key => (oauth.private_key, oauth.private_key_set_at) = (proof, set_at),
        }
    }
}
