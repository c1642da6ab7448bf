//! Splits a model's tool calls: ours, the caller's, unknown.

use crate::{
    catalog::{Catalog, Entry},
    chat::{CallerTool, ToolCall},
};

/// Whose a call is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner<'a> {
    /// A tool of the catalog.
    Ours(&'a Entry),
    /// A tool that the caller sent, or a call of a type that only the caller can know.
    Caller,
    /// Nobody's: the model has made the name up.
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

/// The owner of each call, by the request's own map and nothing else.
pub(crate) fn owners<'a>(
    calls: &[ToolCall],
    catalog: &'a Catalog,
    callers: &[CallerTool],
) -> Vec<Owner<'a>> {
    let owner = |call: &ToolCall| {
        let Some(name) = &call.function else {
            return Owner::Caller;
        };
        match catalog.entry(name) {
            Some(entry) => Owner::Ours(entry),
            None if callers.iter().any(|tool| tool.name == *name) => Owner::Caller,
            None => Owner::Unknown,
        }
    };
    calls.iter().map(owner).collect()
}
