//! Explains what a request would get, without asking a model: the first steps of the loop, for an
//! operator who wonders.

use std::collections::HashSet;

use super::{
    choice, conflicts,
    gateway::Gateway,
    options::Options,
    resolve, searching,
    ways::{self, ByModel, OptInHeaders},
};
use crate::{
    caller::CallerTokens, catalog::Catalog, chat::ChatRequest, left_out::LeftOut, name::ServerName,
    offer::Offers, project::Project, refusal::Refusal, registry::Server,
};

/// The tools that a request would be offered, and those that it would not.
#[derive(Debug, Default)]
pub(crate) struct Explanation {
    pub(crate) tools: Vec<ToolOffer>,
    /// Each with its server.
    pub(crate) left_out: Vec<(ServerName, LeftOut)>,
    /// Why the default of the request would be left out.
    pub(crate) no_default: Option<String>,
}

/// A tool as it would be offered.
#[derive(Debug)]
pub(crate) struct ToolOffer {
    pub(crate) offered_name: String,
    pub(crate) server: ServerName,
    pub(crate) tool: String,
    /// The model finds it by a search, and is not offered it before.
    pub(crate) is_found: bool,
}

/// A request, the headers that say what it asks for, and the hosts that it may have come to.
type Asked<'a> = (ChatRequest, &'a OptInHeaders, &'a [String]);

/// Explains what a request would get, up to the point where the model is asked.
///
/// # Errors
/// As the request itself would be refused.
pub(crate) async fn explain(
    gateway: &Gateway,
    (request, headers, hosts): Asked<'_>,
    project: &Project,
    tokens: CallerTokens,
) -> Result<Explanation, Refusal> {
    let (organization, name) = (project.organization(), project.name());
    let model = || request.model.clone();
    let by_model = ByModel::of_project(gateway, organization, name, model);
    let by_model = ways::unless_asked(by_model, &request, headers);
    let has_default = by_model.default.is_some();
    let asked = (request, headers, hosts);
    match offered(gateway, asked, &by_model, project, tokens).await {
        Err(refusal) if has_default => Ok(Explanation {
            no_default: Some(refusal.to_string()),
            ..Explanation::default()
        }),
        explained => explained,
    }
}

async fn offered(
    gateway: &Gateway,
    (mut request, headers, hosts): Asked<'_>,
    by_model: &ByModel,
    project: &Project,
    mut tokens: CallerTokens,
) -> Result<Explanation, Refusal> {
    let mut options = Options::read(&mut request, (headers, by_model), &gateway.settings)?;
    if !options.enabled {
        return Ok(Explanation::default());
    }
    let looked_up = options.find(gateway, project, hosts, &mut tokens).await?;
    let whose = (project, &tokens);
    let active = resolve::active(gateway, whose, &options.servers, looked_up, None).await?;
    let catalog = resolve::selected(&active, project, &options.rules, options.only())?;
    choice::say(&mut request, &options.labels, &catalog)?;
    let catalog = match options.loops(&request, &gateway.settings) {
        true => searching::told(catalog, &request, options.tool_search, &gateway.settings),
        false => catalog,
    };
    let lacking = || options.lacks_for_search(&request, catalog.len(), &gateway.settings);
    conflicts::check(gateway, &request, &catalog, options.way.as_deref(), lacking)?;
    let unchosen = match options.only() {
        Some((_, "mcp.tools")) => "mcp.tools does not name it",
        _ => "the request does not choose it",
    };
    let tools = catalog.entries().map(|entry| ToolOffer {
        offered_name: entry.offer().name.clone(),
        server: entry.server.name.clone(),
        tool: entry.offer().tool.clone(),
        is_found: catalog.is_found(entry),
    });
    Ok(Explanation {
        no_default: None,
        tools: tools.collect(),
        left_out: active
            .iter()
            .flat_map(|(offers, offered)| {
                let of = (offered.server(), project);
                left_out(of, offers, &catalog, unchosen)
            })
            .collect(),
    })
}

/// The tools of `server` that `catalog` does not have, with the reason that is nearest to the
/// server: what cannot be offered at all, what is not selected, what waits to be accepted, what
/// `project` is not granted, and what the request itself does without, with the reason `unchosen`.
fn left_out(
    (server, project): (&Server, &Project),
    offers: &Offers,
    catalog: &Catalog,
    unchosen: &'static str,
) -> Vec<(ServerName, LeftOut)> {
    let mut all = offers.left_out.clone();
    let withheld: Vec<_> = offers.withheld(server).collect();
    let offered: HashSet<&str> = catalog
        .entries()
        .map(|entry| &*entry.offer().name)
        .collect();
    for offer in &offers.tools {
        let reason = match withheld.iter().find(|tool| tool.tool() == offer.tool) {
            _ if offered.contains(&*offer.name) => continue,
            _ if server.tools.policy(&offer.tool).is_none() => "it is not selected",
            Some(withheld) => {
                all.push(withheld.clone());
                continue;
            }
            None if !server.grants.has(project.name(), &offer.tool) => "not_granted",
            None => unchosen,
        };
        all.push(LeftOut::new(&offer.tool, reason));
    }
    let named = all.into_iter().map(|tool| (server.name.clone(), tool));
    named.collect()
}
