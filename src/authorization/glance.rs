//! A quick look at a stored credential, on the path of every request: is its token fresh, and does
//! it still fit the operator's record?
//!
//! Usually both are true, and then only that much is read: nothing but the token is copied, and no
//! URL is parsed. Otherwise [`Credential`](super::credential::Credential) reads everything.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::credential::{Freshness, Origin, freshness};
use crate::{
    connect::access::Token,
    registry::{OAuth2, StoredCredential},
    secret::ExposeSecret,
};

/// The JSON of [`ClientOrigin::Entered`](super::credential::ClientOrigin).
const ENTERED: &str = "\"entered\"";

/// The members of a [`Credential`](super::credential::Credential) that a request needs, borrowed.
/// Texts with escapes cannot be borrowed, so such a credential is not read here; tokens and
/// addresses have none.
#[derive(Deserialize)]
struct Glance<'a> {
    grant: &'a str,
    #[serde(borrow)]
    server: Server<'a>,
    #[serde(borrow)]
    client: Client<'a>,
    resource: Option<&'a str>,
    #[serde(borrow)]
    tokens: Tokens<'a>,
    #[serde(default)]
    bound: Option<&'a str>,
}

#[derive(Deserialize)]
struct Server<'a> {
    issuer: Option<&'a str>,
    token_endpoint: &'a str,
}

#[derive(Deserialize)]
struct Client<'a> {
    id: &'a str,
    #[serde(borrow)]
    origin: &'a RawValue,
}

#[derive(Deserialize)]
struct Tokens<'a> {
    access: &'a str,
    obtained_at: u64,
    expires_at: Option<u64>,
}

/// The token of `stored`, if it is fresh and fits the record.
pub(super) fn fresh_token(stored: &StoredCredential, record: &OAuth2, now: u64) -> Option<Token> {
    let glance: Glance<'_> = serde_json::from_str(stored.secret.expose_secret()).ok()?;
    let Glance {
        grant,
        server,
        client,
        resource,
        tokens,
        bound,
    } = glance;
    let origin = Origin {
        entered: client.origin.get() == ENTERED,
        client_id: client.id,
        token_endpoint: server.token_endpoint,
        issuer: server.issuer,
        resource,
        bound,
    };
    let fresh = freshness(tokens.obtained_at, tokens.expires_at, now) == Freshness::Fresh;
    (fresh && origin.fits(record)).then(|| Token {
        value: tokens.access.into(),
        grant: grant.into(),
        version: stored.version,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        authorization::credential::{ClientOrigin, Credential, StoredClient},
        oauth::{AuthorizationServer, Client, Tokens},
        registry::OAuthGrant,
        scopes::Scopes,
        token_auth::TokenAuth,
    };

    fn stored(origin: ClientOrigin) -> StoredCredential {
        let url = |path: &str| format!("https://as.example{path}").parse().unwrap();
        let issuer = Some("https://as.example".to_owned());
        let server = AuthorizationServer::typed(url("/authorize"), url("/token"), issuer).unwrap();
        let auth = Some(TokenAuth::None);
        let client = Client::new("client", None, auth, &server).unwrap();
        let tokens = Tokens {
            access_token: "access-1".into(),
            refresh_token: None,
            expires_in: Some(Duration::from_secs(3600)),
            scopes: None,
            id_token: None,
        };
        let client = StoredClient::new(client, origin);
        let resource = Some("https://mcp.example".to_owned());
        let all = Credential::new(server, client, resource, Scopes::default(), tokens, 1000);
        StoredCredential {
            version: 7,
            secret: all.write(),
        }
    }

    fn record(change: impl FnOnce(&mut OAuth2)) -> OAuth2 {
        let mut record = OAuth2::default();
        change(&mut record);
        record
    }

    #[test]
    fn what_a_glance_sees_is_what_is_stored() {
        let stored = stored(ClientOrigin::Entered);
        let fits = record(|record| record.client_id = Some("client".to_owned()));
        let token = fresh_token(&stored, &fits, 1001).unwrap();
        let all = Credential::read(&stored.secret).unwrap();
        assert_eq!(token.value.expose_secret(), "access-1");
        assert_eq!((&*token.grant, token.version), (&*all.grant, 7));
        assert!(all.fits(&fits));
        for other in [
            record(|_| {}),
            record(|record| record.client_id = Some("other".to_owned())),
            record(|record| {
                record.client_id = Some("client".to_owned());
                record.issuer = Some("https://other.example".to_owned());
            }),
            record(|record| {
                record.client_id = Some("client".to_owned());
                record.resource = Some("https://other.example".to_owned());
            }),
            record(|record| {
                record.client_id = Some("client".to_owned());
                record.token_url = "https://other.example/token".parse().ok();
            }),
        ] {
            assert!(fresh_token(&stored, &other, 1001).is_none(), "{other:?}");
            assert!(!all.fits(&other), "{other:?}");
        }
    }

    #[test]
    fn a_client_that_nobody_entered_is_known_by_its_origin() {
        let here = "https://gateway.example/callback".parse().unwrap();
        for origin in [ClientOrigin::Document, ClientOrigin::Registered(here)] {
            let stored = stored(origin);
            assert!(fresh_token(&stored, &record(|_| {}), 1001).is_some());
            let entered = record(|record| record.client_id = Some("client".to_owned()));
            assert!(fresh_token(&stored, &entered, 1001).is_none());
        }
    }

    #[test]
    fn a_persons_token_is_never_the_gateways_own() {
        let persons = stored(ClientOrigin::Entered);
        let entered = record(|record| record.client_id = Some("client".to_owned()));
        let machine = OAuth2 {
            grant: OAuthGrant::ClientCredentials,
            ..entered.clone()
        };
        let all = Credential::read(&persons.secret).unwrap();
        let own = StoredCredential {
            version: 7,
            secret: all.of_machine(&machine, None).write(),
        };
        let others = OAuth2 {
            scopes: Scopes::parse("other").unwrap(),
            ..machine.clone()
        };
        for (stored, record, fits) in [
            (&persons, &entered, true),
            (&persons, &machine, false),
            (&own, &machine, true),
            (&own, &entered, false),
            (&own, &others, false),
        ] {
            assert_eq!(
                fresh_token(stored, record, 1001).is_some(),
                fits,
                "{record:?}"
            );
            let all = Credential::read(&stored.secret).unwrap();
            assert_eq!(all.fits(record), fits, "{record:?}");
        }
    }

    #[test]
    fn a_token_that_is_not_fresh_is_left_to_a_closer_look() {
        let stored = stored(ClientOrigin::Document);
        let record = record(|_| {});
        assert!(fresh_token(&stored, &record, 4539).is_some());
        for late in [4540, 4600, u64::MAX] {
            assert!(fresh_token(&stored, &record, late).is_none());
        }
    }
}
