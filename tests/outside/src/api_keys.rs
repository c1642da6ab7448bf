//! Callers' API keys.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use mcp_layer::registry::{ApiKey, ApiKeyId, ApiKeyStore, ApiKeys, BoxFuture, Error};

/// An [`ApiKeyStore`].
#[derive(Default)]
pub struct Keys(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    keys: Vec<ApiKey>,
    were_made: bool,
    snapshot: Arc<ApiKeys>,
}

impl Kept {
    fn changed(&mut self) {
        // Made anew of all that is in them: a store that keeps columns can give back as much.
        let keys = self.keys.iter().filter_map(|key| {
            let (id, digest, project) = (key.id, key.digest, key.project.clone());
            let again = ApiKey::new(id, digest, &*key.name, project).ok()?;
            Some(again.with_expiry(key.expires_at))
        });
        self.snapshot = Arc::new(ApiKeys::new(keys, self.were_made));
    }
}

impl Keys {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ApiKeyStore for Keys {
    fn api_keys(&self) -> Result<Arc<ApiKeys>, Error> {
        Ok(self.kept().snapshot.clone())
    }

    fn list_api_keys<'a>(
        &'a self,
        organization: &'a str,
    ) -> BoxFuture<'a, Result<Vec<ApiKey>, Error>> {
        Box::pin(async move {
            let kept = self.kept();
            let keys = kept.keys.iter();
            let keys = keys.filter(|key| key.project.organization() == organization);
            let mut keys: Vec<_> = keys.cloned().collect();
            keys.sort_by(|a, b| b.created_at.cmp(&a.created_at));
            Ok(keys)
        })
    }

    fn insert_api_key(&self, key: ApiKey) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async move {
            let mut kept = self.kept();
            let mut others = kept.keys.iter();
            if others.any(|other| other.id == key.id || other.digest == key.digest) {
                return Ok(false);
            }
            kept.keys.push(key);
            kept.were_made = true;
            kept.changed();
            Ok(true)
        })
    }

    fn revoke_api_key<'a>(
        &'a self,
        organization: &'a str,
        id: &'a ApiKeyId,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let mut kept = self.kept();
            let before = kept.keys.len();
            kept.keys
                .retain(|key| key.id != *id || key.project.organization() != organization);
            kept.changed();
            Ok(kept.keys.len() < before)
        })
    }

    fn note_api_key_uses<'a>(
        &'a self,
        uses: &'a [(ApiKeyId, SystemTime)],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            for key in &mut self.kept().keys {
                let used = uses.iter().filter(|(id, _)| *id == key.id);
                key.last_used_at = key.last_used_at.max(used.map(|(_, at)| *at).max());
            }
            Ok(())
        })
    }
}
