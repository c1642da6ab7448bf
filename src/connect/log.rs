//! The log lines of a listing: which tools are left out, withheld, cleaned, or granted in vain.

use std::collections::HashSet;

use crate::{left_out::LeftOut, offer::Offers, registry::Server};

/// Tools of a listing that are named in the log, each in a line; a server may list hundreds.
const NAMED: usize = 8;

/// Logs the tools that cannot be offered, and how many lost characters.
pub(super) fn left_out(server: &Server, offers: &Offers) {
    for tool in offers.left_out.iter().take(NAMED) {
        tracing::warn!(server = %server.name, tool = tool.tool(), reason = tool.reason(), "tool left out");
    }
    rest(server, offers.left_out.len(), "more tools left out");
    let changed = offers.tools.iter().filter(|tool| !tool.changes.is_empty());
    for tool in changed {
        tracing::debug!(server = %server.name, tool = tool.tool, changes = ?tool.changes, "tool offered in a portable copy");
    }
    let cleaned = offers.tools.iter().filter(|tool| tool.is_cleaned).count();
    if cleaned > 0 {
        tracing::warn!(server = %server.name, tools = cleaned, "characters that nobody sees are kept from models");
    }
}

/// Logs the tools that wait to be accepted.
pub(super) fn withheld(server: &Server, offers: &Offers) {
    for tool in offers.withheld(server).take(NAMED) {
        tracing::warn!(server = %server.name, tool = tool.tool(), reason = tool.reason(), "tool withheld");
    }
    rest(
        server,
        offers.withheld(server).count(),
        "more tools withheld",
    );
}

/// Logs the tools that grants name and the server does not list; of callers' tokens each may have a list
/// of its own.
pub(super) fn unlisted(server: &Server, offers: &Offers) {
    if server.grants.is_empty() || server.auth.is_callers() {
        return;
    }
    let listed = offers.tools.iter().map(|tool| &*tool.tool);
    let listed: HashSet<&str> = listed
        .chain(offers.left_out.iter().map(LeftOut::tool))
        .collect();
    let named = server.grants.iter().flat_map(|grant| {
        let named = grant.named_tools();
        named.map(|tool| (grant.project(), tool))
    });
    let unlisted: Vec<_> = named.filter(|(_, tool)| !listed.contains(tool)).collect();
    for (project, tool) in unlisted.iter().take(NAMED) {
        tracing::warn!(server = %server.name, project, tool, "a grant names a tool that the server does not list");
    }
    rest(
        server,
        unlisted.len(),
        "more tools that grants name and the server does not list",
    );
}

/// Logs, in one line, how many tools are not named.
fn rest(server: &Server, all: usize, what: &'static str) {
    if let Some(tools @ 1..) = all.checked_sub(NAMED) {
        tracing::warn!(server = %server.name, tools, "{what}");
    }
}
