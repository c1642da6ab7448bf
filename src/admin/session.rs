//! Sessions of the dashboard: a browser with a cookie that we have sealed is signed in, for as long
//! as a store has its session.
//!
//! The cookie says which session it is and whose; it is sealed for the organization and the public
//! URL. The operator is looked up for each request, so whoever is removed, or gets another token or
//! role, is so at once. What the store says is believed for half a second.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header::COOKIE};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::{
    acting::{Acting, Known, Via},
    clock::Clock,
    hosts::Hosts,
    oidc::{Identity, Provider},
    operators::{Operator, Roster},
    role::Role,
    watched::{Standing, Watched},
};
use crate::{
    hex::hex,
    random::fill_random,
    registry::{Error, OperatorSession, OperatorSessionStore},
    secret::{KeyRing, Place},
};

/// A working day.
const LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// The most cookies with our name that are tried; another page of the same host may have set some.
const TRIED: usize = 4;
/// The time for which what the store said is believed: a session that is ended elsewhere ends here
/// within a second.
const BELIEVED: Duration = Duration::from_millis(500);
/// A use is noted once a minute: people want to know the day.
const NOTED: Duration = Duration::from_secs(60);
/// The most sessions that are remembered for [`BELIEVED`]; beyond that each request asks.
const REMEMBERED: usize = 10_000;
const NAME: &str = "mcp_layer_session";

/// Sessions by their ids, each with the time at which the store had it.
type Remembered = HashMap<String, (Arc<OperatorSession>, SystemTime)>;

/// The sessions of the dashboard.
#[derive(Clone)]
pub(super) struct Sessions {
    keys: Arc<KeyRing>,
    organization: Arc<str>,
    operators: Roster,
    store: Arc<dyn OperatorSessionStore>,
    /// Those of operators from a provider, whose roles are looked at again.
    watched: Option<Watched>,
    /// `Some` if the store is this process's own: then a session of another process is taken in, but
    /// for those that were ended here.
    ended: Option<Arc<Mutex<HashMap<String, u64>>>>,
    remembered: Arc<Mutex<Remembered>>,
    hosts: Arc<Hosts>,
    clock: Clock,
}

/// What a cookie says.
#[derive(Serialize, Deserialize)]
struct Ticket {
    id: String,
    operator: String,
    /// The mark of the token that the session began with; `None` if it began at a provider.
    mark: Option<String>,
    /// The provider that it began at; `None` if it began with a token.
    issuer: Option<String>,
    began: u64,
    ends: u64,
}

/// What a session rests on, for as long as it lives.
enum Ground {
    /// The mark of a token.
    Token(String),
    /// The issuer of a provider.
    Provider(String),
}

/// The store of sessions, and whether others have it, too.
pub(super) enum Kept {
    Here(Arc<dyn OperatorSessionStore>),
    Shared(Arc<dyn OperatorSessionStore>),
}

impl Sessions {
    pub(super) fn new(
        keys: Arc<KeyRing>,
        organization: &Arc<str>,
        operators: Roster,
        kept: Kept,
        provider: Option<Provider>,
        (hosts, clock): (Arc<Hosts>, Clock),
    ) -> Self {
        let (store, ended) = match kept {
            Kept::Here(store) => (store, Some(Arc::default())),
            Kept::Shared(store) => (store, None),
        };
        let watched = provider
            .map(|provider| Watched::new(provider, store.clone(), keys.clone(), clock.clone()));
        Self {
            keys,
            organization: organization.clone(),
            operators,
            store,
            watched,
            ended,
            remembered: Arc::default(),
            hosts,
            clock,
        }
    }

    /// The cookie of a browser that signs in now with the token of `operator`.
    pub(super) async fn begin(&self, operator: &Operator) -> Result<HeaderValue, Error> {
        let mut session = self.fresh(operator.name());
        session.role = operator.role().to_string();
        session.via = "token".to_owned();
        self.begun(session, Ground::Token(operator.mark())).await
    }

    /// The cookie of a browser that signs in now at the provider.
    pub(super) async fn begin_for(&self, identity: &Identity) -> Result<HeaderValue, Error> {
        let mut session = self.fresh(&identity.name);
        session.role = identity.role.to_string();
        session.via = "oidc".to_owned();
        let grant = &identity.grant;
        session.grant = Some(grant.seal(&self.keys, &self.organization, &session.id));
        self.begun(session, Ground::Provider(grant.issuer.clone()))
            .await
    }

