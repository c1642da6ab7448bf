//! The rules between the fields of an OAuth 2.0 client.

use secrecy::ExposeSecret;
use url::Url;

use super::{
    error::Error,
    oauth_grant::OAuthGrant,
    oauth2::{NO_RESOURCE, OAuth2},
};
use crate::token_auth::TokenAuth;

impl OAuth2 {
    /// Checks the rules between the fields.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let id = self.client_id.as_deref();
        let secret = self.client_secret.as_ref().map(ExposeSecret::expose_secret);
        let others = [
            ("auth.key_id", &self.key_id),
            ("auth.audience", &self.audience),
            ("auth.subject_audience", &self.subject_audience),
            ("auth.subject_issuer", &self.subject_issuer),
        ];
        let others = others.map(|(field, text)| (field, text.as_deref()));
        let all = [("auth.client_id", id), ("auth.client_secret", secret)];
        for (field, text) in all.into_iter().chain(others) {
            // Such as the line break at the end of a file.
            if text.is_some_and(|text| text.is_empty() || text.chars().any(char::is_control)) {
                return Err(Error::invalid(field, "is empty or has control characters"));
            }
        }
        self.check_grant()?;
        if self.token_url.is_some() && id.is_none() {
            return Err(Error::invalid(
                "auth.client_id",
                "is needed where the URLs are given: there is nothing to register with",
            ));
        }
        for (field, url) in [
            ("auth.authorization_url", &self.authorization_url),
            ("auth.token_url", &self.token_url),
        ] {
            if let Some(url) = url {
                check_url(field, url)?;
            }
        }
        if let Some(issuer) = &self.issuer {
            let url = issuer
                .parse()
                .map_err(|_| Error::invalid("auth.issuer", NO_URL))?;
            check_url("auth.issuer", &url)?;
        }
        if let Some(resource) = &self.resource
            && resource != NO_RESOURCE
        {
            let url: Result<Url, _> = resource.parse();
            if url.map_or(true, |url| url.fragment().is_some()) {
                return Err(Error::invalid(
                    "auth.resource",
                    "not an absolute URI without a fragment, and not none",
                ));
            }
        }
        self.check_key()?;
        self.check_secret()
    }

    /// Checks what the grant needs, and that nothing is entered that it has no use for.
    fn check_grant(&self) -> Result<(), Error> {
        let of_exchange = [
            ("auth.audience", self.audience.is_some()),
            ("auth.subject_audience", self.subject_audience.is_some()),
            ("auth.subject_issuer", self.subject_issuer.is_some()),
            ("auth.subject_token_type", self.subject_token_type.is_some()),
        ];
        let is_exchange = self.grant == OAuthGrant::TokenExchange;
        let useless = of_exchange
            .into_iter()
            .find(|(_, given)| *given && !is_exchange);
        if let Some((field, _)) = useless {
            return Err(Error::invalid(field, "is for the grant token_exchange"));
        }
        if self.grant == OAuthGrant::AuthorizationCode {
            return match self.authorization_url.is_some() == self.token_url.is_some() {
                true => Ok(()),
                false => Err(Error::invalid(
                    "auth.token_url",
                    "authorization_url and token_url are given together, or discovered",
                )),
            };
        }
        if self.authorization_url.is_some() {
            return Err(Error::invalid(
                "auth.authorization_url",
                "is for browsers, and this grant needs none",
            ));
        }
        if self.client_id.is_none() {
            return Err(Error::invalid("auth.client_id", "is needed for this grant"));
        }
        if !self.has_proof() {
            return Err(Error::invalid(
                "auth.client_secret",
                "give a client_secret or a private_key: the gateway proves by it who it is",
            ));
        }
        if !is_exchange {
            return Ok(());
        }
        if self.subject_audience.is_none() {
            return Err(Error::invalid(
                "auth.subject_audience",
                "say for whom callers' tokens are: a token for somebody else is not exchanged",
            ));
        }
        match self.subject_issuer() {
            Some(_) => Ok(()),
            None => Err(Error::invalid(
                "auth.subject_issuer",
                "say who issues callers' tokens, or give the issuer that exchanges them",
            )),
        }
    }

    fn check_key(&self) -> Result<(), Error> {
        let has_key = self.private_key.is_some();
        if has_key && self.client_secret.is_some() {
            return Err(Error::invalid(
                "auth.private_key",
                "give either client_secret or private_key",
            ));
        }
        let of_keys = [
            ("auth.key_id", self.key_id.is_some()),
            ("auth.signing_algorithm", self.signing_algorithm.is_some()),
        ];
        match of_keys.into_iter().find(|(_, given)| *given && !has_key) {
            Some((field, _)) => Err(Error::invalid(field, "is for a private_key")),
            None => self.key().map(drop),
        }
    }

    fn check_secret(&self) -> Result<(), Error> {
        use TokenAuth::{ClientSecretBasic, ClientSecretPost, PrivateKeyJwt};
        let proof = match (&self.client_secret, &self.private_key) {
            (Some(_), _) => "client_secret",
            (None, Some(_)) => "private_key",
            (None, None) => {
                return match self.token_auth {
                    Some(ClientSecretBasic | ClientSecretPost) if self.client_id.is_some() => Err(
                        Error::invalid("auth.client_secret", "is needed for this token_auth"),
                    ),
                    Some(PrivateKeyJwt) => Err(Error::invalid(
                        "auth.private_key",
                        "is needed for this token_auth",
                    )),
                    _ => Ok(()),
                };
            }
        };
        if self.client_id.is_none() {
            let reason = format!("is needed where a {proof} is given");
            return Err(Error::invalid("auth.client_id", reason));
        }
        let is_used = match self.token_auth {
            None => true,
            Some(PrivateKeyJwt) => self.private_key.is_some(),
            Some(ClientSecretBasic | ClientSecretPost) => self.client_secret.is_some(),
            Some(TokenAuth::None) => false,
        };
        if !is_used {
            let reason = match self.token_auth {
                Some(TokenAuth::None) => format!("is none although a {proof} is given"),
                _ => format!("makes no use of the {proof} that is given"),
            };
            return Err(Error::invalid("auth.token_auth", reason));
        }
        if self.token_url.is_none() && self.issuer.is_none() {
            let urls = match self.grant {
                OAuthGrant::AuthorizationCode => "authorization_url and token_url",
                _ => "token_url",
            };
            let reason = format!(
                "say for which authorization server the {proof} is: give issuer, or {urls}"
            );
            return Err(Error::invalid("auth.issuer", reason));
        }
        Ok(())
    }
}

