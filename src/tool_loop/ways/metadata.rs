//! `"metadata": {"mcp_servers": "a,b"}`, for clients that can send metadata and nothing else.

use super::{
    names::{names, wanted},
    opt_in::OptIn,
};
use crate::{json::string, refusal::Refusal};

/// The member, as faults name it.
pub(super) const PARAM: &str = "metadata.mcp_servers";

/// Reads the member's value.
///
/// # Errors
/// It is no string with names.
pub(super) fn opt_in(value: &str, most: usize) -> Result<OptIn, Refusal> {
    let fault = "must be a string: names of servers, with commas between them";
    let text = string(value).ok_or_else(|| Refusal::invalid_option(PARAM, fault))?;
    let servers = wanted(names(&text, PARAM, most)?, PARAM);
    Ok(OptIn::servers(PARAM, servers))
}
