//! Makes a kept turn smaller: its oldest results become notes.

use bytes::Bytes;

use super::{
    said::{READ, is_assistant, read},
    tail::Tail,
    turn::KeptTurn,
};
use crate::json::{Object, array, quoted};

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
        let mut size = self.size();
        for cut in [without_media, without_result] {
            for message in self.results() {
                if size <= bytes {
                    return;
                }
                if let Some(smaller) = cut(message).filter(|smaller| smaller.len() < message.len())
                {
                    size -= message.len() - smaller.len();
                    *message = smaller;
                }
            }
        }
        let is_too_much = |tail: &&Tail| {
            let is_too_much = size > bytes;
            size -= tail.size();
            is_too_much
        };
        let gone = self.tails.iter().take_while(is_too_much).count();
        self.tails.drain(..gone);
    }

    /// The messages that may be results, the oldest first.
    fn results(&mut self) -> impl Iterator<Item = &mut Bytes> {
        let before = self.before.iter_mut();
        let own = self.calls.iter_mut();
        let own = own.filter_map(|call| call.result.as_mut());
        let tails = self.tails.iter_mut();
        let tails = tails.flat_map(|tail| tail.messages.iter_mut());
        before.chain(own).chain(tails)
    }
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
fn without_result(message: &Bytes) -> Option<Bytes> {
    let object = read(message)?;
    let is_result = object.string("role")? == "tool";
    let note = quoted(RESULT);
    is_result.then(|| object.edited(object.set(&[("content", &note)])).into())
}
