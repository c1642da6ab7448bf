//! The names under which the operator's side answers.

use std::net::IpAddr;

use http::{
    HeaderMap, Uri,
    header::{HOST, ORIGIN},
    uri::Authority,
};
use url::Url;

use super::fault::{Code, Fault};

/// The hosts and origins of requests that are answered: a page that has turned its own name into
/// our address (DNS rebinding) sends neither.
#[derive(Clone, Debug)]
pub(super) enum Hosts {
    /// The names of this machine, with any port.
    Loopback,
    /// The host of this URL.
    Public(Url),
}

impl Hosts {
    /// Checks whom a request is for, and which page sent it, if one did.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Fault> {
        match self.sender(uri, headers)? {
            Sender::Nobody | Sender::Own => Ok(()),
            Sender::Nameless | Sender::Foreign => Err(self.foreign()),
        }
    }

    /// Checks that no page sent a request, whomever it is for.
    pub(super) fn check_program(&self, headers: &HeaderMap) -> Result<(), Fault> {
        match headers.contains_key(ORIGIN) {
            false => Ok(()),
            true => Err(self.foreign()),
        }
    }

    /// Checks whom a form is for, and that a page of ours sent it.
    ///
    /// Without referrers a browser calls itself `null` in `Origin`; that it is one of our pages is
    /// then in `Sec-Fetch-Site`, which no page can set.
    pub(super) fn check_form(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Fault> {
        let mut sites = headers.get_all("sec-fetch-site").iter();
        let is_same = match (sites.next(), sites.next()) {
            (Some(site), None) => Some(site == "same-origin"),
            (None, _) => None,
            (Some(_), Some(_)) => Some(false),
        };
        match (self.sender(uri, headers)?, is_same) {
            (Sender::Own, None | Some(true)) => Ok(()),
            (Sender::Nobody | Sender::Nameless, Some(true)) => Ok(()),
            _ => Err(self.foreign()),
        }
    }

    fn sender(&self, uri: &Uri, headers: &HeaderMap) -> Result<Sender, Fault> {
        let host = host(uri, headers).filter(|host| self.allow(host));
        let Some(host) = host else {
            let message = format!("the request's Host is not that of {}", self.whose());
            return Err(Fault::new(Code::HostNotAllowed, message));
        };
        let mut origins = headers.get_all(ORIGIN).iter();
        Ok(match (origins.next(), origins.next()) {
            (None, _) => Sender::Nobody,
            (Some(origin), None) if origin == "null" => Sender::Nameless,
            (Some(origin), None) => {
                let origin = origin.to_str();
                match origin.is_ok_and(|origin| self.is_own(origin, &host)) {
                    true => Sender::Own,
                    false => Sender::Foreign,
                }
            }
            (Some(_), Some(_)) => Sender::Foreign,
        })
    }

    fn foreign(&self) -> Fault {
        let message = format!("the request's Origin is not that of {}", self.whose());
        Fault::new(Code::OriginNotAllowed, message)
    }

    /// Returns `true` if browsers reach us over https.
    pub(super) fn is_secure(&self) -> bool {
        matches!(self, Self::Public(url) if url.scheme() == "https")
    }

    /// The prefix of all links' paths.
    pub(super) fn base(&self) -> &str {
        match self {
            Self::Loopback => "",
            Self::Public(url) => url.path().trim_end_matches('/'),
        }
    }

    /// The address by which the browser that sent this request reaches us.
    pub(super) fn outside(&self, uri: &Uri, headers: &HeaderMap) -> Option<Url> {
        match self {
            Self::Public(url) => Some(url.clone()),
            Self::Loopback => format!("http://{}", host(uri, headers)?).parse().ok(),
        }
    }

    fn allow(&self, host: &Authority) -> bool {
        match self {
            Self::Loopback => is_loopback(host.host()),
            Self::Public(url) => {
                let default = match url.scheme() {
                    "https" => 443,
                    _ => 80,
                };
                let port = host.port_u16().unwrap_or(default);
                url.host_str()
                    .is_some_and(|name| name.eq_ignore_ascii_case(host.host()))
                    && url.port_or_known_default() == Some(port)
            }
        }
    }

    /// Returns `true` if a page of `origin` is one of ours, in a request to `host`.
    fn is_own(&self, origin: &str, host: &Authority) -> bool {
        match self {
            Self::Loopback => ["http://", "https://"].iter().any(|scheme| {
                origin
                    .strip_prefix(scheme)
                    .is_some_and(|rest| rest.eq_ignore_ascii_case(host.as_str()))
            }),
            Self::Public(url) => {
                let own = url.origin();
                own.is_tuple() && own.ascii_serialization() == origin
            }
        }
    }

    fn whose(&self) -> &'static str {
        match self {
            Self::Loopback => "this machine; an address from outside needs a public URL",
            Self::Public(_) => "the public URL",
        }
    }
}

/// The page that sent a request, as far as the request tells.
enum Sender {
    /// Nothing: it is a program, or a link.
    Nobody,
    /// A page whose origin is not given.
    Nameless,
    Own,
    Foreign,
}

