//! The tools of a server: what there is, and what is accepted.

use std::time::Duration;

use axum::{body::Bytes, extract::State};
use http::StatusCode;
use serde::Serialize;
use tokio::time::timeout;

use super::{
    answer::{Answer, Named, json},
    audit::{Audit, Change},
    body,
    fault::{Code, Fault},
    organization::OrganizationStore,
    tool_view::{InstructionsView, ToolView},
};
use crate::{
    connect::Connections,
    inactive::Inactive,
    left_out::LeftOut,
    registry::{
        Fingerprint, Observation, Server, Source,
        members::{self, Node, Words},
    },
};

/// The most attempts to accept, each of which another writer has overtaken.
const TRIES: usize = 5;
/// The longest wait for a probe, whatever the limits of the connections: an operator wants an
/// answer by then.
const PROBE: Duration = Duration::from_secs(30);
/// The longest wait for the tools that are left out, which only complete the page.
const LEFT_OUT: Duration = Duration::from_secs(3);

#[derive(Serialize)]
struct List<'a> {
    tools: Vec<ToolView<'a>>,
    left_out: Vec<LeftOutView<'a>>,
    /// What the server says of how to use them.
    instructions: Option<InstructionsView>,
}

/// A tool that cannot be offered to anyone.
#[derive(Serialize)]
struct LeftOutView<'a> {
    name: &'a str,
    reason: &'a str,
}

/// `GET /servers/{name}/tools`
///
/// A server that was not looked at since it was entered or changed is looked at now.
pub(super) async fn list(
    State(store): State<OrganizationStore>,
    State(tools): State<Tools>,
    Named(name): Named,
) -> Answer {
    let server = store.get(&name).await?;
    let seen = store.observation(&server).await?;
    if !is_listed_for_callers(&server)
        && (seen.listed_at.is_none() || seen.record_version != server.version)
    {
        let probed = tools.probe(&server).await;
        // What was listed before is better than nothing.
        if seen.listed_at.is_none() {
            probed?;
        }
    }
    tools.answer(&server).await
}

/// `POST /servers/{name}/refresh`
///
/// A server that cannot be used is a 400, as it is for callers: whoever asked named it, and nothing
/// here is at fault.
pub(super) async fn refresh(
    State(store): State<OrganizationStore>,
    State(tools): State<Tools>,
    Named(name): Named,
) -> Answer {
    let server = store.get(&name).await?;
    tools.probe(&server).await?;
    tools.answer(&server).await
}

/// `POST /servers/{name}/tools/accept`
pub(super) async fn accept(
    State(store): State<OrganizationStore>,
    State(tools): State<Tools>,
    Named(name): Named,
    body: Bytes,
) -> Answer {
    let server = store.get(&name).await?;
    if server.source == Source::File && server.pins.is_some() {
        return Err(store.declared().fault(&name));
    }
    let accepted = accepted(&body)?;
    tools.accept(&server, &accepted).await?;
    tracing::info!(action = "accept", server = %name, tools = accepted.len(), "tools were accepted over REST");
    tools.answer(&server).await
}

/// Asks servers for their tools, and keeps what is accepted of them.
#[derive(Clone)]
pub(super) struct Tools {
    store: OrganizationStore,
    connections: Connections,
    audit: Audit,
}

impl Tools {
    pub(super) fn new(store: OrganizationStore, connections: Connections, audit: Audit) -> Self {
        Self {
            store,
            connections,
            audit,
        }
    }

    /// Lists the tools of `server` now. A server without tools is answered all the same.
    pub(super) async fn probe(&self, server: &Server) -> Result<(), Fault> {
        let probed = match is_listed_for_callers(server) {
            true => Err(Inactive::TokenMissing),
            false => timeout(PROBE, self.connections.probe(server))
                .await
                .unwrap_or_else(|_| Err(Inactive::unreachable("it took too long"))),
        };
        match probed {
            Ok(()) | Err(Inactive::NoTools) => Ok(()),
            Err(reason) => {
                let detail = self.connections.failure_detail(server);
                let reason = reason.with_detail(detail.as_deref());
                let message = format!("the server {} is inactive: {reason}", server.name);
                Err(Fault::new(Code::ServerInactive, message))
            }
        }
    }

    /// The list, with what was accepted by now.
    async fn answer(&self, server: &Server) -> Answer {
        let server = self.store.get(&server.name).await?;
        let seen = self.store.observation(&server).await?;
        let tools = ToolView::all(&server, &seen);
        let left_out = self.left_out(&server).await;
        let left_out = left_out.iter().map(|tool| LeftOutView {
            name: tool.tool(),
            reason: tool.reason(),
        });
        let list = List {
            tools,
            left_out: left_out.collect(),
            instructions: InstructionsView::of(&server, &seen),
        };
        json(StatusCode::OK, &list)
    }

