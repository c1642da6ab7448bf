//! Ids of calls that go back to the caller: `mcp_` and 22 characters of base62.
//!
//! ```text
//! 96 bits: the record, random │ 7 bits: the place of the call │ 25 bits: a keyed tag over both
//! ```
//!
//! So an id tells its record and its call without an index, and is known as one of ours when its
//! record is gone.

use sha2::{Digest as _, Sha256};

use crate::{keyed::Keyed, registry::ExchangeId};

/// How an id begins.
const PREFIX: &str = "mcp_";
/// The characters behind that, which 128 bits need.
const LENGTH: usize = 22;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The bits of the tag; those above them are the place.
const TAG: u32 = 25;
/// The calls of a turn that have ids: as many as run of one.
pub(crate) const PLACES: usize = 128;

/// An id of ours: the record, and the place of its call among all calls of the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CallId {
    pub(crate) record: ExchangeId,
    pub(crate) call: usize,
}

/// Writes and reads ids, with the key of the store.
#[derive(Clone)]
pub(crate) struct CallIds {
    /// The beginning of each tag's hash.
    tags: Keyed,
}

impl CallIds {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        // With a purpose of 16 bytes that is one whole block, which is not hashed again for each id.
        let tags = Keyed::with_key(&key, "id of tool calls");
        Self { tags }
    }

    /// The id of a call. One whose place is 128 or more has none that can be read.
    pub(crate) fn write(&self, record: ExchangeId, call: usize) -> String {
        let mut bytes = [0; 16];
        bytes[..12].copy_from_slice(&record.0);
        bytes[12..].copy_from_slice(&self.place_and_tag(record, call).to_be_bytes());
        let mut rest = u128::from_be_bytes(bytes);
        let mut digits = [0; LENGTH];
        for digit in digits.iter_mut().rev() {
            // Below 62.
            *digit = DIGITS[(rest % 62) as usize];
            rest /= 62;
        }
        PREFIX.chars().chain(digits.map(char::from)).collect()
    }

    /// The record and the call, if `text` is an id that was written with this key.
    pub(crate) fn read(&self, text: &str) -> Option<CallId> {
        let digits = text.strip_prefix(PREFIX)?.as_bytes();
        if digits.len() != LENGTH {
            return None;
        }
        let number = digits.iter().try_fold(0_u128, |number, digit| {
            number.checked_mul(62)?.checked_add(value(*digit)?)
        });
        let bytes = number?.to_be_bytes();
        let [record @ .., a, b, c, d] = bytes;
        let end = u32::from_be_bytes([a, b, c, d]);
        let record = ExchangeId(record);
        // Below 128.
        let call = (end >> TAG) as usize;
        (self.place_and_tag(record, call) == end).then_some(CallId { record, call })
    }

    fn place_and_tag(&self, record: ExchangeId, call: usize) -> u32 {
        let hash = self.tags.clone().with(record.0);
        let [a, b, c, d, ..] = hash.with((call as u64).to_be_bytes()).finish();
        let place = (call % PLACES) as u32;
        place << TAG | u32::from_be_bytes([a, b, c, d]) >> (u32::BITS - TAG)
    }
}

fn value(digit: u8) -> Option<u128> {
    let value = match digit {
        b'0'..=b'9' => digit - b'0',
        b'A'..=b'Z' => digit - b'A' + 10,
        b'a'..=b'z' => digit - b'a' + 36,
        _ => return None,
    };
    Some(value.into())
}

/// The id that stands for `id` when its record is gone: nine characters, which every provider takes,
/// and the same each time.
pub(super) fn stand_in(id: &str) -> String {
    let hash = Sha256::digest(id);
    let digits = hash.iter().take(9);
    let digits = digits.map(|byte| char::from(DIGITS[usize::from(*byte) % DIGITS.len()]));
    digits.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_is_26_plain_characters_whatever_its_record() {
        let ids = CallIds::new([7; 32]);
        for record in [[0; 12], [255; 12]] {
            let id = ids.write(ExchangeId(record), 127);
            assert_eq!(id.len(), 26);
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            assert!(id.starts_with("mcp_") && id.bytes().all(is_plain), "{id}");
        }
    }

    #[test]
    fn a_place_that_no_id_holds_is_not_taken_for_another() {
        let ids = CallIds::new([7; 32]);
        let (record, read) = (ExchangeId::random(), |id: String| ids.read(&id));
        assert_eq!(read(ids.write(record, 127)).unwrap().call, 127);
        assert_eq!(read(ids.write(record, 128)), None);
    }

    #[test]
    fn what_is_no_id_is_none() {
        let ids = CallIds::new([7; 32]);
        let id = ids.write(ExchangeId::random(), 3);
        let longest = format!("mcp_{}", "z".repeat(22));
        for text in [
            "",
            "mcp_",
            &id[1..],
            &id[..25],
            &format!("{id}0"),
            &format!(" {id}"),
            &id.to_uppercase(),
            &longest,
            "mcp_ü000000000000000000000",
        ] {
            assert_eq!(ids.read(text), None, "{text}");
        }
        assert_eq!(CallIds::new([8; 32]).read(&id), None);
    }

    proptest! {
        #[test]
        fn an_id_tells_its_record_and_its_call(key: [u8; 32], record: [u8; 12], call in 0_usize..128) {
            let (ids, record) = (CallIds::new(key), ExchangeId(record));
            prop_assert_eq!(ids.read(&ids.write(record, call)), Some(CallId { record, call }));
        }

        #[test]
        fn an_id_with_another_character_is_none_of_ours(
            record: [u8; 12], call in 0_usize..128, at in 4_usize..26, with in "[0-9A-Za-z]"
        ) {
            let ids = CallIds::new([7; 32]);
            let id = ids.write(ExchangeId(record), call);
            let mut other = id.clone();
            other.replace_range(at..=at, &with);
            // The tag lets one of 2^25 through.
            prop_assert!(other == id || ids.read(&other).is_none());
        }

        #[test]
        fn a_stand_in_is_nine_alphanumerics(id in ".*") {
            let name = stand_in(&id);
            prop_assert!(name.len() == 9 && name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            prop_assert_eq!(stand_in(&id), name);
        }
    }
}
