//! Observations: the state of a server as seen by probing and using it, and the rules of pins and
//! status.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{
    definition::{Definition, Fingerprint},
    pins::{Pins, ToolState},
    server::Server,
};
use crate::{inactive::Inactive, json::quoted};

/// The number of failures in a row that make a server unreachable, even if its tools are known.
const FAILURES: u32 = 3;
/// The age from which a list of tools no longer counts.
const STALE: Duration = Duration::from_secs(60 * 60);
/// The most tools that are kept of a server: twice the most of one listing, since removed tools and
/// those that only other callers' tokens list count too.
const TOOLS: usize = 1024;
/// The most text of definitions that is kept of a server, in bytes. Beyond it only fingerprints are
/// kept: a change is then noticed, but cannot be shown.
const DEFINITIONS_LEN: usize = 4 << 20;

/// Everything known of a server from probing and using it; the default is nothing.
///
/// [`Connections`](crate::Connections) write it through an
/// [`ObservationStore`](super::ObservationStore); operators read it to see the status of a server
/// and to accept its tools.
///
/// ```
/// use mcp_layer::registry::Observation;
///
/// let mut observation = Observation::default();
/// observation.failures = 1;
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Observation {
    /// The number of changes so far, for
    /// [`ObservationStore::observe`](super::ObservationStore::observe); 0 if nothing is stored yet.
    pub version: u64,
    /// The version of the server's record at the last observation. Failures of another version say
    /// nothing about this one.
    pub record_version: u64,
    /// The number of failures in a row; 0 after a success. One for which callers are refused counts
    /// as three.
    pub failures: u32,
    /// The time of the first of these failures; `None` after a success.
    pub failing_since: Option<SystemTime>,
    /// The last failure, even if the server works again.
    pub last_failure: Option<Failure>,
    /// The time of the last successful listing of tools.
    pub listed_at: Option<SystemTime>,
    /// The usable tools of the last listing, by their own names.
    pub listed: BTreeMap<String, Fingerprint>,
    /// What the server said at the last listing of how to use its tools; `None` if that was nothing.
    /// The text is in [`definitions`](Self::definitions), as a JSON string.
    pub instructions: Option<Fingerprint>,
    /// The accepted tools and instructions; `None` before the first listing that had any tools.
    pub pins: Option<Arc<Pins>>,
    /// The canonical JSON of listed and accepted definitions, to compare them on a page.
    pub definitions: BTreeMap<Fingerprint, Arc<str>>,
}

/// A failed attempt to use a server.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Failure {
    /// The stage that failed.
    pub stage: Stage,
    /// The reason why the server cannot be used.
    pub reason: Inactive,
    /// What an operator is told besides: the status and the first line of a refusal, the target of
    /// a redirect, or what to do about a connection that failed. At most 400 characters; never for
    /// callers or models.
    pub detail: Option<String>,
    /// The time of the failure.
    pub at: SystemTime,
}

/// The stage at which using a server failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stage {
    /// No connection could be made.
    Connect,
    /// There was no credential, or the server refused it.
    Authorize,
    /// The server did not list its tools, or not properly.
    List,
    /// The server lists its tools, but calls fail.
    Call,
}

/// The error of accepting a tool that has changed since it was shown. Show the new definition, and
/// ask again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotAccepted {
    /// The tool's own name.
    pub tool: String,
    /// The tool's current fingerprint; `None` if the server no longer has the tool.
    pub now: Option<Fingerprint>,
}

impl Failure {
    /// Creates a failure without a detail.
    pub fn new(stage: Stage, reason: Inactive, at: SystemTime) -> Self {
        Self {
            stage,
            reason,
            detail: None,
            at,
        }
    }

    /// The reason and the detail, in words for an operator.
    pub fn message(&self) -> String {
        self.reason.with_detail(self.detail.as_deref())
    }
}