const NO_URL: &str = "not an absolute https URL without user and fragment";

/// Checks an endpoint. Plain http is accepted here; the egress rules decide whether it may be used.
fn check_url(field: &'static str, url: &Url) -> Result<(), Error> {
    let clean = matches!(url.scheme(), "https" | "http")
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none();
    clean
        .then_some(())
        .ok_or_else(|| Error::invalid(field, NO_URL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing_algorithm::SigningAlgorithm;

    fn fault(change: impl FnOnce(&mut OAuth2)) -> &'static str {
        let mut oauth = OAuth2 {
            client_id: Some("id".into()),
            client_secret: Some("s3cret".into()),
            authorization_url: Some("https://as.example/authorize".parse().unwrap()),
            token_url: Some("https://as.example/token".parse().unwrap()),
            ..OAuth2::default()
        };
        change(&mut oauth);
        match oauth.check() {
            Ok(()) => "",
            Err(Error::Invalid { field, .. }) => field,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn fields_that_do_not_go_together_are_refused() {
        assert_eq!(fault(|_| {}), "");
        assert_eq!(fault(|o| *o = OAuth2::default()), "");
        assert_eq!(fault(|o| o.token_url = None), "auth.token_url");
        assert_eq!(fault(|o| o.client_id = None), "auth.client_id");
        assert_eq!(
            fault(|o| o.client_id = Some("a\nb".into())),
            "auth.client_id"
        );
        for secret in ["", "s3cret\n"] {
            assert_eq!(
                fault(|o| o.client_secret = Some(secret.into())),
                "auth.client_secret"
            );
        }
        assert_eq!(
            fault(|o| o.token_auth = Some(TokenAuth::None)),
            "auth.token_auth"
        );
        assert_eq!(
            fault(|o| {
                o.client_secret = None;
                o.token_auth = Some(TokenAuth::ClientSecretPost);
            }),
            "auth.client_secret"
        );
        assert_eq!(
            fault(|o| o.resource = Some("not a uri".into())),
            "auth.resource"
        );
        assert_eq!(fault(|o| o.resource = Some("none".into())), "");
        assert_eq!(
            fault(|o| o.issuer = Some("as.example".into())),
            "auth.issuer"
        );
    }

    #[test]
    fn a_secret_is_for_one_authorization_server() {
        let discovered = |o: &mut OAuth2| {
            o.authorization_url = None;
            o.token_url = None;
        };
        assert_eq!(fault(discovered), "auth.issuer");
        assert_eq!(
            fault(|o| {
                discovered(o);
                o.issuer = Some("https://as.example".into());
            }),
            ""
        );
    }

    fn machine(o: &mut OAuth2) {
        o.grant = OAuthGrant::ClientCredentials;
        o.authorization_url = None;
    }

    fn exchange(o: &mut OAuth2) {
        machine(o);
        o.grant = OAuthGrant::TokenExchange;
        o.subject_audience = Some("gateway".into());
        o.subject_issuer = Some("https://login.example".into());
    }

    #[test]
    fn a_machine_is_known_by_its_proof_and_needs_no_browser() {
        let fault = |change: fn(&mut OAuth2)| {
            fault(|o| {
                machine(o);
                change(o);
            })
        };
        assert_eq!(fault(|_| {}), "");
        let url = |o: &mut OAuth2| o.authorization_url = "https://as.example/a".parse().ok();
        assert_eq!(fault(url), "auth.authorization_url");
        assert_eq!(fault(|o| o.client_id = None), "auth.client_id");
        assert_eq!(fault(|o| o.client_secret = None), "auth.client_secret");
        assert_eq!(fault(|o| o.token_url = None), "auth.issuer");
        let none = |o: &mut OAuth2| o.token_auth = Some(TokenAuth::None);
        assert_eq!(fault(none), "auth.token_auth");
        assert_eq!(fault(|o| o.audience = Some("a".into())), "auth.audience");
    }

    #[test]
    fn an_exchange_says_whose_tokens_it_takes() {
        let fault = |change: fn(&mut OAuth2)| {
            fault(|o| {
                exchange(o);
                change(o);
            })
        };
        assert_eq!(fault(|_| {}), "");
        assert_eq!(
            fault(|o| o.subject_audience = None),
            "auth.subject_audience"
        );
        assert_eq!(fault(|o| o.subject_issuer = None), "auth.subject_issuer");
        assert_eq!(
            fault(|o| o.subject_audience = Some("".into())),
            "auth.subject_audience"
        );
        assert_eq!(
            fault(|o| {
                o.subject_issuer = None;
                o.issuer = Some("https://as.example".into());
            }),
            ""
        );
    }

    #[test]
    fn a_key_is_read_where_it_is_entered() {
        let fault = |change: fn(&mut OAuth2)| {
            fault(|o| {
                machine(o);
                o.client_secret = None;
                o.private_key = Some(crate::private_key::tests::p256().into());
                change(o);
            })
        };
        assert_eq!(fault(|_| {}), "");
        assert_eq!(fault(|o| o.key_id = Some("k".into())), "");
        let key = |o: &mut OAuth2| o.private_key = Some("s3cret".into());
        assert_eq!(fault(key), "auth.private_key");
        let both = |o: &mut OAuth2| o.client_secret = Some("s3cret".into());
        assert_eq!(fault(both), "auth.private_key");
        let algorithm = |o: &mut OAuth2| o.signing_algorithm = Some(SigningAlgorithm::Rs256);
        assert_eq!(fault(algorithm), "auth.private_key");
        let post = |o: &mut OAuth2| o.token_auth = Some(TokenAuth::ClientSecretPost);
        assert_eq!(fault(post), "auth.token_auth");
        assert_eq!(fault(|o| o.token_url = None), "auth.issuer");
        let useless = |o: &mut OAuth2| {
            o.private_key = None;
            o.client_secret = Some("s3cret".into());
            o.key_id = Some("k".into());
        };
        assert_eq!(fault(useless), "auth.key_id");
    }

    #[test]
    fn only_web_addresses_are_endpoints() {
        for url in [
            "javascript:alert(1)",
            "data:text/html,x",
            "https://u@as.example/",
            "ftp://a/",
        ] {
            let url: Url = url.parse().unwrap();
            assert_eq!(
                fault(|o| o.authorization_url = Some(url.clone())),
                "auth.authorization_url"
            );
            assert_eq!(fault(|o| o.token_url = Some(url)), "auth.token_url");
        }
    }
}
