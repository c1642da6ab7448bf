//! A server as an operator enters it.

use std::{sync::Arc, time::SystemTime};

use super::{
    fault::{Fault, Faults},
    secrets::Kept,
    view::READ_ONLY,
};
use crate::{
    connect::Connections,
    name::ServerName,
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
    pub(super) fn create(&self, entered: &Tree<'_>) -> Result<Server, Faults> {
        self.named(entered, None)
    }

    /// The replacement for `stored`, with the version that the client read.
    ///
    /// What would be open to more projects, offer more tools, or let one do more, if it were left
    /// out has to be there.
    pub(super) fn replace(&self, entered: &Tree<'_>, stored: &Server) -> Result<Server, Faults> {
        const WHOLE: &str = "is missing: a replacement has all of a server; PATCH changes parts";
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
        // An older client knows of no grants.
        let granted = (!stored.grants.is_empty()).then_some("grants");
        if let Some(absent) = ["projects", "tools"]
            .into_iter()
            .chain(granted)
            .find(|name| members.get(name).is_none())
        {
            return Err(members.fault(absent, WHOLE).into());
        }
        let server = self.server(&members, stored.name.as_str(), Some(stored))?;
        Ok(Server { version, ..server })
    }

    /// Gives the draft `stored` the name that was entered: a new server, with the same secrets.
    pub(super) fn rename(&self, entered: &Tree<'_>, stored: &Server) -> Result<Server, Faults> {
        self.named(entered, Some(stored))
    }

    fn named(&self, entered: &Tree<'_>, stored: Option<&Server>) -> Result<Server, Faults> {
        let members = members(entered)?;
        let name = members.require("name")?;
        let Some(text) = name.as_text() else {
            return Err(name.fault("must be a string").into());
        };
        let server = self.server(&members, text, stored);
        match (server, self.name_fault(&name)) {
            (server, None) => server,
            (Ok(_), Some(fault)) => Err(fault.into()),
            (Err(mut faults), Some(fault)) => {
                faults.push(fault);
                Err(faults)
            }
        }
    }

    /// The reason why no server can be given a name that is one otherwise.
    fn name_fault(&self, name: &Node<'_>) -> Option<Fault> {
        let read: ServerName = name.as_text()?.parse().ok()?;
        if is_reserved(&read) {
            return Some(
                name.fault("is a word of the interface; choose another")
                    .into(),
            );
        }
        let reason = self.connections.schema_dialect().name_fault(&read)?;
        Some(name.fault(reason).into())
    }

    fn server(
        &self,
        members: &Members<'_>,
        name: &str,
        stored: Option<&Server>,
    ) -> Result<Server, Faults> {
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

/// Returns `true` for the names in the place of a server's in the paths of REST.
pub(super) fn is_reserved(name: &ServerName) -> bool {
    ["export", "import"].contains(&name.as_str())
}
