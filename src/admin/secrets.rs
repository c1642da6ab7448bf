//! Secrets that an operator enters, or keeps as they are.

use std::time::SystemTime;

use secrecy::SecretString;
use url::Url;

use crate::{
    connect::Connections,
    issuer::are_same,
    registry::{
        Auth, OAuth2, Server,
        members::{ClientProof, Entered, Fault, HeaderValue, Members, Node, Secrets},
    },
    url_keys,
};

/// The stored record, as far as its secrets may be kept.
pub(super) struct Kept<'a> {
    pub(super) stored: Option<&'a Server>,
    pub(super) connections: &'a Connections,
    pub(super) now: SystemTime,
}

/// Nothing that could be kept.
const NOTHING: &str = "is not stored, so it cannot be kept; enter it";
const NO_KEY: &str = "has … where no key is stored that could be kept; enter it";

impl Secrets for Kept<'_> {
    fn header(&self, header: &Members<'_>, name: &str, url: &Url) -> Result<HeaderValue, Fault> {
        let at = header.require("value")?;
        if let Some(entered) = entered(&at)? {
            return Ok(HeaderValue::Given(entered.into(), Some(self.now)));
        }
        let kept = match self.auth(&at, url, "header value")? {
            Auth::StaticHeaders(headers) => headers.iter().find(|header| header.name() == name),
            _ => None,
        };
        let kept = kept.ok_or_else(|| at.fault(NOTHING))?;
        Ok(HeaderValue::Kept(kept.clone()))
    }

    fn client_proof(
        &self,
        auth: &Members<'_>,
        proof: ClientProof,
        oauth: &OAuth2,
        url: &Url,
    ) -> Result<Entered<SecretString>, Fault> {
        let Some(at) = auth.get(proof.member()) else {
            return Ok((None, None));
        };
        if let Some(entered) = entered(&at)? {
            return Ok((Some(entered.into()), Some(self.now)));
        }
        let what = match proof {
            ClientProof::Secret => "client secret",
            ClientProof::Key => "private key",
        };
        let Auth::OAuth2(former) = self.auth(&at, url, what)? else {
            return Err(at.fault(NOTHING));
        };
        let (Some(kept), set_at) = proof.of(former) else {
            return Err(at.fault(NOTHING));
        };
        // It is for one authorization server.
        let origin = |url: &Option<Url>| url.as_ref().map(Url::origin);
        let is_same_issuer = are_same(former.issuer.as_deref(), oauth.issuer.as_deref());
        match is_same_issuer && origin(&former.token_url) == origin(&oauth.token_url) {
            true => Ok((Some(kept.clone()), set_at)),
            false => Err(at.fault("was entered for another authorization server; enter it anew")),
        }
    }

    /// Restores the stored keys if `entered` has the marks that answers show in their place.
    fn url(&self, at: &Node<'_>, entered: Url) -> Result<Url, Fault> {
        let url = match url_keys::is_covered(&entered) {
            true => self
                .with_keys(&entered)
                .map_err(|reason| at.fault(reason))?,
            false => entered,
        };
        self.may_reach(at, &url)?;
        Ok(url)
    }

    fn reach(&self, at: &Node<'_>) -> Result<(), Fault> {
        let url = at.text()?.parse();
        let url = url.map_err(|_| at.fault("is not an absolute URL"))?;
        self.may_reach(at, &url)
    }
}

impl Kept<'_> {
    /// The authentication of which secrets may go on to a server at `url`.
    fn auth(&self, at: &Node<'_>, url: &Url, what: &str) -> Result<&Auth, Fault> {
        let stored = self.stored.ok_or_else(|| at.fault(NOTHING))?;
        if stored.url.origin() != url.origin() {
            let fault = at.fault("was entered for another origin; with a new url, enter it anew");
            let page = format!("The server address changed. Enter the {what} again.");
            return Err(fault.with_page(page));
        }
        match &stored.auth {
            Auth::Unreadable(_) => Err(at.fault("is stored and cannot be opened; enter it anew")),
            auth => Ok(auth),
        }
    }

    fn with_keys(&self, entered: &Url) -> Result<Url, &'static str> {
        let stored = self.stored.ok_or(NO_KEY)?;
        if matches!(stored.auth, Auth::Unreadable(_)) {
            return Err(
                "has a key that is stored and cannot be opened; enter it anew in the place of …",
            );
        }
        if stored.url.origin() != entered.origin() {
            return Err(
                "has another origin than the key in it was entered for; enter it in the place of …",
            );
        }
        url_keys::uncovered(entered, &stored.url).ok_or(NO_KEY)
    }

    fn may_reach(&self, at: &Node<'_>, url: &Url) -> Result<(), Fault> {
        let reached = self.connections.may_reach(url);
        reached.map_err(|error| at.unusable(error.advice_on(url)))
    }
}

/// A secret in clear; `None`: what an answer says of one, which keeps the one that is stored.
fn entered<'t>(at: &Node<'t>) -> Result<Option<&'t str>, Fault> {
    const KEPT: &str = "must be a string, or {\"set\": true} to keep what is stored";
    if at.as_text().is_some() {
        return at.text().map(Some);
    }
    let members = at.table(KEPT)?;
    members.allow(["set", "updated_at"])?;
    match members.require("set")?.flag()? {
        true => Ok(None),
        false => Err(at.fault("is not set; enter it")),
    }
}
