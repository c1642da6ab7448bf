//! A server as an operator is shown it: everything but its secrets.

use std::time::SystemTime;

use serde::Serialize;

use super::{
    server_status::ServerStatus,
    standing::{Reason, Status, reason, status},
    time::{Time, rfc3339},
};
use crate::{
    registry::{
        Failure, Server, Source, Stage,
        members::{self, Tree, Writer},
    },
    url_keys,
};

/// The members that an answer has besides those that are entered. Whoever sends an answer back has
/// them in it: they are ignored.
pub(super) const READ_ONLY: [&str; 8] = [
    "id",
    "source",
    "status",
    "status_reason",
    "last_failure",
    "tool_count",
    "created_at",
    "updated_at",
];

const SHOWN: Writer = Writer {
    url: url_keys::shown,
    time: |at| rfc3339(at).into(),
    secret: |_| true.into(),
};

/// The members of `server` that can be entered, without its secrets and the keys in its URL.
/// Sending them back changes nothing.
pub(super) fn entered(server: &Server) -> Tree<'_> {
    members::write(server, &SHOWN, |_| true).with("version", server.version)
}

/// A server in JSON.
#[derive(Serialize)]
pub(super) struct View<'a> {
    #[serde(flatten)]
    entered: Tree<'a>,
    id: &'a str,
    source: &'static str,
    status: Status,
    status_reason: Option<Reason>,
    last_failure: Option<FailureView>,
    /// The number of tools that are offered to models; `null` before the first listing.
    tool_count: Option<usize>,
    created_at: Option<Time>,
    updated_at: Option<Time>,
}

impl<'a> View<'a> {
    pub(super) fn of(server: &'a Server, seen: &ServerStatus, now: SystemTime) -> Self {
        let status_reason = reason(server, seen, now);
        let observation = seen.observation.as_ref();
        let last_failure = observation.and_then(|seen| seen.last_failure.as_ref());
        Self {
            entered: entered(server),
            id: server.id.as_str(),
            source: match server.source {
                Source::Store => "store",
                Source::File => "file",
            },
            status: status(status_reason),
            status_reason,
            last_failure: last_failure.map(FailureView::of),
            tool_count: observation
                .filter(|seen| seen.listed_at.is_some())
                .map(|seen| seen.offered(server)),
            created_at: server.created_at.map(Time),
            updated_at: server.updated_at.map(Time),
        }
    }
}

#[derive(Serialize)]
struct FailureView {
    stage: Stage,
    message: String,
    at: Time,
}

impl FailureView {
    fn of(failure: &Failure) -> Self {
        Self {
            stage: failure.stage,
            message: failure.message(),
            at: Time(failure.at),
        }
    }
}
