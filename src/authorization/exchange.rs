//! The exchange of callers' tokens for tokens of their own for a server (RFC 8693).
//!
//! What was exchanged stays in memory, in one process, until a minute before it expires, and is known by
//! everything that it depends on: organization, project, server and its record, issuer, subject and the
//! very token. So nobody gets what was made for somebody else, and a token that may do less gets no more.
//! Callers who come at once with the same token wait for one exchange.
//!
//! Nobody but the authorization server can tell a good token from one that somebody has made up. So what is
//! answered to one caller's tokens holds for that caller, until another one meets the same; and each may
//! bring as many new ones as of those that are passed through.
//!
//! Sessions and lists of tools outlive a token: they belong to a subject with its rights
//! ([`SubjectToken::authority`]), not to the token that says so today.

use std::{sync::Arc, time::SystemTime};

use tokio::time::timeout;

use super::{
    authorizations::{Authorizations, Inner},
    credential::entered,
    error::Error,
    machine::{PATIENCE, slow},
    text::seconds,
};
use crate::{
    caller::Subject,
    connect::access::Token,
    hex::hex,
    inactive::Inactive,
    keyed::{Digest, Keyed},
    oauth::{self, ErrorKind, Exchange, Tokens},
    registry::{CredentialKey, OAuth2, Server},
    secret::ExposeSecret,
    subject_token::SubjectToken,
};

impl Authorizations {
    /// The token of `subject` for `server`; another one than the `refused`, if that was the answer to it.
    ///
    /// Whoever hangs up meanwhile leaves the exchange to the next.
    pub(super) async fn exchanged(
        &self,
        server: &Server,
        record: &OAuth2,
        subject: Option<&Subject>,
        refused: Option<&Token>,
    ) -> Result<Token, Inactive> {
        let inner = &self.inner;
        let subject = subject.ok_or(Inactive::TokenMissing)?;
        check(record, &subject.token, (inner.now)())?;
        let (grant, name) = names(server, record, subject);
        let kept = inner.exchanges.slot(name);
        let mut slot = kept.lock().await;
        let now = seconds((inner.now)());
        if let Some(token) = slot.usable(refused, now) {
            return Ok(token.clone());
        }
        slot.may_try(refused)?;
        let key = CredentialKey::of(server);
        inner.flights.may_try(&key, server.version)?;
        let payer = subject.whose.payer;
        if slot.is_new() && !inner.exchanges.may_bring(payer) {
            return Err(Inactive::TooManyCredentials);
        }
        if refused.is_some() {
            slot.force();
        }
        let exchanging = inner.exchange(server, record, &subject.token);
        let exchanged = timeout(PATIENCE, exchanging).await;
        inner.refreshes.count(matches!(exchanged, Ok(Ok(Ok(_)))));
        let Ok(exchanged) = exchanged else {
            if !inner.is_of_one(server, record, payer) {
                return Err(inner.of_all(server, || slow(server)));
            }
            let inactive = slow(server);
            slot.refuse(inactive.clone(), None);
            return Err(inactive);
        };
        let error = match exchanged {
            Ok(Ok(tokens)) => {
                inner.flights.succeeded(&key);
                let token = inner.exchanges.issued(&tokens, &hex(&grant));
                slot.keep(token.clone(), tokens.expires_in, now);
                inner.exchanges.succeeded(&key, name, kept.clone());
                return Ok(token);
            }
            Ok(Err(error)) => {
                if let Some(inactive) = inner.of_one(server, record, payer, &error) {
                    slot.refuse(inactive.clone(), error.retry_after());
                    return Err(inactive);
                }
                error.into()
            }
            Err(error) => error,
        };
        Err(inner.of_all(server, || inner.without_token(server, record, &error)))
    }
}

