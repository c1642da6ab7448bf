//! Ids of calls that go back to the caller: `mcp_` and 22 characters of base62.
//!
//! ```text
//! 96 bits: the record, random │ 32 bits: a keyed tag over the record and the place of the call
//! ```

use crate::registry::ExchangeId;

/// An id of ours: the record, and the place of its call among all calls of the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CallId {
    pub(crate) record: ExchangeId,
    pub(crate) call: usize,
}

/// Writes and reads ids, with the key of the store.
#[derive(Clone)]
pub(crate) struct CallIds {
    key: [u8; 32],
}

impl CallIds {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }
}
