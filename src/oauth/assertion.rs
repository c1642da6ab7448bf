//! The assertion by which a client with a private key proves who it is (RFC 7523 section 2.2).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::SecretString;
use serde_json::json;

use super::error::{Error, ErrorKind};
use crate::{hex::hex, private_key::PrivateKey, random::fill_random};

/// The value of `client_assertion_type`.
pub(super) const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The life of an assertion: the request's own 15 s, and clocks that differ by a minute and a half.
const LIFE: Duration = Duration::from_secs(2 * 60);

/// Signs that `client` asks, for one request to the authorization server that is called `audience`.
///
/// The time is the real one: another machine compares it with its own.
pub(super) fn sign(client: &str, key: &PrivateKey, audience: &str) -> Result<SecretString, Error> {
    let mut id = [0; 16];
    fill_random(&mut id);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default();
    signed(client, key, audience, &hex(&id), now)
}

fn signed(
    client: &str,
    key: &PrivateKey,
    audience: &str,
    id: &str,
    now: Duration,
) -> Result<SecretString, Error> {
    let mut head = json!({"alg": key.algorithm().name(), "typ": "JWT"});
    if let Some(id) = key.id() {
        head["kid"] = id.into();
    }
    let claims = json!({
        "iss": client,
        "sub": client,
        "aud": audience,
        "jti": id,
        "iat": now.as_secs(),
        "exp": (now + LIFE).as_secs(),
    });
    let [head, claims] = [head, claims].map(|part| encoded(part.to_string().as_bytes()));
    let message = format!("{head}.{claims}");
    let signature = key.sign(message.as_bytes()).ok_or_else(|| {
        let text = "the client's assertion could not be signed";
        Error::new(ErrorKind::Registration, text)
    })?;
    Ok(format!("{message}.{}", encoded(&signature)).into())
}

fn encoded(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde_json::Value;

    use super::*;
    use crate::private_key::tests::p256;

    #[test]
    fn an_assertion_says_who_asks_whom_and_until_when() {
        let key = PrivateKey::parse(&p256().into(), None).unwrap();
        let key = key.with_id(Some("key-1".to_owned()));
        let now = Duration::from_secs(1000);
        let signed = signed("gateway", &key, "https://as.example", "7", now).unwrap();
        let parts: Vec<_> = signed.expose_secret().split('.').collect();
        let read = |part: &str| -> Value {
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        assert_eq!(
            read(parts[0]),
            json!({"alg": "ES256", "typ": "JWT", "kid": "key-1"})
        );
        assert_eq!(
            read(parts[1]),
            json!({"iss": "gateway", "sub": "gateway", "aud": "https://as.example", "jti": "7",
                "iat": 1000, "exp": 1120})
        );
        assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(parts[2]).unwrap().len(), 64);
    }

    #[test]
    fn no_two_assertions_are_the_same() {
        let key = PrivateKey::parse(&p256().into(), None).unwrap();
        let [a, b] = [(); 2].map(|()| sign("gateway", &key, "https://as.example").unwrap());
        assert_ne!(a.expose_secret(), b.expose_secret());
    }
}
