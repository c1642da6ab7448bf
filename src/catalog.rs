//! The tools of one request: offered name to server and tool.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use serde_json::Value;

use crate::{
    left_out::LeftOut,
    name::ServerName,
    offer::{Offer, Offers},
    registry::{Server, ToolPolicy},
};

/// The tools that a request is offered, in the order of their names.
///
/// A model's call is routed by this map and nothing else. No name is ever taken apart, so neither a
/// tool called `b__c` nor a name that the model makes up leads anywhere else.
#[derive(Debug)]
pub(crate) struct Catalog {
    entries: Vec<Entry>,
    left_out: Vec<(ServerName, LeftOut)>,
}

/// One offered tool.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) server: Arc<Server>,
    pub(crate) policy: ToolPolicy,
    offers: Arc<Offers>,
    index: usize,
}

/// The owner of a call of the model.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner<'a> {
    /// Ours: a tool of the catalog.
    Ours(&'a Entry),
    /// The caller's: a tool that it sent, or a call of a type that only it can know.
    Caller,
    /// A name that the model has made up, and that belongs to no one.
    Unknown,
}

impl<'a> Owner<'a> {
    /// The tool that is called, if it is ours.
    pub(crate) fn entry(self) -> Option<&'a Entry> {
        match self {
            Self::Ours(entry) => Some(entry),
            Self::Caller | Self::Unknown => None,
        }
    }
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
        let mut left_out = Vec::new();
        for (server, offers) in servers {
            entries.extend(offers.offered(server).map(|(index, _, policy)| Entry {
                server: server.clone(),
                policy,
                offers: offers.clone(),
                index,
            }));
            let withheld = offers.withheld(server);
            left_out.extend(withheld.map(|tool| (server.name.clone(), tool)));
        }
        entries.sort_by(|a, b| a.offer().name.cmp(&b.offer().name));
        Self { entries, left_out }
    }

    /// The selected tools that the servers would offer too, if somebody accepted them.
    pub(crate) fn left_out(&self) -> &[(ServerName, LeftOut)] {
        &self.left_out
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
