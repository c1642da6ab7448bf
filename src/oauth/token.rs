//! Tokens: for a code, for a refresh token, and no more.
//!
//! The messages are those of the crate `oauth2`, and so is the reading of answers, once
//! [`Endpoint`] has brought what is seen in the wild into the shape of RFC 6749.

use std::{pin::Pin, time::Duration};

use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use oauth2::{
    AccessToken, AsyncHttpClient, AuthType, AuthorizationCode, ClientId, ClientSecret,
    EndpointNotSet, EndpointSet, ErrorResponse, HttpRequest, HttpResponse, PkceCodeVerifier,
    RedirectUrl, RefreshToken, RequestTokenError, RevocationUrl, Scope, StandardErrorResponse,
    StandardRevocableToken, TokenResponse, TokenUrl,
    basic::{
        BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
        BasicTokenType,
    },
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};
use url::{Url, form_urlencoded};

use super::{
    authorize::Request,
    client::Client,
    error::{Error, ErrorKind},
    http::{Http, bad},
    scopes::Scopes,
    server::{AuthorizationServer, REVOCATION_ENDPOINT, TOKEN_ENDPOINT, TokenAuth},
};

/// Longer than any token that servers take in a header.
const MAX_TOKEN: usize = 16 * 1024;
/// Nobody means a longer life, and so much can be added to any date.
const MAX_LIFE: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Tokens that an authorization server has given. `Debug` does not show them.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// For the `Authorization` header, after `Bearer `: visible ASCII, 16 KiB at most.
    pub access_token: SecretString,
    /// For [`refresh`]. `None` in the answer to a refresh: the old one stays good.
    pub refresh_token: Option<SecretString>,
    /// How long the access token is good from now on, 366 days at most. `None` if the server did
    /// not say, or said 0, which nobody can mean.
    pub expires_in: Option<Duration>,
    /// What was given, where the server said so. `None`: what was asked for.
    pub scopes: Option<Scopes>,
}

/// Exchanges a code for tokens (RFC 6749 section 4.1.3), with the PKCE verifier.
///
/// `request` is what the authorization [began](super::begin) with, and `code` from
/// [`Callback::code`](super::Callback::code), which has made sure who gave it.
///
/// # Errors
/// [`ErrorKind::InvalidGrant`] for a code that is not, or no longer, good; the others as they say.
/// A code is good once: after an error, begin anew.
///
/// # Cancellation
/// The code may be spent by then.
pub async fn exchange(
    http: &Http,
    request: &Request<'_>,
    code: &SecretString,
    verifier: &SecretString,
) -> Result<Tokens, Error> {
    let endpoint = Endpoint::new(http, TOKEN_ENDPOINT, &request.server.token_endpoint);
    let client = messages(request.client, request.server)
        .set_redirect_uri(RedirectUrl::from_url(request.redirect_uri.clone()));
    let mut message = client
        .exchange_code(AuthorizationCode::new(code.expose_secret().to_owned()))
        .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose_secret().to_owned()));
    if let Some(resource) = request.resource {
        message = message.add_extra_param("resource", resource);
    }
    let answer = message.request_async(&endpoint).await;
    answer
        .map_err(|error| failed(TOKEN_ENDPOINT, error))?
        .accept()
}

/// Gets a new access token for a refresh token (RFC 6749 section 6), for the scopes that were
/// given before.
///
/// Servers may give a new refresh token as well, and take a second use of the old one for theft:
/// so refresh once at a time, and store what comes before using it.
///
/// # Errors
/// After [`ErrorKind::InvalidGrant`] and [`ErrorKind::InvalidClient`] the refresh token is of no
/// more use; after all others it may be, later.
///
/// # Cancellation
/// The refresh token may be spent by then, and the new one lost: let a refresh finish in a task of
/// its own.
pub async fn refresh(
    http: &Http,
    server: &AuthorizationServer,
    client: &Client,
    resource: Option<&str>,
    refresh_token: &SecretString,
) -> Result<Tokens, Error> {
    let endpoint = Endpoint::new(http, TOKEN_ENDPOINT, &server.token_endpoint);
    let client = messages(client, server);
    let refresh_token = RefreshToken::new(refresh_token.expose_secret().to_owned());
    let mut message = client.exchange_refresh_token(&refresh_token);
    if let Some(resource) = resource {
        message = message.add_extra_param("resource", resource);
    }
    let answer = message.request_async(&endpoint).await;
    answer
        .map_err(|error| failed(TOKEN_ENDPOINT, error))?
        .accept()
}

