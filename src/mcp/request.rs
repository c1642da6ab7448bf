//! A request, before any transport has made a message of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
use tokio::time::Instant;

use super::param_headers::ParamHeaders;
use super::pulse::Pulse;
use crate::trace_parent::TraceParent;

/// A request, as all transports need it.
#[derive(Clone, Copy)]
pub(super) struct Request<'a, P> {
    pub(super) method: &'static str,
    pub(super) params: P,
    /// The approximate size of the parameters, in bytes.
    pub(super) size: usize,
    /// What 2026-07-28 repeats in headers: the name and the arguments of a call, or the id of a task.
    pub(super) param_headers: Option<ParamHeaders<'a>>,
    /// The trace that the request is a part of.
    pub(super) trace: Option<&'a TraceParent>,
    /// The token under which the server may report progress.
    pub(super) progress_token: Option<u64>,
    /// The call that progress beside the answer may be of.
    pub(super) pulse: Option<&'a Arc<Pulse>>,
    /// When the listing began that this is a part of: it runs nothing, and may be repeated.
    pub(super) began: Option<Instant>,
    /// Of a listing: `true` once any of its requests was sent again, which happens once.
    pub(super) repeated: Option<&'a AtomicBool>,
}

impl<P> Request<'_, P> {
    /// A request of our own: no tool call, and no part of a trace.
    pub(super) fn new(method: &'static str, params: P, size: usize) -> Self {
        Self {
            method,
            params,
            size,
            param_headers: None,
            trace: None,
            progress_token: None,
            pulse: None,
            began: None,
            repeated: None,
        }
    }

    /// Returns `true` if it may be sent again, which is then used up.
    pub(super) fn take_repeat(&self) -> bool {
        let is_left = |repeated: &AtomicBool| !repeated.swap(true, Ordering::Relaxed);
        self.repeated.is_none_or(is_left)
    }

    /// The headers that say which trace this is a part of.
    pub(super) fn trace_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(trace) = self.trace {
            trace.insert_into(&mut headers);
        }
        headers
    }
}
