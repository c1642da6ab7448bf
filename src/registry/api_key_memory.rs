//! Callers' API keys in memory.

use std::{
    cmp::Reverse,
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use super::{
    api_key::{ApiKey, ApiKeyId},
    api_key_store::{API_KEYS, ApiKeyStore, full},
    api_keys::ApiKeys,
    error::Error,
    future::BoxFuture,
};

/// Callers' API keys in memory, lost with the process. Clones are the same store.
///
/// ```
/// use std::time::SystemTime;
/// use mcp_layer::{Project, registry::{ApiKey, ApiKeyStore, MemoryApiKeys}};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let store = MemoryApiKeys::default();
/// let (key, _secret) = ApiKey::generate("ci", Project::new("web"))?;
/// store.insert_api_key(key.clone()).await?;
/// assert!(store.api_keys()?.find(&key.digest, SystemTime::now()).is_some());
/// assert!(store.revoke_api_key("default", &key.id).await?);
/// assert!(store.api_keys()?.find(&key.digest, SystemTime::now()).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryApiKeys(Arc<RwLock<Arc<ApiKeys>>>);

impl MemoryApiKeys {
    fn all(&self) -> Arc<ApiKeys> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        keys.clone()
    }

    /// Replaces all keys by what `change` makes of them; what it gives besides.
    fn change<T>(&self, change: impl FnOnce(&ApiKeys) -> (Option<ApiKeys>, T)) -> T {
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let (changed, outcome) = change(&keys);
        if let Some(changed) = changed {
            *keys = Arc::new(changed);
        }
        outcome
    }

    fn insert(&self, key: ApiKey) -> Result<bool, Error> {
        self.change(|keys| {
            if keys
                .iter()
                .any(|other| other.id == key.id || other.digest == key.digest)
            {
                return (None, Ok(false));
            }
            let organization = key.project.organization();
            match of(keys, organization).count() {
                API_KEYS.. => (None, Err(full())),
                _ => (Some(keys.with(key)), Ok(true)),
            }
        })
    }

    fn revoke(&self, organization: &str, id: &ApiKeyId) -> bool {
        self.change(
            |keys| match of(keys, organization).any(|key| key.id == *id) {
                true => (Some(keys.without(|key| key.id == *id)), true),
                false => (None, false),
            },
        )
    }

    fn note(&self, uses: &[(ApiKeyId, SystemTime)]) {
        self.change(|keys| {
            let noted = keys.iter().map(|key| {
                let mut key = ApiKey::clone(key);
                let used = uses.iter().filter(|(id, _)| *id == key.id);
                let used = used.map(|(_, at)| *at).max();
                key.last_used_at = key.last_used_at.max(used);
                key
            });
            (Some(ApiKeys::new(noted, keys.were_made())), ())
        });
    }
}

/// The keys of one organization.
fn of<'k>(keys: &'k ApiKeys, organization: &str) -> impl Iterator<Item = &'k Arc<ApiKey>> {
    keys.iter()
        .filter(move |key| key.project.organization() == organization)
}

impl ApiKeyStore for MemoryApiKeys {
    fn api_keys(&self) -> Result<Arc<ApiKeys>, Error> {
        Ok(self.all())
    }

    fn list_api_keys<'a>(
        &'a self,
        organization: &'a str,
    ) -> BoxFuture<'a, Result<Vec<ApiKey>, Error>> {
        Box::pin(async move {
            let all = self.all();
            let mut keys: Vec<_> = of(&all, organization)
                .map(|key| ApiKey::clone(key))
                .collect();
            keys.sort_by_key(|key| Reverse((key.created_at, key.id)));
            Ok(keys)
        })
    }

    fn insert_api_key(&self, key: ApiKey) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async move { self.insert(key) })
    }

    fn revoke_api_key<'a>(
        &'a self,
        organization: &'a str,
        id: &'a ApiKeyId,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move { Ok(self.revoke(organization, id)) })
    }

    fn note_api_key_uses<'a>(
        &'a self,
        uses: &'a [(ApiKeyId, SystemTime)],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.note(uses);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::conformance;

    #[tokio::test]
    async fn every_clause_holds() {
        conformance::api_keys::all(async || MemoryApiKeys::default()).await;
        let make = async || Arc::new(MemoryApiKeys::default()) as Arc<dyn ApiKeyStore>;
        conformance::api_keys::all(make).await;
    }
}
