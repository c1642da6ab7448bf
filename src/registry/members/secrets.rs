//! The differences between texts: where their secrets come from, and how they are shown.

use std::time::SystemTime;

use secrecy::SecretString;
use url::Url;

use super::{
    node::{Fault, Members, Node},
    proof::{ClientProof, Entered},
    tree::Tree,
};
use crate::registry::{Auth, Error, OAuth2, StaticHeader};

/// The knowledge of a text that its tree does not contain: where its secrets are, and which URLs
/// may be reached.
pub(crate) trait Secrets {
    /// Finds the value of the header `name` of a server at `url`.
    fn header(&self, header: &Members<'_>, name: &str, url: &Url) -> Result<HeaderValue, Fault>;

    /// Finds what the client `oauth` of a server at `url` proves with who it is, and the time when it
    /// was entered; `None` for a client without it.
    fn client_proof(
        &self,
        auth: &Members<'_>,
        proof: ClientProof,
        oauth: &OAuth2,
        url: &Url,
    ) -> Result<Entered<SecretString>, Fault>;

    /// Resolves the URL that `entered` stands for: one with a covered key means the stored URL.
    /// Default: `entered` itself.
    fn url(&self, _at: &Node<'_>, entered: Url) -> Result<Url, Fault> {
        Ok(entered)
    }

    /// Refuses a URL that the egress rules forbid. Default: accepts every URL, for texts that are
    /// checked elsewhere.
    fn reach(&self, _at: &Node<'_>) -> Result<(), Fault> {
        Ok(())
    }

    /// Checks the members of `oauth` together. Default: [`Auth::oauth2`].
    fn oauth2(&self, oauth: OAuth2) -> Result<Auth, Error> {
        Auth::oauth2(oauth)
    }
}

/// The value of a static header.
pub(crate) enum HeaderValue {
    /// A new value, and the time when it was entered, if known.
    Given(SecretString, Option<SystemTime>),
    /// The stored header, unchanged.
    Kept(StaticHeader),
}

/// The representation of values that not every text shows in the same way.
pub(crate) struct Writer {
    /// The text of a URL, in clear or with its keys covered.
    pub(crate) url: fn(&Url) -> String,
    /// The value of a time.
    pub(crate) time: fn(SystemTime) -> Tree<'static>,
    /// The value of a secret that is set: the secret itself, or a mark that it exists.
    pub(crate) secret: for<'t> fn(&'t SecretString) -> Tree<'t>,
}
