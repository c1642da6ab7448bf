//! Shortens a conversation that is too long for its model: old results become notes.
//!
//! The caller cannot make it shorter itself: it does not have what is restored or executed here.

use std::collections::HashSet;

use bytes::Bytes;
use http::{StatusCode, response};

use super::Exchange;
use crate::{
    body::Read,
    inner::InnerBody,
    kept::note_old_results,
    name::short,
    tool_loop::{delivery::is_readable, failure::rejected},
};

impl Exchange {
    /// Returns `true` if an answer with this status may reject results of ours as too long.
    pub(super) fn may_shorten(&self, status: StatusCode) -> bool {
        let has_results = self.receipt.tools_ran() || self.keeper.has_kept();
        has_results && rejected::may_be_too_long(status)
    }

    /// Makes notes of old results of ours, if this rejection says that the messages are too long;
    /// returns `false` where the next turn would be the same.
    pub(super) fn shorten(&mut self, parts: &response::Parts, read: &Read<InnerBody>) -> bool {
        if !(self.may_shorten(parts.status) && is_readable(parts, read)) {
            return false;
        }
        let body = read.bytes();
        let is_too_long = body.len() <= rejected::READ && rejected::is_too_long(&body);
        if !(is_too_long && self.note_results()) {
            return false;
        }
        self.is_incomplete = true;
        self.receipt.tell_incomplete();
        tracing::info!(
            model = self.request.model.as_deref().map(short),
            status = parts.status.as_u16(),
            "the messages are too long for the model, which is asked once more without old results"
        );
        true
    }

    /// Returns `false` if no turn has results to leave out.
    fn note_results(&mut self) -> bool {
        let kept = self.keeper.kept_messages();
        let ours: HashSet<&Bytes> = kept.chain(self.receipt.executed()).collect();
        let is_ours = |message: &Bytes| ours.contains(message);
        note_old_results(self.conversation.appended_mut(), is_ours)
    }
}
