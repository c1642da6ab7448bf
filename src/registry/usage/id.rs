//! The ids of what is counted.

use sha2::{Digest, Sha256};

use crate::registry::{call_limits::CallLimit, server_id::ServerId};

/// The id of what is counted: a hash of everything that tells it apart, so that stores need no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsageId(pub [u8; 32]);

impl UsageId {
    /// The calls of a project to a server: to one tool, by its own name there, or to all together.
    pub(crate) fn of_calls(
        (organization, project): (&str, &str),
        server: &ServerId,
        tool: Option<&str>,
        limit: CallLimit,
    ) -> Self {
        // An absent tool differs from one with an empty name.
        let tool = tool.map_or_else(Vec::new, |tool| vec![tool]);
        let parts = [organization, project, server.as_str(), limit.as_str()];
        Self::of("calls", parts.into_iter().chain(tool))
    }

    /// What a project uses of its models in a day: `tokens`, or `cost`.
    pub(crate) fn of_models((organization, project): (&str, &str), what: &str) -> Self {
        Self::of("models", [organization, project, what])
    }

    /// The calls of a caller, by the id that the program around the layer gives it.
    pub(crate) fn of_caller(
        (organization, project): (&str, &str),
        caller: &str,
        limit: CallLimit,
    ) -> Self {
        Self::of("caller", [organization, project, caller, limit.as_str()])
    }

    fn of<'a>(kind: &'a str, parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hash = Sha256::new();
        for part in [kind].into_iter().chain(parts) {
            // With its length, so that different lists of parts never hash alike.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}
