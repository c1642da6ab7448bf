//! The page of operators, and of the browsers in which they are signed in.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State, rejection::PathRejection};
use http::StatusCode;

use super::{
    super::{
        acting::Acting, answer::Answer, audit::Audit, clock::Clock, hosts::Hosts, oidc::Provider,
        operator_sessions::ended, operators::Roster, session::Sessions,
    },
    page::{Frame, Section, page, to},
    text::Shown,
    when::When,
};

#[derive(Template)]
#[template(path = "operators.html")]
struct Page {
    frame: Frame,
    operators: Vec<Row>,
    provider: Option<ProviderRow>,
    sessions: Vec<SessionRow>,
}

struct Row {
    name: Shown,
    role: &'static str,
    sessions: usize,
}

struct ProviderRow {
    issuer: Shown,
    claim: Shown,
    roles: Vec<(&'static str, Shown)>,
}

struct SessionRow {
    id: String,
    operator: Shown,
    name: String,
    role: Shown,
    via: &'static str,
    from: Option<Shown>,
    began: When,
    used: When,
    is_own: bool,
}

/// `GET /operators`
pub(super) async fn list(
    State(hosts): State<Arc<Hosts>>,
    State(operators): State<Roster>,
    State(provider): State<Option<Provider>>,
    State(sessions): State<Sessions>,
    State(clock): State<Clock>,
) -> Answer {
    let now = clock.now();
    let sessions = sessions.list().await?;
    let own = Acting::now().operator.and_then(|operator| operator.session);
    let count = |name: &str| {
        sessions
            .iter()
            .filter(|session| session.operator == name)
            .count()
    };
    let rows = operators.all();
    let rows = rows.iter().map(|operator| Row {
        name: Shown::short(operator.name(), 64),
        role: operator.role().as_str(),
        sessions: count(operator.name()),
    });
    let content = Page {
        frame: Frame::of(&hosts, Section::Operators),
        operators: rows.collect(),
        provider: provider.as_ref().map(ProviderRow::of),
        sessions: sessions
            .iter()
            .map(|session| SessionRow {
                id: session.id.clone(),
                operator: Shown::short(&session.operator, 64),
                name: session.operator.clone(),
                role: Shown::short(&session.role, 16),
                via: match &*session.via {
                    "oidc" => "provider",
                    _ => "token",
                },
                from: (!session.from.is_empty()).then(|| Shown::short(&session.from, 64)),
                began: When::of(session.began_at, now),
                used: When::of(session.used_at, now),
                is_own: own.as_deref() == Some(&*session.id),
            })
            .collect(),
    };
    page(StatusCode::OK, &content)
}

impl ProviderRow {
    fn of(provider: &Provider) -> Self {
        let roles = provider.roles().iter();
        Self {
            issuer: Shown::short(provider.issuer(), 200),
            claim: Shown::short(provider.role_claim(), 200),
            roles: roles
                .map(|(role, value)| (role.as_str(), Shown::short(value, 100)))
                .collect(),
        }
    }
}

/// `POST /operators/sessions/{id}/end`
pub(super) async fn end(
    State(hosts): State<Arc<Hosts>>,
    State(sessions): State<Sessions>,
    State(audit): State<Audit>,
    path: Result<Path<String>, PathRejection>,
) -> Answer {
    let id = path.map(|Path(id)| id).unwrap_or_default();
    ended(&sessions, &audit, &id).await?;
    Ok(to(&hosts, "/operators"))
}
