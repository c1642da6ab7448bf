//! What a refusal means: the table of status, code and text.
//!
//! Servers say in many ways that they have forgotten a session, and only some of them show that the
//! request did not run. Only those lead to a repeat, and to one. Rows are tried in their order, the
//! first that fits decides, and what fits none means what its error says. Besides the table:
//!
//! | what failed | what is done |
//! |---|---|
//! | a listing in a session that is older than it, in whatever way is worth a new session | begins another session and lists again: that runs nothing, and happens once, as does any repeat of a listing |
//! | a listing, in the end | the next listing begins another session |
//! | 401, or 403 with a challenge (RFC 6750, section 3) | the caller of the client renews the credential |
//! | 429 or 503 with `Retry-After`, before a handshake or a listing | waited for, once, within the limit |

use super::error::{Error, ErrorKind, Rpc};
use super::wire;

/// What a refusal means for whoever sent the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    /// The server does not know our session, and so ran nothing.
    SessionLost,
    /// It may be the session, but the request may have run: only the next one begins another.
    SessionDoubtful,
    /// The server does not speak the request's revision, and so ran nothing.
    OtherRevision,
    /// Nothing that another session would change.
    Plain,
}

/// A refusal, as far as the table looks.
pub(super) struct Refused<'a> {
    /// The HTTP status; 200 for a JSON-RPC error in an ordinary answer.
    pub(super) status: u16,
    pub(super) rpc: Option<&'a Rpc>,
    /// The body, in lower case; empty for a JSON-RPC error in an ordinary answer.
    pub(super) body: &'a [u8],
    /// The body names a request of ours. Whoever does that has looked at it, and may have run it:
    /// what it says of sessions may be a tool's words.
    pub(super) names_us: bool,
    /// The request went out within a session.
    pub(super) in_session: bool,
    pub(super) is_challenge: bool,
}

/// The text that a row asks for, in lower case.
enum Says {
    Anything,
    /// One of these is somewhere in the body.
    Somewhere(&'static [&'static str]),
    /// The message of the JSON-RPC error is one of these, and no more.
    Exactly(&'static [&'static str]),
}

/// Who says it.
#[derive(PartialEq, Eq)]
enum By {
    Anybody,
    /// No answer to a request of ours: the transport, before anything ran.
    Transport,
    /// The same, within a session and without a challenge.
    SessionsTransport,
    /// Anybody, within a session.
    InSession,
}

struct Row {
    /// Empty for every status.
    status: &'static [u16],
    /// Empty for every code, and for none.
    code: &'static [i32],
    says: Says,
    by: By,
    means: Meaning,
}

/// The words of transports for a session that they do not know.
const LOST: &[&str] = &[
    "session not found",
    "session expired",
    "session terminated",
    "session has expired",
    "session does not exist",
    "session id is required",
    "session id required",
    "missing session",
    "missing mcp-session-id",
    "mcp-session-id header is required",
    "mcp-session-id header required",
    "requires a session",
    "invalid session",
    "unknown session",
    "unknown mcp-session-id",
    "no valid session",
    "no active session",
    "expect initialize request",
    "not initialized",
];

/// The whole messages of servers that wait for a handshake, and so run nothing.
const UNINITIALIZED: &[&str] = &[
    "server not initialized",
    "received request before initialization was complete",
];

