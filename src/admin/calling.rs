//! Calls of single tools by an operator, under the checks that hold for callers.

use std::time::SystemTime;

use axum::{
    body::Bytes,
    extract::{Path, State, rejection::PathRejection},
    response::IntoResponse,
};
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use serde::Serialize;
use serde_json::json;

use super::{
    answer::{self, Answer},
    audit::Change,
    body,
    fault::{Code, Fault},
    organization::OrganizationStore,
    projects::unavailable,
};
use crate::{
    caller::CallerTokens,
    name::{ServerName, short},
    project::Project,
    refusal::{Kind, Refusal},
    registry::{
        Auth, Error, Fingerprint, NO_NAME, Server, is_name,
        members::{self, Node, Words},
    },
    tool_caller::ToolCaller,
    tool_loop::{SingleCall, SingleResult},
    trace::TraceId,
};

/// What an operator enters for a call.
#[derive(Debug, Default)]
pub(super) struct Entered {
    /// The text of a JSON object.
    pub(super) arguments: String,
    /// Whose call it is; `None` for `default`.
    pub(super) project: Option<String>,
    pub(super) fingerprint: Option<Fingerprint>,
}

/// The reason why there is no result.
pub(super) enum NotCalled {
    Fault(Fault),
    /// The layer's own, so that an operator sees what callers see.
    Refused(Refusal),
}

#[derive(Serialize)]
struct Called<'a> {
    result: &'a str,
    is_error: bool,
    duration_ms: u64,
    result_bytes: usize,
    truncated: bool,
    /// The exchange that it was recorded as; `null` where nothing is recorded.
    trace: Option<TraceId>,
}

/// `POST /servers/{name}/tools/{tool}/call`
pub(super) async fn call(
    State(calling): State<Calling>,
    path: Result<Path<(String, String)>, PathRejection>,
    mut headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let path = path.ok().map(|Path(path)| path);
    let named = path.and_then(|(server, tool)| Some((server.parse().ok()?, tool)));
    let (server, tool) = named.ok_or_else(|| {
        let message = "there is no server of this name: the path has none that a server can have";
        Fault::new(Code::ServerNotFound, message)
    })?;
    let entered = entered(&body)?;
    match calling.call(server, tool, entered, &mut headers).await {
        Ok(result) => answer::json(
            StatusCode::OK,
            &Called {
                result: &result.text,
                is_error: result.is_error,
                duration_ms: u64::try_from(result.duration.as_millis()).unwrap_or(u64::MAX),
                result_bytes: result.result_bytes,
                truncated: result.truncated,
                trace: result.trace,
            },
        ),
        Err(NotCalled::Fault(fault)) => Err(fault),
        Err(NotCalled::Refused(refusal)) => {
            let kind = [(CONTENT_TYPE, "application/json")];
            Ok((refusal.status(), kind, refusal.body()).into_response())
        }
    }
}

/// Calls tools, where the layer was handed in that does.
#[derive(Clone)]
pub(super) struct Calling {
    caller: Option<ToolCaller>,
    store: OrganizationStore,
}

impl Calling {
    pub(super) fn new(caller: Option<ToolCaller>, store: OrganizationStore) -> Self {
        Self { caller, store }
    }

    /// The header in which callers of `server` send a token of their own; `None` if they send none, or it
    /// has no name here.
    pub(super) fn token_header(&self, server: &Server) -> Option<String> {
        let subject = || self.caller.as_ref()?.subject_header();
        match &server.auth {
            Auth::TokenPassthrough(_) => Some(CallerTokens::header(&server.name)),
            auth if auth.is_callers() => subject().map(ToString::to_string),
            _ => None,
        }
    }

    /// How callers send the tokens that are exchanged, in a sentence; `None` where nobody told about the
    /// layer.
    pub(super) fn how_subjects_come(&self) -> Option<String> {
        Some(match self.caller.as_ref()?.subject_header() {
            Some(header) => format!("Callers send the token that is exchanged in the header {header}."),
            None => "No header is set in which callers send the token that is exchanged (subject_token_header)."
                .to_owned(),
        })
    }

    /// Calls a tool of a server that is there, once the audit says so.
    pub(super) async fn call(
        &self,
        server: ServerName,
        tool: String,
        entered: Entered,
        headers: &mut HeaderMap,
    ) -> Result<SingleResult, NotCalled> {
        let Some(caller) = &self.caller else {
            let message =
                "this gateway calls no tools for operators: nobody told it about its layer";
            return Err(Fault::new(Code::NotFound, message).into());
        };
        let found = self.store.get(&server).await.map_err(Fault::from)?;
        let project = entered.project.map_or_else(Project::default, Project::new);
        let project = project.with_organization(self.store.organization().clone());
        let elsewhere = unavailable(&found, project.name());
        let id = TraceId::new(SystemTime::now());
        // Neither arguments nor results: those are in the trace, for as long as there is one.
        let target = format!("{server}/{}", short(&tool));
        let change = Change::new("tool.call", target).after(&json!({
            "tool": short(&tool),
            "project": project.name(),
            "trace": caller.is_recorded().then_some(id),
        }));
        let call = SingleCall {
            server,
            tool,
            arguments: entered.arguments,
            fingerprint: entered.fingerprint,
        };
        let called = async {
            let called = caller.call(project, headers, call, id).await;
            called.map_err(|refusal| match (refusal.kind, elsewhere) {
                // Callers are not told that it is there; an operator knows.
                (Kind::ServerNotFound, Some(words)) => {
                    NotCalled::Refused(Refusal::new(Kind::ServerNotFound, words).at("project"))
                }
                _ => NotCalled::Refused(refusal),
            })
        };
        self.store.audit().around(change, called).await
    }
}

impl From<Error> for NotCalled {
    fn from(error: Error) -> Self {
        Self::Fault(error.into())
    }
}

impl From<Fault> for NotCalled {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

fn entered(body: &[u8]) -> Result<Entered, Fault> {
    let tree = body::tree(body)?;
    let entered = read(&Node::new(&tree, &Words::JSON));
    let entered = entered.map_err(|fault| Fault::from(fault).with_code(Code::InvalidRequest))?;
    // The text as it was sent: a number keeps all of its digits.
    let arguments = crate::json::Object::parse(std::str::from_utf8(body).unwrap_or_default());
    let arguments = arguments.ok();
    let arguments = arguments
        .as_ref()
        .and_then(|body| body.present("arguments"));
    Ok(Entered {
        arguments: arguments.unwrap_or("{}").to_owned(),
        ..entered
    })
}

fn read(body: &Node<'_>) -> Result<Entered, members::Fault> {
    let members = body.table("must be an object")?;
    members.allow(["arguments", "project", "fingerprint"])?;
    if let Some(arguments) = members.get("arguments") {
        arguments.table("must be an object: the arguments by their names")?;
    }
    let project = members.get("project").map(|at| {
        let project = Some(at.text()?).filter(|project| is_name(project));
        project.map(str::to_owned).ok_or_else(|| at.fault(NO_NAME))
    });
    let fingerprint = members.get("fingerprint").map(|at| {
        let parsed = at.text()?.parse();
        parsed.map_err(|_| at.fault("must be 64 hex digits in lower case"))
    });
    Ok(Entered {
        arguments: String::new(),
        project: project.transpose()?,
        fingerprint: fingerprint.transpose()?,
    })
}
