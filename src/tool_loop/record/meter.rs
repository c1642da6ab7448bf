//! What goes by in a turn whose service may not say what it has used.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use memchr::memchr_iter;
use serde_json::{Map, Value};

use crate::inner::{InnerBody, InnerError};

/// The bytes that one token has at the least in most languages, and more in English.
const BYTES: u64 = 4;
/// The bytes of a line of a stream that surround its text: id, time, model and the names of members.
const AROUND: u64 = 200;

/// Estimates the tokens of a turn by what goes by, so that a caller who hangs up before its end, or
/// a service that says nothing, makes it no cheaper.
#[derive(Clone)]
pub(crate) struct Meter(Arc<Passed>);

struct Passed {
    prompt: u64,
    /// The tokens of the lines that are whole.
    answer: AtomicU64,
    /// The bytes of the line that has begun.
    line: AtomicU64,
}

impl Meter {
    /// Begins a turn that sends this.
    pub(super) fn sending(body: &[Bytes]) -> Self {
        let sent: usize = body.iter().map(Bytes::len).sum();
        Self(Arc::new(Passed {
            prompt: (sent as u64).div_ceil(BYTES),
            answer: AtomicU64::new(0),
            line: AtomicU64::new(0),
        }))
    }

    /// The same body, which is counted as it is read.
    pub(crate) fn reading(self, body: InnerBody) -> InnerBody {
        Metered { body, meter: self }.boxed_unsync()
    }

    /// What the turn may have used until now.
    pub(super) fn usage(&self) -> Map<String, Value> {
        let line = tokens(self.0.line.load(Relaxed));
        let answer = self.0.answer.load(Relaxed).saturating_add(line);
        let tokens = [
            ("prompt_tokens", self.0.prompt),
            ("completion_tokens", answer),
        ];
        let members = tokens.map(|(name, tokens)| (name.to_owned(), tokens.into()));
        members.into_iter().collect()
    }

    fn take(&self, data: &[u8]) {
        let mut begun = self.0.line.load(Relaxed);
        let (mut from, mut whole) = (0, 0);
        for end in memchr_iter(b'\n', data) {
            whole += tokens(begun + (end - from) as u64);
            (begun, from) = (0, end + 1);
        }
        // One task reads; the others only look.
        self.0.answer.fetch_add(whole, Relaxed);
        self.0
            .line
            .store(begun + (data.len() - from) as u64, Relaxed);
    }
}

/// The tokens of a line of so many bytes: each that says anything has one.
fn tokens(line: u64) -> u64 {
    match line {
        // A blank line may have a `\r`.
        0 | 1 => 0,
        _ => line.saturating_sub(AROUND).div_ceil(BYTES).max(1),
    }
}

/// The body of an answer on its way through a meter.
struct Metered {
    body: InnerBody,
    meter: Meter,
}

impl Body for Metered {
    type Data = Bytes;
    type Error = InnerError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, InnerError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            this.meter.take(data);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn used(sent: usize, parts: &[&str]) -> Value {
        let meter = Meter::sending(&[vec![b'x'; sent].into()]);
        parts.iter().for_each(|part| meter.take(part.as_bytes()));
        meter.usage().into()
    }

    #[test]
    fn a_line_counts_by_what_it_says_and_one_token_at_the_least() {
        let long = "x".repeat(600);
        let long = long.as_str();
        let cases: [(&[&str], u64); 6] = [
            (&[], 0),
            (&["data: {}\n\n"], 1),
            (&["data: {}\r\n\r\ndata: {"], 2),
            (&["da", "ta: {}", "\n", "\n"], 1),
            (&[long], 100),
            (&[long, "\n", long], 200),
        ];
        for (parts, expected) in cases {
            let expected = json!({"prompt_tokens": 2, "completion_tokens": expected});
            assert_eq!(used(5, parts), expected, "{parts:?}");
        }
    }
}
