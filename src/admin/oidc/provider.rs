//! The provider as this process knows it: its metadata and keys, each for an hour.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use url::Url;

use super::config::Oidc;
use crate::{
    admin::role::Role,
    oauth::{
        self, Client,
        openid::{Claims, Expected, Keys, OpenId, Wrong, provider},
    },
};

/// The time for which metadata and keys are taken for what they still are. A key that a provider
/// withdraws is not taken for longer.
const FRESH: Duration = Duration::from_secs(60 * 60);
/// The time for which a provider without metadata is taken to have none: anybody can have them asked
/// for. It is as long as a person waits before the next try.
const FAILED: Duration = Duration::from_secs(10);
/// The least time between two looks for a key that is not in the list: anybody can send a token
/// with a made-up key.
const KEYS_AGAIN: Duration = Duration::from_secs(60);

/// A provider, and what is known of it.
#[derive(Clone)]
pub(in super::super) struct Provider {
    pub(super) oidc: Arc<Oidc>,
    known: Arc<Mutex<KnownProvider>>,
    /// Held while metadata are fetched, once for all who want them. Whoever waits is given what was
    /// found, or that nothing was, so a provider that hangs does so once for all of them.
    fetching: Arc<tokio::sync::Mutex<()>>,
}

/// Locked for an assignment, never while something is fetched.
#[derive(Default)]
struct KnownProvider {
    metadata: Option<(Arc<OpenId>, SystemTime)>,
    /// The error of the last fetch, and its time, until one succeeds.
    failed: Option<(oauth::Error, SystemTime)>,
    keys: Option<(Arc<Keys>, SystemTime)>,
    /// When keys were last asked for.
    asked_at: Option<SystemTime>,
}

impl KnownProvider {
    /// The metadata, or why there are none; `None` if they have to be fetched.
    fn openid(&self, now: SystemTime) -> Option<Result<Arc<OpenId>, oauth::Error>> {
        if let Some((metadata, at)) = &self.metadata
            && is_within(*at, now, FRESH)
        {
            return Some(Ok(metadata.clone()));
        }
        let (error, at) = self.failed.as_ref()?;
        is_within(*at, now, FAILED).then(|| Err(error.again()))
    }
}

/// The reason why an ID token is not taken.
pub(super) enum Unverified {
    /// It fails its checks.
    Token(oauth::Error),
    /// The keys to check it with cannot be had now.
    Keys(oauth::Error),
}

impl From<Unverified> for oauth::Error {
    fn from(unverified: Unverified) -> Self {
        match unverified {
            Unverified::Token(error) | Unverified::Keys(error) => error,
        }
    }
}

impl Provider {
    pub(in super::super) fn new(oidc: Oidc) -> Self {
        Self {
            oidc: Arc::new(oidc),
            known: Arc::default(),
            fetching: Arc::default(),
        }
    }

    /// The issuer, for people.
    pub(in super::super) fn issuer(&self) -> &str {
        &self.oidc.issuer
    }

    /// The issuer's host, for a button.
    pub(in super::super) fn host(&self) -> String {
        let url: Option<Url> = self.oidc.issuer.parse().ok();
        let host = url.as_ref().and_then(Url::host_str);
        host.unwrap_or(&self.oidc.issuer).to_owned()
    }

    pub(in super::super) fn role_claim(&self) -> &str {
        &self.oidc.role_claim
    }

    /// The values of the claim, each with its role.
    pub(in super::super) fn roles(&self) -> &[(Role, String)] {
        &self.oidc.roles
    }

    pub(super) async fn openid(&self, now: SystemTime) -> Result<Arc<OpenId>, oauth::Error> {
        if let Some(known) = self.known().openid(now) {
            return known;
        }
        let _fetching = self.fetching.lock().await;
        // Somebody may have fetched them meanwhile.
        if let Some(known) = self.known().openid(now) {
            return known;
        }
        match provider(&self.oidc.http, &self.oidc.issuer).await {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                let mut known = self.known();
                (known.metadata, known.failed) = (Some((metadata.clone(), now)), None);
                Ok(metadata)
            }
            Err(error) => {
                self.known().failed = Some((error.again(), now));
                Err(error)
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, KnownProvider> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client that we are for it.
    pub(super) fn client(&self, openid: &OpenId) -> Result<Client, oauth::Error> {
        let secret = self.oidc.client_secret.clone();
        Client::new(&*self.oidc.client_id, secret, None, &openid.server)
    }

    /// Reads an ID token; a key that is not known is looked for once a minute.
    ///
    /// # Errors
    /// [`Unverified::Token`] if it is not what it has to be, and [`Unverified::Keys`] if that cannot be
    /// found out now.
    pub(super) async fn verify(
        &self,
        openid: &OpenId,
        token: &str,
        nonce: Option<&str>,
        now: SystemTime,
    ) -> Result<Claims, Unverified> {
        let expected = Expected {
            issuer: &openid.issuer,
            client_id: &self.oidc.client_id,
            nonce,
            now,
        };
        let mut is_new = false;
        for oldest in [FRESH, KEYS_AGAIN] {
            let keys = self.keys(openid, now, oldest).await;
            let (keys, at) = keys.map_err(Unverified::Keys)?;
            match Claims::verify(token, &keys, &expected) {
                Ok(claims) => return Ok(claims),
                Err(Wrong::Token(error)) => return Err(Unverified::Token(error)),
                Err(Wrong::Key) => is_new = at == now,
            }
        }
        // A list that is a little older may lack a key that there is by now.
        Err(match is_new {
            true => Unverified::Token(Wrong::no_key()),
            false => Unverified::Keys(Wrong::no_key()),
        })
    }

    /// The keys, fetched again if they are as old as this, and when they were fetched.
    async fn keys(
        &self,
        openid: &OpenId,
        now: SystemTime,
        oldest: Duration,
    ) -> Result<(Arc<Keys>, SystemTime), oauth::Error> {
        {
            let mut known = self.known();
            if let Some((keys, at)) = &known.keys {
                let asked_at = known.asked_at;
                let is_asked = asked_at.is_some_and(|asked| is_within(asked, now, KEYS_AGAIN));
                let is_fresh = is_within(*at, now, FRESH);
                if is_within(*at, now, oldest) || is_asked && is_fresh {
                    return Ok((keys.clone(), *at));
                }
            }
            known.asked_at = Some(now);
        }
        let keys = Arc::new(Keys::fetch(&self.oidc.http, &openid.jwks_uri).await?);
        self.known().keys = Some((keys.clone(), now));
        Ok((keys, now))
    }
}

/// Returns `true` if it is not so long after `at`; a clock that was set back makes everything old.
fn is_within(at: SystemTime, now: SystemTime, time: Duration) -> bool {
    now.duration_since(at).is_ok_and(|passed| passed < time)
}
