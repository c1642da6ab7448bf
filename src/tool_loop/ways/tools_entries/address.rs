//! `server_url`: which registered server an entry means.
//!
//! Addresses are compared without what may be a key in them: a caller does not know it, and must not
//! learn by trying whether a guess is right.

use http::uri::Authority;
use url::Url;

use crate::url_keys;

/// The name of a gateway for itself, in the addresses of clients that were written for LiteLLM.
const GATEWAY: &str = "litellm_proxy";

/// The server that an entry means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// The one that the label names.
    Label,
    /// The one of this name.
    Named(String),
    /// All that the project may use.
    All,
    /// The one at this address.
    At(Url),
    /// None at all.
    Nowhere,
}

impl Address {
    /// Reads the address of an entry, which it need not have.
    pub(super) fn read(url: Option<&str>) -> Self {
        let Some(url) = url.map(str::trim) else {
            return Self::Label;
        };
        if let Some(path) = url.strip_prefix(GATEWAY) {
            return match path.trim_end_matches('/') {
                "" | "/mcp" => Self::All,
                path => named(path).map_or(Self::Nowhere, Self::Named),
            };
        }
        let url: Option<Url> = url.parse().ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
        // A user in an address is nothing that a registered one has.
        let url = url.filter(|url| url.username().is_empty() && url.password().is_none());
        url.map_or(Self::Nowhere, Self::At)
    }
}

/// The name in the path `/mcp/NAME`.
fn named(path: &str) -> Option<String> {
    let name = path.trim_end_matches('/').strip_prefix("/mcp/")?;
    (!name.is_empty() && !name.contains('/')).then(|| name.to_owned())
}

/// The name in `/mcp/NAME` on `host`, by which this gateway was reached.
pub(super) fn named_on(host: &str, url: &Url) -> Option<String> {
    let host: Authority = host.parse().ok()?;
    // Nobody knows whether the request came over TLS: without a port, it is that of the address.
    let here = format!("{}://{host}", url.scheme()).parse::<Url>().ok()?;
    let is_here = here.origin() == url.origin();
    named(url.path()).filter(|_| is_here)
}

/// Returns `true` if two addresses are one, apart from what may be a key in them: parameters, and
/// parts of the path that look random. A slash at the end makes no difference.
pub(super) fn is_same(one: &Url, other: &Url) -> bool {
    let path = |url: &Url| {
        let segments = url.path().split('/').filter(|part| !part.is_empty());
        let words = segments.filter(|part| !url_keys::may_be_key(part));
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    one.origin() == other.origin() && path(one) == path(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateways_own_addresses_name_servers() {
        for (url, address) in [
            ("litellm_proxy", Address::All),
            (" litellm_proxy/ ", Address::All),
            ("litellm_proxy/mcp/", Address::All),
            (
                "litellm_proxy/mcp/deepwiki",
                Address::Named("deepwiki".into()),
            ),
            ("litellm_proxy/mcp/a,b/", Address::Named("a,b".into())),
            ("litellm_proxy/mcp/a/b", Address::Nowhere),
            ("litellm_proxy2", Address::Nowhere),
            ("deepwiki", Address::Nowhere),
            ("file:///mcp", Address::Nowhere),
            ("https://u:p@a.example/mcp", Address::Nowhere),
            ("", Address::Nowhere),
        ] {
            assert_eq!(Address::read(Some(url)), address, "{url}");
        }
        assert_eq!(Address::read(None), Address::Label);
    }

    #[test]
    fn a_path_names_a_server_on_the_host_of_the_request_alone() {
        for (host, url, name) in [
            ("gw.example:8787", "http://GW.example:8787/mcp/a", Some("a")),
            ("gw.example", "https://gw.example/mcp/a/", Some("a")),
            ("gw.example", "http://gw.example:80/mcp/a", Some("a")),
            ("[::1]:8787", "http://[::1]:8787/mcp/a", Some("a")),
            ("gw.example", "http://gw.example:8787/mcp/a", None),
            ("other.example", "http://gw.example/mcp/a", None),
            ("gw.example", "http://gw.example/v1/mcp/a", None),
            ("gw.example", "http://gw.example/mcp", None),
            ("gw.example", "http://gw.example.evil/mcp/a", None),
            ("u@gw.example", "http://gw.example.evil/mcp/a", None),
            ("", "http://gw.example/mcp/a", None),
        ] {
            let named = named_on(host, &url.parse().unwrap());
            assert_eq!(named.as_deref(), name, "{host} {url}");
        }
    }

    #[test]
    fn addresses_are_compared_normalised_and_without_keys() {
        let registered = "https://mcp.example.com/v1/8f3a9c1d7e2b4a60/mcp?api_key=s3cret";
        let is = |url: &str| is_same(&registered.parse().unwrap(), &url.parse().unwrap());
        for same in [
            registered,
            "https://MCP.example.com:443/v1/mcp/",
            "https://mcp.example.com/v1/mcp?api_key=another",
            "https://mcp.example.com/a/../v1/mcp",
            "https://mcp.example.com/v1/00ff8f3a9c1d7e2b4a60/mcp",
        ] {
            assert!(is(same), "{same}");
        }
        for other in [
            "http://mcp.example.com/v1/mcp",
            "https://mcp.example.com:8443/v1/mcp",
            "https://mcp.example.com/v1",
            "https://example.com/v1/mcp",
            "https://mcp.example.com/v1/mcp/x",
        ] {
            assert!(!is(other), "{other}");
        }
    }
}
