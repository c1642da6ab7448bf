//! An authorization as it is stored.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    error::Error,
    text::{self, is_same, optional_secret, secret},
};
use crate::{
    hex::hex,
    issuer,
    keyed::Keyed,
    oauth::{self, AuthorizationServer, Client, Tokens},
    private_key::PrivateKey,
    random::fill_random,
    registry::{Auth, OAuth2, OAuthGrant, Server},
    scopes::Scopes,
    secret::SecretString,
    signing_algorithm::SigningAlgorithm,
    token_auth::TokenAuth,
};

/// The time before expiry at which tokens are refreshed; at most a quarter of their life.
const EARLY: Duration = Duration::from_secs(60);

/// The time after which an operator who connects a server once more has most likely seen an error
/// page. Shorter, a second tab would register a second client.
const ANSWER: Duration = Duration::from_secs(30);

/// The authorization of one server.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Credential {
    /// A random id, to which sessions and tool lists belong; it outlives the tokens.
    pub(super) grant: String,
    /// The authorization server that issued the tokens, and refreshes them.
    pub(super) server: AuthorizationServer,
    pub(super) client: StoredClient,
    pub(super) resource: Option<String>,
    /// The scopes granted, or requested if the authorization server did not say.
    pub(super) scopes: Scopes,
    /// The tokens; `None` after the authorization server has withdrawn them.
    pub(super) tokens: Option<StoredTokens>,
    /// The scopes that the server has since found missing, to be requested next time.
    #[serde(default)]
    pub(super) missing: Scopes,
    /// The first time that a browser was sent away with this client and has not come back with new
    /// tokens, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sent_at: Option<u64>,
    /// For an authorization of the gateway itself, the record that it was asked for by
    /// ([`bound`]); `None` for a person's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bound: Option<String>,
}

/// Tokens, with the times of their issue and expiry.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct StoredTokens {
    #[serde(with = "secret")]
    pub(super) access: SecretString,
    #[serde(with = "optional_secret")]
    pub(super) refresh: Option<SecretString>,
    /// The time of issue, in seconds since 1970.
    obtained_at: u64,
    expires_at: Option<u64>,
}

/// A client, and its origin.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct StoredClient {
    id: String,
    #[serde(with = "optional_secret")]
    secret: Option<SecretString>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<StoredKey>,
    pub(super) auth: TokenAuth,
    pub(super) origin: ClientOrigin,
}

/// The private key of a client.
#[derive(Clone, Serialize, Deserialize)]
struct StoredKey {
    #[serde(with = "secret")]
    pem: SecretString,
    algorithm: SigningAlgorithm,
    id: Option<String>,
}

/// The way in which a client became known.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClientOrigin {
    /// An operator entered it.
    Entered,
    /// Its id is the URL of our metadata.
    Document,
    /// We registered it, for this redirect URI.
    Registered(Url),
}

/// The freshness of an access token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Freshness {
    Fresh,
    /// Still usable, and due to be refreshed.
    Due,
    Expired,
}

impl Credential {
    pub(super) fn new(
        server: AuthorizationServer,
        client: StoredClient,
        resource: Option<String>,
        asked: Scopes,
        tokens: Tokens,
        now: u64,
    ) -> Self {
        let mut grant = [0; 16];
        fill_random(&mut grant);
        Self {
            grant: format!("{:032x}", u128::from_be_bytes(grant)),
            server,
            client,
            resource,
            scopes: tokens.scopes.clone().unwrap_or(asked),
            tokens: Some(StoredTokens::new(tokens, None, now)),
            missing: Scopes::default(),
            sent_at: None,
            bound: None,
        }
    }

    /// This as an authorization of the gateway itself, which `record` asked for; it goes on from
    /// `former`, if there was one.
    pub(super) fn of_machine(self, record: &OAuth2, former: Option<&Self>) -> Self {
        Self {
            grant: former.map_or(self.grant, |former| former.grant.clone()),
            bound: bound(record),
            ..self
        }
    }

    pub(super) fn read(text: &SecretString) -> Option<Self> {
        text::read(text)
    }

    pub(super) fn write(&self) -> SecretString {
        text::write(self)
    }

    /// The authorization with the tokens of a refresh. The old refresh token stays if the answer
    /// has none (RFC 6749, section 6).
    pub(super) fn refreshed(&self, tokens: Tokens, now: u64) -> Self {
        let old = self.tokens.as_ref().and_then(|old| old.refresh.clone());
        Self {
            scopes: tokens.scopes.clone().unwrap_or(self.scopes.clone()),
            tokens: Some(StoredTokens::new(tokens, old, now)),
            ..self.clone()
        }
    }

