//! The log lines of a listing: which tools are left out, withheld, cleaned, or granted in vain.
//!
//! A server is listed every few seconds, so the same lines are logged once, and again when they change.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use crate::{
    keyed::{Digest, Keyed},
    left_out::LeftOut,
    offer::Offers,
    registry::Server,
};

/// Tools of a listing that are named in the log, each in a line; a server may list hundreds.
const NAMED: usize = 8;

/// What was logged of the last listing of a server, a hash for each kind of lines.
#[derive(Default)]
pub(super) struct Logged {
    left_out: Last,
    withheld: Last,
    unlisted: Last,
}

#[derive(Default)]
struct Last(Mutex<Option<Digest>>);

impl Last {
    /// Remembers these parts; returns `true` if they are not the last ones.
    fn is_news<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> bool {
        let mut hash = Keyed::new("logged");
        for part in parts {
            hash.add(part);
        }
        let now = hash.finish();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.replace(now) != Some(now)
    }
}

impl Logged {
    /// Logs the tools that cannot be offered, and how many lost characters.
    pub(super) fn left_out(&self, server: &Server, offers: &Offers) {
        let changed = offers.tools.iter().filter(|tool| !tool.changes.is_empty());
        for tool in changed {
            tracing::debug!(server = %server.name, tool = tool.tool, changes = ?tool.changes, "tool offered in a portable copy");
        }
        let cleaned = offers.tools.iter().filter(|tool| tool.is_cleaned).count();
        let number = cleaned.to_string();
        let tools = offers.left_out.iter();
        let parts = tools.flat_map(|tool| [tool.tool(), tool.reason()]);
        if !self.left_out.is_news(parts.chain([&*number])) {
            return;
        }
        for tool in offers.left_out.iter().take(NAMED) {
            tracing::warn!(server = %server.name, tool = tool.tool(), reason = tool.reason(), "tool left out");
        }
        rest(server, offers.left_out.len(), "more tools left out");
        if cleaned > 0 {
            tracing::warn!(server = %server.name, tools = cleaned, "characters that nobody sees are kept from models");
        }
    }

    /// Logs the tools that wait to be accepted.
    pub(super) fn withheld(&self, server: &Server, offers: &Offers) {
        let withheld: Vec<LeftOut> = offers.withheld(server).collect();
        let parts = withheld
            .iter()
            .flat_map(|tool| [tool.tool(), tool.reason()]);
        if !self.withheld.is_news(parts) {
            return;
        }
        for tool in withheld.iter().take(NAMED) {
            tracing::warn!(server = %server.name, tool = tool.tool(), reason = tool.reason(), "tool withheld");
        }
        rest(server, withheld.len(), "more tools withheld");
    }

    /// Logs the tools that grants name and the server does not list; of callers' tokens each may have a
    /// list of its own.
    pub(super) fn unlisted(&self, server: &Server, offers: &Offers) {
        if server.auth.is_callers() {
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
        let parts = unlisted
            .iter()
            .flat_map(|(project, tool)| [*project, *tool]);
        if !self.unlisted.is_news(parts) {
            return;
        }
        for (project, tool) in unlisted.iter().take(NAMED) {
            tracing::warn!(server = %server.name, project, tool, "a grant names a tool that the server does not list");
        }
        rest(
            server,
            unlisted.len(),
            "more tools that grants name and the server does not list",
        );
    }
}

/// Logs, in one line, how many tools are not named.
fn rest(server: &Server, all: usize, what: &'static str) {
    if let Some(tools @ 1..) = all.checked_sub(NAMED) {
        tracing::warn!(server = %server.name, tools, "{what}");
    }
}