impl Inner {
    /// Exchanges a token at the authorization server of the record; the inner error is what the token met
    /// there.
    async fn exchange(
        &self,
        server: &Server,
        record: &OAuth2,
        subject: &SubjectToken,
    ) -> Result<Result<Tokens, oauth::Error>, Error> {
        let http = self.way(server);
        let key = CredentialKey::of(server);
        let name = bound(server, record).finish();
        if self.flights.is_troubled(&key) {
            // It may have moved.
            self.exchanges.targets.invalidate(&name);
        }
        let target = match self.exchanges.targets.get(&name) {
            Some(target) => target,
            None => {
                let found = self.direct_target(server, record, &http).await?;
                let found = Arc::new(found);
                self.exchanges.targets.insert(name, found.clone());
                found
            }
        };
        let id = record.client_id.as_deref().unwrap_or_default();
        let client = entered(record, id, &target.server)?;
        let exchange = Exchange {
            subject_token: subject.token(),
            subject_token_type: record.subject_token_type.unwrap_or_default(),
            audience: record.audience.as_deref(),
            resource: target.resource.as_deref(),
            scopes: &target.scopes,
        };
        Ok(oauth::exchange_token(&http, &target.server, &client, &exchange).await)
    }

    /// What the answer to a token of `payer` means to that caller alone; `None` if it means the same to all.
    fn of_one(
        &self,
        server: &Server,
        record: &OAuth2,
        payer: Digest,
        error: &oauth::Error,
    ) -> Option<Inactive> {
        let is_unfit = is_about_the_subject(error.kind());
        if !is_unfit && (is_about_the_gateway(error) || !self.is_of_one(server, record, payer)) {
            return None;
        }
        let said = error.said();
        tracing::warn!(server = %server.name, %error, said, "a caller's token was not exchanged");
        Some(match is_unfit {
            true => Inactive::TokenUnfit {
                message: error.to_string().into(),
            },
            false => Inactive::unreachable("there is no token for it"),
        })
    }

    /// Returns `true` for a failure that no caller but `payer` has met lately; the authorization server is
    /// then looked for again.
    fn is_of_one(&self, server: &Server, record: &OAuth2, payer: Digest) -> bool {
        let is_shared = (self.exchanges).is_shared(&CredentialKey::of(server), payer);
        if !is_shared {
            // It may have moved.
            let name = bound(server, record).finish();
            self.exchanges.targets.invalidate(&name);
        }
        !is_shared
    }

    /// Leaves the server's authorization server alone for a while, since nobody gets a token; `tell` tells
    /// the operator why, and returns what callers are told.
    fn of_all(&self, server: &Server, tell: impl FnOnce() -> Inactive) -> Inactive {
        let key = CredentialKey::of(server);
        if let Err(inactive) = self.flights.may_try(&key, server.version) {
            // Somebody else has just failed; once is enough.
            return inactive;
        }
        let inactive = tell();
        self.flights.failed(&key, server.version, inactive.clone());
        inactive
    }
}

/// Returns `true` for an error that no token is the reason of. No answer may be one: a server can be slow with
/// what it does not like.
fn is_about_the_gateway(error: &oauth::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidClient | ErrorKind::Egress)
}

/// Returns `true` for a refusal that may be of one subject alone. RFC 8693 section 2.2.2 has `invalid_request`
/// for a token that is not taken.
fn is_about_the_subject(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidGrant
            | ErrorKind::InvalidScope
            | ErrorKind::InvalidTarget
            | ErrorKind::Denied
            | ErrorKind::Refused
    )
}

/// Refuses a token that is not for the gateway, or not the issuer's whom the record names, or has expired: it
/// is sent nowhere.
fn check(record: &OAuth2, token: &SubjectToken, now: SystemTime) -> Result<(), Inactive> {
    let is_for_us = record.subject_audience.as_deref();
    let is_for_us = is_for_us.is_some_and(|audience| token.is_for(audience));
    let is_issuers = record.subject_issuer() == Some(token.issuer());
    let fault = match token.expires_at() {
        _ if !is_issuers => "it is another issuer's",
        _ if !is_for_us => "it is for another audience",
        Some(ends) if ends <= now => "it has expired",
        _ => return Ok(()),
    };
    Err(Inactive::TokenUnfit {
        message: fault.into(),
    })
}

/// The names of a subject with its rights at a server, and of one token of it.
fn names(server: &Server, record: &OAuth2, subject: &Subject) -> (Digest, Digest) {
    let token = &subject.token;
    let grant = bound(server, record)
        .with(subject.whose.project)
        .with(token.issuer())
        .with(token.subject())
        .with(token.authority())
        .finish();
    let exact = Keyed::new("exchanged token")
        .with(grant)
        .with(token.token().expose_secret());
    (grant, exact.finish())
}

