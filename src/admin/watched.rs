//! Sessions of operators from a provider, whose roles are looked at again while they are used.
//!
//! A look is due half a minute after the last one. Whichever request comes first, at whichever
//! replica, claims it in the store, since a refresh token may be good once; the others go by the
//! role of before for as long as that is not a minute old, and then wait for the look to end.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::sleep;

use super::{
    clock::Clock,
    oidc::{Grant, Look, Provider},
    role::Role,
};
use crate::{
    registry::{Error, OperatorSession, OperatorSessionStore},
    secret::KeyRing,
    to_its_end::ToItsEnd,
};

/// The age from which on a look is due: with the time that it takes, every role is looked at again
/// within a minute.
const DUE: Duration = Duration::from_secs(30);
/// The age from which on a role is not gone by while somebody looks.
const OLD: Duration = Duration::from_secs(60);
/// The time for which a provider may be away: long enough for its restart, and short enough for
/// whoever has just lost a role.
const AWAY: Duration = Duration::from_secs(3 * 60);
/// The time that a look may take: it asks at most five times, each with a limit of 15 s, and hardly
/// ever more than once.
const LOOK: Duration = Duration::from_secs(90);
/// The pause after a look that failed.
const PAUSE: Duration = Duration::from_secs(10);
/// How long a request waits for another one's look, and how often it looks whether that is over.
const WAIT: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(100);

/// The part that keeps roles true.
#[derive(Clone)]
pub(super) struct Watched {
    provider: Provider,
    store: Arc<dyn OperatorSessionStore>,
    keys: Arc<KeyRing>,
    clock: Clock,
}

/// How a session stands.
pub(super) enum Standing {
    Role(Role),
    Ended,
}

impl Watched {
    pub(super) fn new(
        provider: Provider,
        store: Arc<dyn OperatorSessionStore>,
        keys: Arc<KeyRing>,
        clock: Clock,
    ) -> Self {
        Self {
            provider,
            store,
            keys,
            clock,
        }
    }

    /// Returns `true` for the issuer that vouches for sessions now.
    pub(super) fn is_of(&self, issuer: &str) -> bool {
        self.provider.issuer() == issuer
    }

    /// The role of a session's operator, looked at again where it is due.
    pub(super) async fn standing(&self, session: &OperatorSession) -> Result<Standing, Error> {
        if !self.is_due(session) {
            return Ok(role(session));
        }
        let now = self.clock.now();
        if session.looking_until <= now
            && let Some(claimed) = self.claim(session, now).await?
        {
            let watched = self.clone();
            // A spent refresh token must not be lost with a browser that goes away.
            return ToItsEnd::new(async move { watched.looked(claimed).await }).await;
        }
        self.awaited(session).await
    }

    /// Returns `true` if the role is to be looked at again.
    pub(super) fn is_due(&self, session: &OperatorSession) -> bool {
        age(session, self.clock.now()) >= DUE
    }

    /// The session, which is this request's to look at; `None` if another one was faster.
    async fn claim(
        &self,
        session: &OperatorSession,
        now: SystemTime,
    ) -> Result<Option<OperatorSession>, Error> {
        let mut claimed = session.clone();
        claimed.looking_until = now + LOOK;
        let is_claimed = self.store.replace_session(&claimed).await?;
        claimed.version += 1;
        Ok(is_claimed.then_some(claimed))
    }

    async fn looked(&self, mut session: OperatorSession) -> Result<Standing, Error> {
        let (organization, id) = (session.organization.clone(), session.id.clone());
        let sealed = session.grant.take().unwrap_or_default();
        let (place, issuer) = ((&*organization, &*id), self.provider.issuer());
        let grant = Grant::open(&self.keys, place, issuer, &sealed);
        // Without its key nobody can be asked, and another provider is nobody to ask.
        let Some(mut grant) = grant else {
            return self.ended(&session).await;
        };
        let look = self.provider.look(&mut grant, self.clock.now()).await;
        let now = self.clock.now();
        session.grant = Some(grant.seal(&self.keys, &organization, &id));
        match look {
            Look::Role(role) => {
                session.role = role.to_string();
                (session.looked_at, session.looking_until) = (now, now);
            }
            Look::No => return self.ended(&session).await,
            Look::Away(error) => {
                let said = error.said();
                tracing::warn!(operator = session.operator, %error, said, "a role is not looked at again");
                if age(&session, now) >= AWAY {
                    return self.ended(&session).await;
                }
                session.looking_until = now + PAUSE;
            }
        }
        match self.store.replace_session(&session).await? {
            true => Ok(role(&session)),
            // Somebody has ended it meanwhile.
            false => Ok(Standing::Ended),
        }
    }

    async fn ended(&self, session: &OperatorSession) -> Result<Standing, Error> {
        tracing::info!(
            operator = session.operator,
            "a session has ended: its provider does not vouch for it any more"
        );
        let (organization, id) = (&session.organization, &session.id);
        self.store.end_session(organization, id).await?;
        Ok(Standing::Ended)
    }

    /// The role while somebody else looks, or while the provider is away.
    async fn awaited(&self, session: &OperatorSession) -> Result<Standing, Error> {
        let mut session = session.clone();
        let mut waited = Duration::ZERO;
        while age(&session, self.clock.now()) >= OLD && waited < WAIT {
            let (organization, id) = (&session.organization, &session.id);
            match self.store.session(organization, id).await? {
                Some(now) => session = now,
                None => return Ok(Standing::Ended),
            }
            // After a look that failed nobody looks, but for the pause.
            let left = session.looking_until.duration_since(self.clock.now());
            if left.is_ok_and(|left| left <= PAUSE) || session.looking_until <= self.clock.now() {
                break;
            }
            sleep(STEP).await;
            waited += STEP;
        }
        match age(&session, self.clock.now()) < AWAY {
            true => Ok(role(&session)),
            false => self.ended(&session).await,
        }
    }
}

/// The time since the role was looked at; a clock that was set back makes it old.
fn age(session: &OperatorSession, now: SystemTime) -> Duration {
    let age = now.duration_since(session.looked_at);
    age.unwrap_or(Duration::MAX)
}

/// The role that a session has; a word that is none ends it.
fn role(session: &OperatorSession) -> Standing {
    session.role.parse().map_or(Standing::Ended, Standing::Role)
}
