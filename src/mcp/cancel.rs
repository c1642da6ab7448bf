//! Cancellation of a call whose result is no longer wanted.

use std::sync::Arc;

use serde::Serialize;

use super::error::{Error, ErrorKind};
use super::route::Route;
use super::sent::Sent;
use super::wire;

/// Sends `notifications/cancelled` when dropped, if the request was sent and not answered: in the
/// legacy revisions a dropped connection alone does not cancel (2025-11-25, basic/transports).
pub(super) struct CancelOnDrop {
    route: Arc<Route>,
    id: u64,
    sent: Sent,
    armed: bool,
}

#[derive(Serialize)]
struct Cancelled {
    #[serde(rename = "requestId")]
    request_id: u64,
    reason: &'static str,
}

impl CancelOnDrop {
    /// Guards a request. `initialize` must not be cancelled (2025-11-25, basic/utilities).
    pub(super) fn new(route: &Arc<Route>, id: u64, method: &str, sent: &Sent) -> Self {
        Self {
            route: Arc::clone(route),
            id,
            sent: sent.clone(),
            armed: method != "initialize",
        }
    }

    /// The call has ended. What ended because *we* had enough of it still runs at the server.
    pub(super) fn settle(&mut self, error: Option<&Error>) {
        use ErrorKind::{Protocol, Timeout, TooLarge};
        self.armed &= error.is_some_and(|e| matches!(e.kind(), Timeout | TooLarge | Protocol));
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if self.armed && self.sent.yes() {
            let params = Cancelled {
                request_id: self.id,
                reason: "no longer needed",
            };
            self.route
                .tell_aside(wire::notification("notifications/cancelled", params));
        }
    }
}
