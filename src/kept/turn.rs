//! A turn that went back to the caller in part.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;

use super::tail::{Tail, length};
use crate::{hex::hex, json::quoted, random::fill_random};

/// A turn of the model whose calls went back under ids of ours.
///
/// It is stored as one text; each message is kept as the text that it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeptTurn {
    /// The messages of the turns that were executed in the request before this turn.
    pub(crate) before: Vec<Bytes>,
    /// The assistant's message, verbatim, with all calls and their own ids.
    pub(crate) turn: Bytes,
    /// Its calls, in their order.
    pub(crate) calls: Vec<KeptCall>,
    /// Its message goes to the provider as it is.
    pub(crate) is_sendable: bool,
    /// The messages behind the answers to all calls that show what results of ours have beside text.
    pub(crate) media: Vec<Bytes>,
    /// All calls went to the caller, since one of them asks first.
    pub(crate) asks_first: bool,
    /// The names of the servers that the request had asked for, and of the only tools, for a later
    /// request that has no member `mcp`.
    pub(crate) servers: Vec<Arc<str>>,
    pub(crate) tools: Option<Vec<String>>,
    /// A random name of the process that last let calls of it begin, so that no two store the same
    /// text.
    pub(crate) writer: String,
    /// Turns that were executed later, before final texts that the caller got.
    pub(crate) tails: Vec<Tail>,
}

/// A call of a kept turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeptCall {
    /// A call of one of our tools, or of a tool that nobody has; otherwise the caller's own.
    pub(crate) is_ours: bool,
    /// The model has called it through a tool that calls others, and the caller got its own arguments.
    pub(crate) is_through: bool,
    /// The tool message of ours that answers it, once it has run.
    pub(crate) result: Option<Bytes>,
    /// It has begun, and must not run twice: without a result it is lost, unless somebody holds the
    /// record.
    pub(crate) has_begun: bool,
}

/// A name that nobody else has who writes records: the next one from where this process began.
pub(super) fn writer() -> String {
    static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| {
        let mut first = [0; 8];
        fill_random(&mut first);
        u64::from_ne_bytes(first).into()
    });
    hex(&NEXT.fetch_add(1, Relaxed).to_be_bytes())
}

/// The bytes of a stored text, which are not copied.
pub(super) fn bytes_of(stored: Arc<str>) -> Bytes {
    struct Stored(Arc<str>);
    impl AsRef<[u8]> for Stored {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    Bytes::from_owner(Stored(stored))
}

/// This text as it is stored. `share` is called with it twice, for the sake of memory: first so that
/// what it was made of can go before it is copied.
pub(super) fn shared(text: Bytes, mut share: impl FnMut(&Bytes)) -> Option<Arc<str>> {
    share(&text);
    let stored: Arc<str> = std::str::from_utf8(&text).ok()?.into();
    share(&bytes_of(stored.clone()));
    Some(stored)
}

/// The bytes of a record without any message, and of a call: at least as many as their
/// text takes.
const EMPTY: usize = 192;
const CALL: usize = 64;

impl KeptTurn {
    /// The same, written by another from now on.
    pub(crate) fn taken_over(mut self) -> Self {
        self.writer = writer();
        self
    }

    /// Returns `true` if the call at this place has begun, and nobody knows how it ended, unless
    /// somebody holds the record.
    pub(crate) fn is_lost(&self, place: usize) -> bool {
        let call = self.calls.get(place);
        call.is_some_and(|call| call.has_begun && call.result.is_none())
    }

    /// The bytes that it takes: those of its text, and a few more.
    pub(crate) fn size(&self) -> usize {
        let names = |name: &str| quoted(name).len() + 1;
        let call = |call: &KeptCall| CALL + call.result.as_ref().map_or(4, Bytes::len);
        let tools = self.tools.iter().flatten();
        EMPTY
            + length(&self.before)
            + self.turn.len()
            + self.calls.iter().map(call).sum::<usize>()
            + length(&self.media)
            + self.servers.iter().map(|name| names(name)).sum::<usize>()
            + tools.map(|name| names(name)).sum::<usize>()
            + self.tails.iter().map(Tail::size).sum::<usize>()
    }
}
