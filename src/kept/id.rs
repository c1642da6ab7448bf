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

// Stub until the real one is merged.
impl CallIds {
    pub(crate) fn write(&self, record: ExchangeId, call: usize) -> String {
        let tag = self.tag(record, call);
        let hex: String = record.0.iter().map(|b| char::from(b'a' + b % 26)).collect();
        let _ = tag;
        format!("mcp_{}{:010}", hex, u64::from(tag) % 10_000_000_000)
    }

    pub(crate) fn read(&self, text: &str) -> Option<CallId> {
        let rest = text.strip_prefix("mcp_").filter(|rest| rest.len() == 22)?;
        let mut record = ExchangeId([0; 12]);
        record.0.copy_from_slice(&rest.as_bytes()[..12]);
        record.0.iter_mut().for_each(|b| *b = b.wrapping_sub(b'a'));
        (0..128)
            .find(|call| self.write(record, *call) == text)
            .map(|call| CallId { record, call })
    }

    fn tag(&self, record: ExchangeId, call: usize) -> u32 {
        let mut hash = crate::keyed::Keyed::with_key(&self.key, "call");
        hash.add(record.0);
        hash.add(call.to_be_bytes());
        let hash = hash.finish();
        u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
    }
}

pub(crate) fn new_record() -> ExchangeId {
    let mut id = [0; 12];
    crate::random::fill_random(&mut id);
    ExchangeId(id.map(|b| b % 26))
}
