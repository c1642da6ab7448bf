//! The status of a server, as far as it is known without looking at it.

use crate::registry::Observation;

/// What the status of a server is made of.
#[derive(Debug)]
pub(super) struct ServerStatus {
    /// Without the text of definitions.
    pub(super) observation: Option<Observation>,
    /// Whether there is a credential for it.
    pub(super) is_authorized: bool,
}
