//! Signing in at a provider of OpenID Connect: to it, and back.

use std::{sync::Arc, time::SystemTime};

use axum::{
    extract::{FromRef, RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{LOCATION, SET_COOKIE},
};
use serde_json::json;

use super::{
    super::{
        acting::Acting,
        answer::{Answer, later},
        audit::{Audit, Change},
        clock::Clock,
        fault::{Code, Fault},
        hosts::Hosts,
        oidc::{Identity, Pending, Provider, Refusal, Spent, Tries},
        outside::Outside,
        parts::Parts,
        session::Sessions,
        throttle::ClientAddress,
    },
    form::Form,
    notice::Notice,
    sign_in::inside,
};
use crate::oauth::{self, Callback, ErrorKind};

/// The parts that a sign-in goes through.
#[derive(Clone)]
pub(super) struct SignIns {
    provider: Option<Provider>,
    hosts: Arc<Hosts>,
    sessions: Sessions,
    audit: Audit,
    clock: Clock,
    tries: Tries,
}

impl FromRef<Parts> for SignIns {
    fn from_ref(parts: &Parts) -> Self {
        Self {
            provider: parts.provider.clone(),
            hosts: parts.hosts.clone(),
            sessions: parts.sessions.clone(),
            audit: parts.audit.clone(),
            clock: parts.clock.clone(),
            tries: parts.tries.clone(),
        }
    }
}

/// `GET /sign-in/provider`
///
/// Any page may send a browser here: what begins is bound to this browser, and ends at the provider,
/// where its user says yes or not.
pub(super) async fn leave(
    State(sign_ins): State<SignIns>,
    outside: Outside,
    RawQuery(query): RawQuery,
) -> Answer {
    let provider = sign_ins.provider()?;
    let query = query.unwrap_or_default();
    let query = Form::parse(query.as_bytes())?;
    let next = inside(query.text("next"));
    let now = sign_ins.clock.now();
    let begun = provider.begin(&outside, next, now).await;
    let (url, pending) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            if sign_ins.tries.is_first_to_fail(from(), now) {
                log(&error);
            }
            let text = format!("Nobody can sign in there now: {error}.{}", quoted(&error));
            return Ok(refused(&sign_ins.hosts, StatusCode::BAD_GATEWAY, &text));
        }
    };
    let cookie = pending.set(sign_ins.sessions.keys(), &outside);
    let place = HeaderValue::try_from(url.as_str());
    let (Some(cookie), Ok(mut place)) = (cookie, place) else {
        return Err(Fault::new(Code::Registry, "the sign-in cannot be written"));
    };
    place.set_sensitive(true);
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(SET_COOKIE, cookie);
    response.headers_mut().insert(LOCATION, place);
    Ok(response)
}

/// `GET /sign-in/callback`
///
/// Without the cookie of its state nothing is asked of the provider: it is another browser's, or
/// somebody has made it up. With it the provider is asked once, and of one address not without end.
pub(super) async fn come_back(
    State(sign_ins): State<SignIns>,
    outside: Outside,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let provider = sign_ins.provider()?;
    let now = sign_ins.clock.now();
    let callback = match Callback::parse(query.as_deref().unwrap_or_default()) {
        Ok(callback) => callback,
        Err(error) => {
            let text = format!("The provider sent something that cannot be read: {error}.");
            return Ok(refused(&sign_ins.hosts, StatusCode::BAD_REQUEST, &text));
        }
    };
    let (keys, state) = (sign_ins.sessions.keys(), &callback.state);
    let pending = Pending::of(keys, &outside, state, &headers, now);
    let pending = pending.ok_or(Spent::Used);
    let begun = pending.and_then(|pending| {
        sign_ins.tries.begin(state, from(), now)?;
        Ok(pending)
    });
    let pending = match begun {
        Ok(pending) => pending,
        Err(Spent::Used) => {
            let text = "The answer of the provider belongs to nothing that was begun in this \
                        browser within the last ten minutes, or was used already.";
            return Ok(refused(&sign_ins.hosts, StatusCode::BAD_REQUEST, text));
        }
        Err(Spent::TooMany(wait)) => {
            let text = "Too many sign-ins from your address have failed. Wait a minute, and begin \
                        again.";
            let page = refused(&sign_ins.hosts, StatusCode::TOO_MANY_REQUESTS, text);
            return Ok(later(page, wait));
        }
    };
    let finished = provider.finish(&callback, &pending, &outside, now).await;
    let mut response = match finished {
        Ok(identity) => {
            sign_ins.tries.succeeded(from(), now);
            sign_ins.welcome(provider, &identity, &pending).await?
        }
        Err(refusal) => sign_ins.turned_away(provider, &refusal, now).await,
    };
    if let Some(cleared) = Pending::clear(&outside, state) {
        response.headers_mut().append(SET_COOKIE, cleared);
    }
    Ok(response)
}

