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
/// - a change happens as a whole or not at all, also when its future is dropped; of concurrent
///   changes that expect the same version, exactly one is made;
/// - a change shows in every later answer of this store, [`find`](ServerRegistry::find) included,
///   and within a second in every process that shares its storage;
/// - it keeps what is not for the operator to say, whatever a record brings along: [`Server::id`]
///   stays that of the first insertion; `version`, `created_at`, `updated_at`, `source` and `pins`
///   are the store's own; where `on_change` or `new_tools` is `None` it decides;
/// - a draft that has not been changed for [`DRAFT_LIFE`](super::DRAFT_LIFE) is gone.
///
/// `conformance::stores` (feature `conformance`) tries what one process can see of this, but for the
/// life of drafts.
pub trait ServerStore: ServerRegistry {
    /// Returns one page of an organization's servers, sorted by the bytes of their names; drafts
    /// only where the filter asks for them.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn list<'a>(
        &'a self,
        organization: &'a str,
        filter: &'a Filter,
        page: &'a Page,
    ) -> BoxFuture<'a, Result<Listing, Error>>;

    /// Returns the server of this name, be it a draft.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unavailable`].
    fn get<'a>(
        &'a self,
        organization: &'a str,
        name: &'a ServerName,
    ) -> BoxFuture<'a, Result<Arc<Server>, Error>>;

    /// Adds a server, as version 1, and returns what is stored.
    ///
    /// # Errors
    /// [`Error::Conflict`] where the name exists in the organization: never an overwrite.
    /// [`Error::Declared`], [`Error::Invalid`], [`Error::Unavailable`].
    fn insert(&self, server: Server) -> BoxFuture<'_, Result<Arc<Server>, Error>>;

    /// Replaces the server of the same organization and name, if it still has the version of
    /// `server`; the version then counts up. Returns what is stored.
    ///
    /// # Errors
    /// [`Error::Stale`] where somebody else has changed it. [`Error::NotFound`],
    /// [`Error::Declared`], [`Error::Invalid`], [`Error::Unavailable`].
    fn replace(&self, server: Server) -> BoxFuture<'_, Result<Arc<Server>, Error>>;

    /// Removes the server of this name, with everything that was learned about it.
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

/// A [`ServerStore`] that keeps observations too. Every type that is both is one, so
/// `Arc<dyn Store>` is a store of any type.
pub trait Store: ServerStore + ObservationStore {}

impl<S: ServerStore + ObservationStore> Store for S {}
