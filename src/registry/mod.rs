//! Registries: which servers there are, and who may use them.
//!
//! The layer needs [`ServerRegistry`] and no more: find the servers of these names for this
//! project. An operator's side needs [`ServerStore`] on top: list, get, insert, replace, remove.
//!
//! [`MemoryRegistry`] keeps servers in the process; `FileRegistry` (feature `file`) reads them
//! from TOML and follows the file's changes; `SqlRegistry` (features `sqlite`, `postgres`) keeps
//! them in a database; `Overlay` (feature `file`) lays a file over one of the others. A registry of one's own is a `find`:
//!
//! ```
//! use std::sync::Arc;
//! use mcp_layer::{McpLayer, Project, ServerName, registry::{Error, Server, ServerRegistry}};
//!
//! /// One server for everybody.
//! struct Single(Arc<Server>);
//!
//! impl ServerRegistry for Single {
//!     async fn find(&self, project: &Project, names: &[ServerName]) -> Result<Vec<Arc<Server>>, Error> {
//!         let wanted = names.contains(&self.0.name) && self.0.is_usable_by(project);
//!         Ok(wanted.then(|| self.0.clone()).into_iter().collect())
//!     }
//! }
//!
//! let server = Server::new("deepwiki-mcp", "https://mcp.deepwiki.com/mcp")?;
//! let layer = McpLayer::new(Single(Arc::new(server)));
//! # Ok::<(), Error>(())
//! ```
//!
//! `conformance` (feature of that name) has a test for every promise of the traits.
//!
//! Credentials that change by themselves, OAuth tokens, are in a [`CredentialStore`].
//!
//! A registry knows nothing of sessions, tool lists or whether a server is up: see
//! [`Connections`](crate::Connections).

mod any;
mod any_traces;
mod auth;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod credential_memory;
mod credential_store;
mod definition;
mod error;
#[cfg(feature = "file")]
mod file;
#[cfg(any(
    feature = "admin",
    feature = "file",
    feature = "postgres",
    feature = "sqlite"
))]
#[cfg_attr(
    not(all(
        feature = "admin",
        feature = "file",
        any(feature = "postgres", feature = "sqlite")
    )),
    allow(
        dead_code,
        unused_imports,
        reason = "each text of a server needs a part of it"
    )
)]
pub(crate) mod members;
mod memory;
mod oauth2;
mod observation;
#[cfg(feature = "file")]
mod overlay;
mod pins;
mod server;
mod share_session;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sql;
mod static_header;
mod trace_memory;
mod trace_store;

use std::{future::Future, sync::Arc};

use futures_util::future::BoxFuture;

#[cfg(feature = "fuzzing")]
pub(crate) use self::file::fuzz;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use self::sql::{Resealed, SqlError, SqlFault, SqlRegistry};
pub use self::{
    any::AnyStore,
    any_traces::AnyTraces,
    auth::{Auth, AuthKind},
    credential_memory::MemoryCredentialStore,
    credential_store::{
        CREDENTIAL_LEN, CredentialKey, CredentialStore, Expected, Lease, STATES_PER_SERVER,
        StateHash, StoredCredential,
    },
    definition::{Definition, Fingerprint, InvalidFingerprint},
    error::Error,
    memory::MemoryRegistry,
    oauth2::OAuth2,
    observation::{Failure, NotAccepted, Observation, ObservationStore, Stage},
    pins::{Gate, Pins, ToolState},
    server::{
        DRAFT_LIFE, InvalidServerId, Projects, SelectedTool, Server, ServerId, Source, ToolPolicy,
        ToolSelection,
    },
    share_session::ShareSession,
    static_header::StaticHeader,
    trace_memory::MemoryTraces,
    trace_store::{TraceFilter, TraceListing, TracePage, TraceStore},
};
#[cfg(feature = "file")]
pub use self::{
    file::{FileError, FileRegistry},
    overlay::Overlay,
};
use crate::{name::ServerName, project::Project};

