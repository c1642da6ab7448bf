//! The decisions of guards.

use serde_json::value::RawValue;

/// The decision on a call that is to run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Decision {
    /// It runs.
    Allow,
    /// It runs with these arguments, a JSON object, if they fit the tool's input schema; otherwise it
    /// is denied.
    Rewrite(Box<RawValue>),
    /// It does not run, for this reason, of which the model is told the first 500 bytes. An empty one
    /// is replaced.
    Deny(String),
    /// It runs once its caller approves it.
    Ask,
}

/// The decision on a result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The model gets it.
    Allow,
    /// The model gets this text in its place; images and recordings stay.
    Rewrite(String),
    /// The model gets nothing of it but this reason, of which it is told the first 500 bytes.
    Deny(String),
}
