//! Parameters that say which trace their request is a part of.

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
    trace: Option<&'a TraceParent>,
}

impl<'a, P> LegacyParams<'a, P> {
    pub(super) fn new(request: Request<'a, P>) -> Self {
        Self {
            params: request.params,
            trace: request.trace,
        }
    }
}
