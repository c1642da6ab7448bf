//! Finds out whether a server speaks revision 2026-07-28 (basic/versioning, "Backward
//! compatibility").
//!
//! The probe is `server/discover`, which servers of that revision must have. `tools/list` would
//! not do: some older servers answer it without a handshake.
//!
//! The verdict costs one request for each client and is kept until something contradicts it. A
//! complaint of the new revision is its; whatever else a server makes of a method that it has never
//! heard of, be it 500, HTML, silence or the end of the connection, is an older one's
//! (typescript-sdk, csharp-sdk#1765, rust-sdk#1149). What might as well be an outage is no verdict
//! to be kept for long, and a refused credential, a redirect or a wait is none at all.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::{Error, ErrorKind};
use super::failure::{Failure, Remedy};
use super::handshake::Revision;
use super::meaning::Meaning;
use super::refusal::Unanswered;
use super::request::Request;
use super::route::Route;
use super::sent::Sent;
use super::stateless::{REVISION, Stateless};
use super::wire::{self, Ids};

/// Asks the server whether it speaks this revision. [`Remedy::OlderTransport`] if it seems to
/// expect a handshake.
///
/// # Errors
///
/// A failure that an older transport would meet as well (no connection, 401, 403, 429, a redirect)
/// is returned as it is. So is an error of 2026-07-28 itself. The caller bounds the time.
pub(super) async fn discover(route: Route, ids: &Ids, sent: &Sent) -> Result<Stateless, Failure> {
    #[derive(Serialize)]
    struct Params {}
    let heard = route.heard.clone();
    let server = Stateless::new(route);
    let request = Request::new("server/discover", Params {}, 0);
    let answer = server.send(ids.next(), request, sent);
    match answer.await {
        Ok(result) => {
            chosen(&supported(&result)?)?;
            heard.greeted(&result);
        }
        // No credential, but a session is what it misses.
        Err(Unanswered::Refused(refusal)) if refusal.meaning(false) == Meaning::SessionLost => {
            return Err(older(refusal.error));
        }
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
        _ if is_anyones(failure.error.kind()) => Err(failure),
        _ => Err(older(failure.error)),
    }
}

/// Returns `true` for failures that say nothing about revisions.
fn is_anyones(kind: ErrorKind) -> bool {
    use ErrorKind::{
        Busy, EgressDenied, Forbidden, RateLimited, Redirect, Unauthorized, Unreachable,
    };
    let anyones = [
        Busy,
        EgressDenied,
        Forbidden,
        RateLimited,
        Redirect,
        Unauthorized,
        Unreachable,
    ];
    anyones.contains(&kind)
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
