//! What a provider says of somebody: the claims of an ID token, once everything about it is right.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::keys::Keys;
use crate::{
    oauth::error::{Error, ErrorKind},
    signing_algorithm::SigningAlgorithm as Algorithm,
};

/// The difference between a provider's clock and ours that does no harm.
const SKEW: Duration = Duration::from_secs(60);
/// The greatest age of a token that was just asked for.
const AGE: Duration = Duration::from_secs(10 * 60);

/// What a provider says of somebody.
#[derive(Clone, Debug)]
pub(crate) struct Claims(Map<String, Value>);

/// What a token must say.
#[derive(Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) client_id: &'a str,
    /// The nonce of a sign-in; a refreshed token need have none.
    pub(crate) nonce: Option<&'a str>,
    pub(crate) now: SystemTime,
}

/// The reason why a token is not taken.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// It is signed with a key that is not in the list, which may be older than the key.
    Key,
    /// It says what it must not say; nothing helps.
    Token(Error),
}

impl Wrong {
    /// The error where there is no such key, in a list that is new.
    pub(crate) fn no_key() -> Error {
        let text = "the provider's ID token is signed with a key that is not in its list; a new \
                    list is fetched once a minute at most";
        Error::new(ErrorKind::BadResponse, text)
    }
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl Claims {
    pub(super) fn new(claims: Map<String, Value>) -> Self {
        Self(claims)
    }

    /// Reads a signed token, and checks all that OpenID Connect Core 1.0 section 3.1.3.7 says.
    pub(crate) fn verify(token: &str, keys: &Keys, expected: &Expected<'_>) -> Result<Self, Wrong> {
        let (message, signature) = token
            .rsplit_once('.')
            .ok_or_else(|| wrong("is not signed"))?;
        let (head, payload) = message
            .split_once('.')
            .ok_or_else(|| wrong("is not signed"))?;
        let head: Head = decoded(head).ok_or_else(|| wrong("has an unreadable head"))?;
        let payload: Map<_, _> = decoded(payload).ok_or_else(|| wrong("has no readable claims"))?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature);
        let signature = signature.map_err(|_| wrong("has an unreadable signature"))?;
        // What we do not understand, and must (RFC 7515 section 4.1.11).
        if head.crit.is_some() {
            return Err(wrong("has an extension that is not known"));
        }
        let algorithm = Algorithm::named(&head.alg).ok_or_else(|| {
            wrong("is signed in a way that is not accepted: RS256, PS256, ES256 and EdDSA are")
        })?;
        let kid = head.kid.as_deref();
        match keys.verify(kid, algorithm, message.as_bytes(), &signature) {
            Ok(true) => {}
            Ok(false) => return Err(wrong("has a wrong signature")),
            Err(_) => return Err(Wrong::Key),
        }
        let claims = Self(payload);
        claims.check(expected).map_err(wrong)?;
        Ok(claims)
    }

    fn check(&self, expected: &Expected<'_>) -> Result<(), &'static str> {
        if self.text("iss") != Some(expected.issuer) {
            return Err("is another issuer's");
        }
        let is_one = match self.0.get("aud") {
            Some(Value::String(audience)) if audience == expected.client_id => true,
            Some(Value::Array(list)) if list.iter().any(|item| item == expected.client_id) => {
                list.len() == 1
            }
            _ => return Err("is for another client"),
        };
        match self.0.get("azp") {
            Some(party) if party != expected.client_id => {
                return Err("was given to another client");
            }
            None if !is_one => return Err("is for several clients, and does not say for which"),
            _ => {}
        }
        if let Some(nonce) = expected.nonce
            && self.text("nonce") != Some(nonce)
        {
            return Err("does not belong to this sign-in: its nonce is another");
        }
        if self.text("sub").is_none_or(str::is_empty) {
            return Err("says nobody's name");
        }
        let (exp, iat) = (self.time("exp"), self.time("iat"));
        let (Some(exp), Some(iat)) = (exp, iat) else {
            return Err("does not say when it was made and when it ends");
        };
        if exp + SKEW <= expected.now {
            return Err("has expired");
        }
        if iat > expected.now + SKEW || iat + AGE + SKEW < expected.now {
            return Err("was not made just now; check the clocks of both sides");
        }
        Ok(())
    }

    /// A claim that is a text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// A claim by its name, or by a path of names with full stops between them.
    pub(crate) fn at(&self, path: &str) -> Option<&Value> {
        // Some providers have names that are URLs.
        if let Some(value) = self.0.get(path) {
            return Some(value);
        }
        let (first, rest) = path.split_once('.')?;
        let first = self.0.get(first)?;
        rest.split('.')
            .try_fold(first, |value, name| value.get(name))
    }

    fn time(&self, name: &str) -> Option<SystemTime> {
        let seconds = self.0.get(name)?.as_f64()?;
        // Until the year 9999; anything else is no date.
        let seconds = (0.0..253_402_300_800.0)
            .contains(&seconds)
            .then_some(seconds)?;
        UNIX_EPOCH.checked_add(Duration::from_secs_f64(seconds))
    }
}

fn decoded<T: serde::de::DeserializeOwned>(part: &str) -> Option<T> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).ok()?;
    crate::oauth::tolerated::object(&bytes)
}

