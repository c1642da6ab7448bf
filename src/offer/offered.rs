//! The tools that a server offers by one record: made once, for all requests.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::{searched::Searched, tool::Offer};
use crate::{
    apart,
    left_out::LeftOut,
    registry::{Pins, Server, ToolPolicy},
    schema::{has_whole_fraction, reread},
};

/// The most bytes of a schema and arguments that are read again on a serving thread.
const REREAD_HERE: usize = 32 << 10;

/// The projects whose share of the tools is kept; those of others are put together for each request,
/// which copies their definitions.
const SHARES: usize = 16;

/// What a definition begins with that is loaded when it is found.
const DEFERRED: &[u8] = br#"{"defer_loading":true,"#;

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
    /// The same of those that are always offered, and their number.
    always: (Bytes, usize),
    /// All of them for an upstream that searches itself, once one was asked.
    deferred: OnceLock<Bytes>,
    /// Finds them, and those of the list that are not offered.
    searched: Arc<Searched>,
    /// The places of those whose texts were cleaned.
    cleaned: Vec<usize>,
    withheld: Arc<[LeftOut]>,
    /// The server's own words on how to use them, if models get these.
    instructions: Option<Arc<str>>,
    /// What projects are offered that are granted some of them, the last few; `None` for all.
    // Held for an assignment, never across an await.
    shares: Mutex<VecDeque<(String, Option<Arc<Self>>)>>,
}

/// One offered tool.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) server: Arc<Server>,
    pub(crate) policy: ToolPolicy,
    /// It is offered, too, where tools are searched for.
    pub(crate) is_always: bool,
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

    /// Returns the tool's policy in `server`, the current record; `None` if `project` is not offered it
    /// any more.
    pub(crate) fn policy_now(&self, server: &Server, project: &str) -> Option<ToolPolicy> {
        let is_granted = server.grants.has(project, &self.offer.tool);
        let withheld = self.offer.withheld(server, self.pins.as_deref());
        server
            .tools
            .policy(&self.offer.tool)
            .filter(|_| is_granted && withheld.is_none())
    }
}

impl Offered {
    pub(super) fn new(
        server: Arc<Server>,
        entries: Vec<Entry>,
        definitions: Bytes,
        withheld: Arc<[LeftOut]>,
        searched: Arc<Searched>,
    ) -> Self {
        let places = entries.iter().enumerate();
        let cleaned = places.filter(|(_, entry)| entry.offer.is_cleaned);
        let always = entries.iter().filter(|entry| entry.is_always);
        let always = always.map(|entry| &entry.offer.definition);
        Self {
            always: (joined(always.clone()), always.count()),
            deferred: OnceLock::new(),
            searched,
            cleaned: cleaned.map(|(place, _)| place).collect(),
            server,
            entries,
            definitions,
            withheld,
            instructions: None,
            shares: Mutex::default(),
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
        Arc::new(self.part(&places, self.withheld.clone()))
    }

    /// What `project` is offered of them: those that it is granted.
    pub(crate) fn granted(self: &Arc<Self>, project: &str) -> Arc<Self> {
        let grant = self.server.grants.of(project);
        let Some(grant) = grant.filter(|grant| grant.tools().is_some()) else {
            return self.clone();
        };
        let shares = || self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let known = shares().iter().find(|(of, _)| of == project).cloned();
        if let Some((_, share)) = known {
            return share.unwrap_or_else(|| self.clone());
        }
        let entries = self.entries.iter().enumerate();
        let granted = entries.filter(|(_, entry)| grant.has(&entry.offer.tool));
        let places: Vec<usize> = granted.map(|(place, _)| place).collect();
        let withheld = self.withheld.iter().filter(|tool| grant.has(tool.tool()));
        let withheld: Arc<[LeftOut]> = withheld.cloned().collect();
        let is_all = places.len() == self.entries.len() && withheld.len() == self.withheld.len();
        // All of them are these themselves, which must not keep themselves.
        let share = (!is_all).then(|| Arc::new(self.part(&places, withheld)));
        let mut shares = shares();
        shares.truncate(SHARES - 1);
        shares.push_front((project.to_owned(), share.clone()));
        share.unwrap_or_else(|| self.clone())
    }

    /// Those at these places, in their order.
    fn part(&self, places: &[usize], withheld: Arc<[LeftOut]>) -> Self {
        let entries: Vec<_> = places.iter().map(|&at| self.entries[at].clone()).collect();
        let definitions = joined(entries.iter().map(|entry| &entry.offer.definition));
        let part = Self::new(
            self.server.clone(),
            entries,
            definitions,
            withheld,
            self.searched.clone(),
        );
        part.with_instructions(self.instructions.clone())
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
            entries: entries.collect(),
            server: self.server.clone(),
            definitions: self.definitions.clone(),
            always: self.always.clone(),
            deferred: self.deferred.clone(),
            searched: self.searched.clone(),
            cleaned: self.cleaned.clone(),
            withheld: self.withheld.clone(),
            instructions: self.instructions.clone(),
            shares: Mutex::default(),
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

    /// The same of those that are always offered, and their number.
    pub(crate) fn always(&self) -> (&Bytes, usize) {
        (&self.always.0, self.always.1)
    }

    /// The same of all tools, for an upstream that searches itself: all but those that are always
    /// offered, and those with a name of `named`, are marked to be loaded when they are found.
    pub(crate) fn deferred(&self, named: &[String]) -> Bytes {
        let is_named = |entry: &Entry| named.contains(&entry.offer.name);
        match !named.is_empty() && self.entries.iter().any(is_named) {
            true => self.deferring(|entry| entry.is_always || is_named(entry)),
            false => {
                let usual = || self.deferring(|entry| entry.is_always);
                self.deferred.get_or_init(usual).clone()
            }
        }
    }

    fn deferring(&self, is_loaded: impl Fn(&Entry) -> bool) -> Bytes {
        let definitions = self.entries.iter().map(|entry| {
            let definition = &entry.offer.definition;
            match is_loaded(entry) {
                true => definition.clone(),
                false => [DEFERRED, &definition[1..]].concat().into(),
            }
        });
        let definitions: Vec<Bytes> = definitions.collect();
        joined(definitions.iter())
    }

    /// Finds them, and those of the list that are not offered.
    pub(crate) fn searched(&self) -> &Arc<Searched> {
        &self.searched
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
