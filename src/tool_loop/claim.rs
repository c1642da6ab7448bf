//! Splits a model's tool calls: ours, the caller's, unknown.

use crate::{
    catalog::{Catalog, Owner},
    chat::{CallerTool, NAMESPACE, ToolCall},
};

/// The owner of each call, by the request's own map and nothing else. A name that nobody has may be
/// one of ours behind a namespace that no offered name has.
pub(crate) fn owners<'a>(
    calls: &[ToolCall],
    catalog: &'a Catalog,
    callers: &[CallerTool],
) -> Vec<Owner<'a>> {
    let owner = |call: &ToolCall| {
        let Some(name) = &call.function else {
            return Owner::Caller;
        };
        let behind = || catalog.entry(name.strip_prefix(NAMESPACE)?);
        match catalog.entry(name) {
            Some(entry) => Owner::Ours(entry),
            None if callers.iter().any(|tool| tool.name == *name) => Owner::Caller,
            None => behind().map_or(Owner::Unknown, Owner::Ours),
        }
    };
    calls.iter().map(owner).collect()
}