/// A hash of the server, and of all in its record that a token depends on.
fn bound(server: &Server, record: &OAuth2) -> Keyed {
    let mut hash = Keyed::new("exchanged for")
        .with(&*server.organization)
        .with(server.id.as_str())
        .with(server.url.as_str());
    for part in [
        record.client_id.as_deref(),
        record.issuer.as_deref(),
        record.token_url.as_ref().map(url::Url::as_str),
        record.resource.as_deref(),
        record.audience.as_deref(),
        record.subject_audience.as_deref(),
        record.subject_issuer(),
    ] {
        hash.add_optional(part);
    }
    hash.add(record.scopes.to_string());
    hash.with(record.subject_token_type.unwrap_or_default().uri())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::{project::Project, registry::OAuthGrant, whose::Whose};

    fn record() -> OAuth2 {
        OAuth2 {
            grant: OAuthGrant::TokenExchange,
            subject_audience: Some("gateway".to_owned()),
            subject_issuer: Some("https://login.example".to_owned()),
            ..OAuth2::default()
        }
    }

    fn token(text: &str, issuer: &str, subject: &str) -> SubjectToken {
        let token = SubjectToken::opaque(text.into(), issuer, subject).unwrap();
        token
            .with_audience(["gateway"])
            .with_expiry(UNIX_EPOCH + Duration::from_secs(1000))
    }

    #[test]
    fn a_token_that_is_not_for_us_is_sent_nowhere() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let good = token("a", "https://login.example", "ann");
        let foreign = token("a", "https://login.example/", "ann");
        let other = good.clone().with_audience(["gateway-2"]);
        let nobodys = good.clone().with_audience([""; 0]);
        let check = |token: &SubjectToken, now| match check(&record(), token, at(now)) {
            Ok(()) => "",
            Err(Inactive::TokenUnfit { message }) if message.contains("issuer") => "issuer",
            Err(Inactive::TokenUnfit { message }) if message.contains("audience") => "audience",
            Err(Inactive::TokenUnfit { message }) if message.contains("expired") => "expired",
            Err(other) => panic!("{other}"),
        };
        assert_eq!(check(&good, 999), "");
        assert_eq!(check(&good, 1000), "expired");
        assert_eq!(check(&foreign, 999), "issuer");
        assert_eq!(check(&other, 999), "audience");
        assert_eq!(check(&nobodys, 999), "audience");
        let mut unset = record();
        unset.subject_audience = None;
        assert!(super::check(&unset, &good, at(1)).is_err());
    }

    #[test]
    fn nobody_is_called_as_anybody_else() {
        let server = Server::new("a", "https://a.example/mcp").unwrap();
        let another = Server::new("a", "https://a.example/mcp").unwrap();
        let whose = |project| Whose::new(&Project::new(project), None, |_| {});
        let subject = |text, issuer, subject, project| Subject {
            token: token(text, issuer, subject),
            whose: whose(project),
        };
        let scoped = OAuth2 {
            audience: Some("tracker".to_owned()),
            ..record()
        };
        let all = [
            names(&server, &record(), &subject("a", "i", "ann", "web")),
            names(&server, &record(), &subject("a", "i", "ben", "web")),
            names(&server, &record(), &subject("a", "j", "ann", "web")),
            names(&server, &record(), &subject("a", "i", "ann", "batch")),
            names(&server, &record(), &subject("b", "i", "ann", "web")),
            names(&server, &scoped, &subject("a", "i", "ann", "web")),
            names(&another, &record(), &subject("a", "i", "ann", "web")),
        ];
        for (index, (grant, exact)) in all.iter().enumerate() {
            let others = &all[index + 1..];
            assert!(others.iter().all(|(other, _)| other != grant));
            assert!(others.iter().all(|(_, other)| other != exact));
        }
        let again = names(&server, &record(), &subject("a", "i", "ann", "web"));
        assert_eq!(again, all[0]);
    }
}
