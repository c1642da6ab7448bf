//! What the token endpoint gives.

use std::time::Duration;

use oauth2::{AccessToken, RefreshToken, Scope, TokenResponse, basic::BasicTokenType};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};

use super::{error::Error, http::bad, server::TOKEN_ENDPOINT};
use crate::scopes::Scopes;

/// Longer than any token that servers take in a header.
const MAX_TOKEN: usize = 16 * 1024;
/// Nobody means a longer life, and so much can be added to any date.
const MAX_LIFE: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Tokens that an authorization server has given. `Debug` does not show them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tokens {
    /// For the `Authorization` header, after `Bearer `: visible ASCII, 16 KiB at most.
    pub access_token: SecretString,
    /// For [`refresh`](super::refresh). `None` in the answer to a refresh: the old one stays good.
    pub refresh_token: Option<SecretString>,
    /// How long the access token is good from now on, 366 days at most. `None` if the server did
    /// not say, or said 0, which nobody can mean.
    pub expires_in: Option<Duration>,
    /// What was given, where the server said so. `None`: what was asked for.
    pub scopes: Option<Scopes>,
}

/// An answer of the token endpoint (RFC 6749 section 5.1).
///
/// Our own, since the crate's refuses lifetimes that are written as text.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    access_token: AccessToken,
    token_type: BasicTokenType,
    #[serde(default, deserialize_with = "lifetime")]
    expires_in: Option<Duration>,
    refresh_token: Option<RefreshToken>,
    scope: Option<String>,
}

impl Answer {
    /// The tokens, if they can be used and kept.
    pub(super) fn accept(self) -> Result<Tokens, Error> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::ErrorKind;

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
