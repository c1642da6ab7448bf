//! A sign-in that waits for its browser to come back, in a cookie of that browser alone.
//!
//! The cookie is sealed, and named by its state, so that two tabs do not disturb each other. It is
//! `Lax`: the browser comes back from another site.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header::COOKIE};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::{
    admin::outside::Outside,
    hex::hex,
    registry::StateHash,
    secret::{KeyRing, Place},
};

/// The time that somebody has to sign in at the provider.
pub(super) const LIFE: Duration = Duration::from_secs(10 * 60);
/// Browsers send no more than this in cookies; what is longer is not theirs.
const LONGEST: usize = 16 * 1024;

/// A sign-in under way.
#[derive(Serialize, Deserialize)]
pub(in super::super) struct Pending {
    pub(super) state: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
    /// The page that one wanted to see.
    pub(in super::super) next: String,
    /// When it is too late, in seconds since 1970.
    ends: u64,
}

impl Pending {
    pub(super) fn new(
        state: &SecretString,
        verifier: &SecretString,
        nonce: String,
        next: &str,
        now: SystemTime,
    ) -> Self {
        Self {
            state: state.expose_secret().to_owned(),
            nonce,
            verifier: verifier.expose_secret().to_owned(),
            next: next.to_owned(),
            ends: seconds(now + LIFE),
        }
    }

    /// The header value that gives it to the browser.
    pub(in super::super) fn set(&self, ring: &KeyRing, outside: &Outside) -> Option<HeaderValue> {
        let text = serde_json::to_string(self).ok()?;
        let sealed = ring.seal(&place(outside), &text.into());
        let value = URL_SAFE_NO_PAD.encode(sealed);
        written(outside, &self.state.as_str().into(), &value, LIFE)
    }

    /// The header value that takes away the one of this state.
    pub(in super::super) fn clear(outside: &Outside, state: &SecretString) -> Option<HeaderValue> {
        written(outside, state, "", Duration::ZERO)
    }

    /// The sign-in of this state that the browser brings back, if it is not too late. A cookie that
    /// is there twice is none: which is ours is not for us to guess.
    pub(in super::super) fn of(
        ring: &KeyRing,
        outside: &Outside,
        state: &SecretString,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Option<Self> {
        let name = name(outside, state);
        let lines = headers.get_all(COOKIE).iter();
        let mut values = lines
            .filter_map(|line| line.to_str().ok())
            .filter(|line| line.len() <= LONGEST)
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter_map(|(found, value)| (found == name).then_some(value));
        let (Some(value), None) = (values.next(), values.next()) else {
            return None;
        };
        let sealed = URL_SAFE_NO_PAD.decode(value).ok()?;
        let text = ring.open(&place(outside), &sealed).ok()?;
        let pending: Self = serde_json::from_str(text.expose_secret()).ok()?;
        let is_this = pending.state == state.expose_secret() && seconds(now) < pending.ends;
        is_this.then_some(pending)
    }
}

/// For this address of ours alone.
fn place(outside: &Outside) -> Place<'_> {
    Place::new("", "", "sign-in", outside.text())
}

fn written(
    outside: &Outside,
    state: &SecretString,
    value: &str,
    life: Duration,
) -> Option<HeaderValue> {
    // The prefix, with which no other host can have set the cookie, wants it for all paths.
    let scope = match outside.is_secure() {
        true => "Path=/; Secure".to_owned(),
        false => format!("Path={}", outside.at("/sign-in/callback").path()),
    };
    let (name, life) = (name(outside, state), life.as_secs());
    let cookie = format!("{name}={value}; Max-Age={life}; HttpOnly; SameSite=Lax; {scope}");
    let mut cookie = HeaderValue::try_from(cookie).ok()?;
    cookie.set_sensitive(true);
    Some(cookie)
}

fn name(outside: &Outside, state: &SecretString) -> String {
    let StateHash(hash) = StateHash::of(state);
    let prefix = match outside.is_secure() {
        true => "__Host-",
        false => "",
    };
    format!("{prefix}mcp-sign-in-{}", hex(&hash[..4]))
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
