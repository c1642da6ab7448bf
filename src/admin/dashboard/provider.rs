//! Signing in at a provider of OpenID Connect: to it, and back.

use std::sync::Arc;

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
        answer::Answer,
        audit::{Audit, Change},
        clock::Clock,
        fault::{Code, Fault},
        hosts::Hosts,
        oidc::{Identity, Pending, Provider, Refusal},
        outside::Outside,
        parts::Parts,
        session::Sessions,
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
}

impl FromRef<Parts> for SignIns {
    fn from_ref(parts: &Parts) -> Self {
        Self {
            provider: parts.provider.clone(),
            hosts: parts.hosts.clone(),
            sessions: parts.sessions.clone(),
            audit: parts.audit.clone(),
            clock: parts.clock.clone(),
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
    let begun = provider.begin(&outside, next, sign_ins.clock.now()).await;
    let (url, pending) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            log(&error);
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
/// somebody has made it up.
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
    let Some(pending) = Pending::of(keys, &outside, state, &headers, now) else {
        let text = "The answer of the provider belongs to nothing that was begun in this browser \
                    within the last ten minutes, or was used already.";
        return Ok(refused(&sign_ins.hosts, StatusCode::BAD_REQUEST, text));
    };
    let finished = provider.finish(&callback, &pending, &outside, now).await;
    let mut response = match finished {
        Ok(identity) => sign_ins.welcome(provider, &identity, &pending).await?,
        Err(refusal) => {
            let (who, text) = explained(provider, &refusal);
            let change = Change::new("sign_in.refused", who).after(&json!({"reason": text}));
            sign_ins.audit.refused(change).await;
            refused(&sign_ins.hosts, StatusCode::FORBIDDEN, &text)
        }
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

/// Who was refused, as far as that is certain, and the reason in words.
fn explained<'r>(provider: &Provider, refusal: &'r Refusal) -> (&'r str, String) {
    let claim = provider.role_claim();
    match refusal {
        Refusal::OAuth(error) => {
            log(error);
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
    tracing::warn!(%error, said, "somebody did not sign in");
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