/// Revokes a token (RFC 7009), preferably the refresh token: most servers take what came from it
/// along. Does nothing where the server has no endpoint for it.
///
/// # Errors
/// As for any request. A token that the server does not know is no error.
pub async fn revoke(
    http: &Http,
    server: &AuthorizationServer,
    client: &Client,
    token: &SecretString,
) -> Result<(), Error> {
    let Some(url) = &server.revocation_endpoint else {
        return Ok(());
    };
    let endpoint = Endpoint::new(http, REVOCATION_ENDPOINT, url);
    // The crate insists on https. Our egress rules are the judge of that, and the message goes
    // to `endpoint`, not to the URL in here.
    let mut https = url.clone();
    let _ = https.set_scheme("https");
    let client = messages(client, server).set_revocation_url(RevocationUrl::from_url(https));
    let token = RefreshToken::new(token.expose_secret().to_owned());
    let message = client.revoke_token(token.into()).map_err(|error| {
        Error::because(
            ErrorKind::Egress,
            "the revocation endpoint cannot be used",
            error,
        )
    })?;
    let answer = message.request_async(&endpoint).await;
    answer.map_err(|error| failed(REVOCATION_ENDPOINT, error))
}

/// The crate's client, with our answers.
type Messages = oauth2::Client<
    BasicErrorResponse,
    Answer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

fn messages(client: &Client, server: &AuthorizationServer) -> Messages {
    let messages = oauth2::Client::new(ClientId::new(client.id.clone()))
        .set_token_uri(TokenUrl::from_url(server.token_endpoint.clone()))
        .set_auth_type(match client.auth {
            TokenAuth::ClientSecretBasic => AuthType::BasicAuth,
            TokenAuth::ClientSecretPost | TokenAuth::None => AuthType::RequestBody,
        });
    match &client.secret {
        Some(secret) if client.auth != TokenAuth::None => {
            messages.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()))
        }
        _ => messages,
    }
}

/// An answer of the token endpoint (RFC 6749 section 5.1).
///
/// Our own, since the crate's refuses lifetimes that are written as text.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    access_token: AccessToken,
    token_type: BasicTokenType,
    #[serde(default, deserialize_with = "lifetime")]
    expires_in: Option<Duration>,
    refresh_token: Option<RefreshToken>,
    scope: Option<String>,
}

impl Answer {
    /// The tokens, if they can be used and kept.
    fn accept(self) -> Result<Tokens, Error> {
        if !self.token_type.as_ref().eq_ignore_ascii_case("bearer") {
            return Err(bad(
                TOKEN_ENDPOINT,
                "gives tokens that are not Bearer tokens",
            ));
        }
        let refresh_token = self
            .refresh_token
            .map(RefreshToken::into_secret)
            .filter(|token| !token.is_empty());
        Ok(Tokens {
            access_token: token(self.access_token.into_secret())?,
            refresh_token: refresh_token.map(token).transpose()?,
            expires_in: self.expires_in,
            scopes: self
                .scope
                .and_then(|scope| Scopes::parse(&scope).ok())
                .filter(|scopes| !scopes.is_empty()),
        })
    }
}

fn token(text: String) -> Result<SecretString, Error> {
    let text = SecretString::from(text);
    let bytes = text.expose_secret().as_bytes();
    if bytes.is_empty() || bytes.len() > MAX_TOKEN || !bytes.iter().all(u8::is_ascii_graphic) {
        return Err(bad(
            TOKEN_ENDPOINT,
            "gives a token that is empty, over 16 KiB, or has characters that no token has",
        ));
    }
    Ok(text)
}

/// Whole seconds, as a number or as text; so many that they are capped; 0 as if absent.
fn lifetime<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(f64),
        Text(String),
    }
    let seconds = match Option::<Written>::deserialize(deserializer)? {
        None => return Ok(None),
        Some(Written::Number(seconds)) => seconds,
        Some(Written::Text(text)) => text.parse().map_err(serde::de::Error::custom)?,
    };
    // Not a number is neither.
    if !(seconds >= 0.0 && seconds.fract() == 0.0) {
        return Err(serde::de::Error::custom("not a lifetime"));
    }
    let life = Duration::from_secs_f64(seconds.min(MAX_LIFE.as_secs_f64()));
    Ok(Some(life).filter(|life| !life.is_zero()))
}

impl TokenResponse for Answer {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        self.expires_in
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        // Read from `scope`, by our own rules.
        None
    }
}

/// Carries the crate's messages to one endpoint, and to no other.
struct Endpoint<'a> {
    http: &'a Http,
    what: &'static str,
    url: &'a Url,
}

impl<'a> Endpoint<'a> {
    fn new(http: &'a Http, what: &'static str, url: &'a Url) -> Self {
        Self { http, what, url }
    }

