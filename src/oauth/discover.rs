//! Discovery of the authorization server of an MCP server.
//!
//! Only a 4xx means that there is no document. An outage, a redirect or a login page in its place
//! is passed over for the next place of the same origin, and is an error where none is good: whoever
//! can cause one must not be able to choose another authorization server.

use serde::Deserialize;
use url::Url;

use super::{
    challenge::Challenge,
    error::{Error, ErrorKind},
    http::{Absent, Http},
    metadata::{self, Needs},
    said, search,
    server::AuthorizationServer,
    tolerated,
};
use crate::{issuer::is_same, scopes::Scopes};

const RESOURCE_METADATA: &str = "the server's authorization metadata";
/// The scope that requests a refresh token, at servers that know it (OpenID Connect Core section
/// 11).
const OFFLINE_ACCESS: &str = "offline_access";

/// The result of [`discover`].
///
/// It has everything that a [`Request`](super::Request) needs from the servers; the client, the
/// redirect URI and the storage are the caller's.
#[derive(Clone, Debug)]
pub struct Discovered {
    /// The authorization server.
    pub server: AuthorizationServer,
    /// The `resource` to name in all requests (RFC 8707), as the server itself spells it.
    pub resource: Option<String>,
    /// The scopes to request: those of the challenge, else those of the server's metadata, else
    /// none. `offline_access` is among them if and only if the authorization server lists it; it is
    /// never requested alone, since that would narrow what the server grants by default.
    pub scopes: Option<Scopes>,
}

/// Finds the authorization server of an MCP server.
///
/// 1. The server's metadata (RFC 9728) are read from where the challenge points, if that has the
///    server's own origin; else from the well-known place with the server's path; else from the one
///    without it. They must describe this server: its URL, or a parent of it.
/// 2. The authorization server is `issuer`, if given, which must be among those that the metadata
///    name, if they name any; else the first of them. Its own metadata (RFC 8414, or OpenID Connect)
///    must name exactly this issuer, and promise PKCE with S256.
/// 3. A server without metadata speaks MCP 2025-03-26, or tells nothing. Then the issuer is
///    `issuer`, or else the server's own origin; that one may have no metadata either, in which
///    case its endpoints are `/authorize`, `/token` and `/register`.
///
/// Every URL named on the way must be public, or on a host that `http` has as
/// [entered](Http::with_entered); add that of `server`. At most seven documents are requested,
/// without any credential. Metadata that are unreadable or about something else are passed over for
/// those at the next place, and count where no place has good ones; if `issuer` is given, those of
/// the server may be unreadable.
///
/// # Errors
/// [`ErrorKind::Discovery`] if none is found, [`ErrorKind::Issuer`] if metadata describe another
/// server; [`ErrorKind::Pkce`], [`ErrorKind::Egress`], [`ErrorKind::BadResponse`] and
/// [`ErrorKind::Unreachable`] as documented there. An outage never counts as "has no metadata".
pub async fn discover(
    http: &Http,
    server: &Url,
    challenge: Option<&Challenge>,
    issuer: Option<&str>,
) -> Result<Discovered, Error> {
    find(http, server, challenge, issuer, Needs::Browser).await
}

/// Finds the authorization server of an MCP server, for a grant that needs no browser.
///
/// As [`discover`], but `issuer` is the only one that is accepted, and it needs neither an authorization
/// endpoint nor PKCE; `offline_access` is never among the scopes.
///
/// # Errors
/// Those of [`discover`]; [`ErrorKind::Issuer`] if the server's metadata name others alone.
pub async fn discover_without_browser(
    http: &Http,
    server: &Url,
    challenge: Option<&Challenge>,
    issuer: &str,
) -> Result<Discovered, Error> {
    find(http, server, challenge, Some(issuer), Needs::TokenEndpoint).await
}

