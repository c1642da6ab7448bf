//! The tokens that were exchanged, in memory, until a minute before they expire.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::sync::Cache;
use tokio::{sync::Mutex, time::Instant};

use super::{
    credential::{Freshness, freshness},
    flights::LONGEST_HOLD,
    target::Target,
    text::is_same,
};
use crate::{
    connect::{access::Token, rate::Rates},
    inactive::Inactive,
    keyed::Digest,
    mcp::ServerLimits,
    oauth::Tokens,
    registry::CredentialKey,
};

/// The most tokens that are kept; those used least are exchanged again when they are needed. As many are
/// known that were not exchanged.
const KEPT: u64 = 10_000;
/// The longest time for which an unused one is kept, whatever its life: nobody may need it again.
const IDLE: Duration = Duration::from_secs(60 * 60);
/// The life of a token that does not say how long it lives.
const UNSAID: Duration = Duration::from_secs(5 * 60);
/// The time for which a token that was not exchanged is not tried again, and the least time between two
/// exchanges after a 401. Two callers who meet a failure within it have met the same.
const PAUSE: Duration = Duration::from_secs(30);
/// The same for a token that was neither exchanged nor refused: there may be more to it than the token.
const SHORT_PAUSE: Duration = Duration::from_secs(5);
/// The time for which an authorization server is taken to be where it was found.
const FOUND: Duration = Duration::from_secs(60 * 60);

/// The tokens of all subjects, and where they were exchanged.
pub(super) struct Exchanges {
    slots: Cache<Digest, Arc<Mutex<Slot>>>,
    /// Apart from those, since anybody can make up tokens: they push out nobody's that is good.
    tried: Cache<Digest, Arc<Mutex<Slot>>>,
    /// How many of them each may bring.
    rates: OnceLock<Rates>,
    /// Who has met a failure of a server's authorization server that may be theirs alone.
    doubts: Cache<CredentialKey, Digest>,
    /// By a hash of all in the record that they depend on.
    pub(super) targets: Cache<Digest, Arc<Target>>,
    /// The number of exchanges, by which the newer of two tokens is known.
    versions: AtomicU64,
}

/// What came of the last exchange of one token. Whoever holds it exchanges it.
#[derive(Default)]
pub(super) struct Slot {
    issued: Option<Issued>,
    /// The reason for which nothing was issued, since when, and the time until it is tried again.
    refused: Option<(Inactive, Instant, Duration)>,
    /// The last exchange after a 401.
    forced: Option<Instant>,
}

struct Issued {
    token: Token,
    obtained_at: u64,
    expires_at: u64,
}

impl Default for Exchanges {
    fn default() -> Self {
        let slots = || {
            let idle = Cache::builder().time_to_idle(IDLE);
            idle.max_capacity(KEPT).build()
        };
        Self {
            slots: slots(),
            tried: slots(),
            rates: OnceLock::new(),
            doubts: Cache::builder()
                .max_capacity(KEPT)
                .time_to_live(PAUSE)
                .build(),
            targets: Cache::builder()
                .max_capacity(KEPT)
                .time_to_live(FOUND)
                .build(),
            versions: AtomicU64::new(0),
        }
    }
}

impl Exchanges {
    /// Sets the limits by which callers bring new tokens; those that were set first stay.
    pub(super) fn limit(&self, limits: &ServerLimits) {
        self.rates.get_or_init(|| Rates::new(limits));
    }

    /// Counts a new token of `payer`; `false` if that is too many.
    pub(super) fn may_bring(&self, payer: Digest) -> bool {
        let rates = self
            .rates
            .get_or_init(|| Rates::new(&ServerLimits::default()));
        rates.take(payer)
    }

    /// What is known of the token of this name.
    pub(super) fn slot(&self, name: Digest) -> Arc<Mutex<Slot>> {
        let good = self.slots.get(&name);
        good.unwrap_or_else(|| self.tried.get_with(name, Arc::default))
    }

    /// Notes that the token of this name was exchanged: there is nothing amiss with the server.
    pub(super) fn succeeded(&self, key: &CredentialKey, name: Digest, slot: Arc<Mutex<Slot>>) {
        self.slots.insert(name, slot);
        self.tried.invalidate(&name);
        self.doubts.invalidate(key);
    }

    /// Notes a failure that `payer` has met; `true` if another one has just met one, too.
    pub(super) fn is_shared(&self, key: &CredentialKey, payer: Digest) -> bool {
        self.doubts.get_with(key.clone(), || payer) != payer
    }

    /// A token that was just issued for the subject that is called `grant`.
    pub(super) fn issued(&self, tokens: &Tokens, grant: &str) -> Token {
        Token {
            value: tokens.access_token.clone(),
            grant: grant.into(),
            version: self.versions.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }
}

impl Slot {
    /// Returns `true` until something was issued.
    pub(super) fn is_new(&self) -> bool {
        self.issued.is_none()
    }

    /// The token that can be used now: not the refused one, and not in its last minute.
    pub(super) fn usable(&self, refused: Option<&Token>, now: u64) -> Option<&Token> {
        let issued = self.issued.as_ref()?;
        let is_fresh = issued.freshness(now) == Freshness::Fresh;
        let is_refused =
            refused.is_some_and(|refused| is_same(&refused.value, &issued.token.value));
        (is_fresh && !is_refused).then_some(&issued.token)
    }

    /// Checks that the token may be exchanged now.
    pub(super) fn may_try(&self, refused: Option<&Token>) -> Result<(), Inactive> {
        let is_recent = |at: &Instant| at.elapsed() < PAUSE;
        match &self.refused {
            Some((inactive, at, pause)) if at.elapsed() < *pause => Err(inactive.clone()),
            _ if refused.is_some() && self.forced.as_ref().is_some_and(is_recent) => {
                Err(Inactive::TokenRefused)
            }
            _ => Ok(()),
        }
    }

    /// Notes that it is exchanged after a 401.
    pub(super) fn force(&mut self) {
        self.forced = Some(Instant::now());
    }

    /// Keeps what was issued.
    pub(super) fn keep(&mut self, token: Token, life: Option<Duration>, now: u64) {
        self.refused = None;
        self.issued = Some(Issued {
            token,
            obtained_at: now,
            expires_at: now.saturating_add(life.unwrap_or(UNSAID).as_secs()),
        });
    }

    /// Keeps the reason for which nothing was, for as long at least as the authorization server asks to wait,
    /// within five minutes.
    pub(super) fn refuse(&mut self, reason: Inactive, wait: Option<Duration>) {
        let least = match reason.is_callers() {
            true => PAUSE,
            false => SHORT_PAUSE,
        };
        let pause = wait.unwrap_or_default().clamp(least, LONGEST_HOLD);
        self.refused = Some((reason, Instant::now(), pause));
    }
}

impl Issued {
    fn freshness(&self, now: u64) -> Freshness {
        freshness(self.obtained_at, Some(self.expires_at), now)
    }
}
