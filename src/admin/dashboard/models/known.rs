//! What is known of the servers of aliases and defaults, and what of it gets in their way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use futures_util::{StreamExt, stream};

use super::{pages::ModelPages, place::Kind};
use crate::{
    admin::{
        dashboard::{control::texts, text::Shown},
        fault::Fault,
        server_status::ServerStatus,
        standing::{Reason, reason},
    },
    name::ServerName,
    registry::{Error, Projects, Server, members::Tree},
};

/// Servers that are looked up at the same time.
const AT_ONCE: usize = 8;
/// Projects that a warning names.
const NAMED: usize = 3;

/// The servers that entries name, as far as there are any.
pub(super) struct Known {
    servers: BTreeMap<String, (Arc<Server>, ServerStatus)>,
    now: SystemTime,
}

impl Known {
    /// Looks up the servers of these entries.
    pub(super) async fn of<'t>(
        pages: &ModelPages,
        entries: impl IntoIterator<Item = &'t Tree<'t>>,
    ) -> Result<Self, Fault> {
        let servers = entries
            .into_iter()
            .flat_map(|entry| texts(entry.get("servers")));
        let servers: BTreeSet<&str> = servers.collect();
        let names = servers.iter().filter_map(|name| name.parse().ok());
        let names: Vec<ServerName> = names.collect();
        let found: Vec<_> = stream::iter(names)
            .map(async |name| match pages.store.get(&name).await {
                Err(Error::NotFound { .. }) => Ok(None),
                found => found.map(Some),
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        let found: Result<Vec<_>, Error> = found.into_iter().collect();
        let found: Vec<Arc<Server>> = found?.into_iter().flatten().collect();
        let statuses = pages.statuses.each(&found).await?;
        let named = found.into_iter().zip(statuses);
        let named = named.map(|(server, status)| (server.name.to_string(), (server, status)));
        Ok(Self {
            servers: named.collect(),
            now: pages.statuses.now(),
        })
    }

    /// What gets in the way of an entry, in sentences.
    pub(super) fn warnings(&self, kind: Kind, entry: &Tree<'_>) -> Vec<Shown> {
        let servers = texts(entry.get("servers")).into_iter();
        let of_server = servers.flat_map(|name| self.of_server(kind, entry, name));
        of_server.map(|text| Shown::of(&text)).collect()
    }

    fn of_server(&self, kind: Kind, entry: &Tree<'_>, name: &str) -> Vec<String> {
        let then = match kind {
            Kind::Alias => "requests are refused",
            Kind::Default => "the default is left out",
        };
        let Some((server, status)) = self.servers.get(name) else {
            return vec![format!("There is no server {name}: {then}.")];
        };
        let inactive = match reason(server, status, self.now) {
            _ if server.draft => Some("is not finished"),
            Some(Reason::Disabled) => Some("is switched off"),
            Some(Reason::Unreachable) => Some("is unreachable"),
            Some(Reason::NeedsAuthorization) => Some("has to be connected by an operator"),
            Some(Reason::CredentialInvalid) => Some("has a credential that cannot be used"),
            Some(Reason::NoTools) => Some("offers no tools"),
            None => None,
        };
        let inactive = inactive.map(|why| format!("{name} {why}: {then}."));
        let hidden = hidden(kind, entry, &server.projects);
        let hidden = hidden.map(|whose| format!("{name} is not for {whose}: there, {then}."));
        let token = server.auth.is_callers();
        let token = token
            .then(|| format!("{name} wants a token of each caller's own: without it, {then}."));
        inactive.into_iter().chain(hidden).chain(token).collect()
    }
}

/// The projects of an entry that may not use a server which is for `allowed`, in words.
fn hidden(kind: Kind, entry: &Tree<'_>, allowed: &Projects) -> Option<String> {
    let Projects::Only(allowed) = allowed else {
        return None;
    };
    let projects = match kind {
        Kind::Alias if !entry.get("projects").is_list() => {
            return Some("every project".to_owned());
        }
        Kind::Alias => texts(entry.get("projects")),
        Kind::Default => entry.get("project").as_text().into_iter().collect(),
    };
    let hidden: Vec<&str> = projects
        .into_iter()
        .filter(|one| !allowed.contains(*one))
        .collect();
    let named = hidden
        .iter()
        .take(NAMED)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match hidden.len() {
        0 => None,
        1 => Some(format!("the project {named}")),
        2..=NAMED => Some(format!("the projects {named}")),
        count => Some(format!("the projects {named} and {} more", count - NAMED)),
    }
}