async fn find(
    http: &Http,
    server: &Url,
    challenge: Option<&Challenge>,
    issuer: Option<&str>,
    needs: Needs,
) -> Result<Discovered, Error> {
    http.check("the server", server)?;
    let metadata = match resource_metadata(http, server, challenge).await {
        // The operator has named the authorization server, so nobody chooses it by this.
        Err(error) if issuer.is_some() && error.kind() == ErrorKind::BadResponse => None,
        found => found?,
    };
    let (found, resource, scopes) = match metadata {
        Some(metadata) => {
            let issuer = metadata.choose(issuer)?;
            (
                known(http, issuer, needs).await?,
                metadata.resource,
                metadata.scopes_supported,
            )
        }
        None => {
            let found = match issuer {
                Some(issuer) => known(http, issuer, needs).await?,
                None => at_origin(http, server, needs).await?,
            };
            (found, canonical(server), None)
        }
    };
    let challenged = challenge.and_then(|challenge| challenge.scope.clone());
    Ok(Discovered {
        scopes: wanted(challenged.or(scopes), &found, needs),
        server: found,
        resource: Some(resource),
    })
}

/// The metadata of a protected resource (RFC 9728 section 2), as far as we read them.
#[derive(Deserialize)]
pub(super) struct ResourceMetadata {
    pub(super) resource: String,
    #[serde(default, deserialize_with = "tolerated::list")]
    authorization_servers: Option<Vec<String>>,
    #[serde(default, deserialize_with = "tolerated::scopes")]
    scopes_supported: Option<Scopes>,
}

impl ResourceMetadata {
    pub(super) fn choose<'a>(&'a self, issuer: Option<&'a str>) -> Result<&'a str, Error> {
        let named = self.authorization_servers.as_deref().unwrap_or_default();
        match issuer {
            Some(issuer) if named.is_empty() => Ok(issuer),
            Some(issuer) if named.iter().any(|named| is_same(named, issuer)) => Ok(issuer),
            Some(_) => {
                let fault = Error::new(
                    ErrorKind::Issuer,
                    "the server names other authorization servers than the one configured for it",
                );
                Err(fault.saying(format!("it names {}", said::line(&named.join(" ")))))
            }
            None => named.first().map(String::as_str).ok_or_else(|| {
                Error::new(
                    ErrorKind::Discovery,
                    "the server's metadata name no authorization server: enter its issuer",
                )
            }),
        }
    }
}