    fn fresh(&self, operator: &str) -> OperatorSession {
        let mut id = [0; 16];
        fill_random(&mut id);
        let now = self.clock.now();
        let (organization, id) = (&*self.organization, hex(&id));
        let mut session = OperatorSession::new(organization, id, operator, now, now + LIFE);
        session.from = Acting::now().address();
        session
    }

    async fn begun(&self, session: OperatorSession, ground: Ground) -> Result<HeaderValue, Error> {
        self.store.begin_session(&session).await?;
        let (mark, issuer) = match ground {
            Ground::Token(mark) => (Some(mark), None),
            Ground::Provider(issuer) => (None, Some(issuer)),
        };
        let ticket = Ticket {
            id: session.id,
            operator: session.operator,
            mark,
            issuer,
            began: seconds(session.began_at),
            ends: seconds(session.ends_at),
        };
        // Texts and numbers do not fail to be written.
        let text = serde_json::to_string(&ticket).unwrap_or_default();
        let sealed = self.keys.seal(&self.place(), &text.into());
        Ok(self.cookie(&URL_SAFE_NO_PAD.encode(sealed), LIFE))
    }

    /// The keys that seal what browsers keep for us.
    pub(super) fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// The header value that takes the cookie away.
    pub(super) fn clear(&self) -> HeaderValue {
        self.cookie("", Duration::ZERO)
    }

    /// Ends a session of this organization; `false` if it is not there.
    pub(super) async fn end(&self, id: &str) -> Result<bool, Error> {
        let is_ended = self.store.end_session(&self.organization, id).await?;
        if let Some(ended) = self.ended.as_ref().filter(|_| is_ended) {
            let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
            let now = self.clock.now();
            // None of them is in force for longer than a session lives.
            ended.retain(|_, ends| *ends > seconds(now));
            if ended.len() >= REMEMBERED
                && let Some(first) = ended.iter().min_by_key(|(_, ends)| **ends)
            {
                let first = first.0.clone();
                ended.remove(&first);
            }
            ended.insert(id.to_owned(), seconds(now + LIFE));
        }
        self.forget(id);
        Ok(is_ended)
    }

    /// The sessions of this organization that are in force, the last used first.
    pub(super) async fn list(&self) -> Result<Vec<OperatorSession>, Error> {
        let mut sessions = self.store.sessions(&self.organization).await?;
        let now = self.clock.now();
        sessions.retain(|session| session.ends_at > now);
        Ok(sessions)
    }

    /// A session of this organization that is in force.
    pub(super) async fn find(&self, id: &str) -> Result<Option<OperatorSession>, Error> {
        let found = self.store.session(&self.organization, id).await?;
        let now = self.clock.now();
        Ok(found.filter(|session| session.ends_at > now))
    }

    /// Whoever a request with these headers is signed in as.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: what is not known to be in force is not.
    pub(super) async fn who(&self, headers: &HeaderMap) -> Result<Option<Known>, Error> {
        for ticket in self.tickets(headers) {
            if let Some(known) = self.holder(&ticket).await? {
                return Ok(Some(known));
            }
        }
        Ok(None)
    }

    fn tickets(&self, headers: &HeaderMap) -> Vec<Ticket> {
        let name = self.cookie_name();
        let tickets = cookies(headers, &name).take(TRIED).filter_map(|value| {
            let sealed = URL_SAFE_NO_PAD.decode(value).ok()?;
            let text = self.keys.open(&self.place(), &sealed).ok()?;
            let ticket: Ticket = serde_json::from_str(text.expose_secret()).ok()?;
            (seconds(self.clock.now()) < ticket.ends).then_some(ticket)
        });
        tickets.collect()
    }

    async fn holder(&self, ticket: &Ticket) -> Result<Option<Known>, Error> {
        let (role, via) = match &ticket.mark {
            Some(mark) => match self.operators.with_mark(&ticket.operator, mark) {
                Some(operator) => (Some(operator.role()), Via::Session),
                None => return Ok(None),
            },
            None => (None, Via::Oidc),
        };
        let Some(session) = self.session(ticket, role).await? else {
            return Ok(None);
        };
        let role = match (role, &self.watched) {
            (Some(role), _) => role,
            (None, Some(watched))
                if !watched.is_of(ticket.issuer.as_deref().unwrap_or_default()) =>
            {
                // Another provider vouches for nobody that this one let in.
                return Ok(None);
            }
            (None, Some(watched)) => match watched.standing(&session).await? {
                Standing::Role(role) => {
                    // What is remembered is what was before the look.
                    if watched.is_due(&session) {
                        self.forget(&ticket.id);
                    }
                    role
                }
                Standing::Ended => {
                    self.forget(&ticket.id);
                    return Ok(None);
                }
            },
            // There is no provider any more.
            (None, None) => return Ok(None),
        };
        self.note_use(&session, role).await;
        Ok(Some(Known {
            name: session.operator.as_str().into(),
            role,
            via,
            session: Some(session.id.as_str().into()),
        }))
    }

