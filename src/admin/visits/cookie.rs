//! The cookie that shows that a callback is in the browser that was sent away.
//!
//! Each authorization has one of its own, named by its state, so that two tabs do not disturb each
//! other. It lives as long as the authorization may take, and has the way back in it.

use http::{HeaderMap, HeaderValue, header::COOKIE};
use url::Url;

use crate::{
    admin::{oauth::return_page::ReturnPage, outside::Outside},
    hex::hex,
    registry::StateHash,
    secret::{ExposeSecret, SecretString},
};

/// The life of the cookie: an authorization waits as long for its callback.
const SECONDS: u64 = 600;
/// Browsers send no more than this in cookies; what is longer is not theirs.
const LONGEST: usize = 16 * 1024;

/// The cookie that the browser is given, and brings back.
pub(super) struct Cookie {
    pub(super) browser: SecretString,
    pub(super) back: ReturnPage,
}

impl Cookie {
    /// The header value that sets the cookie for the way back to `callback`; `None` where it could
    /// not be sent.
    pub(super) fn set(
        &self,
        outside: &Outside,
        callback: &Url,
        state: &SecretString,
    ) -> Option<HeaderValue> {
        let value = format!("{}.{}", self.browser.expose_secret(), self.back);
        written(outside, callback, state, &value, SECONDS)
    }

    /// The header value that takes it away again.
    pub(super) fn clear(
        outside: &Outside,
        callback: &Url,
        state: &SecretString,
    ) -> Option<HeaderValue> {
        written(outside, callback, state, "", 0)
    }

    /// The cookie of this state. One that is there twice is none: which is ours is not for us to
    /// guess.
    pub(super) fn of(outside: &Outside, state: &SecretString, headers: &HeaderMap) -> Option<Self> {
        let name = name(outside, state);
        let lines = headers.get_all(COOKIE).iter();
        let lines = lines.filter_map(|line| line.to_str().ok());
        let mut values = lines
            .filter(|line| line.len() <= LONGEST)
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter_map(|(found, value)| (found == name).then_some(value));
        let (Some(value), None) = (values.next(), values.next()) else {
            return None;
        };
        let (browser, back) = value.split_once('.')?;
        Some(Self {
            browser: browser.into(),
            back: back.parse().ok()?,
        })
    }
}

fn written(
    outside: &Outside,
    callback: &Url,
    state: &SecretString,
    value: &str,
    seconds: u64,
) -> Option<HeaderValue> {
    // The prefix, with which no other host can have set the cookie, wants it for all paths.
    let scope = match outside.is_secure() {
        true => "Path=/; Secure".to_owned(),
        false => format!("Path={}", callback.path()),
    };
    let name = name(outside, state);
    let cookie = format!("{name}={value}; Max-Age={seconds}; HttpOnly; SameSite=Lax; {scope}");
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
    format!("{prefix}mcp-oauth-{}", hex(&hash[..4]))
}
