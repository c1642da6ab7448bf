//! Checks that the tools of the catalog can be offered beside the caller's own.

use super::gateway::Gateway;
use crate::{
    catalog::Catalog,
    chat::ChatRequest,
    refusal::{Kind, Refusal},
};

/// Checks that the tools of the catalog can stand beside the caller's own. `way` is the place in the
/// request that asks for them, if that is not `mcp.servers`.
///
/// # Errors
/// Two tools have one name, or there are too many of them.
pub(crate) fn check(
    gateway: &Gateway,
    request: &ChatRequest,
    catalog: &Catalog,
    way: Option<&str>,
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
    if own + added > limit {
        let mut counts: Vec<_> = catalog.counts().filter(|(_, count)| *count > 0).collect();
        counts.sort();
        let counts = counts.into_iter();
        let counts: Vec<_> = counts
            .map(|(server, count)| format!("{server}: {count}"))
            .collect();
        let message = match catalog.is_searched() {
            false => format!(
                "{} tools are too many, at most {limit} fit (the request's own: {own}, {}); choose some with mcp.tools, or have them searched for: \"tool_search\": true in mcp, with auto_execute_tools",
                own + added,
                counts.join(", "),
            ),
            true => format!(
                "{} tools are too many, at most {limit} fit, though the others are searched for (the request's own: {own}, those always offered: {added}); send fewer of your own, or leave servers out",
                own + added,
            ),
        };
        return Err(Refusal::new(Kind::TooManyTools, message).at(way.unwrap_or("mcp.servers")));
    }
    Ok(())
}
