//! The tools of one server, for those who show or administer servers.

use serde_json::value::RawValue;

use crate::{
    left_out::LeftOut,
    offer::{Offer, Offers},
    registry::Server,
};

/// The tools that one server offers now, and those that are left out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerTools {
    /// The selected tools, by offered name.
    pub offered: Vec<OfferedTool>,
    /// Selected tools that cannot be offered, or are withheld until an operator accepts them.
    pub left_out: Vec<LeftOut>,
}

/// A tool as models see it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OfferedTool {
    /// `{server}__{tool}`.
    pub offered_name: String,
    /// The tool's own name at the server.
    pub name: String,
    /// The server's description of the tool; models get no more than
    /// [`with_description_limit`](super::Connections::with_description_limit) allows.
    pub description: Option<String>,
    /// The JSON Schema of the arguments, byte for byte as the server wrote it.
    pub input_schema: Box<RawValue>,
    /// What was changed in the copy that models get, so that providers take it; empty for nearly
    /// all that is well-formed.
    pub changes: Vec<&'static str>,
}

impl ServerTools {
    pub(super) fn of(server: &Server, offers: &Offers) -> Self {
        let selected = |tool: &LeftOut| server.tools.policy(tool.tool()).is_some();
        let offered = offers.selected(server).map(|(offer, _)| (&**offer).into());
        let left_out = offers.left_out.iter().filter(|tool| selected(tool));
        Self {
            offered: offered.collect(),
            left_out: left_out.cloned().chain(offers.withheld(server)).collect(),
        }
    }
}

impl From<&Offer> for OfferedTool {
    fn from(offer: &Offer) -> Self {
        Self {
            offered_name: offer.name.clone(),
            name: offer.tool.clone(),
            description: offer.description.clone(),
            input_schema: (*offer.input_schema).to_owned(),
            changes: offer.changes.clone(),
        }
    }
}
