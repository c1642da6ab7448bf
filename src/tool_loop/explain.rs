//! Explains what a request would get, without asking a model: the first steps of the loop, for an
//! operator who wonders.

use std::{collections::HashSet, sync::Arc};

use futures_util::future::join_all;

use super::{
    choice, conflicts,
    gateway::Gateway,
    options::Options,
    resolve, searching, spending,
    wanted::Wanted,
    ways::{self, ByModel, OptInHeaders},
};
use crate::{
    caller::CallerTokens,
    catalog::Catalog,
    chat::ChatRequest,
    left_out::LeftOut,
    name::ServerName,
    offer::Offers,
    project::Project,
    refusal::{Kind, Refusal},
    registry::Server,
    within::within,
};

/// The tools that a request would be offered, and those that it would not.
#[derive(Debug, Default)]
pub(crate) struct Explanation {
    pub(crate) tools: Vec<ToolOffer>,
    pub(crate) left_out: Vec<Unoffered>,
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

/// The reason for a tool that the project is not granted, in words.
const NOT_GRANTED: &str = "the project is not granted it";

/// A tool that is not offered, with its server.
#[derive(Debug)]
pub(crate) struct Unoffered {
    pub(crate) server: ServerName,
    pub(crate) why: Why,
    /// The tool, with the same in words.
    pub(crate) tool: LeftOut,
}

/// Why a tool is not offered, as programs are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It cannot be offered to anyone.
    Unusable,
    NotSelected,
    /// It waits for an operator to accept it.
    NotAccepted,
    /// The project is not granted it.
    NotGranted,
    /// The request does without it.
    NotChosen,
}

impl Why {
    pub(crate) const ALL: [Self; 5] = [
        Self::Unusable,
        Self::NotSelected,
        Self::NotAccepted,
        Self::NotGranted,
        Self::NotChosen,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unusable => "unusable",
            Self::NotSelected => "not_selected",
            Self::NotAccepted => "not_accepted",
            Self::NotGranted => "not_granted",
            Self::NotChosen => "not_chosen",
        }
    }
}

/// A request that would be refused, with the tools of its servers that its project is not granted: they
/// may be why, and only an operator is told.
#[derive(Debug)]
pub(crate) struct Unserved {
    pub(crate) refusal: Refusal,
    pub(crate) left_out: Vec<Unoffered>,
}

impl From<Refusal> for Unserved {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            left_out: Vec::new(),
        }
    }
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
) -> Result<Explanation, Unserved> {
    let (organization, name) = (project.organization(), project.name());
    let model = || request.model.clone();
    let by_model = ByModel::of_project(gateway, organization, name, model);
    let by_model = ways::unless_asked(by_model, &request, headers);
    let has_default = by_model.default.is_some();
    let asked = (request, headers, hosts);
    match offered(gateway, asked, &by_model, project, tokens).await {
        Err(Unserved { refusal, left_out }) if has_default => Ok(Explanation {
            no_default: Some(refusal.to_string()),
            left_out,
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
) -> Result<Explanation, Unserved> {
    let mut options = Options::read(&mut request, (headers, by_model), &gateway.settings)?;
    if !options.enabled {
        return Ok(Explanation::default());
    }
    let looked_up = options.find(gateway, project, hosts, &mut tokens).await?;
    // A request of a project that has used up its budget gets no further.
    spending::check(gateway, project).await?;
    let whose = (project, &tokens);
    let found = async {
        let active = resolve::active(gateway, whose, &options.servers, looked_up, None).await?;
        let catalog = resolve::selected(&active, project, &options.rules, options.only())?;
        Ok::<_, Refusal>((active, catalog))
    };
    let (active, catalog) = match found.await {
        Ok(found) => found,
        Err(refusal) => {
            let left_out = match refusal.kind {
                Kind::ServerInactive | Kind::InvalidMcpOptions => {
                    not_granted(gateway, whose, &options.servers).await
                }
                _ => Vec::new(),
            };
            return Err(Unserved { refusal, left_out });
        }
    };
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
) -> Vec<Unoffered> {
    let unoffered = |why, tool| Unoffered {
        server: server.name.clone(),
        why,
        tool,
    };
    let unusable = offers.left_out.iter().cloned();
    let mut all: Vec<_> = unusable
        .map(|tool| unoffered(Why::Unusable, tool))
        .collect();
    let withheld: Vec<_> = offers.withheld(server).collect();
    let offered: HashSet<&str> = catalog
        .entries()
        .map(|entry| &*entry.offer().name)
        .collect();
    for offer in &offers.tools {
        let (why, reason) = match withheld.iter().find(|tool| tool.tool() == offer.tool) {
            _ if offered.contains(&*offer.name) => continue,
            _ if server.tools.policy(&offer.tool).is_none() => {
                (Why::NotSelected, "it is not selected")
            }
            Some(withheld) => {
                all.push(unoffered(Why::NotAccepted, withheld.clone()));
                continue;
            }
            None if !server.grants.has(project.name(), &offer.tool) => {
                (Why::NotGranted, NOT_GRANTED)
            }
            None => (Why::NotChosen, unchosen),
        };
        all.push(unoffered(why, LeftOut::new(&offer.tool, reason)));
    }
    all
}

/// The tools of these servers that everything but a grant would offer to the project, where that can
/// be found out.
async fn not_granted(
    gateway: &Gateway,
    (project, tokens): (&Project, &CallerTokens),
    servers: &[Wanted],
) -> Vec<Unoffered> {
    let names = servers.iter().filter_map(|wanted| wanted.name.parse().ok());
    let names: Vec<ServerName> = names.collect();
    let limit = gateway.settings.limits.resolve;
    let Ok(servers) = gateway.find(project, &names, limit).await else {
        return Vec::new();
    };
    let has_tools = |server: &Server| {
        let grant = server.grants.of(project.name());
        grant.is_some_and(|grant| grant.tools().is_some())
    };
    let servers = servers.into_iter().filter(|server| has_tools(server));
    // It is in memory by now, unless the server is at fault.
    let list = |server: Arc<Server>| async move {
        let listed = within(limit, gateway.connections.listed(&server, tokens)).await;
        let offers = listed.ok()?.ok()?;
        let none = Catalog::new(Vec::new());
        Some(left_out((&server, project), &offers, &none, ""))
    };
    let asked: Vec<_> = servers.map(list).collect();
    let left_out = join_all(asked).await.into_iter().flatten().flatten();
    let not_granted = left_out.filter(|tool| tool.why == Why::NotGranted);
    not_granted.collect()
}
