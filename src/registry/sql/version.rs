//! Versions as the tables have them.

/// The number that stands for `version` in a column; versions beyond it are no record's.
pub(super) fn stored(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(-1)
}
