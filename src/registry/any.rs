//! A store of any type, for those who must not be generic over it.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use super::{
    Error, Filter, Listing, Observation, ObservationStore, Page, Server, ServerId, ServerRegistry,
    ServerStore,
};
use crate::{name::ServerName, project::Project};

/// A [`ServerStore`] that is an [`ObservationStore`] too, of whatever type; `Clone` is cheap and
/// gives the same store.
#[derive(Clone)]
pub struct AnyStore(Arc<dyn Erased>);

impl AnyStore {
    /// Hides the type of `store`.
    pub fn new(store: impl ServerStore + ObservationStore) -> Self {
        Self(Arc::new(store))
    }
}

impl fmt::Debug for AnyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyStore").finish_non_exhaustive()
    }
}

/// Each method as the traits have it: the trait, the method, its parameters, its answer.
macro_rules! erased {
    ($($trait:ident::$method:ident($($name:ident: $type:ty),*) -> $answer:ty;)*) => {
        trait Erased: Send + Sync {
            $(fn $method<'a>(&'a self, $($name: $type),*) -> BoxFuture<'a, Result<$answer, Error>>;)*
        }

        impl<S: ServerStore + ObservationStore> Erased for S {
            $(fn $method<'a>(&'a self, $($name: $type),*) -> BoxFuture<'a, Result<$answer, Error>> {
                Box::pin($trait::$method(self, $($name),*))
            })*
        }
    };
}

erased! {
    ServerRegistry::find(project: &'a Project, names: &'a [ServerName]) -> Vec<Arc<Server>>;
    ServerStore::list(organization: &'a str, filter: &'a Filter, page: &'a Page) -> Listing;
    ServerStore::get(organization: &'a str, name: &'a ServerName) -> Arc<Server>;
    ServerStore::insert(server: Server) -> Arc<Server>;
    ServerStore::replace(server: Server) -> Arc<Server>;
    ServerStore::remove(organization: &'a str, name: &'a ServerName) -> ();
    ObservationStore::observation(organization: &'a str, server: &'a ServerId) -> Option<Observation>;
    ObservationStore::observations(organization: &'a str, servers: &'a [ServerId]) -> Vec<Option<Observation>>;
    ObservationStore::observe(organization: &'a str, server: &'a ServerId, observation: &'a Observation) -> bool;
    ObservationStore::claim_probes(organization: &'a str, servers: &'a [ServerId], every: Duration) -> Vec<bool>;
}

impl ServerRegistry for AnyStore {
    async fn find(
        &self,
        project: &Project,
        names: &[ServerName],
    ) -> Result<Vec<Arc<Server>>, Error> {
        self.0.find(project, names).await
    }
}

impl ServerStore for AnyStore {
    async fn list(
        &self,
        organization: &str,
        filter: &Filter,
        page: &Page,
    ) -> Result<Listing, Error> {
        self.0.list(organization, filter, page).await
    }

    async fn get(&self, organization: &str, name: &ServerName) -> Result<Arc<Server>, Error> {
        self.0.get(organization, name).await
    }

    async fn insert(&self, server: Server) -> Result<Arc<Server>, Error> {
        self.0.insert(server).await
    }

    async fn replace(&self, server: Server) -> Result<Arc<Server>, Error> {
        self.0.replace(server).await
    }

    async fn remove(&self, organization: &str, name: &ServerName) -> Result<(), Error> {
        self.0.remove(organization, name).await
    }
}

impl ObservationStore for AnyStore {
    async fn observation(
        &self,
        organization: &str,
        server: &ServerId,
    ) -> Result<Option<Observation>, Error> {
        self.0.observation(organization, server).await
    }

    async fn observations(
        &self,
        organization: &str,
        servers: &[ServerId],
    ) -> Result<Vec<Option<Observation>>, Error> {
        self.0.observations(organization, servers).await
    }

    async fn observe(
        &self,
        organization: &str,
        server: &ServerId,
        observation: &Observation,
    ) -> Result<bool, Error> {
        self.0.observe(organization, server, observation).await
    }

    async fn claim_probes(
        &self,
        organization: &str,
        servers: &[ServerId],
        every: Duration,
    ) -> Result<Vec<bool>, Error> {
        self.0.claim_probes(organization, servers, every).await
    }
}
