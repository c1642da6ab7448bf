//! The operator's side of a registry: servers that can be listed and changed.

use std::sync::Arc;

use super::{
    error::Error,
    future::BoxFuture,
    listing::{Filter, Listing, Page},
    observation_store::ObservationStore,
    server::Server,
    server_registry::ServerRegistry,
};
use crate::name::ServerName;

/// Stores servers for an operator: list, get, insert, replace, remove.
///
/// # Contract
/// An implementor guarantees that
///
/// - a name is unique in its organization, and no method crosses an organization's border;
/// - a change happens completely or not at all, even if its future is dropped; of several
///   concurrent changes that expect the same version, exactly one succeeds;
/// - a change is visible in every later answer of this store, [`find`](ServerRegistry::find)
///   included, and within a second in every process that shares its storage;
/// - it controls the fields that are not the operator's, whatever a record contains: [`Server::id`]
///   stays that of the insertion; `version`, `created_at`, `updated_at`, `source` and `pins` are
///   the store's own; it chooses `on_change` and `new_tools` if they are `None`;
/// - a draft that has not been changed for [`DRAFT_LIFE`](super::DRAFT_LIFE) no longer exists.
///
/// `conformance::stores` (feature `conformance`) tests what can be seen of this contract within one
/// process, except the life of drafts.
pub trait ServerStore: ServerRegistry {
    /// Returns one page of an organization's servers, sorted by the bytes of their names; drafts
    /// only if the filter asks for them.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the storage failed.
    fn list<'a>(
        &'a self,
        organization: &'a str,
        filter: &'a Filter,
        page: &'a Page,
    ) -> BoxFuture<'a, Result<Listing, Error>>;

    /// Returns the server of this name, even if it is a draft.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Unavailable`] if the storage failed.
    fn get<'a>(
        &'a self,
        organization: &'a str,
        name: &'a ServerName,
    ) -> BoxFuture<'a, Result<Arc<Server>, Error>>;

    /// Adds a server as version 1, and returns the stored record.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the name exists in the organization; it is never overwritten.
    /// [`Error::Declared`], [`Error::Invalid`], [`Error::Unavailable`].
    fn insert(&self, server: Server) -> BoxFuture<'_, Result<Arc<Server>, Error>>;

    /// Replaces the server of the same organization and name, if it still has the version of
    /// `server`; the version then counts up. Returns the stored record.
    ///
    /// # Errors
    /// [`Error::Stale`] if another change came first. [`Error::NotFound`], [`Error::Declared`],
    /// [`Error::Invalid`], [`Error::Unavailable`].
    fn replace(&self, server: Server) -> BoxFuture<'_, Result<Arc<Server>, Error>>;

    /// Removes the server of this name, along with everything that was learned about it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Declared`], [`Error::Unavailable`].
    fn remove<'a>(
        &'a self,
        organization: &'a str,
        name: &'a ServerName,
    ) -> BoxFuture<'a, Result<(), Error>>;
}

impl<S: ServerStore + ?Sized> ServerStore for Arc<S> {
    fn list<'a>(
        &'a self,
        organization: &'a str,
        filter: &'a Filter,
        page: &'a Page,
    ) -> BoxFuture<'a, Result<Listing, Error>> {
        (**self).list(organization, filter, page)
    }

    fn get<'a>(
        &'a self,
        organization: &'a str,
        name: &'a ServerName,
    ) -> BoxFuture<'a, Result<Arc<Server>, Error>> {
        (**self).get(organization, name)
    }

    fn insert(&self, server: Server) -> BoxFuture<'_, Result<Arc<Server>, Error>> {
        (**self).insert(server)
    }

    fn replace(&self, server: Server) -> BoxFuture<'_, Result<Arc<Server>, Error>> {
        (**self).replace(server)
    }

    fn remove<'a>(
        &'a self,
        organization: &'a str,
        name: &'a ServerName,
    ) -> BoxFuture<'a, Result<(), Error>> {
        (**self).remove(organization, name)
    }
}

/// A [`ServerStore`] that is also an [`ObservationStore`]. Every type that implements both
/// implements this, so `Arc<dyn Store>` is a type-erased store of both.
pub trait Store: ServerStore + ObservationStore {}

impl<S: ServerStore + ObservationStore> Store for S {}
