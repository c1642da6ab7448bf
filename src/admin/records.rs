//! The records of servers as they are entered, over REST or by a form, and kept.

use std::sync::Arc;

use super::{
    clock::Clock,
    edit::Reader,
    fault::{Code, Fault},
    organization::OrganizationStore,
    projects::Projects,
};
use crate::{
    connect::Connections,
    name::ServerName,
    registry::{Error, Server, Source, members::Tree},
};

/// Reads records from what is entered, and keeps them.
#[derive(Clone)]
pub(super) struct Records {
    store: OrganizationStore,
    connections: Connections,
    clock: Clock,
    projects: Projects,
}

impl Records {
    pub(super) fn new(
        store: OrganizationStore,
        connections: Connections,
        clock: Clock,
        projects: Projects,
    ) -> Self {
        Self {
            store,
            connections,
            clock,
            projects,
        }
    }

    /// The reader of what is entered now.
    pub(super) fn reader(&self) -> Reader<'_> {
        Reader {
            organization: self.store.organization().clone(),
            connections: &self.connections,
            now: self.clock.now(),
        }
    }

    /// Keeps a server that is not there yet.
    pub(super) async fn insert(&self, server: Server) -> Result<Arc<Server>, Error> {
        let server = self.store.insert(server).await?;
        log("insert", &server);
        self.projects.note(&server);
        Ok(server)
    }

    /// Keeps a server in the place of the version that it names.
    pub(super) async fn replace(&self, server: Server) -> Result<Arc<Server>, Error> {
        let server = self.store.replace(server).await?;
        log("replace", &server);
        self.projects.note(&server);
        Ok(server)
    }

    /// The draft of this name; `None`: it is a server that is finished.
    pub(super) async fn draft(&self, name: &ServerName) -> Result<Option<Arc<Server>>, Fault> {
        let server = self.store.get(name).await?;
        if server.source == Source::File {
            let name = name.clone();
            return Err(Error::Declared { name }.into());
        }
        Ok(Some(server).filter(|server| server.draft))
    }

    /// Adds the server that is `entered`.
    pub(super) async fn add(&self, entered: &Tree<'_>) -> Result<Arc<Server>, Fault> {
        let server = self.reader().create(entered)?;
        self.insert(server).await.map_err(taken)
    }

    /// Puts what is `entered` in the place of `stored`.
    pub(super) async fn change(
        &self,
        entered: &Tree<'_>,
        stored: &Server,
    ) -> Result<Arc<Server>, Fault> {
        let server = self.reader().replace(entered, stored)?;
        Ok(self.replace(server).await?)
    }

    /// Puts a draft under another name, with what is `entered`.
    pub(super) async fn rename(
        &self,
        entered: &Tree<'_>,
        stored: &Server,
    ) -> Result<Arc<Server>, Fault> {
        let server = self.reader().rename(entered, stored)?;
        let server = self.insert(server).await.map_err(taken)?;
        self.store.remove(&stored.name).await?;
        log("remove", stored);
        Ok(server)
    }
}

/// Logs one line for each change; the author is not known, since the token is shared.
fn log(action: &str, server: &Server) {
    let (name, version) = (&server.name, server.version);
    tracing::info!(action, server = %name, version, "a server was changed");
}

/// A name that the file has is taken like any other: it is the field of the name that can mend it.
fn taken(error: Error) -> Fault {
    match error {
        Error::Declared { name } => {
            let message = format!("a server named {name} is declared in the configuration file");
            Fault::new(Code::Conflict, message).at("name")
        }
        error => error.into(),
    }
}
