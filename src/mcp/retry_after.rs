//! `Retry-After`: how long a server that is not ready asks to be left alone.

use std::time::Duration;

use http::{HeaderMap, header::RETRY_AFTER};

/// The seconds that `Retry-After` says (RFC 9110, 10.2.3). A date is left to the caller's own
/// pauses: clocks differ, and the servers that send one mean minutes.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse();
    seconds.ok().map(Duration::from_secs)
}