    /// The listed tools that cannot be offered to anyone, with the reasons.
    pub(super) async fn left_out(&self, server: &Server) -> Vec<LeftOut> {
        // Looking at a server that is switched off is no reason to ask it.
        match is_listed_for_callers(server) || !server.enabled {
            true => Vec::new(),
            false => self.connections.unoffered(server, LEFT_OUT).await,
        }
    }

    /// Accepts these tools of `server` as what their fingerprints name.
    pub(super) async fn accept(
        &self,
        server: &Server,
        tools: &[(String, Option<Fingerprint>)],
    ) -> Result<(), Fault> {
        let mut seen = self.store.observation(server).await?;
        let pins = seen.pins.clone();
        let before = tools.iter().map(|(name, _)| {
            let accepted = pins.as_ref().and_then(|pins| pins.of(name));
            (name, accepted)
        });
        // What would be refused anyway is no news to the audit.
        take(&mut seen, tools)?;
        let after = tools.iter().map(|(name, meant)| (name, *meant));
        let change = Change::new("tools.accept", &server.name);
        let change = change.before(&recorded(before)).after(&recorded(after));
        self.audit.around(change, self.pin(server, tools)).await
    }

    async fn pin(
        &self,
        server: &Server,
        tools: &[(String, Option<Fingerprint>)],
    ) -> Result<(), Fault> {
        for _ in 0..TRIES {
            let mut seen = self.store.observation(server).await?;
            take(&mut seen, tools)?;
            if self.store.observe(server, &seen).await? {
                return Ok(());
            }
        }
        let message = "what is known of the server changed meanwhile; try again";
        Err(Fault::new(Code::Conflict, message))
    }
}

fn take(seen: &mut Observation, tools: &[(String, Option<Fingerprint>)]) -> Result<(), Fault> {
    let accepted = seen.accept(tools);
    accepted.map_err(|error| Fault::new(Code::ToolChanged, error.to_string()).at("tools"))
}

/// Accepted definitions as the audit has them; a tool without a name is the instructions.
fn recorded<'a>(
    tools: impl Iterator<Item = (&'a String, Option<Fingerprint>)>,
) -> serde_json::Value {
    let tools = tools.map(|(name, fingerprint)| {
        let name = if name.is_empty() {
            "(instructions)"
        } else {
            name
        };
        let fingerprint = fingerprint.map(|fingerprint| fingerprint.to_string());
        (name.to_owned(), fingerprint.into())
    });
    tools.collect::<serde_json::Map<_, _>>().into()
}

/// Returns `true` if the tools are listed separately for the owner of each caller's token.
pub(super) fn is_listed_for_callers(server: &Server) -> bool {
    server.auth.is_callers()
}

/// The tools that a body accepts; without a fingerprint that they are gone, and without a name the
/// instructions.
fn accepted(body: &[u8]) -> Result<Vec<(String, Option<Fingerprint>)>, Fault> {
    let body = body::tree(body)?;
    let tools = all(&Node::new(&body, &Words::JSON));
    tools.map_err(|fault| Fault::from(fault).with_code(Code::InvalidRequest))
}

fn all(body: &Node<'_>) -> Result<Vec<(String, Option<Fingerprint>)>, members::Fault> {
    let members = body.table("must be an object")?;
    members.allow(["tools", "instructions"])?;
    let instructions = members.get("instructions").map(|at| fingerprint(&at));
    let instructions = instructions.transpose()?;
    // Those of a tool without a name.
    let instructions = instructions.map(|now| (String::new(), Some(now)));
    if instructions.is_some() && !members.has("tools") {
        return Ok(instructions.into_iter().collect());
    }
    let tools = members.require("tools")?;
    let items = tools.items("must be a list of {\"name\", \"fingerprint\"}")?;
    if items.is_empty() {
        return Err(tools.fault("must name at least one tool"));
    }
    items.iter().map(one).chain(instructions.map(Ok)).collect()
}

fn one(at: &Node<'_>) -> Result<(String, Option<Fingerprint>), members::Fault> {
    let members = at.table("must be an object")?;
    members.allow(["name", "fingerprint"])?;
    let name = members.require("name")?.text()?.to_owned();
    if !members.has("fingerprint") {
        let reason = "is missing; null accepts that the tool is gone";
        return Err(members.fault("fingerprint", reason));
    }
    let fingerprint = members.get("fingerprint").map(|at| fingerprint(&at));
    Ok((name, fingerprint.transpose()?))
}

fn fingerprint(at: &Node<'_>) -> Result<Fingerprint, members::Fault> {
    let fingerprint = at.text()?.parse();
    fingerprint.map_err(|_| at.fault("must be 64 hex digits in lower case, or null"))
}
