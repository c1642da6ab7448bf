//! The client: an identity at one authorization server.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::{
    error::{Error, ErrorKind},
    server::AuthorizationServer,
};
use crate::{private_key::PrivateKey, token_auth::TokenAuth};

/// The longest id or secret in bytes; a client metadata URL fits, too.
const MAX_LEN: usize = 4 * 1024;

/// A client known to an authorization server: its id and, unless it is public, its secret or its
/// private key.
///
/// `Debug` shows neither.
///
/// # Security
/// Valid only for the issuer that it was made for; the caller keeps the two together.
///
/// ```
/// use mcp_layer::{TokenAuth, oauth::{AuthorizationServer, Client, ErrorKind}};
///
/// let endpoint = |path: &str| format!("https://as.example/{path}").parse();
/// let server = AuthorizationServer::typed(endpoint("authorize")?, endpoint("token")?, None)?;
/// let client = Client::new("gateway", Some("s3cret".into()), None, &server)?;
/// assert_eq!(client.auth, TokenAuth::ClientSecretBasic);
/// assert!(!format!("{client:?}").contains("s3cret"));
/// let public = Client::new("gateway", None, Some(TokenAuth::ClientSecretPost), &server);
/// assert_eq!(public.unwrap_err().kind(), ErrorKind::Registration);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    /// The client's id.
    pub id: String,
    /// The client's secret, if it has one.
    pub secret: Option<SecretString>,
    /// The client's private key, if it has one in the place of a secret.
    pub key: Option<Arc<PrivateKey>>,
    /// The way it authenticates at the token endpoint.
    pub auth: TokenAuth,
}

impl Client {
    /// Creates a client that was registered beforehand.
    ///
    /// Without `auth`, the method is chosen from those that `server` accepts: Basic before post,
    /// and none if there is no secret.
    ///
    /// # Errors
    /// [`ErrorKind::Registration`] if the id or the secret is empty, over 4 KiB, or has characters
    /// outside RFC 6749 appendix A; if `auth` needs a secret and there is none; or if the server
    /// accepts secrets only by unknown methods.
    pub fn new(
        id: impl Into<String>,
        secret: Option<SecretString>,
        auth: Option<TokenAuth>,
        server: &AuthorizationServer,
    ) -> Result<Self, Error> {
        let id = id.into();
        if !is_visible(&id) {
            return Err(registration(
                "the client id is empty, too long, or has invalid characters",
            ));
        }
        if secret
            .as_ref()
            .is_some_and(|secret| !is_visible(secret.expose_secret()))
        {
            return Err(registration(
                "the client secret is empty, too long, or has invalid characters",
            ));
        }
        let auth = match auth {
            Some(TokenAuth::PrivateKeyJwt) => {
                return Err(registration("the client has no private key, but needs one"));
            }
            Some(auth) => auth,
            None if secret.is_none() => TokenAuth::None,
            None => preferred(server)?,
        };
        if auth != TokenAuth::None && secret.is_none() {
            return Err(registration("the client has no secret, but needs one"));
        }
        Ok(Self {
            id,
            secret,
            key: None,
            auth,
        })
    }

    /// Creates a client that was registered beforehand with the public key of `key`, and signs an
    /// assertion in the place of a secret (RFC 7523).
    ///
    /// # Errors
    /// [`ErrorKind::Registration`] for an id as for [`new`](Self::new).
    pub fn with_key(
        id: impl Into<String>,
        key: PrivateKey,
        server: &AuthorizationServer,
    ) -> Result<Self, Error> {
        Ok(Self {
            key: Some(Arc::new(key)),
            auth: TokenAuth::PrivateKeyJwt,
            ..Self::new(id, None, Some(TokenAuth::None), server)?
        })
    }
}

/// Returns the best authentication method: Basic, which servers must support (RFC 6749 section
/// 2.3.1), then post, then none.
pub(super) fn preferred(server: &AuthorizationServer) -> Result<TokenAuth, Error> {
    [
        TokenAuth::ClientSecretBasic,
        TokenAuth::ClientSecretPost,
        TokenAuth::None,
    ]
    .into_iter()
    .find(|auth| server.token_auth_methods.contains(auth))
    .ok_or_else(|| {
        registration(
            "the authorization server supports no authentication method that is known here",
        )
    })
}

/// Returns true for `VSCHAR` of RFC 6749 appendix A.
fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_LEN && text.bytes().all(|b| (0x20..=0x7e).contains(&b))
}

fn registration(text: &'static str) -> Error {
    Error::new(ErrorKind::Registration, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(methods: &[TokenAuth]) -> AuthorizationServer {
        let mut server = AuthorizationServer::typed(
            "https://as.example/authorize".parse().unwrap(),
            "https://as.example/token".parse().unwrap(),
            None,
        )
        .unwrap();
        server.token_auth_methods = methods.to_vec();
        server
    }

    #[test]
    fn the_way_is_chosen_by_what_the_server_takes() {
        use TokenAuth::{ClientSecretBasic, ClientSecretPost, None as Public};
        let secret = || Some(SecretString::from("s3cret"));
        for (takes, secret, expected) in [
            (
                &[Public, ClientSecretPost, ClientSecretBasic][..],
                secret(),
                ClientSecretBasic,
            ),
            (&[Public, ClientSecretPost], secret(), ClientSecretPost),
            (&[Public], secret(), Public),
            (&[ClientSecretBasic], None, Public),
        ] {
            let client = Client::new("id", secret, None, &server(takes)).unwrap();
            assert_eq!(client.auth, expected, "{takes:?}");
        }
        assert!(Client::new("id", secret(), None, &server(&[])).is_err());
        let told = Client::new("id", secret(), Some(ClientSecretPost), &server(&[])).unwrap();
        assert_eq!(told.auth, ClientSecretPost);
    }

    #[test]
    fn ids_and_secrets_that_could_smuggle_are_refused_and_never_echoed() {
        let server = server(&[TokenAuth::ClientSecretBasic]);
        for (id, secret) in [
            ("", None),
            ("a\r\nb", None),
            ("é", None),
            ("id", Some("s3cret\n")),
            ("id", Some("")),
        ] {
            let refused =
                Client::new(id, secret.map(SecretString::from), None, &server).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Registration);
            assert!(!format!("{refused:?}").contains("s3cret"));
        }
        let needs = Client::new("id", None, Some(TokenAuth::ClientSecretBasic), &server);
        assert_eq!(needs.unwrap_err().kind(), ErrorKind::Registration);
    }

    #[test]
    fn debug_shows_no_secret() {
        let server = server(&[TokenAuth::ClientSecretBasic]);
        let client = Client::new("id", Some("s3cret".into()), None, &server).unwrap();
        assert!(!format!("{client:?}").contains("s3cret"));
    }
}