fn wrong(how: &str) -> Wrong {
    let text = format!("the provider's ID token {how}");
    Wrong::Token(Error::new(ErrorKind::BadResponse, text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(change: impl FnOnce(&mut Value)) -> Result<(), &'static str> {
        let mut claims = json!({
            "iss": "https://id.example", "aud": "gateway", "sub": "1", "nonce": "n",
            "iat": 1_000_000, "exp": 1_000_300,
        });
        change(&mut claims);
        let Value::Object(claims) = claims else {
            unreachable!()
        };
        Claims(claims).check(&Expected {
            issuer: "https://id.example",
            client_id: "gateway",
            nonce: Some("n"),
            now: UNIX_EPOCH + Duration::from_secs(1_000_010),
        })
    }

    #[test]
    fn what_a_token_must_say_it_must_say_exactly() {
        assert_eq!(check(|_| {}), Ok(()));
        assert_eq!(check(|c| c["aud"] = json!(["gateway"])), Ok(()));
        assert_eq!(
            check(|c| {
                c["aud"] = json!(["gateway", "b"]);
                c["azp"] = json!("gateway");
            }),
            Ok(())
        );
        for (name, value) in [
            ("iss", json!("https://id.example/")),
            ("iss", json!(null)),
            ("aud", json!("other")),
            ("aud", json!([])),
            ("aud", json!(["gateway", "b"])),
            ("aud", json!({"gateway": 1})),
            ("azp", json!("other")),
            ("azp", json!(null)),
            ("nonce", json!("m")),
            ("nonce", json!(null)),
            ("sub", json!("")),
            ("sub", json!(7)),
            ("exp", json!(999_900)),
            ("exp", json!("1000300")),
            ("exp", json!(1e300)),
            ("exp", json!(-1)),
            ("iat", json!(1_000_100)),
            ("iat", json!(999_000)),
            ("iat", json!(null)),
        ] {
            assert!(
                check(|c| c[name] = value.clone()).is_err(),
                "{name} {value}"
            );
        }
    }

    #[test]
    fn clocks_may_differ_by_a_minute() {
        assert_eq!(check(|c| c["exp"] = json!(999_960)), Ok(()));
        assert_eq!(check(|c| c["iat"] = json!(1_000_060)), Ok(()));
    }

    #[test]
    fn a_claim_is_found_by_its_name_or_its_path() {
        let Value::Object(claims) = json!({
            "a.b": 1, "a": {"b": 2, "c": {"d": 3}}, "https://x.example/roles": 4,
        }) else {
            unreachable!()
        };
        let claims = Claims(claims);
        for (path, expected) in [
            ("a.b", Some(1)),
            ("a.c.d", Some(3)),
            ("https://x.example/roles", Some(4)),
            ("a.c.x", None),
            ("b", None),
            ("", None),
        ] {
            assert_eq!(claims.at(path).and_then(Value::as_i64), expected, "{path}");
        }
    }
}
