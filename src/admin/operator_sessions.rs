//! Operators, and the browsers in which they are signed in.

use std::collections::BTreeMap;

use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::IntoResponse,
};
use http::StatusCode;
use serde::Serialize;
use serde_json::json;

use super::{
    acting::Acting,
    answer::{Answer, json},
    audit::{Audit, Change},
    fault::{Code, Fault},
    oidc::Provider,
    operators::Roster,
    role::Role,
    session::Sessions,
    time::Time,
};
use crate::registry::OperatorSession;

#[derive(Serialize)]
struct OperatorView<'a> {
    name: &'a str,
    role: &'a str,
}

/// Who may sign in at a provider.
#[derive(Serialize)]
struct ProviderView<'a> {
    issuer: &'a str,
    role_claim: &'a str,
    /// The values of the claim, by role.
    roles: BTreeMap<&'static str, Vec<&'a str>>,
}

impl<'a> ProviderView<'a> {
    fn of(provider: &'a Provider) -> Self {
        let roles = [Role::Viewer, Role::Editor, Role::Admin];
        let roles = roles.map(|role| {
            let values = provider.roles().iter();
            let values = values.filter(|(other, _)| *other == role);
            let values = values.map(|(_, value)| &**value).collect();
            (role.as_str(), values)
        });
        Self {
            issuer: provider.issuer(),
            role_claim: provider.role_claim(),
            roles: roles.into(),
        }
    }
}

/// `GET /operators`
pub(super) async fn operators(
    State(operators): State<Roster>,
    State(provider): State<Option<Provider>>,
) -> Answer {
    let all = operators.all();
    let all: Vec<_> = all
        .iter()
        .map(|operator| OperatorView {
            name: operator.name(),
            role: operator.role().as_str(),
        })
        .collect();
    let provider = provider.as_ref().map(ProviderView::of);
    json(
        StatusCode::OK,
        &json!({"operators": all, "provider": provider}),
    )
}

#[derive(Serialize)]
struct SessionView<'a> {
    id: &'a str,
    operator: &'a str,
    role: &'a str,
    via: &'a str,
    from: Option<&'a str>,
    began_at: Time,
    used_at: Time,
    ends_at: Time,
}

impl<'a> SessionView<'a> {
    fn of(session: &'a OperatorSession) -> Self {
        Self {
            id: &session.id,
            operator: &session.operator,
            role: &session.role,
            via: &session.via,
            from: (!session.from.is_empty()).then_some(&*session.from),
            began_at: Time(session.began_at),
            used_at: Time(session.used_at),
            ends_at: Time(session.ends_at),
        }
    }
}

/// `GET /sessions`
pub(super) async fn list(State(sessions): State<Sessions>) -> Answer {
    let sessions = sessions.list().await?;
    let sessions: Vec<_> = sessions.iter().map(SessionView::of).collect();
    json(StatusCode::OK, &json!({"sessions": sessions}))
}

/// `DELETE /sessions/{id}`
pub(super) async fn end(
    State(sessions): State<Sessions>,
    State(audit): State<Audit>,
    path: Result<Path<String>, PathRejection>,
) -> Answer {
    let id = path.map(|Path(id)| id).unwrap_or_default();
    ended(&sessions, &audit, &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Ends the session with this id.
pub(super) async fn ended(sessions: &Sessions, audit: &Audit, id: &str) -> Result<(), Fault> {
    let session = sessions.find(id).await?.ok_or_else(|| {
        let message = "there is no session of this id; it may have ended";
        Fault::new(Code::NotFound, message)
    })?;
    let change = Change::new("session.end", &session.operator).before(&SessionView::of(&session));
    audit.around(change, sessions.end(id)).await?;
    Ok(())
}

/// Ends the session of whoever asks; without one there is nothing to do.
pub(super) async fn sign_out(sessions: &Sessions, audit: &Audit) -> Result<(), Fault> {
    let Some(operator) = Acting::now().operator else {
        return Ok(());
    };
    if let Some(id) = &operator.session {
        audit.around_sign_out(sessions.end(id)).await?;
    }
    Ok(())
}