use By::{Anybody, InSession, SessionsTransport, Transport};
use Meaning::{OtherRevision, SessionDoubtful, SessionLost};
use Says::{Anything, Exactly, Somewhere};

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // 2026-07-28, basic/versioning.
    Row { status: &[], code: &[wire::UNSUPPORTED_VERSION], says: Anything, by: Anybody, means: OtherRevision },
    // 2025-11-25, basic/transports, "Session Management".
    Row { status: &[404], code: &[], says: Anything, by: SessionsTransport, means: SessionLost },
    Row { status: &[404], code: &[], says: Somewhere(LOST), by: InSession, means: SessionLost },
    // typescript-sdk ("No valid session ID provided", "Server not initialized"), python-sdk#1004,
    // anubis-mcp#123 ("No active session"), OmniRoute#5169. Without a session of ours, too: a
    // restarted server may want one that we do not have.
    Row { status: &[400, 404, 405], code: &[], says: Somewhere(LOST), by: Transport, means: SessionLost },
    // Any other word of a session may be one of a tool's, which has run.
    Row { status: &[400, 404, 405], code: &[], says: Somewhere(&["session"]), by: Transport, means: SessionDoubtful },
    // rust-sdk#689 (401 "Session not found", 422 "expect initialize request").
    Row { status: &[401, 403, 409, 410, 422], code: &[], says: Somewhere(LOST), by: Transport, means: SessionLost },
    // supergateway#190: the server holds no stream on which it could answer.
    Row { status: &[503], code: &[], says: Somewhere(&["no active sse connection"]), by: Transport, means: SessionLost },
    // Servers that look at the session when they have read the request, and before they run it, under
    // whatever code (-32002, -32600 in python-sdk#2411, others behind gateways).
    Row { status: &[], code: &[], says: Exactly(UNINITIALIZED), by: Anybody, means: SessionLost },
    // python-sdk#2583: before initialization, and for parameters that it cannot read; `data` is "".
    Row { status: &[200, 400], code: &[-32602], says: Exactly(&["invalid request parameters"]), by: InSession, means: SessionLost },
    // The codes of transports, in answer to us: as well a tool's words about sessions of its own.
    Row { status: &[], code: &[-32600, -32001, -32000], says: Exactly(LOST), by: Anybody, means: SessionDoubtful },
    // neotoma#1923 (503), mcp-proxy#149 (500): a gateway may say so of what it has called.
    Row { status: &[500, 502, 503], code: &[], says: Somewhere(LOST), by: SessionsTransport, means: SessionDoubtful },
    // Refusals that are no matter of the request, from a server that took requests before.
    Row { status: &[401, 403, 405, 409, 410, 412, 421, 422], code: &[], says: Anything, by: SessionsTransport, means: SessionDoubtful },
];

/// What a refusal means, by the table.
pub(super) fn meaning(refused: &Refused<'_>) -> Meaning {
    let row = ROWS.iter().find(|row| row.fits(refused));
    row.map_or(Meaning::Plain, |row| row.means)
}

/// What a JSON-RPC error in an ordinary answer to us means.
pub(super) fn meaning_of(error: &Error, in_session: bool) -> Meaning {
    match error.as_rpc() {
        None => Meaning::Plain,
        rpc => meaning(&Refused {
            status: 200,
            rpc,
            body: &[],
            names_us: true,
            in_session,
            is_challenge: false,
        }),
    }
}

/// Returns `true` if a listing that failed like this in an old session is worth another one.
pub(super) fn is_worth_a_session(error: &Error) -> bool {
    use ErrorKind::{
        Busy, EgressDenied, Encoding, RateLimited, Redirect, Timeout, TooLarge, Unreachable,
    };
    let elsewhere = [
        Busy,
        EgressDenied,
        Encoding,
        RateLimited,
        Redirect,
        Timeout,
        TooLarge,
        Unreachable,
    ];
    !elsewhere.contains(&error.kind()) && error.later().is_none()
}

impl Row {
    fn fits(&self, refused: &Refused<'_>) -> bool {
        let code = refused.rpc.map(|rpc| rpc.code);
        (self.status.is_empty() || self.status.contains(&refused.status))
            && (self.code.is_empty() || code.is_some_and(|code| self.code.contains(&code)))
            && self.by.is(refused)
            && self.says.fits(refused)
    }
}

