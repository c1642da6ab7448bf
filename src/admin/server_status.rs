//! The status of a server, as far as it is known without looking at it.

use crate::{inactive::Inactive, registry::Observation};

/// The observation and the authorization that a server's status is judged by.
#[derive(Debug)]
pub(super) struct ServerStatus {
    /// The observation, without the text of definitions.
    pub(super) observation: Option<Observation>,
    /// The reason for which callers are refused at this moment, in this process.
    pub(super) refused: Option<Inactive>,
    /// `true` if there is a credential for it.
    pub(super) is_authorized: bool,
}