    async fn post(&self, request: HttpRequest) -> Result<HttpResponse, Error> {
        let mut answer = self.http.send(self.what, self.url, request).await?;
        if is_form(&answer) {
            let json = HeaderValue::from_static("application/json");
            *answer.body_mut() = form_as_json(answer.body())
                .ok_or_else(|| bad(self.what, "answers with a form that has a member twice"))?;
            answer.headers_mut().insert(CONTENT_TYPE, json);
        }
        // Some servers refuse with status 200.
        #[derive(Deserialize)]
        struct Refusal {
            #[serde(rename = "error")]
            _error: IgnoredAny,
        }
        if answer.status().is_success() && serde_json::from_slice::<Refusal>(answer.body()).is_ok()
        {
            *answer.status_mut() = StatusCode::BAD_REQUEST;
        }
        Ok(answer)
    }
}

impl<'c> AsyncHttpClient<'c> for Endpoint<'_> {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Error>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.post(request))
    }
}

fn is_form(answer: &HttpResponse) -> bool {
    let kind = answer.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// The same members in JSON; `None` if one is given twice.
fn form_as_json(form: &[u8]) -> Option<Vec<u8>> {
    let mut members = serde_json::Map::new();
    for (name, value) in form_urlencoded::parse(form) {
        if members.insert(name.into(), value.into()).is_some() {
            return None;
        }
    }
    serde_json::to_vec(&members).ok()
}

/// The crate's error as ours. Its own has bodies and descriptions in it, so it is no source.
fn failed<T>(what: &'static str, error: RequestTokenError<Error, StandardErrorResponse<T>>) -> Error
where
    T: oauth2::ErrorResponseType + AsRef<str>,
    StandardErrorResponse<T>: ErrorResponse,
{
    match error {
        RequestTokenError::ServerResponse(refusal) => Error::coded(what, refusal.error().as_ref()),
        RequestTokenError::Request(error) => error,
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            bad(what, "does not answer as OAuth 2.0 says")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Tokens, Error> {
        let answer: Answer =
            serde_json::from_str(json).map_err(|_| bad(TOKEN_ENDPOINT, "unreadable"))?;
        answer.accept()
    }

    fn life(written: &str) -> Result<Option<u64>, Error> {
        let json =
            format!(r#"{{"access_token": "a", "token_type": "bearer", "expires_in": {written}}}"#);
        Ok(read(&json)?.expires_in.map(|life| life.as_secs()))
    }

    #[test]
    fn lifetimes_are_whole_seconds_within_reason() {
        for (written, seconds) in [
            ("3600", Some(3600)),
            ("\"3600\"", Some(3600)),
            ("3600.0", Some(3600)),
            ("null", None),
            ("0", None),
            ("1000000000000000000", Some(MAX_LIFE.as_secs())),
            ("1e18", Some(MAX_LIFE.as_secs())),
        ] {
            assert_eq!(life(written).unwrap(), seconds, "{written}");
        }
        for written in [
            "-1",
            "\"-1\"",
            "3600.5",
            "\"\"",
            "\"soon\"",
            "\"NaN\"",
            "\"1e999\"",
            "[]",
            "true",
        ] {
            assert_eq!(
                life(written).unwrap_err().kind(),
                ErrorKind::BadResponse,
                "{written}"
            );
        }
    }

    #[test]
    fn only_tokens_that_fit_a_header_are_taken() {
        let with = |token: &str| {
            read(&serde_json::json!({"access_token": token, "token_type": "BEARER"}).to_string())
        };
        assert!(with("a.b-c_d~e+f/g==").is_ok());
        for token in [
            "",
            "a b",
            "a\r\nhost: evil",
            "é",
            "\u{7f}",
            &"a".repeat(MAX_TOKEN + 1),
        ] {
            let refused = with(token).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::BadResponse);
        }
    }

    #[test]
    fn what_is_optional_may_be_absent_or_empty() {
        let tokens = read(
            r#"{"access_token": "s3cret", "token_type": "Bearer", "refresh_token": "", "scope": ""}"#,
        )
        .unwrap();
        assert!(tokens.refresh_token.is_none() && tokens.scopes.is_none());
        assert!(!format!("{tokens:?}").contains("s3cret"));
        let scopes = read(r#"{"access_token": "a", "token_type": "bearer", "scope": "repo,gist"}"#);
        assert_eq!(scopes.unwrap().scopes.unwrap().to_string(), "gist repo");
    }

    #[test]
    fn other_types_and_doubled_members_are_refused() {
        for json in [
            r#"{"access_token": "a", "token_type": "mac"}"#,
            r#"{"access_token": "a", "token_type": "DPoP"}"#,
            r#"{"access_token": "a"}"#,
            r#"{"token_type": "bearer"}"#,
            r#"{"access_token": "a", "access_token": "b", "token_type": "bearer"}"#,
        ] {
            assert_eq!(
                read(json).unwrap_err().kind(),
                ErrorKind::BadResponse,
                "{json}"
            );
        }
    }
}
