//! A turn that failed: what the model's service said of it, and how the caller is told.
//!
//! After tools have run, a client that sends its request again would run them again, and clients go
//! by the status: LangChain.js repeats all but 400 to 407, 409 and 413, the SDKs 408, 409, 429 and
//! 5xx, whatever `x-should-retry` says. So a failure after tools is told with a status that none of
//! them repeats; those that say what is wrong with the request itself stay.

pub(crate) mod rejected;
pub(crate) mod remembered;
pub(crate) mod retry;

use http::{HeaderMap, StatusCode, response};
use serde_json::{Map, Value, value::RawValue};

use super::headers::is_plain;
use crate::{
    body::Read,
    chat::{Chunk, Completion},
    inner::InnerBody,
    json::Object,
    refusal::{Kind, Refusal},
};

const FAILED: &str =
    "the model's service failed after tools had run; the member mcp lists what was done";
const REPORTED: &str = "the model's service reported an error";

/// A turn of which there is no answer, or none to go on with.
#[derive(Debug, Default)]
pub(crate) struct Failure {
    /// Our own words, where there are better ones than that it failed.
    why: Option<&'static str>,
    /// The status of the answer; `None` where there was none.
    pub(crate) status: Option<StatusCode>,
    /// Its headers, where it is an error answer.
    pub(crate) headers: HeaderMap,
    /// What the model's service says of it.
    said: Option<String>,
    /// The tokens that were used all the same.
    pub(crate) usage: Option<Map<String, Value>>,
    /// The same would happen again, or the caller has had a part of the turn.
    is_final: bool,
}

impl Failure {
    /// There is no answer.
    pub(crate) fn unanswered() -> Self {
        Self::default()
    }

    /// An answer that broke off, or is more than the gateway reads.
    pub(crate) fn of_stream(why: &'static str) -> Self {
        Self {
            why: Some(why),
            status: Some(StatusCode::OK),
            ..Self::default()
        }
    }

    /// A stream in which the model's service says that it failed.
    pub(crate) fn reported(said: String) -> Self {
        Self {
            said: Some(said),
            ..Self::of_stream(REPORTED)
        }
    }

    /// A whole answer that is no turn to go on with.
    pub(crate) fn answered(parts: response::Parts, read: &Read<InnerBody>) -> Self {
        let is_readable = read.is_complete() && is_plain(&parts.headers);
        let body = read.bytes();
        let answer = is_readable.then(|| Completion::parse(&body)).flatten();
        Self {
            why: None,
            status: Some(parts.status),
            headers: parts.headers,
            said: is_readable
                .then(|| String::from_utf8(body.to_vec()).ok())
                .flatten(),
            usage: answer.and_then(|mut answer| answer.take_turn().usage),
            is_final: !(is_readable || read.is_broken()),
        }
    }

    /// With the tokens that it has used.
    pub(crate) fn having_used(mut self, usage: Option<Map<String, Value>>) -> Self {
        self.usage = usage;
        self
    }

    /// As one of which the caller has had a part, if so.
    pub(crate) fn shown(mut self, is_shown: bool) -> Self {
        self.is_final |= is_shown;
        self
    }

    /// Returns `true` if the turn may succeed when it is asked for again.
    pub(crate) fn may_pass(&self) -> bool {
        let is_passing = self.status.is_none_or(|status| {
            status.is_success()
                || status.is_server_error()
                || matches!(
                    status,
                    StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
                )
        });
        is_passing && !self.is_final
    }

    /// Returns `true` if the model's service says itself that it failed.
    pub(crate) fn is_reported(&self) -> bool {
        let is_error = self.status.is_some_and(|status| !status.is_success());
        is_error || self.json().is_some()
    }

    /// The status and the body of an answer that tells it, after tools have run.
    pub(crate) fn answer(&self, receipt: Option<&str>) -> (StatusCode, String) {
        let status = self.kept_status();
        let said = status.and_then(|_| Object::parse(self.said.as_deref()?).ok());
        let body = match said {
            Some(said) => with_receipt(&said, receipt),
            None => self.ours(receipt),
        };
        (status.unwrap_or(StatusCode::BAD_REQUEST), body)
    }

    /// The event of a stream that tells it, in place of an answer.
    pub(crate) fn event(&self, tools_ran: bool, receipt: Option<&str>) -> String {
        let said = self.said.as_deref();
        // Without the member, clients would take it for a chunk, and the answer for whole.
        let is_error = said.and_then(Chunk::parse).is_some_and(|c| c.is_error());
        let stays = is_error && (!tools_ran || self.kept_status().is_some());
        match said
            .filter(|_| stays)
            .and_then(|said| Object::parse(said).ok())
        {
            Some(said) => with_receipt(&said, receipt),
            None if tools_ran => self.ours(receipt),
            None => {
                let why = self.why.unwrap_or(FAILED);
                with_member(&Refusal::new(Kind::Upstream, why).body(), receipt)
            }
        }
    }

    /// The status where the caller gets that of the answer: it is about the request, and no client
    /// repeats it.
    fn kept_status(&self) -> Option<StatusCode> {
        let is_kept = |status: &StatusCode| matches!(status.as_u16(), 400..=407 | 413);
        self.status.filter(is_kept)
    }

    /// What the model's service says, where it is JSON.
    fn json(&self) -> Option<&str> {
        let said = self.said.as_deref()?;
        serde_json::from_str::<&RawValue>(said)
            .ok()
            .map(RawValue::get)
    }

    /// Our own body.
    fn ours(&self, receipt: Option<&str>) -> String {
        let status = self.status.map(|status| status.as_u16().to_string());
        let members = [
            ("upstream_status", status.as_deref()),
            ("upstream", self.json()),
        ];
        let members = members
            .into_iter()
            .filter_map(|(name, text)| Some((name, text?)));
        let refusal = Refusal::new(Kind::Upstream, FAILED);
        with_member(&refusal.body_with(members), receipt)
    }
}

fn with_member(body: &str, receipt: Option<&str>) -> String {
    match Object::parse(body) {
        Ok(object) => with_receipt(&object, receipt),
        Err(_) => body.to_owned(),
    }
}

fn with_receipt(object: &Object<'_>, receipt: Option<&str>) -> String {
    let members: Vec<_> = receipt
        .map(|receipt| ("mcp", receipt))
        .into_iter()
        .collect();
    object.edited(object.set(&members))
}
