//! The tools of one request: offered name to server and tool.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use serde_json::Value;

use crate::{
    left_out::LeftOut,
    name::{ServerName, offered_name},
    offer::{Offer, Offers},
    registry::{Server, ToolPolicy},
};

/// The tools that a request is offered, in the order of their names.
///
/// A model's call is routed by this map and nothing else; no name is ever taken apart.
#[derive(Debug)]
pub(crate) struct Catalog {
    entries: Vec<Entry>,
    withheld: Vec<(ServerName, LeftOut)>,
}

/// One offered tool.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) server: Arc<Server>,
    pub(crate) policy: ToolPolicy,
    offers: Arc<Offers>,
    index: usize,
}

impl Entry {
    pub(crate) fn offer(&self) -> &Offer {
        &self.offers.tools[self.index]
    }

    /// Checks `arguments` against the tool's input schema.
    ///
    /// # Errors
    /// The faults, in words that let a model repair its call.
    pub(crate) async fn check(&self, arguments: Value) -> Result<(), String> {
        self.offers.check(self.index, arguments).await
    }

    /// Returns the tool's policy in `server`, the current record; `None` if it is not offered any
    /// more.
    pub(crate) fn policy_now(&self, server: &Server) -> Option<ToolPolicy> {
        let withheld = self.offer().withheld(server, self.offers.pins.as_deref());
        server
            .tools
            .policy(&self.offer().tool)
            .filter(|_| withheld.is_none())
    }
}

impl Catalog {
    /// The tools of these servers that their selections have.
    pub(crate) fn new(servers: &[(Arc<Server>, Arc<Offers>)]) -> Self {
        let mut entries = Vec::new();
        let mut withheld = Vec::new();
        for (server, offers) in servers {
            entries.extend(offers.offered(server).map(|(index, _, policy)| Entry {
                server: server.clone(),
                policy,
                offers: offers.clone(),
                index,
            }));
            let waiting = offers.withheld(server);
            withheld.extend(waiting.map(|tool| (server.name.clone(), tool)));
        }
        entries.sort_by(|a, b| a.offer().name.cmp(&b.offer().name));
        Self { entries, withheld }
    }

    /// Returns the tools that the servers would also offer if somebody accepted them.
    pub(crate) fn withheld(&self) -> &[(ServerName, LeftOut)] {
        &self.withheld
    }

    /// The withheld tool that would be offered as `name`.
    pub(crate) fn withheld_as(&self, name: &str) -> Option<&LeftOut> {
        let named = |server: &ServerName, tool: &LeftOut| offered_name(server, tool.tool()) == name;
        let mut withheld = self.withheld.iter();
        let found = withheld.find(|(server, tool)| named(server, tool));
        found.map(|(_, tool)| tool)
    }

    /// Keeps only the tools with these offered names.
    pub(crate) fn retain(&mut self, names: &[String]) {
        let names: HashSet<&str> = names.iter().map(String::as_str).collect();
        self.entries
            .retain(|entry| names.contains(&*entry.offer().name));
    }

    /// The tool that is offered as `name`.
    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        let found = self
            .entries
            .binary_search_by(|entry| (*entry.offer().name).cmp(name));
        found.ok().map(|index| &self.entries[index])
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The elements for a request's `tools`.
    pub(crate) fn definitions(&self) -> Vec<Bytes> {
        self.entries
            .iter()
            .map(|entry| entry.offer().definition.clone())
            .collect()
    }
}
