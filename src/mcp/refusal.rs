//! A response that is no success: what it says, to us and to an operator.

use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderMap, WWW_AUTHENTICATE};
use url::Url;

use super::body::{Largest, read_all};
use super::error::{Error, ErrorKind, Later};
use super::failure::Failure;
use super::first_line::first_line;
use super::meaning::{self, Meaning, Refused};
use super::redirect;
use super::retry_after::retry_after;
use super::wire;
use crate::outbound::Response;
use crate::scrub::Scrubber;

/// The bytes of an error answer that are read, to see if it is a JSON-RPC error and what it says.
const ERROR_BODY: usize = 64 * 1024;

/// The time for which the body of an error answer is waited for.
const ERROR_BODY_IDLE: Duration = Duration::from_secs(2);

/// A response that is no success.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) error: Error,
    /// The body, in lower case.
    says: Vec<u8>,
    /// The body names a request of ours.
    names_us: bool,
}

/// No answer to read: no response at all, or a refusal.
pub(super) enum Unanswered {
    Refused(Refusal),
    Failed(Failure),
}

impl Refusal {
    /// Reads why a response refuses the request.
    ///
    /// It answers a request to `url`, of this id, and may repeat what `scrubber` looks for.
    pub(super) async fn read(
        response: Response,
        url: &Url,
        id: Option<u64>,
        scrubber: &Scrubber,
    ) -> Self {
        let status = response.status();
        let challenge = challenge(response.headers()).map(|text| scrubber.text(text));
        let mut error = Error::status_of(status.as_u16(), challenge);
        let later = retry_after(response.headers())
            .filter(|_| matches!(status.as_u16(), 429 | 503))
            .map(Later::In);
        if status.is_redirection() {
            let target = redirect::shown(response.headers(), url, scrubber);
            let target = target.map_or_else(String::new, |target| format!(" to {target}"));
            let detail = format!("status {}{target}", status.as_u16());
            return Self::new(status, error.with_detail(Some(detail)));
        }
        let body = read_all(response, Largest::of(ERROR_BODY), ERROR_BODY_IDLE)
            .await
            .unwrap_or_default();
        let detail = detail(status, &body, scrubber);
        // Also where it is no proper answer: who knows our id has read the request.
        let mut names_us = id.is_some_and(|id| wire::names(&body, id));
        if let Ok(body) = wire::scrubbed(&body, scrubber)
            && let Some((answered, rpc)) = wire::error_in(&body)
        {
            names_us |= answered.is_some();
            if is_answer(status, &error, answered.is_some() && answered == id) {
                error = rpc;
            }
        }
        Self {
            says: body.to_ascii_lowercase(),
            names_us,
            ..Self::new(status, error.with_detail(detail).with_later(later))
        }
    }

    fn new(status: StatusCode, error: Error) -> Self {
        Self {
            status,
            error,
            says: Vec::new(),
            names_us: false,
        }
    }

    /// What it means, within a session or without.
    pub(super) fn meaning(&self, in_session: bool) -> Meaning {
        meaning::meaning(&Refused {
            status: self.status.as_u16(),
            rpc: self.error.as_rpc(),
            body: &self.says,
            names_us: self.names_us,
            in_session,
            is_challenge: self.error.challenge().is_some(),
        })
    }

    /// What it says, in lower case.
    pub(super) fn says(&self) -> &[u8] {
        &self.says
    }
}

/// What an operator is told of a refusal: its status, and the first line of its body.
fn detail(status: StatusCode, body: &[u8], scrubber: &Scrubber) -> Option<String> {
    let status = status.as_u16();
    Some(match first_line(body, scrubber) {
        Some(line) => format!("status {status}: {line}"),
        None => format!("status {status}, and no more"),
    })
}

/// Returns `true` if a JSON-RPC error in the body says more than the status, and is taken for it.
///
/// A transport's refusal is a JSON-RPC error without an id, under 4xx (2025-11-25,
/// basic/transports). In answer to our own request it is the server's answer under any status; a
/// *result* under such a status contradicts itself, and is none. What is a matter of authorization
/// stays that.
fn is_answer(status: StatusCode, error: &Error, is_ours: bool) -> bool {
    match error.kind() {
        ErrorKind::Status => is_ours || status.is_client_error(),
        ErrorKind::Forbidden => is_ours && error.challenge().is_none(),
        ErrorKind::RateLimited => is_ours,
        _ => false,
    }
}

/// The `WWW-Authenticate` headers in one text.
fn challenge(headers: &HeaderMap) -> Option<String> {
    const MAX: usize = 4096;
    let mut all = String::new();
    for value in headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|v| v.to_str().ok())
    {
        if all.len() + value.len() + 2 > MAX {
            break;
        }
        if !all.is_empty() {
            all.push_str(", ");
        }
        all.push_str(value);
    }
    Some(all).filter(|all| !all.is_empty())
}

impl Unanswered {
    pub(super) fn into_failure(self) -> Failure {
        match self {
            Self::Refused(refusal) => refusal.error.into(),
            Self::Failed(failure) => failure,
        }
    }
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}
