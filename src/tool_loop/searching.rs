//! Decides whether a model searches for the tools of a request, or is offered each.

use crate::{catalog::Catalog, chat::ChatRequest, settings::Settings};

/// The catalog of a request whose tools run here, as its model learns of it. `wanted` is what the
/// request says of that.
pub(crate) fn told(
    catalog: Catalog,
    request: &ChatRequest,
    wanted: Option<bool>,
    settings: &Settings,
) -> Catalog {
    let count = catalog.len();
    let is_searched = wanted.unwrap_or_else(|| settings.searches(request.tools.len(), count));
    if !is_searched || count == 0 {
        return catalog;
    }
    // A model that has to call a tool must have been offered it.
    let chosen = request.chosen_tools();
    match settings.native_tool_search {
        Some(service) => catalog.searched_by(service, chosen),
        None => catalog.searched(chosen),
    }
}