impl By {
    fn is(&self, refused: &Refused<'_>) -> bool {
        match self {
            Self::Anybody => true,
            Self::Transport => !refused.names_us,
            Self::SessionsTransport => {
                refused.in_session && !refused.names_us && !refused.is_challenge
            }
            Self::InSession => refused.in_session,
        }
    }
}

impl Says {
    fn fits(&self, refused: &Refused<'_>) -> bool {
        match self {
            Self::Anything => true,
            Self::Somewhere(words) => words
                .iter()
                .any(|words| memchr::memmem::find(refused.body, words.as_bytes()).is_some()),
            Self::Exactly(words) => refused.rpc.is_some_and(|rpc| {
                let message = rpc.message.trim().trim_end_matches('.');
                words
                    .iter()
                    .any(|words| message.eq_ignore_ascii_case(words))
                    && (rpc.code != -32602 || rpc.has_blank_data)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rpc(code: i32, message: &str, has_blank_data: bool) -> Rpc {
        Rpc {
            code,
            message: message.to_owned(),
            has_blank_data,
            supported: Vec::new(),
            named: String::new(),
        }
    }

    fn refused(status: u16, body: &str) -> Meaning {
        meaning(&Refused {
            status,
            rpc: None,
            body: body.to_ascii_lowercase().as_bytes(),
            names_us: false,
            in_session: true,
            is_challenge: false,
        })
    }

    fn answered(code: i32, message: &str) -> Meaning {
        let rpc = rpc(code, message, code == -32602);
        let error = Error::rpc(rpc, String::new());
        meaning_of(&error, true)
    }

    #[test]
    fn what_transports_say_of_a_lost_session_shows_that_nothing_ran() {
        for (status, body) in [
            (404, ""),
            (404, "Could not find session"),
            (400, "Bad Request: No valid session ID provided"),
            (400, "No active session"),
            (401, "Unauthorized: Session not found"),
            (410, "Session expired"),
            (422, "Unexpected message, expect initialize request"),
            (503, "No active SSE connection"),
        ] {
            assert_eq!(
                refused(status, body),
                Meaning::SessionLost,
                "{status} {body}"
            );
        }
        assert_eq!(
            answered(-32002, "Server not initialized"),
            Meaning::SessionLost
        );
        assert_eq!(
            answered(-32602, "Invalid request parameters"),
            Meaning::SessionLost
        );
    }

    #[test]
    fn a_404_that_answers_our_request_is_about_the_session_only_if_it_says_so() {
        let meaning = |body: &str| {
            meaning(&Refused {
                status: 404,
                rpc: Some(&rpc(-32000, body, false)),
                body: body.as_bytes(),
                names_us: true,
                in_session: true,
                is_challenge: false,
            })
        };
        assert_eq!(meaning("session not found"), Meaning::SessionLost);
        assert_eq!(meaning("no such record"), Meaning::Plain);
    }

    #[test]
    fn what_a_tool_may_have_said_leads_to_no_repeat() {
        for (status, body) in [
            (500, "session not found"),
            (503, "unknown session"),
            (401, ""),
            (403, "Access is only allowed at localhost:9206"),
            (421, "Invalid Host header"),
        ] {
            assert_eq!(
                refused(status, body),
                Meaning::SessionDoubtful,
                "{status} {body}"
            );
        }
        assert_eq!(
            answered(-32001, "Session not found"),
            Meaning::SessionDoubtful
        );
        for message in [
            "the browser session has crashed",
            "Session not found: 7",
            "no",
        ] {
            assert_eq!(answered(-32000, message), Meaning::Plain, "{message}");
        }
        let named = rpc(-32602, "Invalid request parameters", false);
        let error = Error::rpc(named, String::new());
        assert_eq!(meaning_of(&error, true), Meaning::Plain);
        for (status, body) in [
            (400, "bad"),
            (408, ""),
            (413, ""),
            (429, "session"),
            (500, ""),
        ] {
            assert_eq!(refused(status, body), Meaning::Plain, "{status} {body}");
        }
    }
}
