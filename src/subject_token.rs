//! The token that says who a caller is, to be exchanged for one that a server takes.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::keyed::{Digest, Keyed};

/// The longest token in bytes; no header carries more.
const TOKEN_LEN: usize = 16 * 1024;

/// The claims that differ between two tokens which are otherwise the same: when and under which number
/// they were made.
const OF_ONE_TOKEN: [&str; 5] = ["auth_time", "exp", "iat", "jti", "nbf"];

/// The token that says who the caller of a request is, and what it says.
///
/// Put it into the request's extensions if the proxy's own authentication knows it, or have the layer take
/// it from a [header](crate::McpLayer::with_subject_header). Servers with
/// [`OAuthGrant::TokenExchange`](crate::registry::OAuthGrant::TokenExchange) then get a token of this
/// caller's own, for which it was exchanged at their authorization server (RFC 8693). No server gets it
/// itself; it is never stored, and `Debug` does not show it.
///
/// # Security
/// **Whoever puts it there vouches for it.** Only read claims are looked at here: a token that has expired,
/// or is for another audience or of another issuer than a server's record says, is sent nowhere. Its
/// signature is for the proxy, and for the authorization server, which exchanges no forged one.
///
/// ```
/// use mcp_layer::SubjectToken;
///
/// // {"iss": "https://login.example", "sub": "ann", "aud": "gateway", "exp": 4102444800}
/// let claims = "eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUiLCJzdWIiOiJhbm4iLCJhdWQiOiJnYXRld2F5IiwiZXhwIjo0MTAyNDQ0ODAwfQ";
/// let token = SubjectToken::from_jwt(format!("eyJhbGciOiJFUzI1NiJ9.{claims}.c2lnbmF0dXJl").into())?;
/// assert_eq!((token.issuer(), token.subject()), ("https://login.example", "ann"));
///
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(token);
/// # Ok::<(), mcp_layer::InvalidSubjectToken>(())
/// ```
#[derive(Clone)]
pub struct SubjectToken(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    token: SecretString,
    issuer: String,
    subject: String,
    audience: Vec<String>,
    expires_at: Option<SystemTime>,
    /// A hash of all that the token says of its subject, and does not say of itself.
    authority: Digest,
}

impl SubjectToken {
    /// Reads the claims of a JWT (RFC 7519). The signature is not checked.
    ///
    /// # Errors
    /// [`InvalidSubjectToken`] if it is no JWT, is over 16 KiB, or does not say whose it is and until when.
    pub fn from_jwt(token: SecretString) -> Result<Self, InvalidSubjectToken> {
        let claims = claims(token.expose_secret()).ok_or(InvalidSubjectToken::Form)?;
        let read: Claims = serde_json::from_value(Value::Object(claims.clone()))
            .map_err(|_| InvalidSubjectToken::Claims)?;
        if read.iss.is_empty() || read.sub.is_empty() {
            return Err(InvalidSubjectToken::Claims);
        }
        let mut authority = Keyed::new("claims");
        for (name, value) in &claims {
            if !OF_ONE_TOKEN.contains(&&**name) {
                authority.add(name);
                authority.add(value.to_string());
            }
        }
        // Until the year 9999; anything else is no date.
        let ends = Some(read.exp).filter(|exp| (0.0..253_402_300_800.0).contains(exp));
        let ends = ends.ok_or(InvalidSubjectToken::Claims)?;
        let audience = match read.aud {
            Some(Audience::One(one)) => vec![one],
            Some(Audience::Several(several)) => several,
            None => Vec::new(),
        };
        Ok(Self(Arc::new(Inner {
            token,
            issuer: read.iss,
            subject: read.sub,
            audience,
            expires_at: Some(UNIX_EPOCH + Duration::from_secs_f64(ends)),
            authority: authority.finish(),
        })))
    }

    /// Takes it off a header, perhaps after `Bearer `; `None` if there is none.
    pub(crate) fn take(
        headers: &mut HeaderMap,
        header: &HeaderName,
    ) -> Option<Result<Self, InvalidSubjectToken>> {
        let is_once = headers.get_all(header).iter().count() == 1;
        let value = headers.remove(header)?;
        if !is_once {
            return Some(Err(InvalidSubjectToken::Several));
        }
        let text = value.to_str().unwrap_or_default();
        let token = text.strip_prefix("Bearer ").unwrap_or(text);
        Some(Self::from_jwt(token.into()))
    }

    /// Creates a token that is no JWT, of which the proxy knows the rest, for instance by introspection (RFC
    /// 7662). It is for nobody until [`with_audience`](Self::with_audience) says so.
    ///
    /// # Errors
    /// [`InvalidSubjectToken::Form`] for a token that is empty, over 16 KiB, or has other characters than
    /// tokens have.
    pub fn opaque(
        token: SecretString,
        issuer: impl Into<String>,
        subject: impl Into<String>,
    ) -> Result<Self, InvalidSubjectToken> {
        let text = token.expose_secret();
        if !is_token(text) {
            return Err(InvalidSubjectToken::Form);
        }
        // Nothing is known of it, so each is another one.
        let authority = Keyed::new("opaque").with(text).finish();
        Ok(Self(Arc::new(Inner {
            token,
            issuer: issuer.into(),
            subject: subject.into(),
            audience: Vec::new(),
            expires_at: None,
            authority,
        })))
    }

    /// Replaces the audience: those whom the token is for.
    #[must_use]
    pub fn with_audience<A: Into<String>>(mut self, audience: impl IntoIterator<Item = A>) -> Self {
        let audience = audience.into_iter().map(Into::into).collect();
        Arc::make_mut(&mut self.0).audience = audience;
        self
    }

