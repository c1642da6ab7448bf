//! Progress of a tool call that runs.

use std::sync::Arc;

/// What a server says of a tool call that runs (`notifications/progress`).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// How far the call is; grows with each notification.
    pub progress: f64,
    /// What `progress` grows to, where the server knows it.
    pub total: Option<f64>,
    /// A text for people. It comes from the server: it is untrusted.
    pub message: Option<String>,
}

/// Takes the progress of one call, as it comes.
pub type OnProgress = Arc<dyn Fn(&Progress) + Send + Sync>;
