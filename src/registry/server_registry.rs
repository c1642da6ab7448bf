//! The lookup of the servers that a request names.

use std::{future::ready, sync::Arc};

use super::{error::Error, future::BoxFuture, server::Server};
use crate::{name::ServerName, project::Project};

/// Finds the servers that a request names.
///
/// The layer calls [`find`](Self::find) once for each request with `mcp`, and again before each
/// tool call, so that a server that was removed, disabled or withdrawn from the project meanwhile
/// is not called.
///
/// # Contract
/// An implementor guarantees that
///
/// - a server is found by its exact name, in its own organization, by the projects that may use it
///   ([`Server::is_usable_by`]), and by no others;
/// - a server that does not exist and one that the project may not use are both absent from the
///   answer, so that callers cannot probe for names;
/// - disabled servers are found, since the layer tells callers why it does not use them; drafts
///   are not;
/// - every server is complete, with its credentials opened, and keeps its [`id`](Server::id) for as
///   long as it exists, since sessions, tool lists and credentials are kept by id.
///
/// `conformance::reading` (feature `conformance`) tests all of this except drafts.
///
/// Answer from memory if you can: each tool call waits for the answer. As long as a record is the
/// same, give the same `Arc`: what the layer makes of a server's tools is then made once, and not for
/// each request. Callers assume nothing about the order, and set their own timeout.
///
/// `Arc<R>` implements the trait for every registry `R`, `Arc<dyn ServerRegistry>` included.
///
/// # Examples
/// One server for everybody:
///
/// ```
/// use std::sync::Arc;
/// use mcp_layer::{McpLayer, Project, ServerName};
/// use mcp_layer::registry::{BoxFuture, Error, Server, ServerRegistry};
///
/// struct Single(Arc<Server>);
///
/// impl ServerRegistry for Single {
///     fn find<'a>(
///         &'a self,
///         project: &'a Project,
///         names: &'a [ServerName],
///     ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>> {
///         Box::pin(async move {
///             let wanted = names.contains(&self.0.name) && self.0.is_usable_by(project);
///             Ok(wanted.then(|| self.0.clone()).into_iter().collect())
///         })
///     }
/// }
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let server = Server::new("deepwiki-mcp", "https://mcp.deepwiki.com/mcp")?.with_projects(["web"])?;
/// let registry = Arc::new(Single(Arc::new(server)));
///
/// let names = ["deepwiki-mcp".parse()?];
/// assert_eq!(registry.find(&Project::new("web"), &names).await?.len(), 1);
/// assert!(registry.find(&Project::new("batch"), &names).await?.is_empty());
/// let layer = McpLayer::new(registry);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ServerRegistry: Send + Sync + 'static {
    /// Returns the servers of these names that `project` may use, in any order; others are absent.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the storage or a key fails; the caller then gets `500
    /// mcp_registry_error`, and no tool runs.
    ///
    /// # Cancellation
    /// The future is dropped when the caller hangs up.
    fn find<'a>(
        &'a self,
        project: &'a Project,
        names: &'a [ServerName],
    ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>>;

    /// Returns all servers that `project` may use, in any order: those that [`find`](Self::find) finds,
    /// disabled ones included.
    ///
    /// The layer calls it where a request names a server by its address, or asks for all of them; such
    /// requests wait for the answer. The default says that there are none: those requests then get
    /// `404 mcp_server_not_found`, and all others are as they would be.
    ///
    /// # Errors
    /// Those of [`find`](Self::find).
    ///
    /// # Cancellation
    /// The future is dropped when the caller hangs up.
    fn visible<'a>(
        &'a self,
        project: &'a Project,
    ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>> {
        let _ = project;
        Box::pin(ready(Ok(Vec::new())))
    }
}

impl<R: ServerRegistry + ?Sized> ServerRegistry for Arc<R> {
    fn find<'a>(
        &'a self,
        project: &'a Project,
        names: &'a [ServerName],
    ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>> {
        (**self).find(project, names)
    }

    fn visible<'a>(
        &'a self,
        project: &'a Project,
    ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>> {
        (**self).visible(project)
    }
}
