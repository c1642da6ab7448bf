//! Parameters that say which trace their request is a part of, and the token of its progress.

use serde::Serialize;

use super::request::Request;
use crate::trace_parent::TraceParent;

/// The parameters of a legacy request. The trace stands in `_meta`, under the names that
/// 2026-07-28 reserves for it (basic, "_meta"); servers of before ignore them.
#[derive(Serialize)]
pub(super) struct LegacyParams<'a, P> {
    #[serde(flatten)]
    params: P,
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    meta: Option<Meta<'a>>,
}

/// The member `_meta`, where there is something to say.
#[derive(Serialize)]
struct Meta<'a> {
    #[serde(rename = "progressToken", skip_serializing_if = "Option::is_none")]
    progress_token: Option<u64>,
    #[serde(flatten)]
    trace: Option<&'a TraceParent>,
}

impl<'a, P> LegacyParams<'a, P> {
    pub(super) fn new(request: Request<'a, P>) -> Self {
        let (progress_token, trace) = (request.progress_token, request.trace);
        let meta = Meta {
            progress_token,
            trace,
        };
        Self {
            params: request.params,
            meta: (progress_token.is_some() || trace.is_some()).then_some(meta),
        }
    }
}
