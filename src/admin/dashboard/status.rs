//! A server's status in words.

use std::time::SystemTime;

use super::{
    super::{
        server_status::ServerStatus,
        standing::{Reason, reason},
    },
    text::Shown,
    when::When,
};
use crate::{
    inactive::Inactive,
    registry::{Failure, Observation, Server},
};

/// A badge, and the reason beside it.
pub(super) struct StatusView {
    pub(super) tone: &'static str,
    pub(super) word: &'static str,
    pub(super) why: Shown,
    /// The page of the server, if any, where somebody can do something about it.
    pub(super) review: Option<&'static str>,
    /// The time since when it is so, or of the last look at it.
    pub(super) when: Option<When>,
}

impl StatusView {
    pub(super) fn of(server: &Server, seen: &ServerStatus, now: SystemTime) -> Self {
        let observation = seen.observation.as_ref();
        let failure = observation.and_then(|seen| seen.last_failure.as_ref());
        let failing_since = observation.and_then(|seen| seen.failing_since);
        let listed_at = observation.and_then(|seen| seen.listed_at);
        let reason = reason(server, seen, now);
        let mut review = None;
        let (tone, why, at) = match reason {
            None if listed_at.is_none() => ("good", "Not looked at yet".to_owned(), None),
            None => ("good", "Tools listed".to_owned(), listed_at),
            Some(Reason::Disabled) => ("", "Switched off".to_owned(), server.updated_at),
            Some(Reason::Unreachable) => {
                let why = match failure {
                    Some(failure) => {
                        let message = failure.message();
                        let known = message.strip_prefix("it is unreachable: ");
                        format!("Unreachable: {}", known.unwrap_or(&message))
                    }
                    None => "Unreachable".to_owned(),
                };
                let why = match failing_since {
                    Some(_) => format!("{why}; first failed"),
                    None => why,
                };
                ("bad", why, failing_since)
            }
            Some(Reason::NeedsAuthorization) => (
                "warn",
                "Has to be connected by an operator".to_owned(),
                None,
            ),
            Some(Reason::CredentialInvalid) => {
                let (why, at) = not_taken(failure, failing_since);
                ("bad", why, at)
            }
            Some(Reason::NoTools) => {
                review = Some("tools");
                ("warn", no_tools(server, observation), None)
            }
        };
        Self {
            tone,
            word: match reason {
                None => "Active",
                Some(_) => "Inactive",
            },
            why: Shown::short(&why, 600),
            review,
            when: at.map(|at| When::of(at, now)),
        }
    }
}

/// Why the credential of a server does not do, and what to enter.
fn not_taken(failure: Option<&Failure>, since: Option<SystemTime>) -> (String, Option<SystemTime>) {
    let failure = failure.filter(|failure| failure.reason == Inactive::CredentialInvalid);
    let detail = failure.and_then(|failure| failure.detail.as_deref());
    match (detail, since) {
        (Some(detail), Some(_)) => (format!("Not taken: {detail}; first failed"), since),
        (Some(detail), None) => (format!("Not taken: {detail}"), None),
        (None, _) => (
            "Its stored credential cannot be used; enter it anew".to_owned(),
            None,
        ),
    }
}

/// Why `server` offers no tools.
fn no_tools(server: &Server, seen: Option<&Observation>) -> String {
    match seen.map(|seen| (seen.withheld(server), seen.listed.len())) {
        Some((1, _)) => "1 tool needs review".to_owned(),
        Some((waiting @ 2.., _)) => format!("{waiting} tools need review"),
        Some((0, 1..)) => "None of its tools is selected".to_owned(),
        _ => "It lists no tools".to_owned(),
    }
}
