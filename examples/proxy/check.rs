//! `--check`: lists the tools that would be offered, without calling a model.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, future::ready, stream};
use mcp_layer::{
    CallerTokens, Connections, Inactive, LeftOut, Limits, ServerTools,
    registry::{
        BoxFuture, Error, Filter, ModelRules, Observation, ObservationStore, ProjectGrant, Server,
        ServerId, Store,
    },
};
use tokio::time::timeout;

use crate::{
    check_models::{self, Found, FoundServers},
    check_settings, storage,
    subject::{self, SubjectHeader},
    tool_search::Searching,
};

/// The characters of a description that are shown.
const DESCRIPTION_LEN: usize = 60;
/// Servers listed at the same time.
const AT_ONCE: usize = 32;

/// What an operator of several replicas has to know where there is no database.
pub const IN_MEMORY: &str = "exchanges are kept in memory, and limits and budgets counted there: with several replicas, set a database; without one, send each caller to the same replica every time, and each grants as much";

/// The result of the check.
pub struct Report {
    /// The report for people.
    pub text: String,
    /// The offered names of all tools.
    pub offered: Vec<String>,
    /// `true` if every enabled server can be used.
    pub all_well: bool,
}

/// The observations of servers, which a check reads and leaves as they are: the gateway whose database
/// this is may have another configuration, and does not refuse its callers for what is checked.
pub struct Untouched(pub Arc<dyn Store>);

impl ObservationStore for Untouched {
    fn observation<'a>(
        &'a self,
        organization: &'a str,
        server: &'a ServerId,
    ) -> BoxFuture<'a, Result<Option<Observation>, Error>> {
        self.0.observation(organization, server)
    }

    fn observations<'a>(
        &'a self,
        organization: &'a str,
        servers: &'a [ServerId],
    ) -> BoxFuture<'a, Result<Vec<Option<Observation>>, Error>> {
        self.0.observations(organization, servers)
    }

    fn observe<'a>(
        &'a self,
        _: &'a str,
        _: &'a ServerId,
        _: &'a Observation,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(ready(Ok(true)))
    }

    fn claim_probes<'a>(
        &'a self,
        _: &'a str,
        servers: &'a [ServerId],
        _: Duration,
    ) -> BoxFuture<'a, Result<Vec<bool>, Error>> {
        Box::pin(ready(Ok(vec![true; servers.len()])))
    }
}

