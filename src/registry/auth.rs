//! The authentication with a server.

use http::{HeaderMap, HeaderName, header::AUTHORIZATION};
use serde::{Deserialize, Serialize};

use super::{
    error::Error,
    oauth_grant::OAuthGrant,
    oauth2::OAuth2,
    static_header::{StaticHeader, is_reserved},
};

/// The most headers of a server. Each request to it carries all of them, and few servers take more;
/// a map of headers has no room for 32,769.
const HEADERS: usize = 100;

/// The credential that the gateway sends to a server with each request; default [`Auth::None`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Auth {
    /// No credential is sent.
    #[default]
    None,
    /// Fixed headers, such as an API key.
    StaticHeaders(Vec<StaticHeader>),
    /// An access token of OAuth 2.0 (feature `oauth`): the organization's, from an authorization by an
    /// operator or of the gateway itself, or each caller's ([`OAuthGrant`]).
    OAuth2(Box<OAuth2>),
    /// A token of the caller's own, taken from the request header `x-mcp-auth-{server}` and sent to
    /// this server unchanged, under this name. It is never stored, and no other server gets it.
    TokenPassthrough(HeaderName),
    /// A stored credential that does not open, because the record was tampered with or its key is
    /// gone.
    ///
    /// It contains the authentication without its secrets, for operators to see; the values of
    /// headers are empty. Nothing is sent: the server is inactive, with
    /// [`Inactive::CredentialInvalid`](crate::Inactive::CredentialInvalid), until an operator
    /// enters the credential again. Only stores create this variant, and none accepts it back.
    // A variant, not an error: `find` must neither fail the other servers nor hide one that an
    // operator can see. The compiler makes everybody who sends something handle it.
    Unreadable(Box<Self>),
}

/// The kinds of [`Auth`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AuthKind {
    /// [`Auth::None`].
    None,
    /// [`Auth::StaticHeaders`].
    StaticHeaders,
    /// [`Auth::OAuth2`].
    #[serde(rename = "oauth2")]
    OAuth2,
    /// [`Auth::TokenPassthrough`].
    TokenPassthrough,
}

impl Auth {
    /// The kind of authentication; for [`Auth::Unreadable`], the kind that it was.
    pub fn kind(&self) -> AuthKind {
        match self {
            Self::None => AuthKind::None,
            Self::StaticHeaders(_) => AuthKind::StaticHeaders,
            Self::OAuth2(_) => AuthKind::OAuth2,
            Self::TokenPassthrough(_) => AuthKind::TokenPassthrough,
            Self::Unreadable(auth) => auth.kind(),
        }
    }

    /// Creates [`Auth::StaticHeaders`] from names and values.
    ///
    /// # Errors
    /// Those of [`StaticHeader::new`], an empty list, more than 100 headers, and a name given twice.
    pub fn static_headers<N, V>(headers: impl IntoIterator<Item = (N, V)>) -> Result<Self, Error>
    where
        N: AsRef<str>,
        V: Into<secrecy::SecretString>,
    {
        let headers = headers
            .into_iter()
            .map(|(name, value)| StaticHeader::new(name.as_ref(), value))
            .collect::<Result<Vec<_>, _>>()?;
        check_count(headers.len())?;
        for (index, header) in headers.iter().enumerate() {
            if headers[..index]
                .iter()
                .any(|other| other.name() == header.name())
            {
                return Err(Error::invalid(
                    "auth.headers",
                    format!("{} is given twice", header.name()),
                ));
            }
        }
        Ok(Self::StaticHeaders(headers))
    }

    /// Creates [`Auth::OAuth2`] from the fields that an operator entered; with an empty [`OAuth2`]
    /// everything is discovered.
    ///
    /// # Errors
    /// [`Error::Invalid`] for fields that contradict each other: see [`OAuth2`].
    pub fn oauth2(oauth: OAuth2) -> Result<Self, Error> {
        oauth.check()?;
        Ok(Self::OAuth2(Box::new(oauth)))
    }

    /// Creates [`Auth::TokenPassthrough`] under the header name `header`; default `Authorization`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an invalid header name, and for a reserved one.
    pub fn token_passthrough(header: Option<&str>) -> Result<Self, Error> {
        let name = match header {
            None => AUTHORIZATION,
            Some(name) => name.parse().map_err(|_| {
                Error::invalid("auth.header", "has characters that no header name has")
            })?,
        };
        if is_reserved(&name) {
            return Err(Error::invalid(
                "auth.header",
                format!("{name} is set by the connection or the protocol"),
            ));
        }
        Ok(Self::TokenPassthrough(name))
    }

    /// Returns true if each caller has a credential of their own: a token that is passed through, or
    /// exchanged. Then tools are listed for each, and nobody can use the server without one.
    pub fn is_callers(&self) -> bool {
        match self {
            Self::TokenPassthrough(_) => true,
            Self::OAuth2(oauth) => oauth.grant == OAuthGrant::TokenExchange,
            Self::None | Self::StaticHeaders(_) => false,
            Self::Unreadable(auth) => auth.is_callers(),
        }
    }

    /// Returns true if the gateway authorizes itself: its operator has nothing to do but to enter a client.
    pub(crate) fn is_gateways(&self) -> bool {
        match self {
            Self::OAuth2(oauth) => oauth.grant == OAuthGrant::ClientCredentials,
            Self::None | Self::StaticHeaders(_) | Self::TokenPassthrough(_) => false,
            Self::Unreadable(auth) => auth.is_gateways(),
        }
    }

    /// The static headers to send, each marked as sensitive.
    pub(crate) fn headers(&self) -> HeaderMap {
        match self {
            Self::StaticHeaders(headers) => headers.iter().map(StaticHeader::to_header).collect(),
            Self::None | Self::OAuth2(_) | Self::TokenPassthrough(_) | Self::Unreadable(_) => {
                HeaderMap::new()
            }
        }
    }
}

/// Checks the number of the headers of a server.
pub(in crate::registry) fn check_count(headers: usize) -> Result<(), Error> {
    match headers {
        0 => Err(Error::invalid("auth.headers", "name at least one header")),
        1..=HEADERS => Ok(()),
        _ => Err(Error::invalid(
            "auth.headers",
            format!("name at most {HEADERS} headers"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_passed_through_under_a_name_that_is_free() {
        for name in ["Host", "mcp-session-id", "content-length", "x y", ""] {
            assert!(Auth::token_passthrough(Some(name)).is_err(), "{name}");
        }
        let auth = Auth::token_passthrough(None).unwrap();
        assert!(matches!(auth, Auth::TokenPassthrough(name) if name == "authorization"));
        assert!(Auth::token_passthrough(Some("X-Api-Key")).is_ok());
    }
}