    /// The session of a ticket, if it was not ended.
    async fn session(
        &self,
        ticket: &Ticket,
        role: Option<Role>,
    ) -> Result<Option<Arc<OperatorSession>>, Error> {
        let now = self.clock.now();
        if let Some((session, at)) = self.remembered().get(&ticket.id)
            && now
                .duration_since(*at)
                .is_ok_and(|passed| passed < BELIEVED)
        {
            return Ok(Some(session.clone()));
        }
        let found = self.store.session(&self.organization, &ticket.id).await?;
        let found = match found {
            None => self.take_in(ticket, role).await?,
            found => found,
        };
        let Some(session) = found.map(Arc::new) else {
            self.forget(&ticket.id);
            return Ok(None);
        };
        self.remember(&session, now);
        Ok(Some(session))
    }

    /// The session of a ticket that another process has sealed with our keys.
    async fn take_in(
        &self,
        ticket: &Ticket,
        role: Option<Role>,
    ) -> Result<Option<OperatorSession>, Error> {
        let (Some(ended), Some(role)) = (&self.ended, role) else {
            return Ok(None);
        };
        let is_ended = {
            let ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
            ended.contains_key(&ticket.id)
        };
        if is_ended {
            return Ok(None);
        }
        let mut session = self.fresh(&ticket.operator);
        session.id = ticket.id.clone();
        session.via = "token".to_owned();
        session.role = role.to_string();
        (session.began_at, session.ends_at) = (time(ticket.began), time(ticket.ends));
        // Two requests at once may both do so; one of them is enough.
        let _ = self.store.begin_session(&session).await;
        Ok(Some(session))
    }

    /// Notes that a session was used. That it cannot be noted is no reason to refuse the request.
    async fn note_use(&self, session: &Arc<OperatorSession>, role: Role) {
        let now = self.clock.now();
        let passed = now.duration_since(session.used_at).unwrap_or_default();
        if passed < NOTED && session.role == role.as_str() {
            return;
        }
        let used = OperatorSession {
            used_at: now,
            role: role.to_string(),
            ..OperatorSession::clone(session)
        };
        match self.store.replace_session(&used).await {
            Ok(_) => self.forget(&session.id),
            Err(error) => tracing::warn!(%error, "the use of a session is not noted"),
        }
    }

    fn remember(&self, session: &Arc<OperatorSession>, now: SystemTime) {
        let mut remembered = self.remembered();
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(session.id.clone(), (session.clone(), now));
    }

    fn forget(&self, id: &str) {
        self.remembered().remove(id);
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Over https a name that a browser takes from this very host only.
    fn cookie_name(&self) -> String {
        match self.hosts.is_secure() {
            true => format!("__Host-{NAME}"),
            false => NAME.to_owned(),
        }
    }

    fn cookie(&self, value: &str, life: Duration) -> HeaderValue {
        let name = self.cookie_name();
        let life = life.as_secs();
        let secure = match self.hosts.is_secure() {
            true => "; Secure",
            false => "",
        };
        let cookie =
            format!("{name}={value}; Path=/; Max-Age={life}; HttpOnly; SameSite=Strict{secure}");
        let mut cookie = HeaderValue::try_from(cookie)
            .unwrap_or_else(|_| unreachable!("base64 and words of ours"));
        cookie.set_sensitive(true);
        cookie
    }

    /// The place that a session is sealed for: under another address, it is none.
    fn place(&self) -> Place<'_> {
        Place {
            organization: &self.organization,
            server: "",
            field: "dashboard session",
            origin: match &*self.hosts {
                Hosts::Loopback => "",
                Hosts::Public(url) => url.as_str(),
            },
            // What a ticket says; those of version 1 said when they end, and nothing else.
            version: 2,
        }
    }
}

fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(move |pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .unwrap_or(UNIX_EPOCH)
}
