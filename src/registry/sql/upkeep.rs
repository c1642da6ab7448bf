//! The upkeep of a database in use: whether it can serve, and its end.

use std::time::Duration;

use tokio::{task::AbortHandle, time::timeout};

use super::{
    error::{SqlError, SqlFault},
    keys,
    registry::SqlRegistry,
};

/// The longest wait for connections that are in use when the registry is closed.
const CLOSE: Duration = Duration::from_secs(5);

impl SqlRegistry {
    /// Checks that the database answers, and that the key ring opens what was sealed last: the question
    /// of a load balancer, which costs one row.
    ///
    /// Other replicas may have resealed the database with a key that this one does not have; a restart
    /// would then fail.
    ///
    /// # Errors
    /// [`SqlFault::KeyMissing`] and [`SqlFault::KeyRefused`] for the keys, any other for the database,
    /// within 10 s, and within half a second while the database is known to be away.
    pub async fn check(&self) -> Result<(), SqlError> {
        let shared = &self.shared;
        let ring = shared.ring.load_full();
        let looked = shared.database.in_time(async {
            let mut connection = shared.database.reading().await?;
            Ok(keys::opens(&mut connection, &ring).await)
        });
        let looked = looked.await.map_err(SqlFault::from);
        looked
            .and_then(|opens| opens)
            .map_err(|fault| SqlError::new(shared.whence.as_str(), fault))
    }

    /// Writes the traces that wait, and closes the database, for all clones: call it last, before the
    /// process ends. With SQLite the write-ahead log is folded into the file, which can then be copied
    /// alone. Whatever is asked of the registry from then on fails.
    ///
    /// Connections that are still in use are waited for, 5 s at most.
    pub async fn close(&self) {
        self.flush_traces().await;
        self.shared.tasks.iter().for_each(AbortHandle::abort);
        if timeout(CLOSE, self.shared.database.close()).await.is_err() {
            tracing::warn!("the database is still in use, and is left as it is");
        }
    }
}
