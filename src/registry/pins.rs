//! Pinned tools: the accepted definitions, and the rule for all others.
//!
//! Pins are part of the record that [`find`](super::ServerRegistry::find) returns, so whatever
//! spreads changes of a registry spreads approvals too. Two fingerprints are compared at the start
//! of a request and again before each call, and nobody is asked. Only a listing writes: the first
//! one accepts everything, later ones note what they saw for the operator.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::definition::Fingerprint;

/// The rule for tools that were not accepted: new ones, and those whose definition has changed.
///
/// Default per store: a database withholds them, other stores offer them. See
/// [`Server::on_change`](super::Server::on_change).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Gate {
    /// The tool is offered without an operator's approval.
    Allow,
    /// The tool is withheld from models until an operator accepts it.
    Block,
}

/// The name under which the accepted instructions are kept among the tools, none of which has it.
const INSTRUCTIONS: &str = "";

/// The fingerprints of a server's accepted tools, by the tools' own names, and that of its
/// instructions. At most 1,024 are kept per server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pins(BTreeMap<String, Fingerprint>);

/// The state of a tool, compared with its accepted definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolState {
    /// Its definition is the accepted one.
    Approved,
    /// Its definition has changed since it was accepted.
    Changed,
    /// It was never accepted.
    New,
    /// It was accepted, and its server no longer lists it.
    Removed,
}

impl Pins {
    /// The accepted fingerprint of `tool`; `None` if it was never accepted.
    pub fn of(&self, tool: &str) -> Option<Fingerprint> {
        self.0.get(tool).copied()
    }

    /// Compares `tool`, whose current fingerprint is `now`, with its accepted definition.
    pub fn state(&self, tool: &str, now: Fingerprint) -> ToolState {
        match self.of(tool) {
            Some(accepted) if accepted == now => ToolState::Approved,
            Some(_) => ToolState::Changed,
            None => ToolState::New,
        }
    }

    /// Accepts `tool` with its current fingerprint, in place of any earlier one.
    pub fn accept(&mut self, tool: impl Into<String>, now: Fingerprint) {
        self.0.insert(tool.into(), now);
    }

    /// Removes `tool`, which is then new again.
    pub fn forget(&mut self, tool: &str) {
        self.0.remove(tool);
    }

    /// The accepted fingerprint of the server's instructions; `None` before the first listing. A
    /// server without any has that of an empty text.
    pub fn instructions(&self) -> Option<Fingerprint> {
        self.of(INSTRUCTIONS)
    }

    /// Accepts the instructions with this fingerprint.
    pub fn accept_instructions(&mut self, now: Fingerprint) {
        self.accept(INSTRUCTIONS, now);
    }

    /// The number of accepted tools.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Returns `true` if no tool was accepted.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// All accepted tools with their fingerprints, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Fingerprint)> {
        let tools = self.0.iter().filter(|(tool, _)| *tool != INSTRUCTIONS);
        tools.map(|(tool, pin)| (tool.as_str(), *pin))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_instructions_are_no_tool_and_are_stored_with_the_tools() {
        let now = Fingerprint::of_text("Search first.");
        let mut pins = Pins::default();
        pins.accept_instructions(now);
        assert!(pins.is_empty() && pins.iter().next().is_none());
        pins.accept("search", now);
        let stored = serde_json::to_string(&pins).unwrap();
        let pins: Pins = serde_json::from_str(&stored).unwrap();
        assert_eq!((pins.len(), pins.instructions()), (1, Some(now)));
    }
}
