//! `tools: [{"type": "mcp", "server_label": …}]`, as OpenAI's Responses API has it.
//!
//! | part | |
//! |---|---|
//! | `entry.rs` | what an entry says, member by member |
//! | `address.rs` | its `server_url`: which registered server is meant, by name or by address |
//! | `rules.rs` | which of its tools are offered, and which ask first |
//! | `found.rs` | the servers of all entries |
//!
//! No address that a caller names is ever called: it only chooses among registered servers.

mod address;
mod entry;
mod found;
mod rules;

pub(crate) use self::{
    entry::Entry,
    found::{Found, find},
    rules::{ToolRules, is_name},
};
use super::opt_in::OptIn;
use crate::refusal::Refusal;

/// Reads these entries, each with its place in `tools`.
///
/// # Errors
/// An entry that says what it may not, with the place.
pub(super) fn opt_in(entries: &[(usize, String)], most: usize) -> Result<OptIn, Refusal> {
    let read = entries
        .iter()
        .map(|(place, text)| Entry::read(&format!("tools[{place}]"), text, most));
    let entries: Vec<Entry> = read.collect::<Result<_, _>>()?;
    let param = entries.first().map(|entry| entry.param.clone());
    Ok(OptIn {
        entries,
        ..OptIn::servers(param.unwrap_or_default(), Vec::new())
    })
}
