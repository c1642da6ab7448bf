//! How many calls there may be: in a minute, in a day, and at once.

use std::num::NonZeroU32;

use super::error::Error;

/// The rule for the number of a limit.
pub(crate) const LIMIT: &str =
    "must be a whole number from 1 to 4294967295: leave it out for no limit";

/// What a limit of calls counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CallLimit {
    /// Calls that began within a minute. It begins with the first of them.
    PerMinute,
    /// Calls that began within a day, by UTC.
    PerDay,
    /// Calls that run at the same time.
    AtOnce,
}

/// The most calls that there may be; by default as many as there are.
///
/// ```
/// use mcp_layer::registry::{CallLimit, CallLimits};
///
/// let limits = CallLimits::default().with(CallLimit::PerMinute, 10)?;
/// assert_eq!(limits.get(CallLimit::PerMinute), Some(10));
/// assert_eq!(limits.get(CallLimit::AtOnce), None);
/// // Nobody can tell whether it would mean none or all.
/// assert!(limits.with(CallLimit::PerDay, 0).is_err());
/// # Ok::<(), mcp_layer::registry::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallLimits([Option<NonZeroU32>; 3]);

impl CallLimit {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::PerMinute, Self::PerDay, Self::AtOnce];

    /// Its name in files, in REST and in receipts: `calls_per_minute`, `calls_per_day` or
    /// `calls_at_once`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PerMinute => "calls_per_minute",
            Self::PerDay => "calls_per_day",
            Self::AtOnce => "calls_at_once",
        }
    }
}

impl CallLimits {
    /// Replaces one of them.
    ///
    /// # Errors
    /// [`Error::Invalid`] for 0.
    pub fn with(mut self, of: CallLimit, calls: u32) -> Result<Self, Error> {
        let calls = NonZeroU32::new(calls);
        self.0[of as usize] = Some(calls.ok_or_else(|| Error::invalid(of.as_str(), LIMIT))?);
        Ok(self)
    }

    /// The most calls of this kind; `None` if they are not limited.
    pub fn get(&self, of: CallLimit) -> Option<u32> {
        self.0[of as usize].map(NonZeroU32::get)
    }

    /// Those that are set, each with its number.
    pub fn iter(&self) -> impl Iterator<Item = (CallLimit, u32)> {
        let all = CallLimit::ALL.into_iter();
        all.filter_map(|of| Some((of, self.get(of)?)))
    }

    /// Returns `true` if nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.0 == [None; 3]
    }
}
