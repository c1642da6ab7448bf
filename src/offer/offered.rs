//! The tools that a server offers by one record: made once, for all requests.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::tool::Offer;
use crate::{
    apart,
    left_out::LeftOut,
    registry::{Pins, Server, ToolPolicy},
    schema::{has_whole_fraction, reread},
};

/// The most bytes of a schema and arguments that are read again on a serving thread.
const REREAD_HERE: usize = 32 << 10;

/// What a model is told that sends `null` for a member that does not take it: to leave it out could
/// change what the tool is asked to do (danny-avila/LibreChat#11905, openclaw/openclaw#96729).
const NO_NULL: &str = "; leave out a member that has no value, instead of sending null";

/// The tools of a list that a server's record offers, ready for requests.
///
/// It depends on the record and the list alone, which both never change: another record, or a
/// list that was fetched again, has another one. So it is kept with the list
/// ([`Offers::offered`](super::Offers::offered)), goes with it, and is never out of date.
#[derive(Debug)]
pub(crate) struct Offered {
    server: Arc<Server>,
    /// By offered name.
    entries: Vec<Entry>,
    /// The elements for a request's `tools`, with commas between them.
    definitions: Bytes,
    /// The places of those whose texts were cleaned.
    cleaned: Vec<usize>,
    withheld: Arc<[LeftOut]>,
    /// The server's own words on how to use them, if models get these.
    instructions: Option<Arc<str>>,
}

/// One offered tool.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) server: Arc<Server>,
    pub(crate) policy: ToolPolicy,
    pub(super) offer: Arc<Offer>,
    /// The pins accepted when the tool was listed.
    pub(super) pins: Option<Arc<Pins>>,
}

impl Entry {
    pub(crate) fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Returns `true` if the tool says that it changes nothing. What it does not say is not so.
    pub(crate) fn is_read_only(&self) -> bool {
        self.offer.listed.is_read_only()
    }

    /// Checks `arguments`, which are the JSON `text`, against the tool's input schema. Where they are
    /// of nearly the right type, returns them as they were meant.
    ///
    /// # Errors
    /// The faults, in words that let a model repair its call.
    pub(crate) async fn check(
        &self,
        text: &str,
        arguments: Value,
    ) -> Result<Option<String>, String> {
        let checked = self.offer.check(arguments).await;
        if checked.is_ok() && !has_whole_fraction(text) {
            return Ok(None);
        }
        let reread = self.reread(text).await;
        if let Some((read, arguments)) = reread
            && self.offer.check(arguments).await.is_ok()
        {
            return Ok(Some(read));
        }
        let told = |fault: String| match fault.contains("null is not of type") {
            true => fault + NO_NULL,
            false => fault,
        };
        checked.map(|()| None).map_err(told)
    }

    async fn reread(&self, text: &str) -> Option<(String, Value)> {
        let offer = self.offer.clone();
        let size = text.len() + offer.input_schema.get().len();
        let text = text.to_owned();
        let reread = move || {
            let read = reread(&offer.input_schema, &text)?;
            let arguments = serde_json::from_str(&read).ok()?;
            Some((read, arguments))
        };
        match size <= REREAD_HERE {
            true => reread(),
            false => apart::run(reread).await?,
        }
    }

    /// Returns the tool's policy in `server`, the current record; `None` if it is not offered any
    /// more.
    pub(crate) fn policy_now(&self, server: &Server) -> Option<ToolPolicy> {
        let withheld = self.offer.withheld(server, self.pins.as_deref());
        server
            .tools
            .policy(&self.offer.tool)
            .filter(|_| withheld.is_none())
    }
}

impl Offered {
    pub(super) fn new(
        server: Arc<Server>,
        entries: Vec<Entry>,
        definitions: Bytes,
        withheld: Arc<[LeftOut]>,
    ) -> Self {
        let places = entries.iter().enumerate();
        let cleaned = places.filter(|(_, entry)| entry.offer.is_cleaned);
        Self {
            cleaned: cleaned.map(|(place, _)| place).collect(),
            server,
            entries,
            definitions,
            withheld,
            instructions: None,
        }
    }

    pub(super) fn with_instructions(mut self, instructions: Option<Arc<str>>) -> Self {
        self.instructions = instructions;
        self
    }

    /// Only those at these places.
    pub(crate) fn only(self: &Arc<Self>, mut places: Vec<usize>) -> Arc<Self> {
        places.sort_unstable();
        places.dedup();
        if places.len() == self.entries.len() {
            return self.clone();
        }
        let entries: Vec<_> = places.iter().map(|&at| self.entries[at].clone()).collect();
        let definitions = joined(entries.iter().map(|entry| &entry.offer.definition));
        let (server, withheld) = (self.server.clone(), self.withheld.clone());
        let only = Self::new(server, entries, definitions, withheld);
        Arc::new(only.with_instructions(self.instructions.clone()))
    }

    /// The same, but that those of which this is true ask first.
    pub(crate) fn asking_first(self: &Arc<Self>, asks: impl Fn(&Entry) -> bool) -> Arc<Self> {
        let changes = |entry: &Entry| entry.policy != ToolPolicy::AskFirst && asks(entry);
        if !self.entries.iter().any(changes) {
            return self.clone();
        }
        let policy = |entry: &Entry| match changes(entry) {
            true => ToolPolicy::AskFirst,
            false => entry.policy,
        };
        let entries = self.entries.iter().map(|entry| Entry {
            policy: policy(entry),
            ..entry.clone()
        });
        Arc::new(Self {
            server: self.server.clone(),
            entries: entries.collect(),
            definitions: self.definitions.clone(),
            cleaned: self.cleaned.clone(),
            withheld: self.withheld.clone(),
            instructions: self.instructions.clone(),
        })
    }

    /// Returns `true` if it is `server`, this very record, that offers them.
    pub(super) fn is_of(&self, server: &Arc<Server>) -> bool {
        Arc::ptr_eq(&self.server, server)
    }

    /// The record that offers them.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// The tools, in the order of their names.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The elements for a request's `tools`, with commas between them; empty without tools.
    pub(crate) fn definitions(&self) -> &Bytes {
        &self.definitions
    }

    /// The place of the tool that is offered as `name`.
    pub(crate) fn place(&self, name: &str) -> Option<usize> {
        // Every offered name begins with the server's: most names of others end here.
        if !name.starts_with(self.server.name.as_str()) {
            return None;
        }
        let found = self
            .entries
            .binary_search_by(|entry| (*entry.offer.name).cmp(name));
        found.ok()
    }

    /// The tool that is offered as `name`.
    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        Some(&self.entries[self.place(name)?])
    }

    /// The tools from whose texts something was removed.
    pub(crate) fn cleaned(&self) -> impl Iterator<Item = &Entry> {
        self.cleaned.iter().map(|&place| &self.entries[place])
    }

    /// The server's own words on how to use its tools, if models get these.
    pub(crate) fn instructions(&self) -> Option<&str> {
        self.instructions.as_deref()
    }

    /// The selected tools that the server would offer too, if somebody accepted them.
    pub(crate) fn withheld(&self) -> &[LeftOut] {
        &self.withheld
    }
}

/// These definitions in one piece, with commas between them.
pub(super) fn joined<'a>(definitions: impl Iterator<Item = &'a Bytes> + Clone) -> Bytes {
    let length = definitions.clone().map(|one| one.len() + 1).sum();
    let mut joined = BytesMut::with_capacity(length);
    for definition in definitions {
        if !joined.is_empty() {
            joined.extend_from_slice(b",");
        }
        joined.extend_from_slice(definition);
    }
    joined.freeze()
}
