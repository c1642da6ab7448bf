//! Names of servers to servers to tools: builds the catalog of a request.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{
    gateway::{Gateway, LookedUp},
    record::Record,
    wanted::Wanted,
    ways::{ToolRules, is_name},
};
use crate::{
    caller::CallerTokens,
    catalog::Catalog,
    inactive::Inactive,
    left_out::LeftOut,
    name::{ServerName, offered_name, short},
    offer::{Offered, Offers},
    project::Project,
    refusal::{Kind, Refusal},
    registry::{Auth, Server},
    within::within,
};

/// The servers that a request names, in its order.
type Named<'a> = &'a [Wanted];

/// What a request says of the tools of servers, each given by its place among those that it names.
type Rules<'a> = &'a [(Vec<usize>, ToolRules)];

/// The only tools that a request wants, and the place in it that names them; `None` for all.
type Only<'a> = Option<(&'a [String], &'static str)>;

/// Whose request it is, and the tokens that it brings.
type Whose<'a> = (&'a Project, &'a CallerTokens);

/// A server that is used: its whole list, and the tools that it offers of it.
pub(crate) type Active = (Arc<Offers>, Arc<Offered>);

/// The tools that `project` is offered: of the servers that it names, as it rules for each, and of
/// those tools that it names, if it does. The registry is not asked for what was looked up before.
pub(crate) async fn catalog(
    gateway: &Gateway,
    whose: Whose<'_>,
    (named, rules, tools): (Named<'_>, Rules<'_>, Only<'_>),
    looked_up: Option<LookedUp>,
    record: &Record,
) -> Result<Catalog, Refusal> {
    let active = active(gateway, whose, named, looked_up, Some(record)).await?;
    selected(&active, whose.0, rules, tools)
}

/// The tools of those of these servers that can be used, and of those tools that are still offered.
pub(crate) async fn usable(
    gateway: &Gateway,
    project: &Project,
    tokens: &CallerTokens,
    (named, tools): (Named<'_>, Option<&[String]>),
    record: &Record,
) -> Catalog {
    let one = |server| {
        active(
            gateway,
            (project, tokens),
            std::slice::from_ref(server),
            None,
            Some(record),
        )
    };
    let found = join_all(named.iter().map(one)).await;
    let found = found.into_iter().filter_map(Result::ok).flatten();
    let catalog = Catalog::new(found.map(|(_, offered)| offered).collect());
    let Some(tools) = tools else {
        return catalog;
    };
    let offered = tools.iter().filter(|name| catalog.entry(name).is_some());
    let offered: Vec<String> = offered.cloned().collect();
    catalog.only(&offered).unwrap_or(Catalog::new(Vec::new()))
}

/// The servers that `project` names, each with all of its tools.
///
/// All servers are asked at once, under one limit with the registry. The first fault in the caller's
/// order is the answer, so that the same request always gets the same one.
pub(crate) async fn active(
    gateway: &Gateway,
    (project, tokens): Whose<'_>,
    named: Named<'_>,
    looked_up: Option<LookedUp>,
    record: Option<&Record>,
) -> Result<Vec<Active>, Refusal> {
    let limits = &gateway.settings.limits;
    if named.len() > limits.tools {
        // Every active server has at least one tool.
        let param = match named.first() {
            Some(first) => first.param.trim_end_matches("[0]"),
            None => "mcp.servers",
        };
        let message = format!(
            "{param} names {} servers, but at most {} tools fit into a request",
            named.len(),
            limits.tools
        );
        return Err(Refusal::new(Kind::TooManyTools, message).at(param));
    }
    let LookedUp { servers, took } = match looked_up {
        Some(looked_up) => looked_up,
        None => look_up(gateway, project, named).await?,
    };
    let servers = in_order(named, &servers)?;
    let left = limits.resolve.saturating_sub(took);
    let ask = async |server: &Arc<Server>| {
        let started = Instant::now();
        let offers = within(left, gateway.connections.offers(server, project, tokens)).await;
        let offers = offers.unwrap_or_else(|_| {
            let seconds = limits.resolve.as_secs();
            Err(Inactive::unreachable(format!(
                "it did not list its tools within {seconds} s"
            )))
        });
        let failed = offers.as_ref().err().map(ToString::to_string);
        if let Some(record) = record {
            record.listed(server.name.as_str(), started, failed.as_deref());
        }
        offers
    };
    let now = Instant::now();
    let at_hand = |server: &Arc<Server>| gateway.connections.offers_at_hand(server, project, now);
    let mut found: Vec<_> = servers
        .iter()
        .map(|server| at_hand(server).map(Ok))
        .collect();
    let others = servers.iter().zip(&mut found);
    let others = others.filter(|(_, found)| found.is_none());
    join_all(others.map(async |(server, found)| *found = Some(ask(server).await))).await;
    let each = named.iter().zip(&servers).zip(found.into_iter().flatten());
    let each = each.map(|((wanted, server), found)| {
        found.map_err(|inactive| {
            unusable(gateway, (server, project), &inactive).at(wanted.param.clone())
        })
    });
    each.collect()
}

/// The tools of these servers that the request of `project` wants.
pub(crate) fn selected(
    active: &[Active],
    project: &Project,
    rules: Rules<'_>,
    tools: Only<'_>,
) -> Result<Catalog, Refusal> {
    let offered = active.iter().map(|(_, offered)| offered.clone());
    let mut offered: Vec<_> = offered.collect();
    for (places, rules) in rules {
        let of: Vec<&Active> = places.iter().map(|&place| &active[place]).collect();
        check(rules, &of, project)?;
        for &place in places {
            offered[place] = ruled(rules, &offered[place]);
        }
    }
    let catalog = Catalog::new(offered);
    let Some((tools, param)) = tools else {
        return Ok(catalog);
    };
    catalog.only(tools).map_err(|index| {
        let name = &tools[index];
        let is_it =
            |server: &ServerName, tool: &LeftOut| offered_name(server, tool.tool()) == *name;
        let mut left_out = catalog.left_out();
        let withheld = left_out.find(|(server, tool)| is_it(server, tool));
        let fault = not_offered(name, withheld.map(|(_, tool)| tool));
        match param {
            "mcp.tools" => Refusal::invalid_option(&format!("{param}[{index}]"), &fault),
            param => Refusal::invalid_option(param, &fault),
        }
    })
}

/// Checks that the tools that `rules` name are there for `project`, at one of these servers.
fn check(rules: &ToolRules, servers: &[&Active], project: &Project) -> Result<(), Refusal> {
    for (name, param) in rules.allowed_names() {
        let mut offers = servers.iter().flat_map(|(_, offered)| offered.entries());
        if !offers.any(|tool| is_name(name, tool.offer())) {
            let mut withheld = servers.iter().flat_map(|(_, offered)| offered.withheld());
            let fault = not_offered(name, withheld.find(|tool| tool.tool() == name));
            return Err(Refusal::invalid_option(param, &fault));
        }
    }
    for (name, param) in rules.approved_names() {
        let is_there = |(offers, offered): &&Active| {
            let server = offered.server();
            let is_its = |tool: &str| {
                server.tools.policy(tool).is_some() && server.grants.has(project.name(), tool)
            };
            let mut offers = offers.tools.iter();
            offers.any(|offer| is_name(name, offer) && is_its(&offer.tool))
        };
        if !servers.iter().any(is_there) {
            let fault = format!("names {:?}, which is no tool of the server", short(name));
            return Err(Refusal::invalid_option(param, &fault));
        }
    }
    Ok(())
}

/// What a server offers under these rules.
fn ruled(rules: &ToolRules, offered: &Arc<Offered>) -> Arc<Offered> {
    let tools = offered.entries().iter().enumerate();
    let allowed = tools.filter(|(_, tool)| rules.allows(tool));
    let only = offered.only(allowed.map(|(place, _)| place).collect());
    only.asking_first(|tool| rules.asks_first(tool))
}

/// The fault of a name of a tool that is not offered.
fn not_offered(name: &str, withheld: Option<&LeftOut>) -> String {
    match withheld {
        Some(tool) => {
            let reason = tool.reason();
            format!("names {:?}, which is withheld: {reason}", short(name))
        }
        None => format!(
            "names {:?}, which none of the servers offers; an offered name is {{server}}__{{tool}}, of a tool that is selected",
            short(name)
        ),
    }
}

fn unusable(
    gateway: &Gateway,
    (server, project): (&Server, &Project),
    inactive: &Inactive,
) -> Refusal {
    let name = &server.name;
    if *inactive == Inactive::TooManyCredentials {
        let next = match server.auth {
            Auth::TokenPassthrough(_) => {
                let header = CallerTokens::header(name);
                format!("send the same token in the header {header} for the same person, and ")
            }
            _ => String::new(),
        };
        let message =
            format!("the server {name} is not asked: {inactive}; {next}try again in a few seconds");
        return Refusal::new(Kind::TooManyCredentials, message);
    }
    if inactive.is_callers() {
        let next = match server.auth {
            Auth::TokenPassthrough(_) => {
                let header = CallerTokens::header(name);
                format!("send one for it in the header {header}")
            }
            _ => {
                let which = match inactive {
                    Inactive::TokenMissing => "the token",
                    _ => "another token",
                };
                match &gateway.settings.subject_header {
                    Some(header) => {
                        format!("send {which} that says who your user is in the header {header}")
                    }
                    None => format!(
                        "ask whoever runs this gateway how to send {which} that says who your user is"
                    ),
                }
            }
        };
        let message = format!("the server {name} cannot be used: {inactive}; {next}");
        return Refusal::new(Kind::CredentialRequired, message);
    }
    let grant = server.grants.of(project.name());
    let is_part = grant.is_some_and(|grant| grant.tools().is_some());
    let next = match inactive {
        Inactive::Disabled => "its operator can enable it",
        Inactive::NeedsAuthorization => "its operator has to connect it, or to correct its secret",
        Inactive::CredentialInvalid => "its operator has to enter its secret anew",
        Inactive::NoTools if is_part => {
            let message = format!(
                "the server {name} is inactive: it offers this project no tools; its operator can select or grant others"
            );
            return Refusal::new(Kind::ServerInactive, message);
        }
        Inactive::NoTools => "its operator can select others",
        _ => "try again later, or tell its operator",
    };
    let message = format!("the server {name} is inactive: {inactive}; {next}");
    Refusal::new(Kind::ServerInactive, message)
}

async fn look_up(
    gateway: &Gateway,
    project: &Project,
    named: Named<'_>,
) -> Result<LookedUp, Refusal> {
    let began = Instant::now();
    let names: Vec<ServerName> = named
        .iter()
        .filter_map(|wanted| wanted.name.parse().ok())
        .collect();
    let limit = gateway.settings.limits.resolve;
    let servers = gateway.find(project, &names, limit).await?;
    let took = began.elapsed();
    Ok(LookedUp { servers, took })
}

/// The servers in the caller's order.
fn in_order(named: Named<'_>, found: &[Arc<Server>]) -> Result<Vec<Arc<Server>>, Refusal> {
    let server = |(place, Wanted { name, param }): (usize, &Wanted)| {
        // Most registries answer in the order in which they are asked.
        let mut likely = found[place.min(found.len())..].iter().chain(found);
        let server = likely.find(|server| server.name.as_str() == name);
        // One answer for what does not exist and what is somebody else's.
        server.cloned().ok_or_else(|| {
            let message = format!(
                "there is no MCP server named {:?} in this project: check the name, and whose project the API key is",
                short(name)
            );
            Refusal::new(Kind::ServerNotFound, message).at(param.clone())
        })
    };
    named.iter().enumerate().map(server).collect()
}
