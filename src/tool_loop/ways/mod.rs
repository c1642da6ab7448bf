//! Ways to opt in, for clients that cannot send the member `mcp`.
//!
//! ```text
//! tools: [{"type": "mcp", …}]   metadata.mcp_servers   x-mcp-servers   an alias, a default
//!              │                        │                    │                │
//!              └──────────┬─────────────┴────────────────────┴────────────────┘
//!                       OptIn ──▶ the options that a member `mcp` would make ──▶ the loop
//! ```
//!
//! Each way has a file. What asks for servers is an [`OptIn`] from then on, with the places in the
//! request that faults are to name; the loop does not know that there are ways. A way is taken out of
//! the body when that is read, whether it counts or not.
//!
//! What a request says itself goes before what its operator has decided for it, and of two ways that it
//! says a header goes before `metadata`; but an entry of `tools` beside another way has two meanings,
//! and is refused.

mod alias;
mod by_model;
pub(crate) mod default;
mod header;
mod metadata;
mod names;
mod opt_in;
pub(crate) mod tools_entries;

pub(crate) use self::{
    by_model::ByModel,
    header::OptInHeaders,
    opt_in::OptIn,
    tools_entries::{Entry, Found, ToolRules, is_name},
};
use crate::{
    chat::ChatRequest,
    json::Object,
    keyed::{Digest, Keyed},
    refusal::Refusal,
};

/// Reads how `request` opts in, with at most so many names in a list; `None` if it does not.
///
/// # Errors
/// A way that says what it may not, or two where nobody can tell which is meant.
pub(crate) fn opt_in(
    request: &ChatRequest,
    headers: &OptInHeaders,
    most: usize,
) -> Result<Option<OptIn>, Refusal> {
    let asks = &request.asks;
    if let Some((place, _)) = asks.entries.first() {
        let in_metadata = asks.servers.is_some().then_some(metadata::PARAM);
        if let Some(other) = headers.given().or(in_metadata) {
            return Err(both(&format!("tools[{place}]"), other));
        }
        return tools_entries::opt_in(&asks.entries, most).map(Some);
    }
    if let Some(opt_in) = headers.opt_in(most)? {
        return Ok(Some(opt_in));
    }
    let servers = asks.servers.as_deref();
    servers.map(|text| metadata::opt_in(text, most)).transpose()
}

/// Where a request opts in, as [`opt_in`] names it, without reading what it says.
pub(crate) fn place(request: &ChatRequest, headers: &OptInHeaders) -> Option<String> {
    let entry = request.asks.entries.first();
    let entry = entry.map(|(place, _)| format!("tools[{place}]"));
    let in_metadata = request.asks.servers.as_ref().map(|_| metadata::PARAM);
    let other = || headers.given().or(in_metadata).map(str::to_owned);
    entry.or_else(other)
}

/// What an operator has decided for a request, as far as that counts: no default, if it says itself what
/// it asks for.
pub(crate) fn unless_asked(
    mut by_model: ByModel,
    request: &ChatRequest,
    headers: &OptInHeaders,
) -> ByModel {
    let opts_in = request.mcp.as_deref().is_some_and(opts_in);
    if opts_in || place(request, headers).is_some() {
        by_model.default = None;
    }
    by_model
}

/// Returns `true` if a member `mcp` says whether, or with which servers, its request opts in; also where
/// it cannot be read.
fn opts_in(mcp: &str) -> bool {
    Object::parse(mcp).map_or(true, |mcp| mcp.count("enabled") + mcp.count("servers") > 0)
}

/// A hash of what a request asks for outside of the body that its turns are made of; `None` for
/// nothing. Requests that differ in it are not repeats of each other.
pub(crate) fn asked(
    request: &ChatRequest,
    headers: &OptInHeaders,
    by_model: &ByModel,
) -> Option<Digest> {
    let asks = &request.asks;
    if !asks.is_any() && headers.is_empty() && by_model.alias.is_none() {
        return None;
    }
    let mut hash = Keyed::without_key("asked");
    for (place, entry) in &asks.entries {
        hash.add(place.to_be_bytes());
        hash.add(entry);
    }
    hash.add_optional(asks.servers.as_ref());
    headers.add_to(&mut hash);
    hash.add_optional(by_model.alias.as_ref().map(|alias| &alias.name));
    Some(hash.finish())
}

/// The refusal of two ways of one request.
pub(crate) fn both(one: &str, other: &str) -> Refusal {
    let fault = format!("and {other} both ask for tools: send one of them");
    Refusal::invalid_option(one, &fault)
}
