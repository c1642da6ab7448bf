//! Answers of the token endpoint.

use std::time::Duration;

use http::Response;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{
    endpoint::{accepted, unreadable},
    error::Error,
    http::{bad, unread},
    server::TOKEN_ENDPOINT,
    tolerated::{self, object},
};
use crate::scopes::Scopes;

/// The longest token in bytes; servers accept none this long in a header.
const MAX_TOKEN: usize = 16 * 1024;
/// The only type of token that MCP has, so what is meant where none is named.
const BEARER: &str = "Bearer";
/// What an exchange may issue.
const ISSUED: [&str; 2] = [
    "urn:ietf:params:oauth:token-type:access_token",
    "urn:ietf:params:oauth:token-type:jwt",
];

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
    /// say, or said what nobody can mean, such as 0.
    pub expires_in: Option<Duration>,
    /// The scopes granted, if the server said so. `None` means those that were requested.
    pub scopes: Option<Scopes>,
    /// The ID token, if the server is an OpenID provider and gave one. Nothing of it is checked.
    pub id_token: Option<SecretString>,
}

/// Reads an answer of the token endpoint.
pub(super) fn tokens(answer: Response<Vec<u8>>) -> Result<Tokens, Error> {
    let said = unread(&answer);
    let json = accepted(TOKEN_ENDPOINT, answer)?;
    let tokens = object::<Answer>(&json).map(Answer::accept);
    let tokens = tokens.unwrap_or_else(|| Err(unreadable(TOKEN_ENDPOINT)));
    tokens.map_err(|error| error.saying(said))
}

/// Reads the answer to an exchange: it says what was issued (RFC 8693 section 2.2.1). One that does not
/// is held to its `token_type` alone.
pub(super) fn issued(answer: Response<Vec<u8>>) -> Result<Tokens, Error> {
    #[derive(Deserialize)]
    struct Issued {
        issued_token_type: Option<String>,
    }
    let said = unread(&answer);
    let issued: Option<Issued> = object(answer.body());
    let tokens = tokens(answer)?;
    let issued = issued.and_then(|issued| issued.issued_token_type);
    match issued.is_none_or(|issued| ISSUED.contains(&&*issued)) {
        true => Ok(Tokens {
            refresh_token: None,
            ..tokens
        }),
        false => {
            let fault = bad(TOKEN_ENDPOINT, "issues something else than an access token");
            Err(fault.saying(said))
        }
    }
}

/// Tokens as they are written (RFC 6749 section 5.1), or nearly so: [`tolerated`] has the reasons.
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    token_type: Option<String>,
    #[serde(default, deserialize_with = "tolerated::lifetime")]
    expires_in: Option<Duration>,
    #[serde(default, deserialize_with = "tolerated::text")]
    refresh_token: Option<String>,
    #[serde(default, deserialize_with = "tolerated::scopes")]
    scope: Option<Scopes>,
    #[serde(default, deserialize_with = "tolerated::text")]
    id_token: Option<String>,
}

impl Answer {
    /// The tokens, if they can be used and kept.
    fn accept(self) -> Result<Tokens, Error> {
        let kind = self.token_type.as_deref().unwrap_or(BEARER);
        if !kind.eq_ignore_ascii_case(BEARER) {
            return Err(bad(
                TOKEN_ENDPOINT,
                "gives tokens that are not Bearer tokens",
            ));
        }
        let refresh_token = self.refresh_token.map(token).transpose()?;
        // Not needed for what most tokens are for, so it is no reason to refuse those.
        let id_token = self.id_token.and_then(|text| token(text).ok());
        Ok(Tokens {
            access_token: token(self.access_token)?,
            refresh_token,
            expires_in: self.expires_in,
            scopes: self.scope,
            id_token,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::{ErrorKind, tolerated::MAX_LIFE};

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
            ("3599.9", Some(3599)),
            ("\"3600.5\"", Some(3600)),
            ("1000000000000000000", Some(MAX_LIFE.as_secs())),
            ("1e18", Some(MAX_LIFE.as_secs())),
            ("1e999", Some(MAX_LIFE.as_secs())),
            ("\"1e999\"", Some(MAX_LIFE.as_secs())),
        ] {
            assert_eq!(life(written).unwrap(), seconds, "{written}");
        }
    }

    #[test]
    fn a_lifetime_that_is_none_counts_as_absent() {
        for written in [
            "null",
            "0",
            "0.5",
            "-1",
            "\"-1\"",
            "-1e999",
            "\"\"",
            "\"soon\"",
            "\"3600abc\"",
            "\"NaN\"",
            "\"inf\"",
            "[]",
            "[60]",
            "{\"a\": 60}",
            "true",
        ] {
            assert_eq!(life(written).unwrap(), None, "{written}");
        }
    }

    #[test]
    fn an_optional_member_of_another_type_is_ignored() {
        for json in [
            r#"{"access_token": "a", "refresh_token": 7, "scope": 7}"#,
            r#"{"access_token": "a", "refresh_token": null, "scope": null, "token_type": null}"#,
            r#"{"access_token": "a", "refresh_token": ["b"], "scope": ["a", 1]}"#,
            r#"{"access_token": "a", "refresh_token": {}, "scope": {"a": "b"}, "id_token": []}"#,
            r#"{"access_token": "a", "scope": "no \"quotes\""}"#,
        ] {
            let tokens = read(json).unwrap();
            assert!(
                tokens.refresh_token.is_none() && tokens.scopes.is_none(),
                "{json}"
            );
        }
        let listed = r#"{"access_token": "a", "scope": ["b", "a"]}"#;
        assert_eq!(read(listed).unwrap().scopes.unwrap().to_string(), "a b");
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
            r#"{"access_token": "a", "token_type": ""}"#,
            r#"{"access_token": "a", "token_type": ["bearer"]}"#,
            r#"{"access_token": 1, "token_type": "bearer"}"#,
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
