//! Makes what is kept smaller: its oldest results become notes.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{
    journal::Journal,
    said::{READ, is_assistant, read},
    tail::Tail,
    turn::KeptTurn,
};
use crate::{
    json::{Object, array, quoted},
    registry::EXCHANGE_LEN,
};

/// What stands for a result that is left out.
const RESULT: &str = "[This result was left out: the results of this conversation need more room \
                      than there is.]";
/// What stands for a part of a message that is no text.
const MEDIA: &str = "[This was left out: the results of this conversation need more room than \
                     there is.]";

impl KeptTurn {
    /// Cuts the oldest results until it takes at most `bytes`: first images and the like, then texts.
    /// Where that is not enough the oldest tails go. The turn itself stays as it was said.
    pub(crate) fn fit(&mut self, bytes: usize) {
        let mut size = self.cut(bytes);
        let is_too_much = |tail: &&Tail| {
            let is_too_much = size > bytes;
            size -= tail.size();
            is_too_much
        };
        let gone = self.tails.iter().take_while(is_too_much).count();
        self.tails.drain(..gone);
    }

    /// Cuts results until it takes at most half of what it did; returns `false` if there are none
    /// left.
    pub(crate) fn shrink(&mut self) -> bool {
        let size = self.size();
        self.cut(size / 2) < size
    }

    /// Cuts the oldest results until it takes at most `bytes`; returns what it takes.
    fn cut(&mut self, bytes: usize) -> usize {
        let mut size = self.size();
        for cut in [without_media, without_result] {
            for message in self.results() {
                if size <= bytes {
                    return size;
                }
                if let Some(smaller) = cut(message).filter(|smaller| smaller.len() < message.len())
                {
                    size -= message.len() - smaller.len();
                    *message = smaller;
                }
            }
        }
        size
    }

    /// The messages that may be results, the oldest first.
    fn results(&mut self) -> impl Iterator<Item = &mut Bytes> {
        let before = self.before.iter_mut();
        let own = self.calls.iter_mut();
        let own = own.filter_map(|call| call.result.as_mut());
        let tails = self.tails.iter_mut();
        let tails = tails.flat_map(|tail| tail.messages.iter_mut());
        let own = own.chain(self.media.iter_mut());
        before.chain(own).chain(tails)
    }
}

impl Journal {
    /// The text, with the oldest results cut as far as a record has no room for them; `None` if it is
    /// larger all the same. The media of its calls, and `others` of the same calls, are parts of it
    /// then.
    pub(crate) fn fitting<'a>(
        &mut self,
        others: impl Iterator<Item = &'a mut Bytes>,
    ) -> Option<Arc<str>> {
        if self.size() > EXCHANGE_LEN {
            self.cut(EXCHANGE_LEN);
        }
        self.text_with(others)
    }

    /// Cuts results until it takes at most half of what it did; returns `false` if there are none
    /// left.
    pub(crate) fn shrink(&mut self) -> bool {
        let size = self.size();
        self.cut(size / 2) < size
    }

    /// Cuts the oldest results until it takes at most `bytes`; returns what it takes.
    fn cut(&mut self, bytes: usize) -> usize {
        let size = self.size();
        let size = self.cut_media(size, bytes);
        self.cut_results(size, bytes)
    }

    /// Cuts the oldest media of results: those of the open batch have notes in its messages.
    fn cut_media(&mut self, mut size: usize, bytes: usize) -> usize {
        for message in self.done.iter_mut().flat_map(|done| &mut done.messages) {
            if let Some(smaller) = smaller(without_media, message, &mut size, bytes) {
                *message = smaller;
            }
        }
        let calls = self.open.iter_mut().flat_map(|open| &mut open.calls);
        for call in calls {
            while size > bytes
                && let Some(media) = call.media.pop()
            {
                size = size.saturating_sub(media.part.len());
            }
        }
        size
    }

    fn cut_results(&mut self, mut size: usize, bytes: usize) -> usize {
        for message in self.done.iter_mut().flat_map(|done| &mut done.messages) {
            if let Some(smaller) = smaller(without_result, message, &mut size, bytes) {
                *message = smaller;
            }
        }
        let mut noted = |message: &str| {
            let message = Bytes::copy_from_slice(message.as_bytes());
            let noted = smaller(without_result, &message, &mut size, bytes)?;
            String::from_utf8(noted.into()).ok()
        };
        let calls = self.open.iter_mut().flat_map(|open| &mut open.calls);
        for result in calls.filter_map(|call| call.result.as_mut()) {
            if let Some(edited) = edited(result, "message", &mut noted) {
                *result = edited;
            }
        }
        size
    }
}

/// A message as `cut` makes it, where that is smaller and more than `bytes` are taken.
fn smaller(
    cut: impl Fn(&Bytes) -> Option<Bytes>,
    message: &Bytes,
    size: &mut usize,
    bytes: usize,
) -> Option<Bytes> {
    if *size <= bytes {
        return None;
    }
    let cut = cut(message)?;
    let saved = message.len().checked_sub(cut.len());
    *size -= saved.filter(|saved| *saved > 0)?;
    Some(cut)
}

/// An object with this member as `edit` makes it; `None` if it does not.
fn edited(
    text: &RawValue,
    member: &str,
    edit: impl FnOnce(&str) -> Option<String>,
) -> Option<Box<RawValue>> {
    let object = Object::parse(text.get()).ok()?;
    let value = edit(object.present(member)?)?;
    RawValue::from_string(object.edited(object.set(&[(member, &value)]))).ok()
}

/// A tool's or a user's message without its images and the like; `None` if it has none.
fn without_media(message: &Bytes) -> Option<Bytes> {
    let object = read(message)?;
    let content = object
        .present("content")
        .filter(|_| !is_assistant(&object))?;
    let mut has_media = false;
    let parts = array(content, READ)?.into_iter().map(|part| {
        let is_text = Object::parse(part).is_ok_and(|part| part.get("text").is_some());
        has_media |= !is_text;
        match is_text {
            true => part.to_owned(),
            false => format!(r#"{{"type":"text","text":{}}}"#, quoted(MEDIA)),
        }
    });
    let parts = format!("[{}]", parts.collect::<Vec<_>>().join(","));
    has_media.then(|| object.edited(object.set(&[("content", &parts)])).into())
}

/// A tool message with a note as its result; `None` if it is none.
pub(super) fn without_result(message: &Bytes) -> Option<Bytes> {
    let object = read(message)?;
    let is_result = object.string("role")? == "tool";
    let note = quoted(RESULT);
    is_result.then(|| object.edited(object.set(&[("content", &note)])).into())
}
