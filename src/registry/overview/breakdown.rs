//! Figures by name: of each project, model, server and tool.

use std::collections::HashMap;

use super::{figures::Figures, pack};

/// The most names of one kind in the sums of a bucket: a page of more says nothing.
const NAMES: usize = 200;
/// The longest name, in bytes; no model's service takes a longer one for a model.
pub(super) const LONGEST: usize = 256;
/// The separator of a server and its tool, which no name of a server has.
const SEPARATOR: char = '\u{1f}';

/// Figures by project, model, server and tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Breakdown {
    /// By project.
    pub projects: Names,
    /// By the model that was asked for, once it has answered; empty for requests that named none.
    pub models: Names,
    /// By server that was asked for, once it was found: the exchanges, and the calls of its tools.
    pub servers: Names,
    /// By tool: its calls, and how long they took. See [`Names::tools`].
    pub tools: Names,
}

/// Figures by name, and those of what has no name of its own here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    names: HashMap<Box<str>, Figures>,
    /// What has a name that is too long, one too many, or made up for all that is known.
    other: Figures,
}

impl Breakdown {
    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        for (names, more) in self.kinds_mut().into_iter().zip(other.kinds()) {
            names.add(more);
        }
    }

    /// Adds `other`, under 200 names of each kind at the most.
    pub(super) fn add_bounded(&mut self, other: &Self) {
        for (names, more) in self.kinds_mut().into_iter().zip(other.kinds()) {
            names.add_bounded(more);
        }
    }

    /// These as bytes, for a store.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        for names in self.kinds() {
            names.pack(&mut bytes);
        }
        bytes
    }

    /// The figures of [`to_bytes`](Self::to_bytes); `None` if these are no such bytes.
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut read = Self::default();
        for names in read.kinds_mut() {
            *names = Names::unpack(&mut bytes)?;
        }
        bytes.is_empty().then_some(read)
    }

    fn kinds(&self) -> [&Names; 4] {
        [&self.projects, &self.models, &self.servers, &self.tools]
    }

    fn kinds_mut(&mut self) -> [&mut Names; 4] {
        [
            &mut self.projects,
            &mut self.models,
            &mut self.servers,
            &mut self.tools,
        ]
    }
}

impl Names {
    /// Each name with its figures, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Figures)> {
        self.names.iter().map(|(name, figures)| (&**name, figures))
    }

    /// Each tool, as its server and its own name, with its figures, in no order.
    pub fn tools(&self) -> impl Iterator<Item = (&str, &str, &Figures)> {
        self.iter().map(|(name, figures)| {
            let (server, tool) = Self::tool(name);
            (server, tool, figures)
        })
    }

    /// The server and the own name of a tool, of a name in [`Breakdown::tools`].
    pub fn tool(name: &str) -> (&str, &str) {
        name.split_once(SEPARATOR).unwrap_or((name, ""))
    }

    /// The figures of what has no name of its own: of each bucket, what came after the first 200
    /// names, and what a caller may have made up, which is a model that has not answered and a server
    /// that was not found.
    pub fn other(&self) -> &Figures {
        &self.other
    }

    /// Adds everything that `other` has; names beyond the most that sums have are added as well.
    fn add(&mut self, other: &Self) {
        for (name, figures) in &other.names {
            match self.names.get_mut(name) {
                Some(sum) => sum.add(figures),
                None => {
                    self.names.insert(name.clone(), figures.clone());
                }
            }
        }
        self.other.add(&other.other);
    }

    /// Adds everything that `other` has, under 200 names at the most.
    pub(super) fn add_bounded(&mut self, other: &Self) {
        for (name, figures) in &other.names {
            self.add_to(name, |sum| sum.add(figures));
        }
        self.other.add(&other.other);
    }

    /// Adds something to the figures of this name; where there is no room for it, to the others.
    pub(super) fn add_to(&mut self, name: &str, add: impl FnOnce(&mut Figures)) {
        if let Some(figures) = self.names.get_mut(name) {
            return add(figures);
        }
        match name.len() <= LONGEST && self.names.len() < NAMES {
            true => add(self.names.entry(name.into()).or_default()),
            false => add(&mut self.other),
        }
    }

    /// Adds something to the figures of this name if it `is_known`, else to the others.
    pub(super) fn add_if(&mut self, is_known: bool, name: &str, add: impl FnOnce(&mut Figures)) {
        match is_known {
            true => self.add_to(name, add),
            false => add(&mut self.other),
        }
    }

    fn pack(&self, bytes: &mut Vec<u8>) {
        pack::put(bytes, self.names.len() as u64);
        for (name, figures) in &self.names {
            pack::put_text(bytes, name);
            figures.pack(bytes);
        }
        self.other.pack(bytes);
    }

    fn unpack(bytes: &mut &[u8]) -> Option<Self> {
        let mut read = Self::default();
        for _ in 0..pack::take(bytes)? {
            let name = pack::take_text(bytes)?.into();
            read.names.insert(name, Figures::unpack(bytes)?);
        }
        read.other = Figures::unpack(bytes)?;
        Some(read)
    }
}

/// Writes the name of a tool into `name`, which replaces what was there.
pub(super) fn write_tool(name: &mut String, server: &str, tool: &str) {
    name.clear();
    name.push_str(server);
    name.push(SEPARATOR);
    name.push_str(tool);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn breakdown() -> Breakdown {
        let mut breakdown = Breakdown::default();
        let mut name = String::new();
        write_tool(&mut name, "docs", "search");
        breakdown.tools.add_to(&name, |tool| {
            tool.add_calls(1, 1);
            tool.durations.add(Duration::from_millis(7));
        });
        let servers = &mut breakdown.servers;
        servers.add_to("docs", |server| server.add_calls(1, 1));
        breakdown.models.add_to("", |model| model.exchanges += 1);
        breakdown
    }

    #[test]
    fn a_breakdown_comes_back_from_its_bytes() {
        let breakdown = breakdown();
        let bytes = breakdown.to_bytes();
        assert_eq!(Breakdown::from_bytes(&bytes).as_ref(), Some(&breakdown));
        for cut in 0..bytes.len() {
            assert_eq!(Breakdown::from_bytes(&bytes[..cut]), None);
        }
        let tools: Vec<_> = breakdown.tools.tools().collect();
        assert_eq!(tools[0].0, "docs");
        assert_eq!((tools[0].1, tools[0].2.failed_calls), ("search", 1));
    }

    #[test]
    fn sums_of_the_same_name_are_added() {
        let mut sum = breakdown();
        sum.add(&breakdown());
        sum.add_bounded(&breakdown());
        let servers: Vec<_> = sum.servers.iter().collect();
        assert_eq!((servers.len(), servers[0].1.calls), (1, 3));
    }

    #[test]
    fn names_beyond_the_most_and_the_longest_are_counted_together() {
        let mut names = Names::default();
        for number in 0..NAMES + 30 {
            names.add_to(&format!("model-{number}"), |model| model.exchanges += 1);
        }
        for name in [&*"x".repeat(LONGEST + 1), "model-7"] {
            names.add_to(name, |model| model.exchanges += 1);
        }
        assert_eq!((names.names.len(), names.other().exchanges), (NAMES, 31));
        let all: u64 = names.iter().map(|(_, figures)| figures.exchanges).sum();
        assert_eq!(all + names.other().exchanges, NAMES as u64 + 32);
    }
}