/// Finds the servers that a request names.
///
/// The layer asks once for each request with `mcp`, and once more before each tool call, so that
/// a server which was removed, disabled or taken from the project in the meantime is not called.
/// An implementation should answer from memory where it can.
pub trait ServerRegistry: Send + Sync + 'static {
    /// The servers of these names that `project` may use, in any order.
    ///
    /// A server that does not exist and one that belongs to another project or organization are
    /// both just absent from the answer: nobody can find out by asking.
    /// Disabled servers are included; drafts are not.
    /// Every server is whole, with its credentials opened.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the storage or a key is at fault; the caller then gets
    /// `500 mcp_registry_error`, and no tool runs.
    ///
    /// # Cancellation
    /// Dropped when the caller hangs up.
    fn find(
        &self,
        project: &Project,
        names: &[ServerName],
    ) -> impl Future<Output = Result<Vec<Arc<Server>>, Error>> + Send;
}

impl<R: ServerRegistry> ServerRegistry for Arc<R> {
    fn find(
        &self,
        project: &Project,
        names: &[ServerName],
    ) -> impl Future<Output = Result<Vec<Arc<Server>>, Error>> + Send {
        (**self).find(project, names)
    }
}

/// What an operator does with servers.
pub trait ServerStore: ServerRegistry {
    /// One page of an organization's servers, by name; drafts only where the filter asks for them.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn list(
        &self,
        organization: &str,
        filter: &Filter,
        page: &Page,
    ) -> impl Future<Output = Result<Listing, Error>> + Send;

    /// The server of this name, a draft too.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unavailable`].
    fn get(
        &self,
        organization: &str,
        name: &ServerName,
    ) -> impl Future<Output = Result<Arc<Server>, Error>> + Send;

    /// Adds a server; it gets version 1, and a draft that is older than [`DRAFT_LIFE`] gives way
    /// to it. Where it does not say what becomes of unaccepted tools, the store does.
    ///
    /// # Errors
    /// [`Error::Conflict`] where the name exists in the organization; never an overwrite.
    /// [`Error::Declared`], [`Error::Unavailable`].
    fn insert(&self, server: Server) -> impl Future<Output = Result<Arc<Server>, Error>> + Send;

    /// Replaces the server of the same organization and name, if it still has the version of
    /// `server`; the version then counts up. The identity stays that of the stored record.
    ///
    /// # Errors
    /// [`Error::Stale`], [`Error::NotFound`], [`Error::Declared`], [`Error::Unavailable`].
    fn replace(&self, server: Server) -> impl Future<Output = Result<Arc<Server>, Error>> + Send;

    /// Removes the server of this name, with what was learned about it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Declared`], [`Error::Unavailable`].
    fn remove(
        &self,
        organization: &str,
        name: &ServerName,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Which servers to list; the default is all.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Filter {
    /// Only servers that this project can use.
    pub project: Option<String>,
    /// Only servers with this text in name, display name or description, without regard to case.
    pub text: Option<String>,
    /// Only servers with this kind of authentication.
    pub auth: Option<AuthKind>,
    /// Drafts, and nothing else; without this there are none.
    pub drafts: bool,
}

impl Filter {
    /// Whether `server` is to be listed.
    pub fn matches(&self, server: &Server) -> bool {
        let project = self
            .project
            .as_deref()
            .is_none_or(|p| server.projects.contains(p));
        let text = self.text.as_ref().is_none_or(|text| {
            let text = text.to_lowercase();
            [
                Some(server.name.as_str()),
                server.display_name.as_deref(),
                server.description.as_deref(),
            ]
            .into_iter()
            .flatten()
            .any(|field| field.to_lowercase().contains(&text))
        });
        let auth = self.auth.is_none_or(|kind| server.auth.kind() == kind);
        project && text && auth && server.draft == self.drafts
    }
}

/// Which part of a list.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page {
    /// Only servers whose name comes after this one: the `next` of the page before.
    pub after: Option<ServerName>,
    /// At most so many servers; default 50, at most 200.
    pub limit: usize,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            after: None,
            limit: 50,
        }
    }
}

/// A page of servers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listing {
    /// The servers, by name.
    pub servers: Vec<Arc<Server>>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<ServerName>,
}

/// [`ServerRegistry`] behind a pointer: a boxed future costs nothing beside a call of a model.
pub(crate) trait Find: Send + Sync {
    fn find<'a>(
        &'a self,
        project: &'a Project,
        names: &'a [ServerName],
    ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>>;
}

impl<R: ServerRegistry> Find for R {
    fn find<'a>(
        &'a self,
        project: &'a Project,
        names: &'a [ServerName],
    ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>> {
        Box::pin(ServerRegistry::find(self, project, names))
    }
}
