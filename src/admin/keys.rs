//! The keys that seal stored secrets.

use std::{fmt, future::Future, sync::Arc};

use axum::extract::State;
use futures_util::future::BoxFuture;
use http::StatusCode;
use serde_json::json;

use super::answer::{Answer, json};
use crate::{registry::Error, secret::KeyId};

/// A key that seals records, as `GET …/keys` shows it. An older key with 0 records can be removed
/// from the ring once no replica seals with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealingKey {
    /// Its id.
    pub id: KeyId,
    /// The number of records that it seals.
    pub records: u64,
    /// `true` for the key that seals everything stored from now on.
    pub newest: bool,
}

/// The source of the sealing keys, behind a pointer.
#[derive(Clone)]
pub(super) struct Keys(
    Arc<dyn Fn() -> BoxFuture<'static, Result<Vec<SealingKey>, Error>> + Send + Sync>,
);

impl Keys {
    pub(super) fn new<F, T>(keys: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<Vec<SealingKey>, Error>> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(keys())))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

/// `GET /keys`
pub(super) async fn list(State(keys): State<Option<Keys>>) -> Answer {
    let keys = match keys {
        Some(Keys(keys)) => keys().await?,
        None => Vec::new(),
    };
    let keys: Vec<_> = keys
        .iter()
        .map(|key| json!({"id": key.id.to_string(), "records": key.records, "newest": key.newest}))
        .collect();
    json(StatusCode::OK, &json!({"keys": keys}))
}
