//! Splits a model's tool calls: ours, the caller's, unknown.

use crate::{
    catalog::{Catalog, Owner},
    chat::{CallerTool, ToolCall},
};

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
