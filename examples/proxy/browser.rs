//! Rules for web pages: only those of allowed origins may use the proxy.
//!
//! Otherwise any page, open on a machine that runs the proxy, could send requests to it, and so use
//! the operator's key and tools.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, header, uri::Authority};
use url::{Host, Url};

use crate::{
    config::{Invalid, described},
    keys::Keys,
    refusal::Refusal,
};

/// The origins whose pages may use the proxy.
#[derive(Clone)]
pub struct Origins(Arc<[HeaderValue]>);

impl Origins {
    pub fn new(origins: Vec<String>) -> Result<Self, Invalid> {
        (origins.iter().enumerate())
            .map(|(index, text)| origin(index, text))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contain(&self, origin: &HeaderValue) -> bool {
        self.0.contains(origin)
    }
}

/// Parses an origin as a browser sends it: scheme, host and port, nothing more.
fn origin(index: usize, text: &str) -> Result<HeaderValue, Invalid> {
    let url = text.parse::<Url>().ok();
    url.filter(|url| url.origin().is_tuple() && url.origin().ascii_serialization() == text)
        .and_then(|_| HeaderValue::from_str(text).ok())
        .ok_or_else(|| {
            let what = described(text);
            Invalid::new(format!(
                "allow_origins[{index}] ({what}) is not an origin; expected one like https://app.example.com, in lower case and without a path"
            ))
        })
}

/// The `Host` names that a proxy answers to while it has no keys.
///
/// A page can point its own name at any address (DNS rebinding), and then its requests carry no
/// `Origin`. If there are keys that gains it nothing, since it has none.
#[derive(Clone)]
pub enum Hosts {
    /// Loopback names and these.
    Loopback(Arc<[String]>),
    /// IP addresses, which no page can own, loopback names and these.
    Addresses(Arc<[String]>),
}

impl Hosts {
    /// Chooses the names for a proxy that listens on `listen`.
    pub fn new(names: Vec<String>, listen: IpAddr) -> Result<Self, Invalid> {
        for (index, name) in names.iter().enumerate() {
            let is_name = Host::parse(name).is_ok() && !name.contains(['*', '%']);
            if !is_name {
                let what = described(name);
                return Err(Invalid::new(format!(
                    "allow_hosts[{index}] ({what}): must be a name such as gateway.internal, without a scheme, a port or a path"
                )));
            }
        }
        Ok(match listen.is_loopback() {
            true => Self::Loopback(names.into()),
            false => Self::Addresses(names.into()),
        })
    }

    /// The hosts under which callers reach a listener at `address`, as far as it shows.
    pub fn known(&self, address: SocketAddr) -> Vec<String> {
        let (ip, port) = (address.ip(), address.port());
        let mut hosts = match ip.is_loopback() || ip.is_unspecified() {
            true => ["localhost", "127.0.0.1", "[::1]"]
                .map(|name| format!("{name}:{port}"))
                .to_vec(),
            false => vec![address.to_string()],
        };
        let (Self::Loopback(names) | Self::Addresses(names)) = self;
        // There may be something else before it, at a port of its own.
        hosts.extend(names.iter().cloned());
        hosts.extend(names.iter().map(|name| format!("{name}:{port}")));
        hosts
    }

    fn allow(&self, host: Option<&str>) -> bool {
        let (names, are_addresses_fine) = match self {
            Self::Loopback(names) => (names, false),
            Self::Addresses(names) => (names, true),
        };
        let host = host.filter(|host| !host.contains('@'));
        let Some(host) = host.and_then(|host| host.parse::<Authority>().ok()) else {
            return false;
        };
        let host = host.host();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let address = address.parse::<IpAddr>().ok();
        host.eq_ignore_ascii_case("localhost")
            || address.is_some_and(|ip| are_addresses_fine || ip.is_loopback())
            || names.iter().any(|name| name.eq_ignore_ascii_case(host))
    }

    fn refusal(&self) -> Refusal {
        let message = match self {
            Self::Loopback(_) => {
                "this proxy only answers requests to localhost; its operator can open it to others with [[api_keys]], or add this host to allow_hosts"
            }
            _ => {
                "this proxy has no API keys, so it only answers to its addresses; its operator can add this host to allow_hosts, or declare [[api_keys]]"
            }
        };
        Refusal::new(StatusCode::FORBIDDEN, "host_not_allowed", message)
    }
}

/// The rules that requests must follow.
#[derive(Clone)]
pub struct Rules {
    pub origins: Origins,
    /// These count while requests want no key.
    pub hosts: Hosts,
    pub keys: Keys,
}

impl Rules {
    /// Returns the refusal of a web page that is not allowed.
    pub fn refusal<B>(&self, request: &Request<B>) -> Option<Refusal> {
        let refusal = self.fault(request);
        if refusal.is_some() {
            tracing::info!(method = %request.method(), path = request.uri().path(), "request refused");
        }
        refusal
    }

    fn fault<B>(&self, request: &Request<B>) -> Option<Refusal> {
        let headers = request.headers();
        let mut hosts = headers.get_all(header::HOST).iter();
        // HTTP/2 has no need of the header.
        let authority = match request.version() {
            Version::HTTP_2 => request.uri().authority(),
            _ => None,
        };
        let is_foreign = !hosts.all(|host| self.hosts.allow(host.to_str().ok()))
            || authority.is_some_and(|authority| !self.hosts.allow(Some(authority.as_str())));
        if is_foreign && !self.keys.are_wanted() {
            return Some(self.hosts.refusal());
        }
        if !self.comes_from_allowed(headers) {
            let message = "web pages of this origin may not use the proxy; its operator can allow them with allow_origins";
            return Some(Refusal::new(
                StatusCode::FORBIDDEN,
                "origin_not_allowed",
                message,
            ));
        }
        // A page may send text and forms anywhere without a preflight, but not JSON.
        let path = request.uri().path().trim_end_matches('/');
        let is_chat = path.ends_with("/chat/completions");
        if is_chat && request.method() == Method::POST && !is_json(headers) {
            let message = "send the request with content-type: application/json";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Some(Refusal::new(status, "unsupported_media_type", message));
        }
        None
    }

    fn comes_from_allowed(&self, headers: &HeaderMap) -> bool {
        let mut sent = headers.get_all(header::ORIGIN).iter();
        match (sent.next(), sent.next()) {
            // No `Origin`: not from a page, or a request for which browsers send another header.
            (None, _) => headers
                .get("sec-fetch-site")
                .is_none_or(|site| site == "same-origin" || site == "none"),
            (Some(origin), None) => self.origins.contain(origin),
            (Some(_), Some(_)) => false,
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(kind), None) = (types.next(), types.next()) else {
        return false;
    };
    let essence = kind.as_bytes().split(|b| *b == b';').next();
    essence.is_some_and(|essence| {
        essence
            .trim_ascii()
            .eq_ignore_ascii_case(b"application/json")
    })
}