    /// The rest of the authorization after its refresh token was refused, without tokens. `None` if
    /// the authorization server no longer knows a client that we registered, so that the next
    /// authorization registers another one.
    pub(super) fn withdrawn(&self, why: oauth::ErrorKind) -> Option<Self> {
        let is_registered = matches!(self.client.origin, ClientOrigin::Registered(_));
        let is_unknown = why == oauth::ErrorKind::InvalidClient;
        (!(is_registered && is_unknown)).then(|| Self {
            tokens: None,
            ..self.clone()
        })
    }

    /// Returns `true` if the tokens are from this authorization server, so that client and scopes
    /// can be reused there.
    pub(super) fn is_of(&self, server: &AuthorizationServer) -> bool {
        let (ours, theirs) = (self.server.issuer.as_deref(), server.issuer.as_deref());
        issuer::are_same(ours, theirs) && self.server.token_endpoint == server.token_endpoint
    }

    /// This with a note that a browser was sent away with its client; `None` if it has one.
    pub(super) fn sent(&self, now: u64) -> Option<Self> {
        self.sent_at.is_none().then(|| Self {
            sent_at: Some(now),
            ..self.clone()
        })
    }

    /// Returns `true` if the client may have been forgotten there: a browser was sent away with it a
    /// while ago, and nobody came back with tokens. Where a client is unknown, people see an error
    /// page, and we see nothing (supabase/mcp#355, PrefectHQ/fastmcp#1762).
    pub(super) fn is_unanswered(&self, now: u64) -> bool {
        let since = self.sent_at.map(|sent| now.saturating_sub(sent));
        since.is_some_and(|since| since >= ANSWER.as_secs())
    }

    /// Returns `true` if both have the same refresh token.
    pub(super) fn is_as_old_as(&self, other: &Self) -> bool {
        let refresh = |credential: &Self| {
            let tokens = credential.tokens.as_ref();
            tokens.and_then(|tokens| tokens.refresh.clone())
        };
        match (refresh(self), refresh(other)) {
            (Some(a), Some(b)) => self.grant == other.grant && is_same(&a, &b),
            _ => false,
        }
    }

    /// Returns `true` if this still fits the operator's record: another client or another
    /// authorization server needs a new consent.
    pub(super) fn fits(&self, record: &OAuth2) -> bool {
        let origin = Origin {
            entered: self.client.origin == ClientOrigin::Entered,
            client_id: &self.client.id,
            token_endpoint: self.server.token_endpoint.as_str(),
            issuer: self.server.issuer.as_deref(),
            resource: self.resource.as_deref(),
            bound: self.bound.as_deref(),
        };
        origin.fits(record)
    }

    /// The client with its current secret, since an operator may have entered another one. If the
    /// record now names another client or authorization server, its secret is not used for this
    /// one.
    pub(super) fn client(&self, server: &Server) -> Result<Client, oauth::Error> {
        match (&self.client.origin, &server.auth) {
            (ClientOrigin::Entered, Auth::OAuth2(record)) if self.fits(record) => {
                entered(record, &self.client.id, &self.server)
            }
            _ => Ok(self.client.to_client()),
        }
    }
}

/// The client, endpoints and resource that an authorization is bound to.
pub(super) struct Origin<'a> {
    /// `true` if an operator entered the client.
    pub(super) entered: bool,
    pub(super) client_id: &'a str,
    pub(super) token_endpoint: &'a str,
    pub(super) issuer: Option<&'a str>,
    pub(super) resource: Option<&'a str>,
    /// The record that an authorization of the gateway itself was asked for by.
    pub(super) bound: Option<&'a str>,
}

impl Origin<'_> {
    /// Checks the record like [`Credential::fits`].
    pub(super) fn fits(&self, record: &OAuth2) -> bool {
        // A person's authorization is never the gateway's own, nor the other way round.
        let bound = bound(record);
        if bound.is_some() || self.bound.is_some() {
            return bound.as_deref() == self.bound;
        }
        let client = match &record.client_id {
            Some(id) => self.entered && id == self.client_id,
            None => !self.entered,
        };
        let token_url = record.token_url.as_ref().map(Url::as_str);
        let wanted = record.issuer.as_deref();
        client
            && token_url.is_none_or(|wanted| wanted == self.token_endpoint)
            && (wanted.is_none() || issuer::are_same(wanted, self.issuer))
            && record.is_for(self.resource)
    }
}

impl StoredTokens {
    fn new(tokens: Tokens, old_refresh: Option<SecretString>, now: u64) -> Self {
        Self {
            access: tokens.access_token,
            refresh: tokens.refresh_token.or(old_refresh),
            obtained_at: now,
            expires_at: tokens
                .expires_in
                .map(|life| now.saturating_add(life.as_secs())),
        }
    }

    /// When no token is left, for a person's authorization: `None` where there is one to refresh with, or
    /// the end is not known.
    pub(super) fn ends_at(&self) -> Option<SystemTime> {
        let ends = self.expires_at.filter(|_| self.refresh.is_none())?;
        UNIX_EPOCH.checked_add(Duration::from_secs(ends))
    }

