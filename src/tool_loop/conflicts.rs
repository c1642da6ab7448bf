//! Checks that the tools of the catalog can be offered beside the caller's own.

use super::gateway::Gateway;
use crate::{
    catalog::Catalog,
    chat::ChatRequest,
    refusal::{Kind, Refusal},
    tool_search::SearchTool,
};

/// Checks that the tools of the catalog can stand beside the caller's own. `way` is the place in the
/// request that asks for them, if that is not `mcp.servers`; `lacking` tells the members without
/// which its model does not search for them.
///
/// # Errors
/// Two tools have one name, or there are too many of them.
pub(crate) fn check(
    gateway: &Gateway,
    request: &ChatRequest,
    catalog: &Catalog,
    way: Option<&str>,
    lacking: impl FnOnce() -> Vec<&'static str>,
) -> Result<(), Refusal> {
    for tool in &request.tools {
        let instead = match catalog.search(&tool.name) {
            Some(_) => "say \"tool_search\": false in mcp",
            None if catalog.entry(&tool.name).is_some() => "leave that one out with mcp.tools",
            None => continue,
        };
        let message = format!(
            "the tool {} of the request has the name of a tool that is added here; rename it, or {instead}",
            tool.name
        );
        return Err(Refusal::new(Kind::ToolNameConflict, message).at(&tool.param));
    }
    let limit = gateway.settings.limits.tools;
    let own = request.tools.len();
    let added = catalog.offered();
    if own + added <= limit {
        return Ok(());
    }
    let all = own + added;
    let message = if catalog.is_searched() {
        let searching = SearchTool::ALL.len();
        format!(
            "{all} tools are too many, at most {limit} fit, though the others are searched for (the request's own: {own}, always offered or named by tool_choice: {}, to search with: {searching}); send fewer of your own, or leave servers out",
            added - searching,
        )
    } else {
        let mut counts: Vec<_> = catalog.counts().filter(|(_, count)| *count > 0).collect();
        counts.sort();
        let counts = counts.into_iter();
        let counts: Vec<_> = counts
            .map(|(server, count)| format!("{server}: {count}"))
            .collect();
        format!(
            "{all} tools are too many, at most {limit} fit (the request's own: {own}, {}); choose some with mcp.tools, or have the model search for them, with {}",
            counts.join(", "),
            lacking().join(" and "),
        )
    };
    Err(Refusal::new(Kind::TooManyTools, message).at(way.unwrap_or("mcp.servers")))
}
