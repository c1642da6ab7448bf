//! Who is signed in: whoever has a cookie that we have sealed.
//!
//! No session is kept anywhere, so every replica with the same keys accepts it, and signing out
//! takes the cookie away and nothing else.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header::COOKIE};
use secrecy::ExposeSecret;

use super::{Admin, hosts::Hosts};
use crate::secret::Place;

/// A working day.
const LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// Of cookies with our name, which another page of the same host may have set, so many are tried.
const TRIED: usize = 4;
const NAME: &str = "mcp_layer_session";

impl Admin {
    /// The cookie of whoever signs in now.
    pub(super) fn session(&self) -> HeaderValue {
        let ends = seconds(self.now() + LIFE);
        let binding = self.binding();
        let record = self
            .session_keys
            .seal(&binding.place(), &ends.to_string().into());
        self.cookie(&URL_SAFE_NO_PAD.encode(record), LIFE)
    }

    /// What takes the cookie away.
    pub(super) fn no_session(&self) -> HeaderValue {
        self.cookie("", Duration::ZERO)
    }

    /// Whether a request is from somebody who is signed in.
    pub(super) fn has_session(&self, headers: &HeaderMap) -> bool {
        let name = self.cookie_name();
        let binding = self.binding();
        cookies(headers, &name).take(TRIED).any(|value| {
            let record = URL_SAFE_NO_PAD.decode(value).ok();
            let opened =
                record.and_then(|record| self.session_keys.open(&binding.place(), &record).ok());
            let ends: Option<u64> = opened.and_then(|ends| ends.expose_secret().parse().ok());
            ends.is_some_and(|ends| seconds(self.now()) < ends)
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

    fn binding(&self) -> Binding<'_> {
        Binding {
            organization: &self.organization,
            token: self.token.mark(),
            origin: match &self.hosts {
                Hosts::Loopback => "",
                Hosts::Public(url) => url.as_str(),
            },
        }
    }
}

/// What a session is good for: with another token, or under another address, it is none.
struct Binding<'a> {
    organization: &'a str,
    token: String,
    origin: &'a str,
}

impl Binding<'_> {
    fn place(&self) -> Place<'_> {
        Place {
            organization: self.organization,
            server: &self.token,
            field: "dashboard session",
            origin: self.origin,
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
