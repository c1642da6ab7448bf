//! The tools that a caller's request would get.

use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};

use super::{
    answer::{Answer, json},
    fault::{Code, Fault},
    organization::OrganizationStore,
    query::{fault, parameters},
};
use crate::{
    explain::Explainer,
    project::Project,
    tool_loop::{Unoffered, Unserved},
};

/// `POST /explain`
///
/// A refusal is the layer's own, so that an operator sees what the caller sees.
pub(super) async fn explain(
    State(explainer): State<Option<Explainer>>,
    State(store): State<OrganizationStore>,
    RawQuery(query): RawQuery,
    mut headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (mut project, mut host) = (Project::default(), None);
    parameters(query.as_deref().unwrap_or_default(), |name, value| {
        match (name, value) {
            ("project", Some(value)) => project = Project::new(value),
            ("host", Some(value)) => host = Some(value.to_owned()),
            ("project" | "host", None) => {}
            _ => return Err(fault(name, "is not a parameter of this call")),
        }
        Ok(())
    })?;
    let project = project.with_organization(store.organization().clone());
    let explainer = explainer.ok_or_else(|| {
        let message = "this gateway does not explain requests: nobody told it about its layer";
        Fault::new(Code::NotFound, message)
    })?;
    if !body.trim_ascii_start().starts_with(b"{") {
        let message = "the body must be an object: a chat completion";
        return Err(Fault::new(Code::InvalidJson, message));
    }
    let explained = explainer.explain(body, &project, &mut headers, host.as_deref());
    let explanation = match explained.await {
        Ok(explanation) => explanation,
        Err(unserved) => return Ok(refused(&unserved)),
    };
    let tools = explanation.tools.iter().map(|tool| {
        let mut told =
            json!({"offered_name": tool.offered_name, "server": tool.server, "tool": tool.tool});
        if tool.is_found {
            told["found"] = true.into();
        }
        told
    });
    let tools: Vec<_> = tools.collect();
    let mut explained = json!({"tools": tools, "left_out": left_out(&explanation.left_out)});
    if let Some(reason) = explanation.no_default {
        explained["default"] = json!({"left_out": reason});
    }
    json(StatusCode::OK, &explained)
}

fn left_out(tools: &[Unoffered]) -> Vec<Value> {
    let tools = tools.iter().map(|Unoffered { server, why, tool }| {
        json!({
            "server": server,
            "tool": tool.tool(),
            "reason": why.as_str(),
            "message": tool.reason(),
        })
    });
    tools.collect()
}

/// A refusal as the caller would get it, to the byte, unless a grant may be why: then that is told
/// beside it.
fn refused(unserved: &Unserved) -> Response {
    let refusal = &unserved.refusal;
    let mut body = refusal.body();
    if !unserved.left_out.is_empty()
        && let Ok(mut told) = serde_json::from_str::<Value>(&body)
    {
        told["left_out"] = left_out(&unserved.left_out).into();
        body = told.to_string();
    }
    let kind = [(CONTENT_TYPE, "application/json")];
    (refusal.status(), kind, body).into_response()
}
