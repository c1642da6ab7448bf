//! Names of servers to servers to tools: builds the catalog of a request.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{gateway::Gateway, record::Record, wanted::Wanted};
use crate::{
    caller::CallerTokens,
    catalog::Catalog,
    inactive::Inactive,
    name::{ServerName, offered_name, short},
    offer::{Offered, Offers},
    project::Project,
    refusal::{Kind, Refusal},
    registry::{self, Server},
    within::within,
};

/// The servers that a request names, in its order.
type Named<'a> = &'a [Wanted];

/// A server that is used: its whole list, and the tools that it offers of it.
pub(crate) type Active = (Arc<Offers>, Arc<Offered>);

/// The tools that `project` is offered: of the servers that it names, and of those tools that it
/// names, if it does.
pub(crate) async fn catalog(
    gateway: &Gateway,
    project: &Project,
    tokens: &CallerTokens,
    (named, tools): (Named<'_>, Option<&[String]>),
    record: &Record,
) -> Result<Catalog, Refusal> {
    let active = active(gateway, project, tokens, named, Some(record)).await?;
    selected(&active, tools)
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
            project,
            tokens,
            std::slice::from_ref(server),
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
/// All servers are asked at once, under one limit. The first fault in the caller's order is the
/// answer, so that the same request always gets the same one.
pub(crate) async fn active(
    gateway: &Gateway,
    project: &Project,
    tokens: &CallerTokens,
    named: Named<'_>,
    record: Option<&Record>,
) -> Result<Vec<Active>, Refusal> {
    let limits = &gateway.settings.limits;
    if named.len() > limits.tools {
        // Every active server has at least one tool.
        let fault = format!(
            "names {} servers, but at most {} tools fit into a request",
            named.len(),
            limits.tools
        );
        return Err(
            Refusal::new(Kind::TooManyTools, format!("mcp.servers {fault}")).at("mcp.servers"),
        );
    }
    let began = Instant::now();
    let servers = servers(gateway, project, named).await?;
    let left = limits.resolve.saturating_sub(began.elapsed());
    let ask = |server: Arc<Server>| async move {
        let started = Instant::now();
        let offers = within(left, gateway.connections.offers(&server, tokens)).await;
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
        (server, offers)
    };
    let mut active = Vec::with_capacity(servers.len());
    let asked: Vec<_> = servers.into_iter().map(ask).collect();
    for (wanted, (server, offers)) in named.iter().zip(join_all(asked).await) {
        let offers =
            offers.map_err(|inactive| unusable(&server, &inactive).at(wanted.param.clone()))?;
        active.push(offers);
    }
    Ok(active)
}

/// The tools of these servers that the request wants.
pub(crate) fn selected(active: &[Active], tools: Option<&[String]>) -> Result<Catalog, Refusal> {
    let offered = active.iter().map(|(_, offered)| offered.clone());
    let catalog = Catalog::new(offered.collect());
    let Some(names) = tools else {
        return Ok(catalog);
    };
    catalog.only(names).map_err(|index| {
        let fault = not_offered(&catalog, &names[index]);
        Refusal::invalid_option(&format!("mcp.tools[{index}]"), &fault)
    })
}

/// The fault of a name in `mcp.tools` that is not in the catalog.
fn not_offered(catalog: &Catalog, name: &str) -> String {
    let mut left_out = catalog.left_out();
    let found = left_out.find(|(server, tool)| offered_name(server, tool.tool()) == *name);
    match found {
        Some((_, tool)) => {
            let reason = tool.reason();
            format!("names {:?}, which is withheld: {reason}", short(name))
        }
        None => format!(
            "names {:?}, which none of the servers offers; an offered name is {{server}}__{{tool}}, of a tool that is selected",
            short(name)
        ),
    }
}

fn unusable(server: &Server, inactive: &Inactive) -> Refusal {
    let name = &server.name;
    if *inactive == Inactive::TooManyCredentials {
        let header = CallerTokens::header(name);
        let message = format!(
            "the server {name} is not asked: {inactive}; send the same token in the header {header} for the same person, and try again in a few seconds"
        );
        return Refusal::new(Kind::TooManyCredentials, message);
    }
    if inactive.is_callers() {
        let header = CallerTokens::header(name);
        let message = format!(
            "the server {name} cannot be used: {inactive}; send one for it in the header {header}"
        );
        return Refusal::new(Kind::CredentialRequired, message);
    }
    let next = match inactive {
        Inactive::Disabled => "its operator can enable it",
        Inactive::NeedsAuthorization => "its operator has to connect it, or to correct its secret",
        Inactive::CredentialInvalid => "its operator has to enter its secret anew",
        Inactive::NoTools => "its operator can select others",
        _ => "try again later, or tell its operator",
    };
    let message = format!("the server {name} is inactive: {inactive}; {next}");
    Refusal::new(Kind::ServerInactive, message)
}

/// The servers in the caller's order.
async fn servers(
    gateway: &Gateway,
    project: &Project,
    named: Named<'_>,
) -> Result<Vec<Arc<Server>>, Refusal> {
    let names: Vec<ServerName> = named
        .iter()
        .filter_map(|wanted| wanted.name.parse().ok())
        .collect();
    let found = gateway.registry.find(project, &names);
    let found = within(gateway.settings.limits.resolve, found).await;
    let found = found
        .unwrap_or_else(|elapsed| Err(registry::Error::unavailable(elapsed)))
        .map_err(|error| {
            tracing::error!(%error, source = error_source(&error), "the registry failed");
            Refusal::new(
                Kind::Registry,
                "the gateway's server registry is not available",
            )
        })?;
    let server = |Wanted { name, param }: &Wanted| {
        let server = found
            .iter()
            .find(|server| server.name.as_str() == name && server.is_usable_by(project));
        // One answer for what does not exist and what is somebody else's.
        server.cloned().ok_or_else(|| {
            let message = format!(
                "there is no MCP server named {:?} in this project: check the name, and whose project the API key is",
                short(name)
            );
            Refusal::new(Kind::ServerNotFound, message).at(param.clone())
        })
    };
    named.iter().map(server).collect()
}

fn error_source(error: &dyn std::error::Error) -> Option<String> {
    error.source().map(ToString::to_string)
}