async fn resource_metadata(
    http: &Http,
    server: &Url,
    challenge: Option<&Challenge>,
) -> Result<Option<ResourceMetadata>, Error> {
    const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
    // A challenge may point only to pages of its own origin: a server may have us read well-known
    // documents elsewhere in public, as the specification demands, but no page of its choice.
    let mut places: Vec<Url> = challenge
        .and_then(|challenge| challenge.resource_metadata.clone())
        .filter(|url| url.origin() == server.origin())
        .into_iter()
        .collect();
    for path in [server.path().trim_end_matches('/'), ""] {
        let mut place = server.clone();
        place.set_query(None);
        place.set_path(&format!("{WELL_KNOWN}{path}"));
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let accept = |metadata: ResourceMetadata| match is_of(&metadata.resource, server) {
        true => Ok(metadata),
        false => {
            let fault = Error::new(
                ErrorKind::Issuer,
                "the server's authorization metadata describe another server",
            );
            Err(fault.saying(format!(
                "the resource is {:?}",
                said::line(&metadata.resource)
            )))
        }
    };
    let found = search::first(http, RESOURCE_METADATA, &places, accept).await?;
    Ok(found.ok())
}

/// Returns true if `resource` is the server's URL or a parent of it: paths are compared by
/// segments, and a query must be the server's own.
pub(super) fn is_of(resource: &str, server: &Url) -> bool {
    let Ok(resource) = Url::parse(resource) else {
        return false;
    };
    let parent = resource.path().trim_end_matches('/');
    let below = server.path().strip_prefix(parent);
    resource.origin() == server.origin()
        && resource.username().is_empty()
        && resource.password().is_none()
        && resource.fragment().is_none()
        && (resource.query().is_none() || resource.query() == server.query())
        && below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

/// Spells a server's URL as a resource, for servers that do not do so themselves: without a bare
/// trailing slash, and without the query, which may contain a secret.
pub(crate) fn canonical(server: &Url) -> String {
    let mut url = server.clone();
    url.set_query(None);
    url.set_fragment(None);
    match url.path() {
        "/" => url.as_str().trim_end_matches('/').to_owned(),
        _ => url.into(),
    }
}

/// Finds the authorization server of an issuer that was named.
async fn known(http: &Http, issuer: &str, needs: Needs) -> Result<AuthorizationServer, Error> {
    let found = metadata::of_issuer(http, issuer, needs).await?;
    found.map_err(|Absent(answers)| {
        let fault = Error::new(
            ErrorKind::Discovery,
            "the authorization server has no metadata: enter its endpoints",
        );
        fault.saying(answers)
    })
}

/// Treats a server as its own authorization server (MCP 2025-03-26, basic/authorization 2.3).
async fn at_origin(http: &Http, server: &Url, needs: Needs) -> Result<AuthorizationServer, Error> {
    let origin = server.origin().ascii_serialization();
    if let Ok(found) = metadata::of_issuer(http, &origin, needs).await? {
        return Ok(found);
    }
    let endpoint = |path: &str| {
        let mut url = server.clone();
        url.set_query(None);
        url.set_path(path);
        url
    };
    let authorize = Some(endpoint("/authorize"));
    let mut found = AuthorizationServer::at(authorize, endpoint("/token"), None);
    found.registration_endpoint = Some(endpoint("/register"));
    found.check(http)?;
    Ok(found)
}

fn wanted(scopes: Option<Scopes>, server: &AuthorizationServer, needs: Needs) -> Option<Scopes> {
    let scopes = scopes?;
    let others = scopes.iter().filter(|scope| *scope != OFFLINE_ACCESS);
    let scopes = Scopes::new(others).ok()?;
    if scopes.is_empty() {
        return None;
    }
    let listed = server.scopes_supported.as_ref();
    let is_listed = listed.is_some_and(|listed| listed.contains(OFFLINE_ACCESS));
    if needs == Needs::TokenEndpoint || !is_listed {
        return Some(scopes);
    }
    let offline = Scopes::new([OFFLINE_ACCESS]).unwrap_or_default();
    Some(scopes.union(&offline))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_the_server_or_a_parent_of_it() {
        let is_of = |resource: &str, server: &str| is_of(resource, &server.parse().unwrap());
        let server = "https://mcp.example/a/mcp";
        for resource in [
            "https://mcp.example/a/mcp",
            "https://MCP.example:443/a/mcp/",
            "https://mcp.example/a",
            "https://mcp.example/",
            "https://mcp.example",
        ] {
            assert!(is_of(resource, server), "{resource}");
        }
        for resource in [
            "https://evil.example/a/mcp",
            "https://mcp.example.evil.example/a/mcp",
            "http://mcp.example/a/mcp",
            "https://mcp.example:8443/a/mcp",
            "https://mcp.example/a/mc",
            "https://mcp.example/a/mcp/more",
            "https://mcp.example/b/../A/mcp",
            "https://mcp.example/a/mcp?tenant=2",
            "https://mcp.example/a/mcp#x",
            "https://user@mcp.example/a/mcp",
            "/a/mcp",
            "",
        ] {
            assert!(!is_of(resource, server), "{resource}");
        }
        assert!(is_of("https://mcp.example/a?b", "https://mcp.example/a?b"));
        assert!(is_of("https://mcp.example/a", "https://mcp.example/a?b"));
    }

    #[test]
    fn a_canonical_url_has_no_bare_slash_and_no_query() {
        for (url, expected) in [
            ("https://MCP.example:443/", "https://mcp.example"),
            ("https://mcp.example/?key=s3cret", "https://mcp.example"),
            (
                "https://mcp.example/mcp/?key=s3cret#x",
                "https://mcp.example/mcp/",
            ),
            ("http://127.0.0.1:3000/mcp", "http://127.0.0.1:3000/mcp"),
        ] {
            assert_eq!(canonical(&url.parse().unwrap()), expected);
        }
    }
}
