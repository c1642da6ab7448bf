//! Guards: they see every tool call before it runs, and every result before the model does.
//!
//! ```text
//!   the model's call ──▶ arguments checked ──▶ before ──▶ approval, limits ──▶ the server
//!                                               │ allow, rewrite, deny, ask        │
//!   the model ◀── cut, cleaned, recorded ◀── after ◀───────────────────────────────┘
//!                                               │ allow, rewrite, deny
//! ```
//!
//! A guard is a [`ToolGuard`]; a [`GuardRule`] says which tools it guards, how long it may take, and
//! what happens if it fails; [`McpLayer::with_guards`](crate::McpLayer::with_guards) takes the rules.
//!
//! - Guards are asked in the order of their rules. Each sees what the one before has rewritten, and the
//!   first that denies ends it. One that [asks](Decision::Ask) is remembered, and those behind it may
//!   still deny.
//! - Arguments are read as they were meant before a guard sees them, and checked by the tool's input
//!   schema; what a guard rewrites is checked again, and denied if it does not fit.
//! - A turn with a call that a guard asks for goes back to the caller, as one with a tool marked *ask
//!   first* does (`stopped_by: "ask_first"`). When it comes back, the guards are asked again, and to
//!   ask counts as answered. So it does for an operator's own call.
//! - A guard that fails, panics or takes too long denies, unless its rule [says otherwise](Fail::Open).
//!   The model is told in a few words, the operator in the log and in the trace.
//! - In one request no guard is asked twice about the same call, and none about calls that do not run.
//!
//! ```
//! use mcp_layer::{
//!     McpLayer,
//!     guard::{Decision, Error, GuardRule, GuardedCall, ToolGuard},
//!     registry::{BoxFuture, MemoryRegistry},
//! };
//!
//! /// Nobody deletes anything on behalf of the project `trial`.
//! struct NoTrialDeletes;
//!
//! impl ToolGuard for NoTrialDeletes {
//!     fn before<'a>(
//!         &'a self,
//!         call: &'a GuardedCall<'a>,
//!     ) -> BoxFuture<'a, Result<Decision, Error>> {
//!         let is_denied = call.project.name() == "trial" && call.tool.starts_with("delete");
//!         Box::pin(async move {
//!             Ok(match is_denied {
//!                 true => Decision::Deny("trial projects delete nothing".to_owned()),
//!                 false => Decision::Allow,
//!             })
//!         })
//!     }
//! }
//!
//! let layer = McpLayer::new(MemoryRegistry::default())
//!     .with_guards([GuardRule::new("no-trial-deletes", NoTrialDeletes)]);
//! ```
//!
//! Ready to use are [`Secrets`], [`Hosts`] and [`Destructive`], and [`Webhook`], which asks a service of
//! the operator's own. This module knows neither the loop nor how its decisions are recorded.

mod asking;
mod call;
mod decision;
mod destructive;
mod error;
mod hosts;
mod rule;
mod secrets;
mod signature;
mod tool_guard;
mod webhook;

pub(crate) use self::asking::Fault;
pub use self::{
    call::{GuardedCall, GuardedResult},
    decision::{Decision, Verdict},
    destructive::Destructive,
    error::Error,
    hosts::{Hosts, InvalidHost},
    rule::{Fail, GuardRule, Guards, TIMEOUT},
    secrets::Secrets,
    tool_guard::ToolGuard,
    webhook::Webhook,
};
