//! What an operator did, as it is recorded.

use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use crate::random::fill_random;

/// The id of an [`AuditEntry`]: 64 bits of the time in microseconds, then 64 random bits.
///
/// `Display` and `FromStr` use 32 hex digits in lower case. The order of ids is the order of time,
/// and those of one process never go back, even if its clock does.
///
/// ```
/// use mcp_layer::registry::AuditId;
/// use std::time::SystemTime;
///
/// let (first, second) = (AuditId::new(SystemTime::now()), AuditId::new(SystemTime::now()));
/// assert!(first < second);
/// assert_eq!(first.to_string().parse(), Ok(first));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditId(u128);

/// The reason why a text is no [`AuditId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidAuditId;

impl AuditId {
    /// Creates the id of an entry that is written `at`.
    ///
    /// # Panics
    /// Panics if the system has no randomness.
    pub fn new(at: SystemTime) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let now = microseconds(at);
        // What follows within a microsecond, or after the clock was set back, is later all the same.
        let next = |last: u64| now.max(last.saturating_add(1));
        let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
            Some(next(last))
        });
        let mut random = [0; 8];
        fill_random(&mut random);
        let time = next(last.unwrap_or_default());
        Self(u128::from(time) << 64 | u128::from(u64::from_be_bytes(random)))
    }
}

fn microseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

impl fmt::Display for AuditId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for AuditId {
    type Err = InvalidAuditId;

    fn from_str(text: &str) -> Result<Self, InvalidAuditId> {
        let is_id =
            text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let id = is_id.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        id.map(Self).ok_or(InvalidAuditId)
    }
}

impl fmt::Display for InvalidAuditId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not 32 hex digits in lower case")
    }
}

impl std::error::Error for InvalidAuditId {}

/// One thing that an operator did, or that somebody was refused.
///
/// Texts are kept as they are given, up to the limits that their fields name; a store may refuse
/// longer ones.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AuditEntry {
    /// The id; later entries have greater ids.
    pub id: AuditId,
    /// The organization whose operators may read it.
    pub organization: String,
    /// The time, in whole milliseconds: stores keep no more.
    pub at: SystemTime,
    /// The operator's name; empty where nobody is known. At most 128 bytes, like all words here.
    pub operator: String,
    /// The operator's role at that time; empty where nobody is known.
    pub role: String,
    /// How the operator was known: `token`, `session`, `oidc`; empty where nobody is known.
    pub via: String,
    /// The client address; empty where it is not known.
    pub from: String,
    /// What was done, such as `server.update`.
    pub action: String,
    /// What it was done to, such as a server's name. At most 512 bytes.
    pub target: String,
    /// What was there before, without secrets; `None` where nothing was. At most 256 KiB as text.
    pub before: Option<Value>,
    /// What is there since, without secrets; `None` where nothing is. At most 256 KiB as text.
    pub after: Option<Value>,
}

impl AuditEntry {
    /// Creates an entry of something that is done `at`; all that is not named is empty.
    pub fn new(
        organization: impl Into<String>,
        at: SystemTime,
        action: impl Into<String>,
        target: impl Into<String>,
    ) -> Self {
        let millis = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(millis.as_millis()).unwrap_or(u64::MAX);
        let whole = UNIX_EPOCH.checked_add(std::time::Duration::from_millis(millis));
        Self {
            id: AuditId::new(at),
            organization: organization.into(),
            at: whole.unwrap_or(at),
            operator: String::new(),
            role: String::new(),
            via: String::new(),
            from: String::new(),
            action: action.into(),
            target: target.into(),
            before: None,
            after: None,
        }
    }

    /// Replaces the id, for a store that reads entries.
    #[must_use]
    pub fn with_id(self, id: AuditId) -> Self {
        Self { id, ..self }
    }
}
