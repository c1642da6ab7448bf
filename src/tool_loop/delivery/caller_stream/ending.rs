//! The end of the last turn, as the caller gets it.

use super::stream::CallerStream;
use crate::{
    chat::{Change, Chunk, ToolCall, delta_of_calls},
    json::quoted,
    tool_loop::delivery::Shown,
};

/// The end of the last turn, as the caller gets it.
pub(super) struct TurnEnd {
    /// The reason, as JSON text, where it is not the upstream's own.
    pub(super) finish_reason: Option<&'static str>,
    /// The calls of the chunks do not go to the caller.
    pub(super) is_replaced: bool,
    /// What is said in their place.
    pub(super) deltas: Vec<String>,
}

impl TurnEnd {
    /// As it came; its calls are sent anew if `calls_delta` has them.
    pub(super) fn as_it_came(calls: &[ToolCall], calls_delta: Option<String>) -> Self {
        // A turn that was cut short does not look whole.
        let is_whole = !calls.is_empty() && !calls.iter().any(ToolCall::is_cut);
        Self {
            finish_reason: is_whole.then_some(r#""tool_calls""#),
            is_replaced: calls_delta.is_some(),
            deltas: calls_delta.into_iter().collect(),
        }
    }

    pub(super) fn shown(shown: &Shown) -> Self {
        let note = shown
            .note
            .map(|note| format!(r#"{{"content":{}}}"#, quoted(note)));
        Self {
            finish_reason: Some(shown.finish_reason),
            is_replaced: true,
            deltas: note
                .into_iter()
                .chain(delta_of_calls(&shown.message))
                .collect(),
        }
    }
}

impl CallerStream {
    /// Sends what was held of a turn that goes to the caller, with the receipt, if it is given, in
    /// the chunk that ends it.
    pub(super) async fn release(&mut self, mut end: TurnEnd, receipt: Option<&str>) {
        let receipt: Vec<_> = receipt
            .map(|receipt| ("mcp", receipt))
            .into_iter()
            .collect();
        let mut is_finished = false;
        for (index, text) in std::mem::take(&mut self.held.chunks).iter().enumerate() {
            let Some(chunk) = Chunk::parse(text) else {
                continue;
            };
            let is_finish = self.held.finish == Some(index);
            let without_calls = end.is_replaced && chunk.has_calls();
            if without_calls || is_finish {
                self.say(&mut end.deltas).await;
            }
            is_finished |= is_finish;
            let change = match (is_finish, without_calls) {
                (true, _) => Change {
                    without_calls,
                    finish_reason: end.finish_reason,
                    members: &receipt,
                    ..Change::default()
                },
                (false, true) => {
                    self.forward_rest(&chunk).await;
                    continue;
                }
                // Said once, at the end.
                (false, false) => Change {
                    finish_reason: Some("null"),
                    ..Change::default()
                },
            };
            self.forward(&chunk, change).await;
        }
        self.say(&mut end.deltas).await;
        if !is_finished {
            let reason = end.finish_reason.unwrap_or(r#""stop""#);
            let choice = format!(r#"{{"index":0,"delta":{{}},"finish_reason":{reason}}}"#);
            self.event(&self.chunk(Some(&choice), &receipt)).await;
        }
    }

    /// Sends these deltas of ours.
    async fn say(&mut self, deltas: &mut Vec<String>) {
        for delta in deltas.drain(..) {
            let choice = format!(r#"{{"index":0,"delta":{delta},"finish_reason":null}}"#);
            self.event(&self.chunk(Some(&choice), &[])).await;
        }
    }

    /// Ends the stream, with the usage in a chunk of its own where the caller asked for that.
    pub(super) async fn end(&mut self, members: &[(&str, &str)]) {
        if !members.is_empty() {
            let upstreams = self.held.usage.take();
            let text = match upstreams.as_deref().and_then(Chunk::parse) {
                // With what else the upstream's own last chunk says.
                Some(chunk) => chunk.changed(Change {
                    identity: self.identity.as_ref(),
                    members,
                    ..Change::default()
                }),
                None => self.chunk(None, members).into(),
            };
            self.event(&text).await;
        }
        self.event("[DONE]").await;
    }
}
