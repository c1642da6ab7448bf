//! Pinned tools: what was accepted, and what becomes of the rest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Fingerprint, Server, ToolSelection};

/// What becomes of tools that nobody has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Gate {
    /// They are offered.
    Allow,
    /// They are withheld until an operator accepts them.
    Block,
}

/// The fingerprints of a server's tools that were accepted, by the tools' own names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pins(BTreeMap<String, Fingerprint>);

/// How a tool stands to what was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolState {
    /// It is as it was accepted.
    Approved,
    /// It was accepted, and is another one now.
    Changed,
    /// It was never accepted.
    New,
    /// It was accepted, and its server has it no more.
    Removed,
}

impl Pins {
    /// What was accepted of `tool`.
    pub fn of(&self, tool: &str) -> Option<Fingerprint> {
        self.0.get(tool).copied()
    }

    /// How `tool`, which has this fingerprint now, stands to it.
    pub fn state(&self, tool: &str, now: Fingerprint) -> ToolState {
        match self.of(tool) {
            Some(accepted) if accepted == now => ToolState::Approved,
            Some(_) => ToolState::Changed,
            None => ToolState::New,
        }
    }

    /// Accepts `tool` as it is now.
    pub fn accept(&mut self, tool: impl Into<String>, now: Fingerprint) {
        self.0.insert(tool.into(), now);
    }

    /// Forgets `tool`.
    pub fn forget(&mut self, tool: &str) {
        self.0.remove(tool);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was accepted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Fingerprint)> {
        self.0.iter().map(|(tool, pin)| (tool.as_str(), *pin))
    }
}

impl<T: Into<String>> FromIterator<(T, Fingerprint)> for Pins {
    fn from_iter<I: IntoIterator<Item = (T, Fingerprint)>>(pins: I) -> Self {
        Self(
            pins.into_iter()
                .map(|(tool, pin)| (tool.into(), pin))
                .collect(),
        )
    }
}

impl Server {
    /// Why a selected tool is withheld for what it is now; `None`: it is offered.
    ///
    /// `pins` count where the record has none of its own. Without any nothing is withheld:
    /// nobody has listed the server's tools before.
    pub fn withheld(&self, tool: &str, now: Fingerprint, pins: Option<&Pins>) -> Option<ToolState> {
        let state = self.pins.as_deref().or(pins)?.state(tool, now);
        let gate = match state {
            ToolState::Changed => self.on_change,
            // A tool that is named was chosen by name.
            ToolState::New if self.tools == ToolSelection::All => self.new_tools,
            ToolState::New | ToolState::Approved | ToolState::Removed => None,
        };
        (gate == Some(Gate::Block)).then_some(state)
    }
}
