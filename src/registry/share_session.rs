//! The callers that share one session of a server.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::Error;

/// The callers that share one MCP session of a server.
///
/// A browser, a shell or a notebook keeps state in its session, which all callers that share the
/// session can see. Two credentials or tokens, two servers and two organizations never share one,
/// whatever this says. Tool lists are shared by all users of a credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ShareSession {
    /// The calls of one exchange, and of those that go on from it with the answers to calls of the
    /// caller's own. The session ends ten minutes after the last of these, or else with the
    /// exchange. It is this process's: at another replica they get a new one. Each exchange that
    /// begins anew and calls the server costs it a handshake.
    Exchange,
    /// The exchanges of one caller: the same project and API key (a [`CallerId`](crate::CallerId),
    /// or else the `Authorization`), the same `x-mcp-…` headers, and the same `user` or
    /// `safety_identifier` in the body.
    Caller,
    /// The exchanges of one project (default).
    #[default]
    Project,
    /// Everyone who uses the same credential; for servers that keep no state.
    All,
}

impl ShareSession {
    /// The words of all variants, from the narrowest to the widest.
    pub const ALL: [(&'static str, Self); 4] = [
        ("exchange", Self::Exchange),
        ("caller", Self::Caller),
        ("project", Self::Project),
        ("all", Self::All),
    ];

    /// The rule for such a word, to follow its name in a message.
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
