//! Whether the proxy can serve: the question of a load balancer.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::{
    answer::{self, Answer},
    database::OpenDatabase,
    server::Draining,
};

/// The time for which an answer is good: however many ask, the database is asked once in it.
const GOOD: Duration = Duration::from_secs(1);
/// The longest wait for the database; load balancers wait a few seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers `GET /readyz`.
pub struct Ready {
    draining: Draining,
    database: Option<OpenDatabase>,
    /// What was found last, and when; locked while the database is asked.
    last: Mutex<Option<(Instant, Result<(), Failed>)>>,
}

/// The part that failed, as callers may know it.
pub type Failed = &'static str;

impl Ready {
    pub fn new(draining: Draining, database: Option<OpenDatabase>) -> Self {
        Self {
            draining,
            database,
            last: Mutex::default(),
        }
    }

    /// Accepts requests, unless the proxy is stopping, or its database or its keys fail. Only the name
    /// of what failed is told, since anybody may ask; the log has the reason.
    pub async fn answer(&self) -> Answer {
        let (status, said) = match self.draining.has_begun() {
            true => (
                StatusCode::SERVICE_UNAVAILABLE,
                json!({"status": "draining"}),
            ),
            false => match self.look().await {
                Ok(()) => (StatusCode::OK, json!({"status": "ready"})),
                Err(failed) => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    json!({"status": "unready", "failed": [failed]}),
                ),
            },
        };
        answer::json(status, said.to_string())
    }

    async fn look(&self) -> Result<(), Failed> {
        let Some(database) = &self.database else {
            return Ok(());
        };
        let mut last = self.last.lock().await;
        if let Some((when, found)) = &*last
            && when.elapsed() < GOOD
        {
            return *found;
        }
        let looked = timeout(PATIENCE, database.check()).await;
        let found = match looked {
            Ok(Ok(())) => Ok(()),
            Ok(Err((failed, _))) => Err(failed),
            Err(_) => Err("database"),
        };
        let before = last.as_ref().map_or(Ok(()), |(_, found)| *found);
        if found != before {
            match (found, looked) {
                (Ok(()), _) => tracing::info!("ready again"),
                (Err(failed), Ok(Err((_, error)))) => tracing::error!(failed, error, "not ready"),
                (Err(failed), _) => {
                    tracing::error!(failed, error = "no answer within 2 s", "not ready");
                }
            }
        }
        *last = Some((Instant::now(), found));
        found
    }
}
