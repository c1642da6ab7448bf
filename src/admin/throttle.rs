//! How often somebody may try to sign in.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

/// Wrong tokens within [`WITHIN`], from wherever they come: behind a reverse proxy all come from
/// one place. A token cannot be guessed in any case; this keeps logs short, and people from trying.
const WRONG: u32 = 10;
const WITHIN: Duration = Duration::from_secs(60);

/// Counts wrong tokens; clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Throttle(Arc<Mutex<Option<Minute>>>);

#[derive(Clone, Copy, Debug)]
struct Minute {
    began: SystemTime,
    wrong: u32,
}

impl Throttle {
    /// Whether a try is right; `Err`: it was not looked at, and may be made again after this.
    pub(super) fn judge(
        &self,
        now: SystemTime,
        is_right: impl FnOnce() -> bool,
    ) -> Result<bool, Duration> {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back begins anew, too.
        let passed = minute.and_then(|minute| now.duration_since(minute.began).ok());
        let left = passed.and_then(|passed| WITHIN.checked_sub(passed));
        let wrong = match (*minute, left) {
            (Some(minute), Some(left)) if minute.wrong >= WRONG => return Err(left),
            (Some(minute), Some(_)) => minute.wrong,
            _ => 0,
        };
        if is_right() {
            return Ok(true);
        }
        let began = minute.filter(|_| wrong > 0).map_or(now, |m| m.began);
        *minute = Some(Minute {
            began,
            wrong: wrong + 1,
        });
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_ten_wrong_tokens_the_right_one_has_to_wait_too() {
        let throttle = Throttle::default();
        let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds);
        for second in 0..10 {
            assert_eq!(throttle.judge(at(second), || false), Ok(false));
        }
        assert_eq!(
            throttle.judge(at(20), || true),
            Err(Duration::from_secs(40))
        );
        assert_eq!(throttle.judge(at(61), || true), Ok(true));
        assert_eq!(throttle.judge(at(61), || false), Ok(false));
        assert_eq!(throttle.judge(at(0), || true), Ok(true));
    }
}
