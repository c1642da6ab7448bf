//! Sessions of the dashboard: a browser with a cookie that we have sealed is signed in.
//!
//! A cookie is sealed for the organization, the admin token and the public URL. Nobody can end one
//! session alone; a new token ends them all.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header::COOKIE};
use secrecy::ExposeSecret;

use super::{clock::Clock, hosts::Hosts, token::Token};
use crate::secret::{KeyRing, Place};

/// A working day.
const LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// The most cookies with our name that are tried; another page of the same host may have set some.
const TRIED: usize = 4;
const NAME: &str = "mcp_layer_session";

/// The sessions of the dashboard.
#[derive(Clone)]
pub(super) struct Sessions {
    keys: Arc<KeyRing>,
    organization: Arc<str>,
    /// The mark of the token: a session ends when the token changes.
    mark: Arc<str>,
    hosts: Arc<Hosts>,
    clock: Clock,
}

impl Sessions {
    pub(super) fn new(
        keys: Arc<KeyRing>,
        organization: &Arc<str>,
        token: &Token,
        hosts: Arc<Hosts>,
        clock: Clock,
    ) -> Self {
        Self {
            keys,
            organization: organization.clone(),
            mark: token.mark().into(),
            hosts,
            clock,
        }
    }

    /// The cookie of a browser that signs in now.
    pub(super) fn begin(&self) -> HeaderValue {
        let ends = seconds(self.clock.now() + LIFE);
        let record = self.keys.seal(&self.place(), &ends.to_string().into());
        self.cookie(&URL_SAFE_NO_PAD.encode(record), LIFE)
    }

    /// The header value that takes the cookie away.
    pub(super) fn end(&self) -> HeaderValue {
        self.cookie("", Duration::ZERO)
    }

    /// Returns `true` if a request has the cookie of a session in force.
    pub(super) fn is_there(&self, headers: &HeaderMap) -> bool {
        let name = self.cookie_name();
        cookies(headers, &name).take(TRIED).any(|value| {
            let record = URL_SAFE_NO_PAD.decode(value).ok();
            let opened = record.and_then(|record| self.keys.open(&self.place(), &record).ok());
            let ends: Option<u64> = opened.and_then(|ends| ends.expose_secret().parse().ok());
            ends.is_some_and(|ends| seconds(self.clock.now()) < ends)
        })
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

    /// The place that a session is sealed for: with another token, or under another address, it
    /// is none.
    fn place(&self) -> Place<'_> {
        Place {
            organization: &self.organization,
            server: &self.mark,
            field: "dashboard session",
            origin: match &*self.hosts {
                Hosts::Loopback => "",
                Hosts::Public(url) => url.as_str(),
            },
            version: 1,
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
