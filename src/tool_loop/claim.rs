//! Splits a model's tool calls: ours, the caller's, unknown; those of tools that were found as what they
//! mean.

use crate::{
    catalog::{Catalog, Owner},
    chat::{CallerTool, NAMESPACE, ToolCall},
    tool_search,
};

/// The calls as they are meant, where the model searches for tools: one through `mcp_call_tool` is one of
/// the tool that it names.
pub(crate) fn meant(calls: Vec<ToolCall>, catalog: &Catalog) -> Vec<ToolCall> {
    match catalog.is_searched() {
        true => calls.into_iter().map(tool_search::meant).collect(),
        false => calls,
    }
}

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
        let ours = |name: &str| {
            let search = || catalog.search(name).map(Owner::Search);
            catalog.entry(name).map(Owner::Ours).or_else(search)
        };
        let behind = || ours(name.strip_prefix(NAMESPACE)?);
        match ours(name) {
            Some(ours) => ours,
            None if callers.iter().any(|tool| tool.name == *name) => Owner::Caller,
            None => behind().unwrap_or(Owner::Unknown),
        }
    };
    calls.iter().map(owner).collect()
}