    /// The freshness of the access token at `now`.
    pub(super) fn freshness(&self, now: u64) -> Freshness {
        freshness(self.obtained_at, self.expires_at, now)
    }
}

/// The freshness of a token; times are in seconds since 1970.
pub(super) fn freshness(obtained_at: u64, expires_at: Option<u64>, now: u64) -> Freshness {
    let Some(expires_at) = expires_at else {
        return Freshness::Fresh;
    };
    let life = expires_at.saturating_sub(obtained_at);
    let early = EARLY.as_secs().min(life / 4);
    match now {
        _ if now >= expires_at => Freshness::Expired,
        _ if now.saturating_add(early) >= expires_at => Freshness::Due,
        _ => Freshness::Fresh,
    }
}

impl StoredClient {
    pub(super) fn new(client: Client, origin: ClientOrigin) -> Self {
        let key = client.key.map(|key| StoredKey {
            pem: key.pem().clone(),
            algorithm: key.algorithm(),
            id: key.id().map(str::to_owned),
        });
        Self {
            id: client.id,
            secret: client.secret,
            key,
            auth: client.auth,
            origin,
        }
    }

    /// Returns `true` for the same client, by id and origin.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.id == other.id && self.origin == other.origin
    }

    /// The client in the form that the protocol takes.
    pub(super) fn to_client(&self) -> Client {
        let key = self.key.as_ref().and_then(|key| {
            // It was read before it was stored.
            let read = PrivateKey::parse(&key.pem, Some(key.algorithm)).ok()?;
            Some(Arc::new(read.with_id(key.id.clone())))
        });
        Client {
            id: self.id.clone(),
            secret: self.secret.clone(),
            key,
            auth: self.auth,
        }
    }
}

/// The client that an operator entered, under the id `id`.
pub(super) fn entered(
    record: &OAuth2,
    id: &str,
    server: &AuthorizationServer,
) -> Result<Client, oauth::Error> {
    match record.key() {
        Ok(Some(key)) => Client::with_key(id, key, server),
        // A key that cannot be read is none, and the client then lacks a proof.
        Ok(None) | Err(_) => {
            Client::new(id, record.client_secret.clone(), record.token_auth, server)
        }
    }
}

/// For an authorization of the gateway itself, a hash of all that a token depends on but the proof, which
/// may be replaced; `None` for other grants.
fn bound(record: &OAuth2) -> Option<String> {
    (record.grant == OAuthGrant::ClientCredentials).then(|| {
        let mut hash = Keyed::without_key("authorized by itself");
        hash.add_optional(record.client_id.as_deref());
        hash.add_optional(record.issuer.as_deref());
        hash.add_optional(record.token_url.as_ref().map(Url::as_str));
        hash.add_optional(record.resource.as_deref());
        hash.add(record.scopes.to_string());
        hex(&hash.finish())
    })
}

/// The OAuth 2.0 record of a server.
pub(super) fn record(server: &Server) -> Result<&OAuth2, Error> {
    match &server.auth {
        Auth::OAuth2(record) => Ok(record),
        _ => Err(Error::NotOAuth),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(obtained_at: u64, expires_at: u64) -> StoredTokens {
        StoredTokens {
            access: "a".into(),
            refresh: None,
            obtained_at,
            expires_at: Some(expires_at),
        }
    }

    #[test]
    fn tokens_are_due_a_minute_early_and_short_ones_in_their_last_quarter() {
        let hour = tokens(1000, 4600);
        assert_eq!(hour.freshness(4539), Freshness::Fresh);
        assert_eq!(hour.freshness(4540), Freshness::Due);
        assert_eq!(hour.freshness(4599), Freshness::Due);
        assert_eq!(hour.freshness(4600), Freshness::Expired);
        let short = tokens(1000, 1005);
        assert_eq!(short.freshness(1003), Freshness::Fresh);
        assert_eq!(short.freshness(1004), Freshness::Due);
        assert_eq!(short.freshness(1005), Freshness::Expired);
        let endless = StoredTokens {
            expires_at: None,
            ..tokens(0, 0)
        };
        assert_eq!(endless.freshness(u64::MAX), Freshness::Fresh);
    }

    #[test]
    fn an_authorization_ends_with_a_token_that_cannot_be_renewed() {
        let ends = UNIX_EPOCH + Duration::from_secs(4600);
        assert_eq!(tokens(1000, 4600).ends_at(), Some(ends));
        let renewable = StoredTokens {
            refresh: Some("r".into()),
            ..tokens(1000, 4600)
        };
        assert_eq!(renewable.ends_at(), None);
        let endless = StoredTokens {
            expires_at: None,
            ..tokens(0, 0)
        };
        assert_eq!(endless.ends_at(), None);
    }
}
