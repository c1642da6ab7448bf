//! Where callers' API keys are kept.

use std::{sync::Arc, time::SystemTime};

use super::{
    api_key::{ApiKey, ApiKeyId},
    api_keys::ApiKeys,
    error::Error,
    future::BoxFuture,
};

/// The most keys of an organization: each process has all of them in memory, 3 MiB then.
pub const API_KEYS: usize = 10_000;

/// Stores the API keys of callers, which operators make and revoke.
///
/// The layer itself knows no keys: the program around it looks them up in
/// [`api_keys`](Self::api_keys), and tells the layer the [`Project`](crate::Project) and the
/// [`CallerId`](crate::CallerId) of each request. `examples/proxy` does.
///
/// # Contract
/// An implementor guarantees that
///
/// - a key that was inserted opens, and one that was revoked does not, in this process when the
///   future is ready, and within a second everywhere;
/// - a key comes back as it went in; times may lose anything below a millisecond;
/// - [`were_made`](ApiKeys::were_made) is true from the first insertion on, for as long as the store
///   lives;
/// - organizations share nothing but that, and the snapshot, which has the keys of all.
///
/// `conformance::api_keys` (feature `conformance`) tests what can be seen of this contract. `Arc<S>`
/// implements the trait for every `S`.
pub trait ApiKeyStore: Send + Sync + 'static {
    /// The keys of all organizations as they are now, from memory: called for every request.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if what is in memory is too old to go by: a key that was revoked
    /// elsewhere must not open for as long as a storage is away.
    fn api_keys(&self) -> Result<Arc<ApiKeys>, Error>;

    /// The keys of `organization` that are not in the store and cannot be revoked there, such as
    /// those of a file; by default none.
    fn declared_api_keys(&self, _organization: &str) -> Vec<Arc<ApiKey>> {
        Vec::new()
    }

    /// Returns the stored keys of `organization`, the newest first; expired ones too.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn list_api_keys<'a>(
        &'a self,
        organization: &'a str,
    ) -> BoxFuture<'a, Result<Vec<ApiKey>, Error>>;

    /// Adds a key to the organization of its project; `false` if there is one with its id or its
    /// digest already, which stays as it is.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the organization has [`API_KEYS`] already; [`Error::Unavailable`].
    ///
    /// # Cancellation
    /// A dropped future may have added it.
    fn insert_api_key(&self, key: ApiKey) -> BoxFuture<'_, Result<bool, Error>>;

    /// Removes a key of `organization`; `false` if there is none with this id.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    ///
    /// # Cancellation
    /// A dropped future may have removed it.
    fn revoke_api_key<'a>(
        &'a self,
        organization: &'a str,
        id: &'a ApiKeyId,
    ) -> BoxFuture<'a, Result<bool, Error>>;

    /// Notes when keys were used last. An earlier time than the stored one, and an id that no key
    /// has, change nothing.
    ///
    /// Call it now and then with all that were used, and not for each request.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn note_api_key_uses<'a>(
        &'a self,
        uses: &'a [(ApiKeyId, SystemTime)],
    ) -> BoxFuture<'a, Result<(), Error>>;
}

impl<S: ApiKeyStore + ?Sized> ApiKeyStore for Arc<S> {
    fn api_keys(&self) -> Result<Arc<ApiKeys>, Error> {
        (**self).api_keys()
    }

    fn declared_api_keys(&self, organization: &str) -> Vec<Arc<ApiKey>> {
        (**self).declared_api_keys(organization)
    }

    fn list_api_keys<'a>(
        &'a self,
        organization: &'a str,
    ) -> BoxFuture<'a, Result<Vec<ApiKey>, Error>> {
        (**self).list_api_keys(organization)
    }

    fn insert_api_key(&self, key: ApiKey) -> BoxFuture<'_, Result<bool, Error>> {
        (**self).insert_api_key(key)
    }

    fn revoke_api_key<'a>(
        &'a self,
        organization: &'a str,
        id: &'a ApiKeyId,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        (**self).revoke_api_key(organization, id)
    }

    fn note_api_key_uses<'a>(
        &'a self,
        uses: &'a [(ApiKeyId, SystemTime)],
    ) -> BoxFuture<'a, Result<(), Error>> {
        (**self).note_api_key_uses(uses)
    }
}

/// The refusal of one key too many.
pub(super) fn full() -> Error {
    let reason = format!("there are {API_KEYS} already; revoke those that nobody uses");
    Error::invalid("api_keys", reason)
}
