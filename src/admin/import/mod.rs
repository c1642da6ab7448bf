//! Servers from the configuration files of other programs: Claude Desktop, VS Code, Cursor and those
//! that write the same.
//!
//! ```text
//! text ──relaxed──▶ JSON ──mcp_json──▶ entries ──plan──▶ drafts, and the rest with what to do
//!                                                  │
//!                                                  └── slug, placeholder, bridge
//! ```
//!
//! Nothing of a file is expanded, run or contacted. What is reached over HTTP becomes a draft, which
//! callers do not find and which nothing asks until an operator goes on with it. A plan is carried
//! out as a whole or not at all.

mod bridge;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzz;
mod mcp_json;
mod placeholder;
mod plan;
mod relaxed;
mod slug;

use axum::{
    body::Bytes,
    extract::{RawQuery, State},
};
use http::StatusCode;
use serde::de::IgnoredAny;

use self::{mcp_json::entries, relaxed::relaxed};
pub(super) use self::{
    placeholder::placeholders,
    plan::{Draft, Plan, Rest},
};
use super::{
    acting::Acting,
    answer::{Answer, json},
    fault::{Code, Fault, Faults},
    query::{fault, parameters},
    records::Records,
};
use crate::{
    connect::Connections,
    registry::members::{NotJson, Tree},
    to_its_end::ToItsEnd,
};

/// `POST /servers/import`
pub(super) async fn import(
    State(imports): State<Imports>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Answer {
    let mut is_preview = false;
    parameters(query.as_deref().unwrap_or_default(), |name, value| {
        is_preview = match (name, value) {
            ("preview", None | Some("false")) => false,
            ("preview", Some("true")) => true,
            ("preview", _) => return Err(fault(name, "must be true or false")),
            _ => return Err(fault(name, "is not a parameter of this call")),
        };
        Ok(())
    })?;
    let plan = imports.plan(&body).await?;
    let answer = json(StatusCode::OK, &plan)?;
    if !is_preview {
        imports.carry_out(plan).await?;
    }
    Ok(answer)
}

/// Makes plans of files, and carries them out.
#[derive(Clone)]
pub(super) struct Imports {
    records: Records,
    connections: Connections,
}

impl Imports {
    pub(super) fn new(records: Records, connections: Connections) -> Self {
        Self {
            records,
            connections,
        }
    }

    /// What the import of this text would do.
    ///
    /// # Errors
    /// All that its author has to mend, in the order of the text.
    pub(super) async fn plan(&self, text: &[u8]) -> Result<Plan, Faults> {
        let text = relaxed(text);
        let tree = Tree::json(&text).map_err(|error| unread(&text, &error))?;
        let entries =
            entries(&tree).map_err(|fault| Fault::from(fault).with_code(Code::InvalidRequest))?;
        Plan::of(entries, &self.records, &self.connections).await
    }

    /// Makes the drafts of a plan, all or none, also if the client goes away meanwhile.
    ///
    /// # Errors
    /// [`Code::Conflict`] if somebody else has taken a name since the plan was made.
    pub(super) async fn carry_out(&self, plan: Plan) -> Result<(), Fault> {
        let servers = plan.into_servers();
        let (count, records) = (servers.len(), self.records.clone());
        // It is the same operator who does the rest.
        let inserting = async move { records.insert_all(servers).await };
        ToItsEnd::new(Acting::now().during(inserting)).await?;
        tracing::info!(
            action = "import",
            drafts = count,
            "servers were imported as drafts"
        );
        Ok(())
    }
}

/// The fault of a text that is not JSON, with the place where it stops to be.
fn unread(text: &[u8], error: &NotJson) -> Fault {
    let place = match serde_json::from_slice::<IgnoredAny>(text) {
        Err(at) if matches!(error, NotJson::Malformed) => {
            format!(": line {}, column {}", at.line(), at.column())
        }
        _ => String::new(),
    };
    Fault::new(Code::InvalidJson, format!("the file {error}{place}"))
}