impl Observation {
    /// Records a successful listing, which ends a row of failures.
    ///
    /// The first listing accepts all of its tools; a later one accepts those that are new, unless
    /// the server's rule withholds them. An empty first listing accepts nothing: otherwise a server
    /// that lists no tools while it starts would have all of them withheld for good. A tool that is
    /// selected by name is accepted when it first appears, since an operator chose it; from then on
    /// it is pinned.
    pub fn listed(&mut self, server: &Server, tools: &[(String, Definition)], now: SystemTime) {
        self.record_version = server.version;
        self.failures = 0;
        self.failing_since = None;
        self.listed_at = Some(now);
        // A token's own list says nothing about what others get.
        if !server.auth.is_callers() || self.listed.len() > TOOLS {
            self.listed.clear();
        }
        for (tool, definition) in tools.iter().take(TOOLS) {
            let fingerprint = definition.fingerprint();
            self.listed.insert(tool.clone(), fingerprint);
            let text = definition.json().clone();
            self.definitions.entry(fingerprint).or_insert(text);
        }
        let mut pins = match &self.pins {
            None if self.listed.is_empty() => return,
            None => Arc::default(),
            Some(pins) => pins.clone(),
        };
        let is_first = self.pins.is_none();
        for (tool, fingerprint) in &self.listed {
            let is_new = pins.of(tool).is_none();
            let is_offered = server.withheld(tool, *fingerprint, Some(&pins)).is_none();
            if is_new && (is_first || is_offered) && pins.len() < TOOLS {
                Arc::make_mut(&mut pins).accept(tool, *fingerprint);
            }
        }
        self.pins = Some(pins);
        self.forget_definitions();
    }

    /// Records what the server said of how to use its tools, along with a [listing](Self::listed).
    ///
    /// It is accepted as it is while the server's record keeps it from models: so an operator who lets
    /// it through has accepted what there is to read. From then on a change waits where the record
    /// blocks changes.
    pub fn instructed(&mut self, server: &Server, said: Option<&str>) {
        self.instructions = said.map(Fingerprint::of_text);
        if let (Some(said), Some(now)) = (said, self.instructions) {
            let text = || quoted(said).into();
            self.definitions.entry(now).or_insert_with(text);
        }
        let now = self.instructions_now();
        let is_withheld =
            server.instructions && server.withholds_instructions(now, self.pins.as_deref());
        if let Some(pins) = &mut self.pins
            && !is_withheld
            && pins.instructions() != Some(now)
        {
            Arc::make_mut(pins).accept_instructions(now);
        }
        self.forget_definitions();
    }

    /// The instructions as an operator reads them; `None` if there are none, or their text is not
    /// kept.
    pub fn instructions_text(&self) -> Option<String> {
        let text = self.definitions.get(&self.instructions?)?;
        serde_json::from_str(text).ok()
    }

    /// The fingerprint of the instructions, also where there are none.
    fn instructions_now(&self) -> Fingerprint {
        let none = || Fingerprint::of_text("");
        self.instructions.unwrap_or_else(none)
    }

    /// Records a failure of the server.
    pub fn failed(&mut self, server: &Server, failure: Failure) {
        if self.record_version != server.version {
            self.record_version = server.version;
            self.failures = 0;
        }
        if self.failures == 0 {
            self.failing_since = Some(failure.at);
        }
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(failure);
    }

    /// Records a failure because of which callers are refused: it counts as three, so that the
    /// server is unreachable at once, also where its tools are known. Those who list tools and still
    /// have a list of them record a failure that [failed](Self::failed) alone.
    pub fn refused(&mut self, server: &Server, failure: Failure) {
        self.failed(server, failure);
        self.failures = self.failures.max(FAILURES);
    }

    /// Accepts tools with the fingerprints that an operator reviewed; `None` accepts that a tool
    /// was removed. A tool without a name stands for the server's instructions.
    ///
    /// # Errors
    /// [`NotAccepted`] names the first tool that has changed since the review; nothing is accepted
    /// then.
    pub fn accept(&mut self, tools: &[(String, Option<Fingerprint>)]) -> Result<(), NotAccepted> {
        for (tool, meant) in tools {
            let now = match tool.is_empty() {
                true => self.instructions,
                false => self.listed.get(tool).copied(),
            };
            let is_known =
                now.is_some() || self.pins.as_ref().is_some_and(|p| p.of(tool).is_some());
            if now != *meant || !is_known {
                let tool = tool.clone();
                return Err(NotAccepted { tool, now });
            }
        }
        let pins = Arc::make_mut(self.pins.get_or_insert_default());
        for (tool, meant) in tools {
            match meant {
                Some(fingerprint) => pins.accept(tool, *fingerprint),
                None => pins.forget(tool),
            }
        }
        self.forget_definitions();
        Ok(())
    }