/// The one host that a request is for, without a user.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let mut hosts = headers.get_all(HOST).iter();
    let given = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(host), None) => Some(host.as_bytes().try_into().ok()?),
        (Some(_), Some(_)) => return None,
    };
    // HTTP/2 has it in the URI; whoever gives both means one.
    let host: Authority = match (given, uri.authority().cloned()) {
        (Some(given), Some(asked)) if given != asked => return None,
        (Some(host), _) | (None, Some(host)) => host,
        (None, None) => return None,
    };
    (!host.as_str().contains('@')).then_some(host)
}

fn is_loopback(host: &str) -> bool {
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let address: Option<IpAddr> = address.parse().ok();
    host.eq_ignore_ascii_case("localhost") || address.is_some_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(hosts: &Hosts, host: &[&str], origin: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in host {
            headers.append(HOST, value.parse().unwrap());
        }
        for value in origin {
            headers.append(ORIGIN, value.parse().unwrap());
        }
        hosts.check(&Uri::from_static("/"), &headers).is_ok()
    }

    #[test]
    fn without_a_public_url_only_this_machine_is_asked() {
        let hosts = Hosts::Loopback;
        for host in [
            "localhost",
            "LOCALHOST:8788",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:8788",
        ] {
            assert!(passes(&hosts, &[host], &[]), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "x@localhost",
            "0.0.0.0",
            "10.0.0.1",
            "[::]",
            "2130706433",
            "localhost ",
        ] {
            assert!(!passes(&hosts, &[host], &[]), "{host}");
        }
        assert!(!passes(&hosts, &[], &[]));
        assert!(!passes(&hosts, &["localhost", "localhost"], &[]));
    }

    #[test]
    fn a_public_url_is_the_only_host_there_is() {
        let hosts = Hosts::Public("https://Gateway.example/admin".parse().unwrap());
        for host in ["gateway.example", "GATEWAY.example", "gateway.example:443"] {
            assert!(passes(&hosts, &[host], &[]), "{host}");
        }
        for host in ["gateway.example:80", "localhost", "x.gateway.example"] {
            assert!(!passes(&hosts, &[host], &[]), "{host}");
        }
        let ported = Hosts::Public("http://127.0.0.1:8788".parse().unwrap());
        assert!(passes(&ported, &["127.0.0.1:8788"], &[]));
        assert!(!passes(&ported, &["127.0.0.1"], &[]));
    }

    #[test]
    fn only_our_own_pages_may_ask() {
        let public = Hosts::Public("https://gateway.example".parse().unwrap());
        let host = &["gateway.example"][..];
        assert!(passes(&public, host, &["https://gateway.example"]));
        for origin in [
            "null",
            "",
            "http://gateway.example",
            "https://gateway.example:8443",
            "https://evil.example",
            "https://gateway.example.evil.example",
        ] {
            assert!(!passes(&public, host, &[origin]), "{origin}");
        }
        let twice = ["https://gateway.example", "https://gateway.example"];
        assert!(!passes(&public, host, &twice));

        let local = Hosts::Loopback;
        let host = &["127.0.0.1:8788"][..];
        assert!(passes(&local, host, &["http://127.0.0.1:8788"]));
        for origin in ["null", "http://127.0.0.1:3000", "http://localhost:8788"] {
            assert!(!passes(&local, host, &[origin]), "{origin}");
        }
    }

    #[test]
    fn a_form_is_sent_by_a_page_of_ours() {
        let sent = |origin: &[&str], site: &[&str]| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, "127.0.0.1:8788".parse().unwrap());
            for value in origin {
                headers.append(ORIGIN, value.parse().unwrap());
            }
            for value in site {
                headers.append("sec-fetch-site", value.parse().unwrap());
            }
            let uri = Uri::from_static("/");
            Hosts::Loopback.check_form(&uri, &headers).is_ok()
        };
        let own = "http://127.0.0.1:8788";
        assert!(sent(&[own], &[]) && sent(&[own], &["same-origin"]));
        assert!(sent(&["null"], &["same-origin"]) && sent(&[], &["same-origin"]));
        for (origin, site) in [
            (&[][..], &[][..]),
            (&["null"], &[]),
            (&["null"], &["cross-site"]),
            (&[own], &["same-site"]),
            (&[own], &["none"]),
            (&[own, own], &["same-origin"]),
            (&["https://evil.example"], &["same-origin"]),
            (&["null"], &["same-origin", "same-origin"]),
        ] {
            assert!(!sent(origin, site), "{origin:?} {site:?}");
        }
    }

    #[test]
    fn a_host_that_is_given_twice_differently_is_none() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "localhost".parse().unwrap());
        let uri = Uri::from_static("http://evil.example/api/v1/servers");
        assert!(Hosts::Loopback.check(&uri, &headers).is_err());
        let uri = Uri::from_static("http://localhost/api/v1/servers");
        assert!(Hosts::Loopback.check(&uri, &headers).is_ok());
    }
}
