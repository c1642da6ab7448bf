//! The id of an exchange.

use std::{
    fmt,
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::random::fill_random;

/// The id of an exchange: 48 bits of the time in milliseconds, then 80 random bits.
///
/// `Display` and `FromStr` use 32 hex digits in lower case. The order of ids is the order of time,
/// so a list by id needs no other key.
///
/// ```
/// use mcp_layer::trace::TraceId;
/// use std::time::{Duration, UNIX_EPOCH};
///
/// let id = TraceId::new(UNIX_EPOCH);
/// assert!(id < TraceId::new(UNIX_EPOCH + Duration::from_secs(1)));
/// assert_eq!(id.to_string().parse(), Ok(id));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceId(u128);

impl TraceId {
    /// Creates an id for an exchange that begins `at`. Two ids of the same time differ.
    ///
    /// # Panics
    /// Panics if the system has no randomness.
    pub fn new(at: SystemTime) -> Self {
        Self(Self::first_of(at).0 | random())
    }

    /// The first possible id of an exchange that begins `at`.
    pub(crate) fn first_of(at: SystemTime) -> Self {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(since.as_millis() << 80)
    }
}

/// In the extensions of a request of ours: the id that its exchange is recorded under, so that whoever
/// sends it knows where to look.
#[cfg(feature = "admin")]
#[derive(Clone, Copy)]
pub(crate) struct RecordedAs(pub(crate) TraceId);

/// Draws 80 random bits. The system is asked for the bits of many ids at once, since each request
/// costs more than the rest of an id.
fn random() -> u128 {
    static BITS: Mutex<([u8; 640], usize)> = Mutex::new(([0; 640], 0));
    let mut bits = BITS.lock().unwrap_or_else(PoisonError::into_inner);
    let (bytes, left) = &mut *bits;
    if *left == 0 {
        fill_random(bytes);
        *left = bytes.len();
    }
    *left -= 10;
    let bytes = bytes[*left..][..10].iter();
    bytes.fold(0, |bits, byte| bits << 8 | u128::from(*byte))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for TraceId {
    type Err = InvalidTraceId;

    fn from_str(text: &str) -> Result<Self, InvalidTraceId> {
        let is_id =
            text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let id = is_id.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        id.map(Self).ok_or(InvalidTraceId)
    }
}

impl TryFrom<String> for TraceId {
    type Error = InvalidTraceId;

    fn try_from(text: String) -> Result<Self, InvalidTraceId> {
        text.parse()
    }
}

impl From<TraceId> for String {
    fn from(id: TraceId) -> Self {
        id.to_string()
    }
}

/// The error of parsing a text that is not 32 hex digits in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidTraceId;

impl fmt::Display for InvalidTraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the id of an exchange: it has 32 hex digits in lower case")
    }
}

impl std::error::Error for InvalidTraceId {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ids_are_in_the_order_of_time_and_read_back() {
        let at = |millis| TraceId::new(UNIX_EPOCH + Duration::from_millis(millis));
        let (first, second) = (at(1_795_644_808_041), at(1_795_644_808_042));
        assert!(first < second && first.to_string() < second.to_string());
        assert_eq!(first.to_string().parse(), Ok(first));
        let many: std::collections::HashSet<_> = (0..1000).map(|_| at(1)).collect();
        assert_eq!(many.len(), 1000);
        for text in [
            "",
            "0",
            &"g".repeat(32),
            &"A".repeat(32),
            &format!("+{}", "0".repeat(31)),
        ] {
            assert_eq!(text.parse::<TraceId>(), Err(InvalidTraceId), "{text}");
        }
    }
}