impl SignIns {
    fn provider(&self) -> Result<&Provider, Fault> {
        let none = || Fault::new(Code::NotFound, "this gateway has no provider to sign in at");
        self.provider.as_ref().ok_or_else(none)
    }

    /// The page that says why somebody is not let in. The log and the audit say so of the first of an
    /// address within a minute: there is room in the audit for ten from everywhere.
    async fn turned_away(
        &self,
        provider: &Provider,
        refusal: &Refusal,
        now: SystemTime,
    ) -> Response {
        let (who, text) = explained(provider, refusal);
        if self.tries.is_first_to_fail(from(), now) {
            if let Refusal::OAuth(error) = refusal {
                log(error);
            }
            let change = Change::new("sign_in.refused", who).after(&json!({"reason": text}));
            self.audit.refused(change).await;
        }
        refused(&self.hosts, StatusCode::FORBIDDEN, &text)
    }

    /// The page that leads on by itself. A redirect would still come from the provider's site, and
    /// the session's cookie, which is `SameSite=Strict`, would not be sent along.
    async fn welcome(&self, provider: &Provider, identity: &Identity, pending: &Pending) -> Answer {
        let who = (&*identity.name, identity.role.as_str(), "oidc");
        let after = json!({"issuer": provider.issuer(), "subject": identity.subject});
        self.audit.sign_in(who, Some(after)).await?;
        let cookie = self.sessions.begin_for(identity).await?;
        let notice = Notice {
            status: StatusCode::OK,
            title: "Signed in",
            text: &format!("You have the role {}.", identity.role),
            path: inside(&pending.next),
            link: "Continue",
            goes_on: true,
        };
        let mut response = notice.answer(&self.hosts);
        response.headers_mut().insert(SET_COOKIE, cookie);
        Ok(response)
    }
}

/// The address of the browser, where it is known.
fn from() -> Option<ClientAddress> {
    Acting::now().from.map(ClientAddress)
}

/// Who was refused, as far as that is certain, and the reason in words.
fn explained<'r>(provider: &Provider, refusal: &'r Refusal) -> (&'r str, String) {
    let claim = provider.role_claim();
    match refusal {
        Refusal::OAuth(error) => {
            let how = match error.kind() {
                ErrorKind::Denied => "The sign-in was not completed at the provider",
                ErrorKind::Unreachable => "The provider could not be asked; try again in a moment",
                ErrorKind::InvalidClient => {
                    "The provider does not accept this gateway: check client_id and client_secret"
                }
                _ => "The answer of the provider was not accepted",
            };
            ("", format!("{how}: {error}.{}", quoted(error)))
        }
        Refusal::NoIdToken => (
            "",
            "The provider gave no ID token: it may not speak OpenID Connect, or not for this client."
                .to_owned(),
        ),
        Refusal::NoRole { name, is_there } => {
            let how = match is_there {
                true => format!("no value of your claim {claim} stands for a role here"),
                false => format!("the provider says nothing of you in the claim {claim}"),
            };
            let text = format!(
                "You are known, and have no role: {how}. Ask whoever runs this gateway, or the \
                 provider, for one."
            );
            (name, text)
        }
        Refusal::NoLook { name } => {
            let text = format!(
                "You are known, and your role could not be looked at again: the provider has the \
                 claim {claim} neither in its userinfo, nor gives a refresh token. Whoever runs this \
                 gateway can add offline_access to the scopes, or the claim to the userinfo."
            );
            (name, text)
        }
    }
}

/// What the provider said, in its own words.
fn quoted(error: &oauth::Error) -> String {
    let said = error.said();
    said.map_or_else(String::new, |said| {
        format!(" The provider answered: {said}")
    })
}

fn log(error: &oauth::Error) {
    let said = error.said();
    tracing::warn!(
        %error,
        said,
        "somebody did not sign in; more from this address within a minute are not logged"
    );
}

fn refused(hosts: &Hosts, status: StatusCode, text: &str) -> Response {
    let notice = Notice {
        status,
        title: "You are not signed in",
        text,
        path: "/sign-in",
        link: "Back to the sign-in",
        goes_on: false,
    };
    notice.answer(hosts)
}
