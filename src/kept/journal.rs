//! The journal of an exchange: what a repeat of its request needs to go on.
//!
//! ```text
//!   before a batch ──▶ done: all before it   open: its turn, its calls
//!   after it       ──▶ done: the same        open: its calls with their results
//! ```
//!
//! So two writes are all that a batch costs, and whoever goes on runs the open batch with the
//! results that are there. Figures, turns and results are texts of the loop, which reads them.

use std::{io, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::turn::{shared, writer};
use crate::{
    chat::{MediaPart, share},
    json::raw,
    registry::EXCHANGE_LEN,
};

/// An exchange as its journal says it; stored as one JSON text.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Journal {
    /// A name of whoever wrote it, so that no two writers store the same text.
    writer: String,
    /// A hash of the request, for a key that comes with another one.
    pub(crate) request: String,
    /// The caller is gone, and only calls that run still end.
    pub(crate) is_forsaken: bool,
    /// The finished steps, up to the last batch.
    pub(crate) done: Option<DoneSteps>,
    /// The last batch.
    pub(crate) open: Option<OpenBatch>,
    /// The answer, once there is one.
    pub(crate) answer: Option<KeptAnswer>,
}

/// The steps of a request that are finished.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DoneSteps {
    /// The figures of the receipt.
    pub(crate) figures: Box<RawValue>,
    /// The executed turns, shared with whoever has them: there may be images in them.
    #[serde(with = "raw::list")]
    pub(crate) messages: Vec<Bytes>,
}

/// A batch of calls that has begun.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OpenBatch {
    /// The assistant's message; `None` where the request has it.
    pub(crate) message: Option<Box<RawValue>>,
    /// The turn was cut short.
    pub(crate) is_cut: bool,
    pub(crate) calls: Vec<OpenCall>,
}

/// A call of an open batch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OpenCall {
    /// The name that the model called.
    pub(crate) name: String,
    /// It has not begun, or changes nothing.
    pub(crate) may_run_again: bool,
    /// Its result, once there is one.
    pub(crate) result: Option<Box<RawValue>>,
    /// The images and recordings of its result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) media: Vec<MediaPart>,
}

/// A finished answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeptAnswer {
    /// Those of its headers that are ours, and its type.
    pub(crate) headers: Vec<(String, String)>,
    /// The completion, with usage and receipt.
    pub(crate) body: Box<RawValue>,
}

impl Journal {
    /// Begins the journal of a request with this hash.
    pub(crate) fn of(request: String) -> Self {
        let begun = Self {
            request,
            ..Self::default()
        };
        begun.taken_over()
    }

    /// Reads a journal; `None` if the text is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The same, written by another from now on.
    pub(crate) fn taken_over(mut self) -> Self {
        self.writer = writer();
        self.is_forsaken = false;
        self
    }

    /// What it says, for whoever goes on with it; what is left says whose it is.
    pub(crate) fn take_steps(&mut self) -> Self {
        Self {
            writer: self.writer.clone(),
            request: self.request.clone(),
            is_forsaken: self.is_forsaken,
            done: self.done.take(),
            open: self.open.take(),
            answer: self.answer.take(),
        }
    }

    /// The text; `None` if it is larger than a record may be.
    pub(crate) fn text(&self) -> Option<Arc<str>> {
        let size = self.size();
        if size > EXCHANGE_LEN {
            return None;
        }
        let text = self.written(size)?;
        Some(std::str::from_utf8(&text).ok()?.into())
    }

