//! A server as the JSON that REST answers and takes: what forms are made of, and turned into.

use std::sync::Arc;

use serde_json::Value;

use super::super::{
    Admin,
    fault::{Code, Fault},
    seen::Seen,
    servers::log,
    view::View,
};
use crate::registry::{Error, Server, ServerStore};

impl Admin {
    /// `server` as an answer of REST has it; sent back, it changes nothing.
    pub(super) fn record(&self, server: &Server) -> Result<Value, Fault> {
        // The status is shown elsewhere.
        let seen = Seen {
            observation: None,
            is_authorized: true,
        };
        let view = View::of(server, &seen, self.now());
        serde_json::to_value(view).map_err(unwritten)
    }

    /// Adds the server that `body` says.
    pub(super) async fn add(&self, body: &Value) -> Result<Arc<Server>, Fault> {
        let server = self.reader().create(&bytes(body)?)?;
        let server = self.store.insert(server).await.map_err(taken)?;
        log("insert", &server);
        self.note_projects(&server);
        Ok(server)
    }

    /// Puts what `body` says in the place of `stored`.
    pub(super) async fn change(&self, body: &Value, stored: &Server) -> Result<Arc<Server>, Fault> {
        let server = self.reader().replace(&bytes(body)?, stored)?;
        let server = self.store.replace(server).await?;
        log("replace", &server);
        self.note_projects(&server);
        Ok(server)
    }

    /// Puts a draft under another name, with what `body` says.
    pub(super) async fn rename(&self, body: &Value, stored: &Server) -> Result<Arc<Server>, Fault> {
        let server = self.reader().rename(&bytes(body)?, stored)?;
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

fn bytes(body: &Value) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(body).map_err(unwritten)
}

fn unwritten(error: serde_json::Error) -> Fault {
    tracing::error!(%error, "a server cannot be written");
    Fault::new(Code::Registry, "the server cannot be written")
}
