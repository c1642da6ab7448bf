//! The tools of one request: offered name to server and tool.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;

use crate::{
    offer::{Offer, Offers},
    registry::{Server, ToolPolicy},
};

/// The tools that a request is offered, in the order of their names.
///
/// A model's call is routed by this map and nothing else; no name is ever taken apart.
#[derive(Debug)]
pub(crate) struct Catalog {
    entries: Vec<Entry>,
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
}

impl Catalog {
    /// The tools of these servers that their selections have.
    pub(crate) fn new(servers: &[(Arc<Server>, Arc<Offers>)]) -> Self {
        let mut entries = Vec::new();
        for (server, offers) in servers {
            for (index, offer) in offers.tools.iter().enumerate() {
                if let Some(policy) = server.tools.policy(&offer.tool) {
                    entries.push(Entry {
                        server: server.clone(),
                        policy,
                        offers: offers.clone(),
                        index,
                    });
                }
            }
        }
        entries.sort_by(|a, b| a.offer().name.cmp(&b.offer().name));
        Self { entries }
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