    /// All known tools by name, each compared with its accepted definition.
    ///
    /// If the record has pins of its own, those count instead of the observed ones.
    pub fn tools<'a>(&'a self, server: &'a Server) -> impl Iterator<Item = (&'a str, ToolState)> {
        let pins = server.pins.as_deref().or(self.pins.as_deref());
        let accepted = pins
            .into_iter()
            .flat_map(|pins| pins.iter().map(|(tool, _)| tool));
        let names: BTreeSet<&str> = self
            .listed
            .keys()
            .map(String::as_str)
            .chain(accepted)
            .collect();
        names.into_iter().map(move |tool| {
            let state = match (self.listed.get(tool), pins) {
                (None, _) => ToolState::Removed,
                (Some(now), Some(pins)) => pins.state(tool, *now),
                (Some(_), None) => ToolState::New,
            };
            (tool, state)
        })
    }

    /// The number of tools that are offered to models: listed, selected and not withheld.
    pub fn offered(&self, server: &Server) -> usize {
        let pins = self.pins.as_deref();
        let is_offered = |(tool, now): &(&String, &Fingerprint)| {
            server.tools.policy(tool).is_some() && server.withheld(tool, **now, pins).is_none()
        };
        self.listed.iter().filter(is_offered).count()
    }

    /// The number of selected tools that are withheld until an operator accepts them.
    pub fn withheld(&self, server: &Server) -> usize {
        let pins = self.pins.as_deref();
        let is_withheld = |(tool, now): &(&String, &Fingerprint)| {
            server.tools.policy(tool).is_some() && server.withheld(tool, **now, pins).is_some()
        };
        self.listed.iter().filter(is_withheld).count()
    }

    /// Checks whether `server` can be used, as far as is known. A server that was never observed
    /// can.
    ///
    /// # Errors
    /// The reason why it cannot: three failures in a row, one failure without a list of tools from
    /// the last hour, or no tools.
    pub fn standing(&self, server: &Server, now: SystemTime) -> Result<(), Inactive> {
        let is_usable = self
            .listed_at
            .is_some_and(|at| now.duration_since(at).unwrap_or_default() < STALE);
        let failures = match self.record_version == server.version {
            true => self.failures,
            false => 0,
        };
        if failures >= FAILURES || (failures > 0 && !is_usable) {
            let failure = self
                .last_failure
                .as_ref()
                .map(|failure| failure.reason.clone());
            return Err(failure.unwrap_or(Inactive::unreachable("it does not answer")));
        }
        if self.listed_at.is_some() && self.offered(server) == 0 {
            return Err(Inactive::NoTools);
        }
        Ok(())
    }

    /// Drops definitions that nothing refers to, and those beyond the limit.
    fn forget_definitions(&mut self) {
        let pins = self.pins.clone().unwrap_or_default();
        let used: BTreeSet<Fingerprint> = pins
            .iter()
            .map(|(_, pin)| pin)
            .chain(self.listed.values().copied())
            .chain(self.instructions)
            .chain(pins.instructions())
            .collect();
        let mut room = DEFINITIONS_LEN;
        self.definitions.retain(|fingerprint, text| {
            let is_kept = used.contains(fingerprint) && text.len() <= room;
            room -= if is_kept { text.len() } else { 0 };
            is_kept
        });
    }
}

impl fmt::Display for NotAccepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.now {
            Some(now) if self.tool.is_empty() => {
                write!(f, "the instructions are something else by now: {now}")
            }
            None if self.tool.is_empty() => f.write_str("the server has no instructions"),
            Some(now) => write!(
                f,
                "the tool {:?} is something else by now: {now}",
                self.tool
            ),
            None => write!(f, "the server has no tool {:?}", self.tool),
        }
    }
}

impl std::error::Error for NotAccepted {}
