//! The room that calls reserve before they run, so that what they yield can be kept.

use crate::settings::Limits;

/// What a call reserves. Nearly all results are smaller, a page of text has some KiB; larger ones
/// take what is free then, and are cut where nothing is. Of the 8 MiB that a project has in memory,
/// 250 calls can wait so, and 32 if each reserved the most that a result may have.
const RESERVED: usize = 32 << 10;

/// The bytes that a number of calls reserve.
pub(crate) fn reserved(calls: usize, limits: &Limits) -> usize {
    calls.saturating_mul(RESERVED.min(limits.result_bytes))
}
