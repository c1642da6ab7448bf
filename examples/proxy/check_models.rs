//! `--check` for aliases and defaults: what requests for each would get, or why they would not.

use std::collections::HashMap;

use mcp_layer::{
    ServerName,
    registry::{DefaultServers, ModelAlias, ModelRules, Projects, Server},
};

use crate::tool_search::Searching;

/// The most projects and servers that a row names.
const NAMED: usize = 5;

/// What was found out of a server: its tools by their own names, or why it has none.
pub struct Found {
    pub server: std::sync::Arc<Server>,
    pub tools: Result<Vec<String>, String>,
    /// Callers bring their own tokens: who does has its tools.
    pub is_callers: bool,
}

pub type FoundServers = HashMap<ServerName, Found>;

/// A row for each alias and each default, and the number of those that are no good.
pub fn rows(
    rules: &ModelRules,
    found: &FoundServers,
    most_tools: usize,
    searching: Searching,
) -> (Vec<[String; 4]>, usize) {
    let check = Check {
        found,
        most_tools,
        searching,
    };
    let mut rows = vec![["MODEL", "PROJECTS", "SERVERS", "REQUESTS GET"].map(String::from)];
    let mut faulty = 0;
    for alias in rules.aliases() {
        let verdict = check.alias(alias);
        faulty += usize::from(verdict.is_err());
        let model = &alias.model;
        let gets = match verdict {
            Ok(gets) => format!("{model} with {gets}"),
            Err(reason) => format!("an error: {reason}"),
        };
        let projects = match &alias.projects {
            Projects::Only(projects) => named(projects.iter()),
            _ => "all".to_owned(),
        };
        rows.push([
            alias.name.clone(),
            projects,
            named(alias.servers.iter()),
            gets,
        ]);
    }
    for default in rules.defaults() {
        let verdict = check.default(default);
        faulty += usize::from(verdict.is_err());
        let gets = match verdict {
            Ok(gets) => format!("by default {gets}"),
            Err(reason) => format!("no default, which is left out: {reason}"),
        };
        let models = named(default.models.iter());
        let servers = named(default.servers.iter());
        rows.push([models, default.project.clone(), servers, gets]);
    }
    (rows, faulty)
}

struct Check<'a> {
    found: &'a FoundServers,
    most_tools: usize,
    searching: Searching,
}

impl Check<'_> {
    fn alias(&self, alias: &ModelAlias) -> Result<String, String> {
        let projects: Vec<_> = match &alias.projects {
            Projects::Only(projects) => projects.iter().map(|name| Some(&**name)).collect(),
            _ => vec![None],
        };
        self.servers(&alias.servers, &projects)
    }

    fn default(&self, default: &DefaultServers) -> Result<String, String> {
        self.servers(&default.servers, &[Some(&default.project)])
    }

    /// What these servers have for all of these projects; `None` stands for every project.
    fn servers(&self, servers: &[ServerName], projects: &[Option<&str>]) -> Result<String, String> {
        let (mut tools, mut with_token) = (vec![0; projects.len()], Vec::new());
        for name in servers {
            let found = self.found.get(name);
            let found = found.ok_or_else(|| format!("there is no server {name}"))?;
            for project in projects {
                check_project(&found.server, *project)?;
            }
            match &found.tools {
                Ok(listed) => {
                    for (tools, project) in tools.iter_mut().zip(projects) {
                        *tools += granted(&found.server, listed, *project)?;
                    }
                }
                Err(_) if found.is_callers => with_token.push(name),
                Err(reason) => return Err(format!("{name} is {reason}")),
            }
        }
        let least = tools.iter().copied().min().unwrap_or_default();
        let tools = tools.into_iter().max().unwrap_or_default();
        let most = self.most_tools;
        // Whoever names a model alone has the loop, and so the search.
        let is_searched = self.searching.is_for(tools, most);
        if tools > most && !is_searched {
            return Err(format!(
                "{tools} tools are too many, at most {most} fit; tool_search = \"auto\" has models search for them"
            ));
        }
        let tools = format!(
            "{}{tools} tool{}{}",
            // Of several projects, each may be granted others.
            if least < tools {
                format!("{least} to ")
            } else {
                String::new()
            },
            if tools == 1 { "" } else { "s" },
            if is_searched { ", found by search" } else { "" }
        );
        Ok(match with_token.is_empty() {
            true => tools,
            false => format!(
                "{tools}, and for callers who send a token those of {}",
                named(with_token.into_iter())
            ),
        })
    }
}

fn check_project(server: &Server, project: Option<&str>) -> Result<(), String> {
    let name = &server.name;
    match (&server.projects, project) {
        (Projects::Only(_), None) => Err(format!("{name} is not for all projects")),
        (projects, Some(project)) if !projects.contains(project) => {
            Err(format!("{name} is not for the project {project}"))
        }
        _ => Ok(()),
    }
}

/// How many of the `listed` tools of a server a project is granted.
fn granted(server: &Server, listed: &[String], project: Option<&str>) -> Result<usize, String> {
    let Some(project) = project else {
        return Ok(listed.len());
    };
    let granted = listed
        .iter()
        .filter(|tool| server.grants.has(project, tool));
    match granted.count() {
        0 if !listed.is_empty() => Err(format!("{project} is granted no tool of {}", server.name)),
        granted => Ok(granted),
    }
}

fn named(names: impl ExactSizeIterator<Item = impl ToString>) -> String {
    let more = names.len().saturating_sub(NAMED);
    let names: Vec<_> = names.take(NAMED).map(|name| name.to_string()).collect();
    match more {
        0 => names.join(", "),
        more => format!("{}, and {more} more", names.join(", ")),
    }
}
