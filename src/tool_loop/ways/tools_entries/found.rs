//! The servers of all entries of a request.

use std::sync::Arc;

use http::HeaderValue;
use tokio::time::Instant;

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
    tool_loop::{
        gateway::{Gateway, LookedUp},
        wanted::Wanted,
    },
};

/// The servers of all entries, with what these say of their tools.
pub(crate) struct Found {
    pub(crate) servers: Vec<Wanted>,
    /// For each entry, the places of its servers in that list.
    pub(crate) rules: Vec<(Vec<usize>, ToolRules)>,
    /// The label of each entry, with the servers that it means.
    pub(crate) labels: Vec<(String, Vec<String>)>,
    /// Those of these servers that the project may use.
    pub(crate) looked_up: LookedUp,
}

/// The servers that entries name, each with the entry that did so first.
#[derive(Default)]
struct Named {
    servers: Vec<Wanted>,
    from: Vec<usize>,
    rules: Vec<(Vec<usize>, ToolRules)>,
    labels: Vec<(String, Vec<String>)>,
}

/// Finds the servers of `entries`, and adds the tokens that these give to `tokens`. `hosts` are those
/// that the request may have come to.
///
/// The registry is asked once for all of it, and what comes later does without.
///
/// # Errors
/// An entry that means no server of the project, or several; two entries that say different things of
/// one; a token for a server that takes none.
pub(crate) async fn find(
    gateway: &Gateway,
    project: &Project,
    hosts: &[String],
    tokens: &mut CallerTokens,
    entries: &[Entry],
) -> Result<Found, Refusal> {
    let (began, limit) = (Instant::now(), gateway.settings.limits.resolve);
    let is_sought = |entry: &Entry| matches!(entry.address, Address::All | Address::At(_));
    let visible = match entries.iter().any(is_sought) {
        true => gateway.visible(project, limit).await?,
        false => Vec::new(),
    };
    let Named {
        servers: wanted,
        from,
        rules,
        labels,
    } = named(entries, &visible, hosts, tokens)?;
    let servers = match visible.is_empty() {
        false => visible,
        // None that anybody sees, or a registry that finds servers by their names alone.
        true => {
            let names = wanted.iter().filter_map(|wanted| wanted.name.parse().ok());
            let names: Vec<ServerName> = names.collect();
            let left = limit.saturating_sub(began.elapsed());
            gateway.find(project, &names, left).await?
        }
    };
    for (wanted, index) in wanted.iter().zip(from) {
        let entry = &entries[index];
        let server = servers
            .iter()
            .find(|server| server.name.as_str() == wanted.name);
        // One that is not there is refused where all of them are resolved.
        if let (Some(server), Some(token)) = (server, &entry.authorization) {
            give(server, entry, token, tokens)?;
        }
    }
    let looked_up = LookedUp {
        servers,
        took: began.elapsed(),
    };
    Ok(Found {
        servers: wanted,
        rules,
        labels,
        looked_up,
    })
}

/// The servers that `entries` name.
fn named(
    entries: &[Entry],
    visible: &[Arc<Server>],
    hosts: &[String],
    tokens: &CallerTokens,
) -> Result<Named, Refusal> {
    let mut named = Named::default();
    for (index, entry) in entries.iter().enumerate() {
        let mut places = Vec::new();
        let names = entry.servers(visible, hosts, tokens)?;
        named.labels.push((entry.label.clone(), names.clone()));
        for name in names {
            let known = named.servers.iter().position(|wanted| wanted.name == name);
            match known.map(|place| &entries[named.from[place]]) {
                Some(other) if !other.says_the_same(entry) => {
                    return Err(entry.differs(other, &name));
                }
                Some(_) => {}
                None => {
                    places.push(named.servers.len());
                    named.from.push(index);
                    named.servers.push(Wanted {
                        name,
                        param: entry.place(),
                    });
                }
            }
        }
        named.rules.push((places, entry.rules.clone()));
    }
    Ok(named)
}

/// Gives `server` the token of its entry.
fn give(
    server: &Server,
    entry: &Entry,
    token: &HeaderValue,
    tokens: &mut CallerTokens,
) -> Result<(), Refusal> {
    let name = &server.name;
    let fault = match server.auth {
        Auth::TokenPassthrough(_) if tokens.of(name).is_none() => {
            tokens.add(name, token.clone());
            return Ok(());
        }
        Auth::TokenPassthrough(_) => {
            let header = CallerTokens::header(name);
            format!("and the header {header} both have a token")
        }
        _ => format!(
            "is not taken: the server {name} is sent what its operator has set, and no token of a caller's"
        ),
    };
    let param = format!("{}.authorization", entry.param);
    Err(Refusal::invalid_option(&param, &fault))
}

impl Entry {
    /// The names of the servers that the entry means, among those that the project can see.
    fn servers(
        &self,
        visible: &[Arc<Server>],
        hosts: &[String],
        tokens: &CallerTokens,
    ) -> Result<Vec<String>, Refusal> {
        match &self.address {
            Address::Label => Ok(vec![self.label.clone()]),
            Address::Named(name) => Ok(vec![name.clone()]),
            Address::All => self.all(visible, tokens),
            Address::At(url) => {
                let at = visible.iter().filter(|server| is_same(&server.url, url));
                let at: Vec<&str> = at.map(|server| server.name.as_str()).collect();
                let mut here = hosts.iter().filter_map(|host| named_on(host, url));
                match (&at[..], here.next()) {
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
            let lacks_token = match server.auth {
                Auth::TokenPassthrough(_) => tokens.of(&server.name).is_none(),
                _ => server.auth.is_callers() && matches!(tokens.subject(), Ok(None)),
            };
            server.enabled && !lacks_token
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
