//! What differs from text to text: where secrets come from, and how they are shown.

use std::time::SystemTime;

use secrecy::SecretString;
use url::Url;

use super::{
    node::{Fault, Members, Node},
    tree::Tree,
};
use crate::registry::{Auth, Error, OAuth2, StaticHeader};

/// What a text of a server cannot say by itself: where its secrets are, and what may be reached.
pub(crate) trait Secrets {
    /// The value of the header `name` of a server at `url`.
    fn header(&self, header: &Members<'_>, name: &str, url: &Url) -> Result<HeaderValue, Fault>;

    /// The secret of the client `oauth` of a server at `url`, if it has one, and since when.
    fn client_secret(
        &self,
        auth: &Members<'_>,
        oauth: &OAuth2,
        url: &Url,
    ) -> Result<(Option<SecretString>, Option<SystemTime>), Fault>;

    /// The URL that `entered` means.
    fn url(&self, _at: &Node<'_>, entered: Url) -> Result<Url, Fault> {
        Ok(entered)
    }

    /// Refuses what is no URL that may be reached, where that is known.
    fn reach(&self, _at: &Node<'_>) -> Result<(), Fault> {
        Ok(())
    }

    /// Checks the members of `oauth` together.
    fn oauth2(&self, oauth: OAuth2) -> Result<Auth, Error> {
        Auth::oauth2(oauth)
    }
}

/// A header's value.
pub(crate) enum HeaderValue {
    /// It is given, at this time.
    Given(SecretString, Option<SystemTime>),
    /// It is that of a header which there is.
    Kept(StaticHeader),
}

/// How a text shows what is not plain.
pub(crate) struct Writer {
    pub(crate) url: fn(&Url) -> String,
    pub(crate) time: fn(SystemTime) -> Tree<'static>,
    /// What stands for a secret that there is.
    pub(crate) secret: for<'t> fn(&'t SecretString) -> Tree<'t>,
}
