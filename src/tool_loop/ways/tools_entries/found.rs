//! The servers of all entries of a request.

use std::sync::Arc;

use http::HeaderValue;

use super::{
    address::{Address, is_same, named_on},
    entry::Entry,
    rules::ToolRules,
};
use crate::{
    caller::CallerTokens,
    name::ServerName,
    project::Project,
    refusal::{Kind, Refusal},
    registry::{Auth, Server},
    tool_loop::{gateway::Gateway, wanted::Wanted},
};

/// The servers of all entries, with what these say of their tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) servers: Vec<Wanted>,
    /// For each entry, the places of its servers in that list.
    pub(crate) rules: Vec<(Vec<usize>, ToolRules)>,
}

/// Finds the servers of `entries`, and adds the tokens that these give to `tokens`. `host` is that of
/// the request.
///
/// # Errors
/// An entry that means no server of the project, or several; two entries that say different things of
/// one; a token for a server that takes none.
pub(crate) async fn find(
    gateway: &Gateway,
    project: &Project,
    host: Option<&str>,
    tokens: &mut CallerTokens,
    entries: &[Entry],
) -> Result<Found, Refusal> {
    let is_sought = |entry: &Entry| matches!(entry.address, Address::All | Address::At(_));
    let visible = match entries.iter().any(is_sought) {
        true => gateway.visible(project).await?,
        false => Vec::new(),
    };
    let mut found = Found::default();
    // The entry that each of the servers has come from.
    let mut from: Vec<usize> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let mut places = Vec::new();
        for name in entry.servers(&visible, host, tokens)? {
            let known = found.servers.iter().position(|wanted| wanted.name == name);
            match known.map(|place| &entries[from[place]]) {
                Some(other) if !other.says_the_same(entry) => {
                    return Err(entry.differs(other, &name));
                }
                Some(_) => {}
                None => {
                    places.push(found.servers.len());
                    from.push(index);
                    found.servers.push(Wanted {
                        name,
                        param: entry.place(),
                    });
                }
            }
        }
        found.rules.push((places, entry.rules.clone()));
    }
    let given = found.servers.iter().zip(from);
    let given = given.filter_map(|(wanted, index)| {
        let token = entries[index].authorization.clone()?;
        Some((wanted.name.parse().ok()?, &entries[index], token))
    });
    give(gateway, project, tokens, given.collect()).await?;
    Ok(found)
}

/// Gives each of these servers the token of its entry.
async fn give(
    gateway: &Gateway,
    project: &Project,
    tokens: &mut CallerTokens,
    given: Vec<(ServerName, &Entry, HeaderValue)>,
) -> Result<(), Refusal> {
    if given.is_empty() {
        return Ok(());
    }
    let names: Vec<ServerName> = given.iter().map(|(name, ..)| name.clone()).collect();
    let servers = gateway.find(project, &names).await?;
    for (name, entry, token) in given {
        let is_it = |server: &&Arc<Server>| server.name == name && server.is_usable_by(project);
        // One that is not there is refused where all of them are looked up.
        let Some(server) = servers.iter().find(is_it) else {
            continue;
        };
        let fault = match server.auth {
            Auth::TokenPassthrough(_) if tokens.of(&name).is_none() => {
                tokens.add(&name, token);
                continue;
            }
            Auth::TokenPassthrough(_) => {
                format!(
                    "and the header {} both have a token",
                    CallerTokens::header(&name)
                )
            }
            _ => format!(
                "is not taken: the server {name} is sent what its operator has set, and no token of a caller's"
            ),
        };
        let param = format!("{}.authorization", entry.param);
        return Err(Refusal::invalid_option(&param, &fault));
    }
    Ok(())
}

impl Entry {
    /// The names of the servers that the entry means, among those that the project can see.
    fn servers(
        &self,
        visible: &[Arc<Server>],
        host: Option<&str>,
        tokens: &CallerTokens,
    ) -> Result<Vec<String>, Refusal> {
        match &self.address {
            Address::Label => Ok(vec![self.label.clone()]),
            Address::Named(name) => Ok(vec![name.clone()]),
            Address::All => self.all(visible, tokens),
            Address::At(url) => {
                let at = visible.iter().filter(|server| is_same(&server.url, url));
                let at: Vec<&str> = at.map(|server| server.name.as_str()).collect();
                match (&at[..], named_on(host, url)) {
                    ([one], _) => Ok(vec![(*one).to_owned()]),
                    ([], Some(name)) => Ok(vec![name]),
                    ([], None) => Err(self.nowhere()),
                    (several, _) if several.contains(&&*self.label) => Ok(vec![self.label.clone()]),
                    (several, _) => {
                        let fault = format!(
                            "is the address of several servers: say in server_label which of {} is meant",
                            several.join(", ")
                        );
                        Err(Refusal::invalid_option(&self.place(), &fault))
                    }
                }
            }
            Address::Nowhere => Err(self.nowhere()),
        }
    }

    /// All servers, but those that nobody can use with this request: what is switched off, and what
    /// wants a token that is not there.
    fn all(&self, visible: &[Arc<Server>], tokens: &CallerTokens) -> Result<Vec<String>, Refusal> {
        if self.authorization.is_some() {
            let param = format!("{}.authorization", self.param);
            return Err(Refusal::invalid_option(
                &param,
                "is for one server, and this entry means all",
            ));
        }
        let is_usable = |server: &&Arc<Server>| {
            let lacks_token = matches!(server.auth, Auth::TokenPassthrough(_));
            server.enabled && !(lacks_token && tokens.of(&server.name).is_none())
        };
        let names = visible.iter().filter(is_usable);
        let names: Vec<_> = names.map(|server| server.name.to_string()).collect();
        match names.is_empty() {
            true => Err(self.nowhere()),
            false => Ok(names),
        }
    }

    /// The refusal of an address that is no registered one. It is not repeated: it may have a key.
    fn nowhere(&self) -> Refusal {
        let place = self.place();
        let message = format!(
            "{place} is the address of no MCP server of this project: only servers that are registered here are called"
        );
        Refusal::new(Kind::ServerNotFound, message).at(place)
    }

    fn says_the_same(&self, other: &Self) -> bool {
        self.rules == other.rules && self.authorization == other.authorization
    }

    /// The refusal of this entry, which says something else of a server than `other`.
    fn differs(&self, other: &Self, name: &str) -> Refusal {
        let fault = format!(
            "means the server {name}, of which {} says something else",
            other.param
        );
        Refusal::invalid_option(&self.param, &fault)
    }
}
