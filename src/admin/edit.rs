//! A server as an operator enters it.

use std::{sync::Arc, time::SystemTime};

use super::{fault::Fault, secrets::Kept, view::READ_ONLY};
use crate::{
    connect::Connections,
    registry::{
        Error, Server,
        members::{self, Members, Node, Tree, Words},
    },
};

/// Reads servers for one organization.
pub(super) struct Reader<'a> {
    pub(super) organization: Arc<str>,
    /// The connections, which know the URLs that may be reached, and the names that may be offered.
    pub(super) connections: &'a Connections,
    pub(super) now: SystemTime,
}

impl Reader<'_> {
    /// Creates a server from the members that were entered.
    ///
    /// Read-only members are ignored, `version` included, so a server can be copied by sending what
    /// was read under another name. Its secrets are not copied, and have to be entered again.
    pub(super) fn create(&self, entered: &Tree<'_>) -> Result<Server, Fault> {
        self.named(entered, None)
    }

    /// The replacement for `stored`, with the version that the client read.
    pub(super) fn replace(&self, entered: &Tree<'_>, stored: &Server) -> Result<Server, Fault> {
        let members = members(entered)?;
        if let Some(name) = members.get("name")
            && name.text()? != stored.name.as_str()
        {
            let reason = "differs from the name in the path; a server keeps its name";
            return Err(name.fault(reason).into());
        }
        let version = members.require("version")?.count()?;
        if version != stored.version {
            // Before its secrets: those that it means to keep may be others by now.
            let (name, version) = (stored.name.clone(), stored.version);
            return Err(Error::Stale { name, version }.into());
        }
        let server = self.server(&members, stored.name.as_str(), Some(stored))?;
        Ok(Server { version, ..server })
    }

    /// Gives the draft `stored` the name that was entered: a new server, with the same secrets.
    pub(super) fn rename(&self, entered: &Tree<'_>, stored: &Server) -> Result<Server, Fault> {
        self.named(entered, Some(stored))
    }

    fn named(&self, entered: &Tree<'_>, stored: Option<&Server>) -> Result<Server, Fault> {
        let members = members(entered)?;
        let name = members.require("name")?;
        let server = self.server(&members, name.text()?, stored)?;
        match self.connections.schema_dialect().name_fault(&server.name) {
            Some(reason) => Err(name.fault(reason).into()),
            None => Ok(server),
        }
    }

    fn server(
        &self,
        members: &Members<'_>,
        name: &str,
        stored: Option<&Server>,
    ) -> Result<Server, Fault> {
        let source = Kept {
            stored,
            connections: self.connections,
            now: self.now,
        };
        let server = members::read(members, name, &source)?;
        Ok(server.with_organization(self.organization.clone()))
    }
}

fn members<'t>(entered: &'t Tree<'t>) -> Result<Members<'t>, Fault> {
    let members = Node::new(entered, &Words::JSON).table("must be an object")?;
    members.allow(members::names(|_| true).chain(["version"]).chain(READ_ONLY))?;
    Ok(members)
}
