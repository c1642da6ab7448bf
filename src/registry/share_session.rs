//! Who shares one session of a server.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::Error;

/// Who shares one MCP session of a server.
///
/// A browser, a shell or a notebook keeps state in its session: whoever shares the session sees
/// it. Nothing is ever shared between two credentials or two tokens, two servers or two
/// organizations, whatever is said here. Tool lists are shared by all who use one credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ShareSession {
    /// The calls of one exchange, whose end is the session's. Each exchange with such calls costs
    /// the server a handshake.
    Exchange,
    /// The exchanges of one caller: of one project and one API key (a
    /// [`CallerId`](crate::CallerId), else the `Authorization`), with the same `x-mcp-…` headers,
    /// and the same `user` or `safety_identifier` in the body.
    Caller,
    /// The exchanges of one project.
    #[default]
    Project,
    /// All who use the same credential: for servers that remember nothing.
    All,
}

impl ShareSession {
    /// The words for it, in the order in which more is shared.
    pub const ALL: [(&'static str, Self); 4] = [
        ("exchange", Self::Exchange),
        ("caller", Self::Caller),
        ("project", Self::Project),
        ("all", Self::All),
    ];

    /// What a word that is none of them must be.
    pub(crate) const EXPECTED: &'static str =
        "must be \"exchange\", \"caller\", \"project\" or \"all\"";
}

impl FromStr for ShareSession {
    type Err = Error;

    /// Reads one of the words of [`ALL`](Self::ALL).
    fn from_str(word: &str) -> Result<Self, Error> {
        let mut known = Self::ALL.into_iter();
        let means = known.find_map(|(known, means)| (known == word).then_some(means));
        means.ok_or_else(|| Error::invalid("share_session", Self::EXPECTED))
    }
}
