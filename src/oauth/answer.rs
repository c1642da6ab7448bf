//! Answers of the token endpoint.

use std::time::Duration;

use http::Response;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

use super::{
    endpoint::{accepted, is_readable, unreadable},
    error::Error,
    http::{bad, object},
    server::TOKEN_ENDPOINT,
};
use crate::scopes::Scopes;

/// The longest token in bytes; servers accept none this long in a header.
const MAX_TOKEN: usize = 16 * 1024;
/// The longest lifetime. Nobody means a longer one, and this can be added to any date.
const MAX_LIFE: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Tokens issued by an authorization server. `Debug` does not show them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tokens {
    /// The access token, to be sent in the `Authorization` header after `Bearer `: visible ASCII,
    /// 16 KiB at most.
    pub access_token: SecretString,
    /// The token for [`refresh`](super::refresh). `None` in the answer to a refresh means that the
    /// old one stays valid.
    pub refresh_token: Option<SecretString>,
    /// Lifetime of the access token from now on, at most 366 days. `None` if the server did not
    /// say, or said 0, which nobody can mean.
    pub expires_in: Option<Duration>,
    /// The scopes granted, if the server said so. `None` means those that were requested.
    pub scopes: Option<Scopes>,
}

/// Reads an answer of the token endpoint.
pub(super) fn tokens(answer: Response<Vec<u8>>) -> Result<Tokens, Error> {
    let is_readable = is_readable(&answer);
    let json = accepted(TOKEN_ENDPOINT, answer)?;
    match object::<Answer>(&json) {
        Some(answer) if is_readable => answer.accept(),
        _ => Err(unreadable(TOKEN_ENDPOINT)),
    }
}

/// Tokens as they are written (RFC 6749 section 5.1).
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    token_type: String,
    #[serde(default, deserialize_with = "lifetime")]
    expires_in: Option<Duration>,
    refresh_token: Option<String>,
    scope: Option<String>,
}

impl Answer {
    /// The tokens, if they can be used and kept.
    fn accept(self) -> Result<Tokens, Error> {
        if !self.token_type.eq_ignore_ascii_case("bearer") {
            return Err(bad(
                TOKEN_ENDPOINT,
                "gives tokens that are not Bearer tokens",
            ));
        }
        let refresh_token = self.refresh_token.filter(|token| !token.is_empty());
        Ok(Tokens {
            access_token: token(self.access_token)?,
            refresh_token: refresh_token.map(token).transpose()?,
            expires_in: self.expires_in,
            scopes: self
                .scope
                .and_then(|scope| Scopes::parse(&scope).ok())
                .filter(|scopes| !scopes.is_empty()),
        })
    }
}

/// Checks that a token fits into a header, so that it cannot add one.
fn token(text: String) -> Result<SecretString, Error> {
    let text = SecretString::from(text);
    let bytes = text.expose_secret().as_bytes();
    if bytes.is_empty() || bytes.len() > MAX_TOKEN || !bytes.iter().all(u8::is_ascii_graphic) {
        return Err(bad(
            TOKEN_ENDPOINT,
            "gives a token that is empty, over 16 KiB, or has invalid characters",
        ));
    }
    Ok(text)
}

/// Reads whole seconds, as a number or as text, capped at [`MAX_LIFE`]; 0 counts as absent.
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
    // NaN fails both conditions.
    if !(seconds >= 0.0 && seconds.fract() == 0.0) {
        return Err(serde::de::Error::custom("not a lifetime"));
    }
    let life = Duration::from_secs_f64(seconds.min(MAX_LIFE.as_secs_f64()));
    Ok(Some(life).filter(|life| !life.is_zero()))
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
