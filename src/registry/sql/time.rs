//! Time in the tables: milliseconds since 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::{AnyConnection, Row};

use super::database::{Database, sql};

/// The longest claim or lease; one that ends later was made by a clock that was wrong.
pub(super) const LONGEST_HOLD: Duration = Duration::from_secs(60 * 60);

pub(super) fn milliseconds(time: SystemTime) -> i64 {
    span(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A length of time in milliseconds.
pub(super) fn span(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The time of so many milliseconds since 1970.
pub(super) fn time(milliseconds: i64) -> SystemTime {
    let since = Duration::from_millis(milliseconds.max(0).unsigned_abs());
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}

/// The present time by the clock of this machine.
pub(super) fn now() -> i64 {
    milliseconds(SystemTime::now())
}

/// The present time by the clock that all replicas share.
pub(super) async fn shared_now(
    connection: &mut AnyConnection,
    database: &Database,
) -> Result<i64, sqlx::Error> {
    match database.dialect.clock {
        Some(clock) => sql(clock).fetch_one(connection).await?.try_get(0),
        None => Ok(now()),
    }
}
