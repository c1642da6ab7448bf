//! Saving what forms say.

use std::sync::Arc;

use super::super::{
    Admin,
    fault::{Code, Fault},
    servers::log,
};
use crate::registry::{Error, Server, ServerStore, members::Tree};

impl Admin {
    /// Adds the server that is `entered`.
    pub(super) async fn add(&self, entered: &Tree<'_>) -> Result<Arc<Server>, Fault> {
        let server = self.reader().create(entered)?;
        let server = self.store.insert(server).await.map_err(taken)?;
        log("insert", &server);
        self.note_projects(&server);
        Ok(server)
    }

    /// Puts what is `entered` in the place of `stored`.
    pub(super) async fn change(
        &self,
        entered: &Tree<'_>,
        stored: &Server,
    ) -> Result<Arc<Server>, Fault> {
        let server = self.reader().replace(entered, stored)?;
        let server = self.store.replace(server).await?;
        log("replace", &server);
        self.note_projects(&server);
        Ok(server)
    }

    /// Puts a draft under another name, with what is `entered`.
    pub(super) async fn rename(
        &self,
        entered: &Tree<'_>,
        stored: &Server,
    ) -> Result<Arc<Server>, Fault> {
        let server = self.reader().rename(entered, stored)?;
        let server = self.store.insert(server).await.map_err(taken)?;
        log("insert", &server);
        self.note_projects(&server);
        self.store.remove(&self.organization, &stored.name).await?;
        log("remove", stored);
        Ok(server)
    }
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