/// Lists the tools of each server of the file and of the database, and what aliases and defaults
/// would get of them. `projects` are those of callers' keys, if there are keys.
pub async fn check(
    registry: &dyn Store,
    (models, projects): (&ModelRules, Option<&BTreeSet<String>>),
    connections: &Connections,
    limits: &Limits,
    searching: Searching,
    subject: Option<&SubjectHeader>,
) -> Result<Report, Error> {
    let patience = limits.resolve;
    // All of them: it is the operator's own list.
    let servers = storage::list(registry, &Filter::default(), usize::MAX).await?;
    let asked = stream::iter(servers).map(|server| async move {
        let listed = timeout(
            patience,
            connections.tools(&server, &CallerTokens::default()),
        )
        .await;
        (server, listed)
    });
    let mut rows = vec![["SERVER", "OFFERED NAME", "TOOL", "DESCRIPTION"].map(String::from)];
    let (mut servers, mut unusable) = (0, 0);
    let mut offered = Vec::new();
    let asked: Vec<_> = asked.buffered(AT_ONCE).collect().await;
    let mut found = FoundServers::new();
    let granted = check_settings::grants(asked.iter().map(|(server, _)| server));
    for (server, listed) in asked {
        servers += 1;
        let is_in_vain = subject::is_in_vain(&server, subject);
        let mut is_callers = false;
        let has: Result<Vec<String>, String>;
        match listed {
            Ok(Ok(listed)) => {
                let in_vain = granted_in_vain(&server, &listed);
                has = Ok(listed
                    .offered
                    .iter()
                    .map(|tool| tool.name.clone())
                    .collect());
                for tool in listed.offered {
                    let description = first_line(tool.description.as_deref().unwrap_or_default());
                    offered.push(tool.offered_name.clone());
                    rows.push(row(&server, tool.offered_name, tool.name, description));
                }
                for tool in listed.left_out {
                    let reason = format!("left out: {}", tool.reason());
                    rows.push(row(&server, "-".into(), tool.tool().into(), reason));
                }
                rows.extend(in_vain);
            }
            Ok(Err(Inactive::TokenMissing)) if is_in_vain => {
                unusable += 1;
                let reason = format!("inactive: {}", subject::IN_VAIN);
                has = Err(reason.clone());
                rows.push(row(&server, "-".into(), "-".into(), reason));
            }
            Ok(Err(inactive)) => {
                // Disabled on purpose, or for callers with a token of their own: no reason to
                // complain.
                let meant = matches!(inactive, Inactive::Disabled | Inactive::TokenMissing);
                unusable += usize::from(!meant);
                is_callers = matches!(inactive, Inactive::TokenMissing);
                has = Err(format!("inactive: {inactive}"));
                let detail = connections.failure_detail(&server);
                let reason = match inactive {
                    Inactive::TokenMissing => inactive.to_string(),
                    inactive => format!("inactive: {}", inactive.with_detail(detail.as_deref())),
                };
                rows.push(row(&server, "-".into(), "-".into(), reason));
            }
            Err(_) => {
                unusable += 1;
                let reason = format!("inactive: no list of tools within {} s", patience.as_secs());
                has = Err(reason.clone());
                rows.push(row(&server, "-".into(), "-".into(), reason));
            }
        }
        let grants = server.grants.iter().map(ProjectGrant::project);
        let unknown = grants.filter(|one| projects.is_some_and(|all| !all.contains(*one)));
        for project in unknown {
            let reason = format!("has a grant for {project}, a project without an API key");
            rows.push(row(&server, "-".into(), "-".into(), reason));
        }
        let (name, tools) = (server.name.clone(), has);
        let of_server = Found {
            server,
            tools,
            is_callers,
        };
        found.insert(name, of_server);
    }
    let mut text = match servers {
        0 => String::new(),
        _ => table(&rows) + "\n",
    };
    text += &format!(
        "{}, {}",
        count(servers, "server"),
        count(offered.len(), "tool")
    );
    if unusable > 0 {
        text += &format!("; {} cannot be used", count(unusable, "server"));
    }
    let budgets = check_settings::budgets(models, projects);
    for line in granted.into_iter().chain(budgets) {
        text += &format!("\n{line}");
    }
    let mut faulty = 0;
    if !models.is_empty() {
        let (rows, no_good) = check_models::rows(models, &found, limits.tools, searching);
        faulty = no_good;
        text += &format!("\n\n{}\n", table(&rows));
        text += &count(models.aliases().len(), "alias");
        text += &format!(", {}", count(models.defaults().len(), "default"));
        if faulty > 0 {
            text += &format!("; {faulty} without their tools");
        }
    }
    Ok(Report {
        text,
        offered,
        all_well: unusable + faulty == 0,
    })
}

/// A row for each tool that a grant names and that nobody is offered.
fn granted_in_vain(server: &Arc<Server>, listed: &ServerTools) -> Vec<[String; 4]> {
    let offered = listed.offered.iter().map(|tool| &*tool.name);
    let left_out = listed.left_out.iter().map(LeftOut::tool);
    let known: HashSet<&str> = offered.chain(left_out).collect();
    let named = server.grants.iter().flat_map(|grant| {
        let tools = grant.tools().into_iter().flatten();
        let tools = tools.chain(grant.tool_limits().keys());
        let unknown = tools.filter(|tool| !known.contains(&***tool));
        unknown.map(|tool| (tool, grant.project()))
    });
    let named: BTreeSet<_> = named.collect();
    let rows = named.into_iter().map(|(tool, project)| {
        let reason = format!("granted to {project}, but not selected, or not listed by the server");
        row(server, "-".into(), tool.clone(), reason)
    });
    rows.collect()
}

fn row(server: &Arc<Server>, offered_name: String, tool: String, text: String) -> [String; 4] {
    [server.name.to_string(), offered_name, tool, text]
}

fn table(rows: &[[String; 4]]) -> String {
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let (a, b, c) = (width(0), width(1), width(2));
    rows.iter()
        .map(|[server, name, tool, text]| format!("{server:a$}  {name:b$}  {tool:c$}  {text}\n"))
        .collect()
}

fn first_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    let line = line.unwrap_or_default().replace('\t', " ");
    match line.char_indices().nth(DESCRIPTION_LEN) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line,
    }
}

fn count(number: usize, noun: &str) -> String {
    let ending = match (number, noun.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{number} {noun}{ending}")
}
