//! What is known of servers from looking at them, by whichever replica looked last.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{Auth, Definition, Error, Fingerprint, Pins, Server, ServerId, ToolState};
use crate::inactive::Inactive;

/// So many failures in a row make a server unreachable, whatever is known of its tools.
const FAILURES: u32 = 3;
/// A list of tools that is so old is of no use any more.
const STALE: Duration = Duration::from_secs(60 * 60);
/// The most tools that are known of a server: twice what a listing may have, since those that are
/// gone, and those of other callers' tokens, count too.
const TOOLS: usize = 1024;
/// The most text of definitions that is kept of a server, in bytes. Of what is beyond it the
/// fingerprint is kept: a difference is noticed, and cannot be shown.
const DEFINITIONS_LEN: usize = 4 << 20;

/// Keeps [`Observation`]s. One that is shared by replicas has them agree on what was accepted and
/// who probes.
///
/// A server need not be one of the store's own: those of a file are observed too.
pub trait ObservationStore: Send + Sync + 'static {
    /// All that is known of a server.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn observation(
        &self,
        organization: &str,
        server: &ServerId,
    ) -> impl Future<Output = Result<Option<Observation>, Error>> + Send;

    /// What is known of these servers, in their order, without the text of definitions.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn observations(
        &self,
        organization: &str,
        servers: &[ServerId],
    ) -> impl Future<Output = Result<Vec<Option<Observation>>, Error>> + Send;

    /// Replaces what is known, if what is stored still has the version of `observation`, 0 where
    /// there is nothing; the version then counts up. Returns whether it was replaced.
    ///
    /// Pins that differ are in what [`find`](super::ServerRegistry::find) answers from then on,
    /// in every replica within a second.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn observe(
        &self,
        organization: &str,
        server: &ServerId,
        observation: &Observation,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Takes it upon the caller to probe those of `servers` that nobody has taken within the last
    /// `every`; returns for each whether it is the caller's.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn claim_probes(
        &self,
        organization: &str,
        servers: &[ServerId],
        every: Duration,
    ) -> impl Future<Output = Result<Vec<bool>, Error>> + Send;
}

/// What is known of a server.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Observation {
    /// Counts the changes of what is known; 0: nothing is stored yet.
    pub version: u64,
    /// Which version of the record was looked at last; what went wrong with another one says
    /// nothing about this one.
    pub record_version: u64,
    /// How many looks failed in a row, up to now.
    pub failures: u32,
    /// When the first of these failures was.
    pub failing_since: Option<SystemTime>,
    /// The last failure, also when it is over.
    pub last_failure: Option<Failure>,
    /// When the tools were last listed.
    pub listed_at: Option<SystemTime>,
    /// The tools of the last listing that can be offered, by their own names.
    pub listed: BTreeMap<String, Fingerprint>,
    /// What was accepted; `None` before the first listing that had tools.
    pub pins: Option<Arc<Pins>>,
    /// The text of definitions, of those listed and of those accepted.
    pub definitions: BTreeMap<Fingerprint, Arc<str>>,
}

/// A look at a server that failed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Failure {
    /// How far it came.
    pub stage: Stage,
    /// Why the server cannot be used.
    pub reason: Inactive,
    /// When.
    pub at: SystemTime,
}

/// How far a look at a server came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stage {
    /// There was no connection.
    Connect,
    /// There was no credential, or the server refused it.
    Authorize,
    /// It did not list its tools as it should.
    List,
    /// It listed them, but calls fail.
    Call,
}

/// Why a tool was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotAccepted {
    /// The tool's own name.
    pub tool: String,
    /// What it is now; `None`: the server does not have it.
    pub now: Option<Fingerprint>,
}

impl Failure {
    /// A failure at this time.
    pub fn new(stage: Stage, reason: Inactive, at: SystemTime) -> Self {
        Self { stage, reason, at }
    }
}

impl Observation {
    /// The server listed these tools.
    ///
    /// At the first listing all of them are accepted; later those that are new and not withheld.
    pub fn listed(&mut self, server: &Server, tools: &[(String, Definition)], now: SystemTime) {
        self.record_version = server.version;
        self.failures = 0;
        self.failing_since = None;
        self.listed_at = Some(now);
        // A token's own list says nothing about what others get.
        if !matches!(server.auth, Auth::TokenPassthrough(_)) || self.listed.len() > TOOLS {
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

    /// The server could not be used.
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

    /// Accepts tools as they are now; with `None` that one is gone.
    ///
    /// # Errors
    /// The first tool that is something else by now. Then nothing is accepted.
    pub fn accept(&mut self, tools: &[(String, Option<Fingerprint>)]) -> Result<(), NotAccepted> {
        for (tool, meant) in tools {
            let now = self.listed.get(tool).copied();
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

    /// All tools that are known, with how they stand to what was accepted.
    ///
    /// `pins` are those of the record where it has some.
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

    /// How many tools are offered to models.
    pub fn offered(&self, server: &Server) -> usize {
        let pins = self.pins.as_deref();
        let is_offered = |(tool, now): &(&String, &Fingerprint)| {
            server.tools.policy(tool).is_some() && server.withheld(tool, **now, pins).is_none()
        };
        self.listed.iter().filter(is_offered).count()
    }

    /// How many tools are selected, and withheld until an operator accepts them.
    pub fn withheld(&self, server: &Server) -> usize {
        let pins = self.pins.as_deref();
        let is_withheld = |(tool, now): &(&String, &Fingerprint)| {
            server.tools.policy(tool).is_some() && server.withheld(tool, **now, pins).is_some()
        };
        self.listed.iter().filter(is_withheld).count()
    }

    /// Whether `server` can be used, as far as looking at it has shown. One that was never looked
    /// at can be.
    ///
    /// # Errors
    /// Why not: three failures in a row, one without a list that is of use, or no tools.
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

    /// Keeps the definitions that something refers to, as far as there is room.
    fn forget_definitions(&mut self) {
        let pins = self.pins.clone().unwrap_or_default();
        let used: BTreeSet<Fingerprint> = pins
            .iter()
            .map(|(_, pin)| pin)
            .chain(self.listed.values().copied())
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