    /// The [text](Self::text), of which the media of its calls, and `others` of the same calls, are
    /// parts then, so that there is one copy of them.
    pub(super) fn text_with<'a>(
        &mut self,
        others: impl Iterator<Item = &'a mut Bytes>,
    ) -> Option<Arc<str>> {
        let mut others: Vec<_> = others.collect();
        if others.is_empty() {
            return self.text();
        }
        let size = self.size();
        if size > EXCHANGE_LEN {
            return None;
        }
        let text = self.written(size)?;
        shared(text.into(), |text| {
            share(self.media_mut(), text);
            share(others.iter_mut().map(|media| &mut **media), text);
        })
    }

    /// Its text, of this size.
    fn written(&self, size: usize) -> Option<Vec<u8>> {
        // Of its length: with images it is among the largest things that there are in memory.
        let mut text = Vec::with_capacity(size);
        serde_json::to_writer(&mut text, self).ok()?;
        Some(text)
    }

    /// The media of its calls, in the order of its text.
    fn media_mut(&mut self) -> impl Iterator<Item = &mut Bytes> {
        let calls = self.open.iter_mut().flat_map(|open| &mut open.calls);
        calls.flat_map(|call| call.media.iter_mut().map(|media| &mut media.part))
    }

    /// The bytes that it takes.
    pub(super) fn size(&self) -> usize {
        let mut count = Count(0);
        serde_json::to_writer(&mut count, self).map_or(0, |()| count.0)
    }

    /// What is left where there is no room for the rest: that the calls of the open batch ran.
    pub(crate) fn lost(&self) -> Self {
        let open = self.open.as_ref().map(|open| OpenBatch {
            message: None,
            is_cut: open.is_cut,
            calls: open.calls.iter().map(OpenCall::lost).collect(),
        });
        Self {
            writer: self.writer.clone(),
            request: self.request.clone(),
            open,
            ..Self::default()
        }
    }

    /// Returns `true` if there is anything to go on from.
    pub(crate) fn says_something(&self) -> bool {
        self.done.is_some() || self.answer.is_some()
    }

    /// Returns `true` if nobody can know whether a call has run that must not run twice.
    pub(crate) fn is_unknown(&self) -> bool {
        self.unknown().next().is_some()
    }

    /// The names of the calls of which nobody can know whether they have run.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = &str> {
        let calls = self.open.iter().flat_map(|open| &open.calls);
        let is_unknown = |call: &&OpenCall| call.result.is_none() && !call.may_run_again;
        calls.filter(is_unknown).map(|call| &*call.name)
    }
}

/// Counts what is written to it.
struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl OpenCall {
    fn lost(&self) -> Self {
        Self {
            name: self.name.clone(),
            may_run_again: false,
            result: None,
            media: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.into()).unwrap()
    }

    fn call(may_run_again: bool, result: Option<&str>) -> OpenCall {
        OpenCall {
            name: "s__f".into(),
            may_run_again,
            result: result.map(raw),
            media: Vec::new(),
        }
    }

    #[test]
    fn what_is_written_is_read_again_byte_for_byte() {
        let mut journal = Journal::of("r".into());
        journal.done = Some(DoneSteps {
            figures: raw(r#"{"rounds" : 1.50, "x":"\ud83d"}"#),
            messages: vec!["{\"a\" : 1}".into(), "[ ]".into()],
        });
        journal.open = Some(OpenBatch {
            message: Some(raw(r#"{"role":"assistant", "y":1e2}"#)),
            is_cut: true,
            calls: vec![call(false, Some("[ 1 ]"))],
        });
        let text = journal.text().unwrap();
        assert_eq!(Journal::parse(&text).unwrap().text().unwrap(), text);
        assert_ne!(journal.taken_over().text().unwrap(), text);
    }

    #[test]
    fn media_are_parts_of_the_text_once_it_is_written() {
        let part = |data| MediaPart::new("an image".into(), "image/png", data);
        let mut journal = Journal::of("r".into());
        let mut calls = vec![call(false, Some("1")), call(false, Some("2"))];
        calls[0].media = vec![part("AAAA"), part("AAAA")];
        calls[1].media = vec![part("BBBB")];
        let mut others: Vec<_> = calls.iter().flat_map(|call| call.media.clone()).collect();
        let before = others.clone();
        journal.open = Some(OpenBatch {
            message: None,
            is_cut: false,
            calls,
        });
        let parts = others.iter_mut().map(|media| &mut media.part);
        let text = journal.text_with(parts).unwrap();
        assert_eq!(others, before);
        let places = text.as_bytes().as_ptr_range();
        let all = journal
            .media_mut()
            .chain(others.iter_mut().map(|media| &mut media.part));
        assert!(
            all.map(|part| part.as_ptr())
                .all(|part| places.contains(&part))
        );
        assert_eq!(journal.text().unwrap(), text);
    }

    #[test]
    fn a_call_without_a_result_is_unknown_unless_it_may_run_again() {
        for (calls, is_unknown) in [
            (vec![], false),
            (vec![call(true, None), call(false, Some("1"))], false),
            (vec![call(true, None), call(false, None)], true),
        ] {
            let mut journal = Journal::of(String::new());
            journal.open = Some(OpenBatch {
                message: None,
                is_cut: false,
                calls,
            });
            assert_eq!(journal.is_unknown(), is_unknown);
        }
    }

    #[test]
    fn a_record_has_its_limit() {
        let mut journal = Journal::of(String::new());
        journal.done = Some(DoneSteps {
            figures: raw(&format!("\"{}\"", "x".repeat(EXCHANGE_LEN))),
            messages: Vec::new(),
        });
        journal.open = Some(OpenBatch {
            message: None,
            is_cut: false,
            calls: vec![call(true, Some("1"))],
        });
        assert!(journal.text().is_none());
        let lost = Journal::parse(&journal.lost().text().unwrap()).unwrap();
        assert_eq!(lost.unknown().collect::<Vec<_>>(), ["s__f"]);
    }
}
