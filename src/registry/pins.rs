//! Pinned tools: the accepted definitions, and what happens to others.
//!
//! Pins are part of the record that [`find`](super::ServerRegistry::find) returns, so whatever
//! spreads changes of a registry spreads approvals too. Two fingerprints are compared at the start
//! of a request and again before each call, and nobody is asked. Only a listing writes: the first
//! one accepts everything, later ones note what they saw for the operator.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::definition::Fingerprint;

/// A rule for tools that nobody has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Gate {
    /// It is offered.
    Allow,
    /// It is withheld until an operator accepts it.
    Block,
}

/// The fingerprints of a server's accepted tools, by the tools' own names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pins(BTreeMap<String, Fingerprint>);

/// A tool compared with what was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolState {
    /// It is as it was accepted.
    Approved,
    /// It was accepted, and its definition has changed since.
    Changed,
    /// It was never accepted.
    New,
    /// It was accepted, and its server no longer has it.
    Removed,
}

impl Pins {
    /// The accepted fingerprint of `tool`.
    pub fn of(&self, tool: &str) -> Option<Fingerprint> {
        self.0.get(tool).copied()
    }

    /// Compares `tool`, which has this fingerprint now, with what was accepted.
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

    /// The number of accepted tools.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns `true` if no tool was accepted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All accepted tools, by name.
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