    /// Replaces the time when the token expires; default never.
    #[must_use]
    pub fn with_expiry(mut self, expires_at: SystemTime) -> Self {
        Arc::make_mut(&mut self.0).expires_at = Some(expires_at);
        self
    }

    /// Who issued the token.
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Whom it is about, as the issuer says it.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// Returns true if it is for `audience`, perhaps among others.
    pub(crate) fn is_for(&self, audience: &str) -> bool {
        self.0.audience.iter().any(|named| named == audience)
    }

    /// When it expires, if ever.
    pub(crate) fn expires_at(&self) -> Option<SystemTime> {
        self.0.expires_at
    }

    /// The token itself.
    pub(crate) fn token(&self) -> &SecretString {
        &self.0.token
    }

    /// A hash of all that the token says of its subject: the same for the next one, unless that may more, or
    /// less.
    pub(crate) fn authority(&self) -> Digest {
        self.0.authority
    }
}

impl fmt::Debug for SubjectToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectToken").finish_non_exhaustive()
    }
}

/// The reason why a text is no token of a caller's; it repeats no part of it.
///
/// In a request's extensions, in the place of a [`SubjectToken`], it is what the caller is told where a
/// server wants one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidSubjectToken {
    /// It is not a JWT, or no token at all.
    Form,
    /// It does not say who issued it, whom it is about, or when it expires.
    Claims,
    /// It came more than once, and nobody can guess which is meant.
    Several,
}

impl fmt::Display for InvalidSubjectToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "is not a signed JWT of at most 16 KiB",
            Self::Claims => "does not say who issued it, whom it is about, and when it expires",
            Self::Several => "is there more than once",
        })
    }
}

impl std::error::Error for InvalidSubjectToken {}

/// The claims that are read.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Option<Audience>,
    exp: f64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// The claims of a JWT in compact form; `None` if it has no signature.
fn claims(token: &str) -> Option<Map<String, Value>> {
    let parts: Vec<_> = token.split('.').collect();
    let [_, claims, signature] = parts[..] else {
        return None;
    };
    if !is_token(token) || signature.is_empty() {
        return None;
    }
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    serde_json::from_slice(&claims).ok()
}

fn is_token(text: &str) -> bool {
    (1..=TOKEN_LEN).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn jwt(claims: &Value) -> Result<SubjectToken, InvalidSubjectToken> {
        let encoded = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let token = format!("{}.{}.c2ln", encoded("{}"), encoded(&claims.to_string()));
        SubjectToken::from_jwt(token.into())
    }

    fn ann() -> Value {
        json!({"iss": "https://login.example", "sub": "ann", "aud": ["gateway", "other"],
            "exp": 2000.5, "iat": 1000, "jti": "1", "scope": "read write"})
    }

    #[test]
    fn claims_say_whose_it_is_for_whom_and_until_when() {
        let token = jwt(&ann()).unwrap();
        assert_eq!(
            (token.issuer(), token.subject()),
            ("https://login.example", "ann")
        );
        assert!(token.is_for("gateway") && token.is_for("other") && !token.is_for("gate"));
        let ends = UNIX_EPOCH + Duration::from_millis(2_000_500);
        assert_eq!(token.expires_at(), Some(ends));
        let mut nobodys = ann();
        nobodys["aud"] = Value::Null;
        assert!(!jwt(&nobodys).unwrap().is_for(""));
    }

    #[test]
    fn what_lacks_a_claim_or_a_signature_is_refused() {
        for (name, value) in [
            ("iss", Value::Null),
            ("iss", json!("")),
            ("sub", json!(7)),
            ("exp", Value::Null),
            ("exp", json!("soon")),
            ("exp", json!(-1)),
            ("exp", json!(1e300)),
            ("aud", json!({"a": 1})),
        ] {
            let mut claims = ann();
            claims[name] = value;
            assert_eq!(
                jwt(&claims).unwrap_err(),
                InvalidSubjectToken::Claims,
                "{claims}"
            );
        }
        for token in [
            "",
            "a.b",
            "a.b.c",
            "e30.e30.",
            "e30.e30.c2ln.c2ln",
            "e30.e30.c2 ln",
        ] {
            let refused = SubjectToken::from_jwt(token.into()).unwrap_err();
            let expected = InvalidSubjectToken::Form;
            assert_eq!(refused, expected, "{token}");
        }
        let long = "x".repeat(TOKEN_LEN + 1);
        assert!(SubjectToken::opaque(long.into(), "i", "s").is_err());
    }

    #[test]
    fn the_next_token_of_a_subject_is_like_the_last_unless_it_may_something_else() {
        let with = |name: &str, value: Value| {
            let mut claims = ann();
            claims[name] = value;
            jwt(&claims).unwrap().authority()
        };
        let last = jwt(&ann()).unwrap().authority();
        for (name, value) in [
            ("exp", json!(9000)),
            ("iat", json!(8000)),
            ("jti", json!("2")),
        ] {
            assert_eq!(with(name, value), last, "{name}");
        }
        for (name, value) in [
            ("scope", json!("read")),
            ("sub", json!("ben")),
            ("aud", json!("gateway")),
        ] {
            assert_ne!(with(name, value), last, "{name}");
        }
    }

    #[test]
    fn debug_shows_no_part_of_a_token() {
        let token = SubjectToken::opaque("s3cret".into(), "issuer", "ann").unwrap();
        assert_eq!(format!("{token:?}"), "SubjectToken { .. }");
    }
}
