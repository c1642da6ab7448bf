//! All keys of callers at one moment.

use std::{collections::HashMap, fmt, sync::Arc, time::SystemTime};

use super::api_key::{ApiKey, ApiKeyDigest};

/// All keys of callers at one moment, in memory, for whoever lets requests in.
///
/// ```
/// use std::time::SystemTime;
/// use mcp_layer::{Project, registry::{ApiKey, ApiKeyDigest, ApiKeys, Error}};
/// use mcp_layer::secret::ExposeSecret;
///
/// let (key, secret) = ApiKey::generate("ci", Project::new("web"))?;
/// let keys = ApiKeys::new([key], true);
/// let sent = ApiKeyDigest::of(secret.expose_secret());
/// let found = keys.find(&sent, SystemTime::now());
/// assert_eq!(found.map(|key| key.project.name()), Some("web"));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Default)]
pub struct ApiKeys {
    keys: HashMap<ApiKeyDigest, Arc<ApiKey>>,
    were_made: bool,
}

impl ApiKeys {
    /// Creates the snapshot of these keys; `were_made` tells whether there ever was one.
    pub fn new(keys: impl IntoIterator<Item = ApiKey>, were_made: bool) -> Self {
        let keys = keys.into_iter().map(|key| (key.digest, Arc::new(key)));
        Self {
            keys: keys.collect(),
            were_made,
        }
    }

    /// Finds the key with this digest, unless it has expired.
    ///
    /// It is looked up in a hash map, so the time depends on the digest. That tells nothing: nobody
    /// can choose a key by its SHA-256, and a part of the digest of 256 random bits leads to none.
    pub fn find(&self, digest: &ApiKeyDigest, now: SystemTime) -> Option<&Arc<ApiKey>> {
        let key = self.keys.get(digest)?;
        (!key.has_expired(now)).then_some(key)
    }

    /// Returns all of them, in no order, expired ones too.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<ApiKey>> {
        self.keys.values()
    }

    /// Returns `true` if a key was ever made: requests want one from then on, also when the last is
    /// revoked. Otherwise revoking it would open the gateway to everybody.
    pub fn were_made(&self) -> bool {
        self.were_made
    }

    /// These and one more.
    pub(super) fn with(&self, key: ApiKey) -> Self {
        let mut keys = self.keys.clone();
        keys.insert(key.digest, Arc::new(key));
        Self {
            keys,
            were_made: true,
        }
    }

    /// Those that `is_kept` keeps.
    pub(super) fn without(&self, is_gone: impl Fn(&ApiKey) -> bool) -> Self {
        let kept = self.keys.iter().filter(|(_, key)| !is_gone(key));
        Self {
            keys: kept.map(|(digest, key)| (*digest, key.clone())).collect(),
            were_made: self.were_made,
        }
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys")
            .field("keys", &self.keys.len())
            .field("were_made", &self.were_made)
            .finish()
    }
}
