//! Finds out whether a server speaks revision 2026-07-28 (basic/versioning, "Backward
//! compatibility").
//!
//! The probe is `server/discover`, which servers of that revision must have. `tools/list` would
//! not do: some older servers answer it without a handshake.
//!
//! The verdict costs one request for each client and is kept until something contradicts it. Only
//! an answer of the server is a verdict: an outage or a refused credential is none.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::Error;
use super::failure::{Failure, Remedy};
use super::handshake::Revision;
use super::request::Request;
use super::route::Route;
use super::stateless::{REVISION, Stateless};
use super::wire::{self, Ids};

/// Asks the server whether it speaks this revision. [`Remedy::OlderTransport`] if it seems to
/// expect a handshake.
///
/// # Errors
///
/// A failure that says nothing about revisions (no connection, 401, 403, 429, 5xx, silence) is
/// returned as it is. So is an error of 2026-07-28 itself: an older transport cannot help.
pub(super) async fn discover(route: Route, ids: &Ids) -> Result<Stateless, Failure> {
    #[derive(Serialize)]
    struct Params {}
    let server = Stateless::new(route);
    let answer = server.send(ids.next(), Request::new("server/discover", Params {}, 0));
    match answer.await {
        Ok(result) => chosen(&supported(&result)?)?,
        Err(unanswered) => judge(unanswered.into_failure())?,
    }
    tracing::debug!(revision = REVISION, "connected over Streamable HTTP");
    Ok(server)
}

/// `Ok` if the failure shows that the server speaks our revision.
fn judge(failure: Failure) -> Result<(), Failure> {
    match failure.error.code() {
        Some(wire::UNSUPPORTED_VERSION) => chosen(failure.error.supported()),
        Some(wire::HEADER_MISMATCH | wire::MISSING_CAPABILITY) => Err(failure),
        _ if failure.error.is_incomprehension() => Err(older(failure.error)),
        _ => Err(failure),
    }
}

/// The revisions in the result of `server/discover`.
fn supported(result: &RawValue) -> Result<Vec<String>, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Discovered {
        supported_versions: Vec<String>,
    }
    let discovered = serde_json::from_str::<Discovered>(result.get());
    discovered
        .map(|discovered| discovered.supported_versions)
        .map_err(|_| {
            let text = "the server's answer to server/discover is malformed";
            older(Error::protocol(text))
        })
}

/// `Ok` if our revision is among these.
fn chosen(supported: &[String]) -> Result<(), Failure> {
    let speaks = |revision: &str| supported.iter().any(|known| known == revision);
    if speaks(REVISION) {
        return Ok(());
    }
    if Revision::ALL.iter().any(|old| speaks(old.as_str())) {
        let text = "the server speaks only revisions with a handshake";
        return Err(older(Error::protocol(text)));
    }
    let text = "the server speaks no revision of MCP that we speak";
    Err(Error::protocol(text).into())
}

/// The failure that leads to an older transport.
fn older(error: Error) -> Failure {
    Failure::new(error, Remedy::OlderTransport)
}
