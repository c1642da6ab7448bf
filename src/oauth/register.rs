//! Dynamic client registration, and client metadata documents.

use http::{
    HeaderValue, Method, Request, Response,
    header::{ACCEPT, CONTENT_TYPE},
};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use url::{Host, Url};

use super::{
    client::{Client, preferred},
    codes::coded,
    error::{Error, ErrorKind},
    http::{Http, bad, heard, unread},
    server::{AuthorizationServer, REGISTRATION_ENDPOINT},
    tolerated::{self, object},
};
use crate::{scopes::Scopes, token_auth::TokenAuth};

/// Registers a client (RFC 7591) that may use codes and refresh tokens.
///
/// The client is confidential if the server accepts a secret. It is a `web` application, or a
/// `native` one if the redirect URI is on this machine.
///
/// # Errors
/// [`ErrorKind::Registration`] if the server offers no registration, refuses, or registers an
/// unusable client; otherwise as for any request. After [`ErrorKind::Unreachable`] and
/// [`ErrorKind::BadResponse`] a client may or may not exist.
///
/// # Cancellation
/// A client that was already registered stays unused at the server.
pub async fn register(
    http: &Http,
    server: &AuthorizationServer,
    redirect_uri: &Url,
    scopes: &Scopes,
    client_name: &str,
) -> Result<Client, Error> {
    let Some(endpoint) = &server.registration_endpoint else {
        return Err(Error::new(
            ErrorKind::Registration,
            "the authorization server registers no clients: register one there by hand",
        ));
    };
    let auth = preferred(server)?;
    let mut metadata = metadata(client_name, std::slice::from_ref(redirect_uri), auth);
    if !scopes.is_empty() {
        metadata["scope"] = scopes.to_string().into();
    }
    let mut request = Request::new(metadata.to_string().into_bytes());
    *request.method_mut() = Method::POST;
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(CONTENT_TYPE, json.clone());
    request.headers_mut().insert(ACCEPT, json);
    let answer = http.send(REGISTRATION_ENDPOINT, endpoint, request).await?;
    registered(&answer, server)
}

/// Reads the registered client from an answer.
pub(super) fn registered(
    answer: &Response<Vec<u8>>,
    server: &AuthorizationServer,
) -> Result<Client, Error> {
    if answer.status().is_client_error() {
        let refused = match object(answer.body()) {
            Some(Refusal { error: Some(error) }) => coded(REGISTRATION_ENDPOINT, &error),
            _ => {
                let status = answer.status().as_u16();
                let text = format!("{REGISTRATION_ENDPOINT} refuses (status {status})");
                Error::new(ErrorKind::Registration, text)
            }
        };
        return Err(refused
            .with_kind(ErrorKind::Registration)
            .saying(heard(answer)));
    }
    let registered: Registered = object(answer.body()).ok_or_else(|| {
        bad(REGISTRATION_ENDPOINT, "does not answer with a client").saying(unread(answer))
    })?;
    let auth = match registered.token_endpoint_auth_method {
        // Said by one that was not asked for a method, and does not mean to choose one.
        Some(Value::String(method)) if method.is_empty() => None,
        // The server's choice overrides the request (RFC 7591 section 3.2.1).
        Some(method) => Some(TokenAuth::deserialize(method).map_err(|_| {
            let text = "the client was registered with an unknown authentication method";
            Error::new(ErrorKind::Registration, text)
        })?),
        None => None,
    };
    let secret = registered.client_secret.map(SecretString::from);
    Client::new(registered.client_id, secret, auth, server)
}

/// Creates the document behind a client id that is a URL ("OAuth Client ID Metadata Document").
///
/// Serve it at `client_id` as `application/json`. The client is public: it has no secret, and PKCE
/// protects it.
///
/// ```
/// use mcp_layer::oauth::client_metadata;
///
/// let id = "https://gateway.example/oauth/client.json".parse()?;
/// let document = client_metadata(&id, "Gateway", &["https://gateway.example/oauth/callback".parse()?]);
/// assert_eq!(document["client_id"], id.as_str());
/// # Ok::<(), url::ParseError>(())
/// ```
pub fn client_metadata(client_id: &Url, client_name: &str, redirect_uris: &[Url]) -> Value {
    let mut metadata = metadata(client_name, redirect_uris, TokenAuth::None);
    metadata["client_id"] = client_id.as_str().into();
    metadata
}

fn metadata(client_name: &str, redirect_uris: &[Url], auth: TokenAuth) -> Value {
    let native = redirect_uris.iter().all(is_on_this_machine);
    json!({
        "client_name": client_name,
        "redirect_uris": redirect_uris,
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": auth,
        // OpenID Connect Registration section 2: web applications use https and a host name.
        "application_type": if native { "native" } else { "web" },
    })
}

fn is_on_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => true,
    }
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default, deserialize_with = "tolerated::text")]
    error: Option<String>,
}

#[derive(Deserialize)]
struct Registered {
    client_id: String,
    #[serde(default, deserialize_with = "tolerated::text")]
    client_secret: Option<String>,
    token_endpoint_auth_method: Option<Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_is_native_on_this_machine_only() {
        for (uri, expected) in [
            ("https://gateway.example/oauth/callback", "web"),
            ("http://localhost:8788/oauth/callback", "native"),
            ("http://127.0.0.1:8788/oauth/callback", "native"),
            ("http://[::1]:8788/oauth/callback", "native"),
            ("https://localhost.example/oauth/callback", "web"),
        ] {
            let id = "https://gateway.example/client.json".parse().unwrap();
            let document = client_metadata(&id, "Gateway", &[uri.parse().unwrap()]);
            assert_eq!(document["application_type"], expected, "{uri}");
            assert_eq!(document["redirect_uris"], json!([uri]));
            assert_eq!(document["token_endpoint_auth_method"], "none");
        }
    }
}
