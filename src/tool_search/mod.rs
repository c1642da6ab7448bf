//! Tools that models find by themselves, where a request has more than fit.
//!
//! ```text
//!   mcp_search_tools {query}           ──▶ names, each with a line of its description
//!   mcp_describe_tools {names}         ──▶ their definitions
//!   mcp_call_tool {name, arguments}    ──▶ becomes the call that it means, before anything else sees it
//! ```
//!
//! A model is offered these three in the place of the tools that it can find. The tools are those of the
//! request's catalog, so what is not selected, or withheld, is neither found nor described.
//!
//! Knows no rounds: which calls are run, and whether they count, is the loop's.

mod answer;
mod meant;
mod tool;

pub(crate) use self::{
    answer::answer,
    meant::meant,
    tool::{DEFINITIONS, SearchTool},
};
