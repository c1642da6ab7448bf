//! The records of servers as they are entered, over REST or by a form, and kept.

use std::sync::Arc;

use super::{
    acting::Acting,
    clock::Clock,
    edit::Reader,
    fault::{Code, Fault, Faults},
    organization::OrganizationStore,
    projects::Projects,
    role::Role,
};
use crate::{
    connect::Connections,
    name::ServerName,
    registry::{Error, Server, ShareSession, Source, members::Tree},
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
    pub(super) async fn insert(&self, server: Server) -> Result<Arc<Server>, Fault> {
        shared(&server, None)?;
        let server = self.store.insert(server).await?;
        log("insert", &server);
        self.projects.note(&server);
        Ok(server)
    }

    /// Keeps a server in the place of the version that it names.
    pub(super) async fn replace(&self, server: Server) -> Result<Arc<Server>, Fault> {
        let stored = self.store.get(&server.name).await?;
        shared(&server, Some(&stored))?;
        let server = self.store.replace(server).await?;
        log("replace", &server);
        self.projects.note(&server);
        Ok(server)
    }

    /// The draft of this name; `None`: it is a server that is finished.
    pub(super) async fn draft(&self, name: &ServerName) -> Result<Option<Arc<Server>>, Fault> {
        let server = self.store.get(name).await?;
        if server.source == Source::File {
            return Err(self.store.declared().fault(name));
        }
        Ok(Some(server).filter(|server| server.draft))
    }

    /// Adds the server that is `entered`.
    pub(super) async fn add(&self, entered: &Tree<'_>) -> Result<Arc<Server>, Faults> {
        let read = self.reader().create(entered);
        self.put_in(read, entered).await
    }

    /// Puts what is `entered` in the place of `stored`.
    pub(super) async fn change(
        &self,
        entered: &Tree<'_>,
        stored: &Server,
    ) -> Result<Arc<Server>, Faults> {
        let server = self.reader().replace(entered, stored)?;
        Ok(self.replace(server).await?)
    }

    /// Puts a draft under another name, with what is `entered`.
    pub(super) async fn rename(
        &self,
        entered: &Tree<'_>,
        stored: &Server,
    ) -> Result<Arc<Server>, Faults> {
        let read = self.reader().rename(entered, stored);
        let server = self.put_in(read, entered).await?;
        self.store.remove(&stored.name).await?;
        log("remove", stored);
        Ok(server)
    }

    /// Keeps what was `read`. Where something is wrong with it, that its name is taken is told at
    /// the same time.
    async fn put_in(
        &self,
        read: Result<Server, Faults>,
        entered: &Tree<'_>,
    ) -> Result<Arc<Server>, Faults> {
        match read {
            Ok(server) => {
                let inserted = self.insert(server).await;
                Ok(inserted.map_err(taken)?)
            }
            Err(mut faults) => {
                let name = entered.get("name").as_text();
                if let Some(name) = name.and_then(|name| name.parse().ok())
                    && let Some(fault) = self.taken(name).await?
                {
                    faults.push(fault);
                }
                Err(faults)
            }
        }
    }

    /// The fault of a new server with this name; `None` if the name is free.
    pub(super) async fn taken(&self, name: ServerName) -> Result<Option<Fault>, Fault> {
        let fault = match self.store.get(&name).await {
            Ok(server) if server.source == Source::File => self.store.declared().fault(&name),
            Ok(_) => Error::Conflict { name }.into(),
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(taken(fault)))
    }

    /// Keeps all of these servers, none of which is there yet, or none of them.
    ///
    /// A process that dies within it leaves some of them, so they should be drafts: nobody can use
    /// those, and they are gone after a day.
    pub(super) async fn insert_all(&self, servers: Vec<Server>) -> Result<(), Fault> {
        let mut inserted = Vec::new();
        for server in servers {
            match self.insert(server).await {
                Ok(server) => inserted.push(server),
                Err(fault) => {
                    for server in inserted {
                        self.store.remove(&server.name).await?;
                        log("remove", &server);
                    }
                    return Err(taken(fault));
                }
            }
        }
        Ok(())
    }
}

/// Refuses to have all projects share one session, unless an admin does it or has done it.
fn shared(server: &Server, stored: Option<&Server>) -> Result<(), Fault> {
    let is_all = |server: &Server| server.share_session == ShareSession::All;
    if !is_all(server) || stored.is_some_and(is_all) {
        return Ok(());
    }
    let what = "a session that all projects share";
    let may = Acting::now().require(Role::Admin, what);
    may.map_err(|fault| fault.at("share_session"))
}

/// Logs one line for each change.
fn log(action: &str, server: &Server) {
    let (name, version) = (&server.name, server.version);
    tracing::info!(action, server = %name, version, "a server was changed");
}

/// A name that the file has is taken like any other: it is the field of the name that can mend it.
fn taken(fault: Fault) -> Fault {
    match fault.code() {
        Code::DeclaredInFile => fault.with_code(Code::Conflict).at("name"),
        _ => fault,
    }
}
