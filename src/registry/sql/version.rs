//! Versions in the tables.

/// The number of `version` in a column; no record has a version beyond its range.
pub(super) fn stored(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(-1)
}
