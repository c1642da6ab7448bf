//! The form of what a project is granted of a server.

use std::{collections::BTreeSet, sync::Arc};

use askama::Template;
use axum::{
    body::Bytes,
    extract::{Path, State},
};
use http::StatusCode;

use super::{
    pages::{ProjectPages, encoded},
    show::label,
};
use crate::{
    admin::{
        answer::Answer,
        dashboard::{
            control::number,
            errors::{Errors, field},
            form::Form,
            page::{Frame, page},
            text::{Shown, sentence},
        },
        fault::{Code, Fault},
    },
    name::ServerName,
    registry::{
        self, CallLimit, CallLimits, ProjectGrant, ProjectGrants, Server, Source,
        members::{Node, Tree, Words, read_grant},
    },
};

#[derive(Template)]
#[template(path = "grant.html")]
struct Granting {
    frame: Frame,
    project_path: String,
    project_name: String,
    project: Shown,
    server: String,
    display: Shown,
    version: u64,
    errors: Errors,
    /// Where what somebody else saved meanwhile differs from what was typed: the label, theirs, and
    /// that.
    conflict: Option<Vec<(&'static str, Shown, Shown)>>,
    is_all: bool,
    /// The tools to choose from: those that the server lists and that are selected, or granted.
    tools: Vec<Tool>,
    /// Granted tools that are not among these, one in each line.
    more_tools: String,
    limits: Vec<Limit>,
    /// One tool in each line, with its limits.
    tool_limits: String,
    is_limited: bool,
}

struct Tool {
    name: String,
    label: Shown,
    is_on: bool,
    is_selected: bool,
}

/// The field of a limit of all calls.
struct Limit {
    name: &'static str,
    id: String,
    label: &'static str,
    calls: String,
}

type Place = Path<(String, String)>;

/// `GET /projects/{project}/servers/{name}`
pub(in super::super) async fn ask(
    State(pages): State<ProjectPages>,
    Path((project, name)): Place,
) -> Answer {
    let server = server(&pages, &project, &name).await?;
    page(
        StatusCode::OK,
        &Granting::of(&pages, &server, &project).await?,
    )
}

/// `POST /projects/{project}/servers/{name}`
pub(in super::super) async fn save(
    State(pages): State<ProjectPages>,
    Path((project, name)): Place,
    form: Bytes,
) -> Answer {
    let form = Form::parse(&form)?;
    let server = server(&pages, &project, &name).await?;
    let version = form.text("version").parse().unwrap_or_default();
    let stored = server.grants.of(&project);
    let (grants, done) = match form.text("go") {
        "remove" => (unlimited(&server.grants, &project), "limits"),
        _ => {
            let grant = entered(&form, &project, stored);
            let grants = grant.and_then(|grant| Ok(granted(&server.grants, grant)?));
            (grants, "grant")
        }
    };
    let saved = match grants {
        Ok(grants) => {
            let changed = Server {
                grants,
                version,
                ..Server::clone(&server)
            };
            pages.records.replace(changed).await
        }
        Err(fault) => Err(fault),
    };
    let Err(fault) = saved else {
        return Ok(pages.to(&format!("/projects/{}?done={done}", encoded(&project))));
    };
    if fault.code() == Code::StaleVersion {
        // Once more: it is this version that the next try replaces.
        let server = self::server(&pages, &project, &name).await?;
        let content = Granting::of(&pages, &server, &project).await?;
        return page(fault.status(), &content.conflicting(&form));
    }
    let status = fault.status();
    let errors = Errors::of(in_words(fault, form.text("tool_limits")))?;
    let content = Granting::of(&pages, &server, &project).await?;
    page(status, &content.typed(&form, errors))
}

/// `grants` with this one, unless it takes nothing away.
fn granted(grants: &ProjectGrants, grant: ProjectGrant) -> Result<ProjectGrants, registry::Error> {
    match grant == ProjectGrant::new(grant.project()) {
        true => Ok(grants.without(grant.project())),
        false => grants.with(grant),
    }
}

/// `grants` without the limits of `project`: its tools stay as they are granted.
fn unlimited(grants: &ProjectGrants, project: &str) -> Result<ProjectGrants, Fault> {
    let grant = ProjectGrant::new(project);
    let grant = match grants.of(project).and_then(ProjectGrant::tools) {
        Some(tools) => grant.with_tools(tools.iter().cloned())?,
        None => grant,
    };
    Ok(granted(grants, grant)?)
}

/// The server of this name, which the project can use, and which is changed here.
async fn server(pages: &ProjectPages, project: &str, name: &str) -> Result<Arc<Server>, Fault> {
    let absent = || {
        Fault::new(
            Code::ServerNotFound,
            "this project has no server of this name",
        )
    };
    let name: ServerName = name.parse().map_err(|_| absent())?;
    let server = pages.store.get(&name).await?;
    match server.source {
        Source::File => Err(pages.store.declared().fault(&name)),
        _ if server.draft || !server.projects.contains(project) => Err(absent()),
        _ => Ok(server),
    }
}

/// Reads a grant, where `stored` is there so far.
fn entered(
    form: &Form,
    project: &str,
    stored: Option<&ProjectGrant>,
) -> Result<ProjectGrant, Fault> {
    let mut tree = with_limits(Tree::new().with("project", project), |limit| {
        number(form.trimmed(limit.as_str()))
    });
    let before = stored.and_then(ProjectGrant::tools);
    let is_new = |tool: &str| before.is_none_or(|before| !before.contains(tool));
    if form.text("scope") == "only" {
        tree.set("tools", named(form).collect::<Tree<'_>>());
    } else if named(form).any(is_new) {
        // Those that are there so far are what is given up; others were named just now.
        let reason = "must not be named where all are chosen";
        let words = "You named tools, but chose all that are selected. Save now to grant only \
                     those that are named, or take the names out to grant all.";
        let fault = Fault::of(Code::InvalidRequest, "tools", reason);
        return Err(fault.with_page(Some(words.into())));
    }
    let tools = lines(form.text("tool_limits")).map(|(_, line)| tool_limits(line));
    tree.set("tool_limits", tools.collect::<Tree<'_>>());
    Ok(read_grant(&Node::new(&tree, &Words::JSON))?)
}

/// The tools that a form names: those that are ticked, and those that are typed.
fn named(form: &Form) -> impl Iterator<Item = &str> {
    let typed = lines(form.text("more_tools")).map(|(_, line)| line);
    form.all("tool").chain(typed)
}

/// A table with those limits that `value` has.
fn with_limits<'t>(table: Tree<'t>, value: impl Fn(CallLimit) -> Tree<'t>) -> Tree<'t> {
    let limits = CallLimit::ALL.into_iter();
    limits.fold(table, |table, limit| {
        table.with(limit.as_str(), value(limit))
    })
}

/// The lines of a text that are not blank, with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = (1..).zip(text.lines().map(str::trim));
    lines.filter(|(_, line)| !line.is_empty())
}

/// A tool with its limits, as `NAME calls_per_day=10 calls_at_once=1`.
fn tool_limits(line: &str) -> Tree<'_> {
    let mut words = line.split_whitespace().collect::<Vec<_>>();
    let mut limits = Vec::new();
    while let Some((name, value)) = words.last().and_then(|word| word.split_once('=')) {
        limits.push((name, value));
        words.pop();
    }
    // The name is what stands before them, whatever is in it.
    let name = match limits.last() {
        Some((first, _)) => line[..line.rfind(&format!("{first}=")).unwrap_or(0)].trim_end(),
        None => line,
    };
    let limits = limits.into_iter().rev();
    let table = Tree::new().with("tool", name);
    limits.fold(table, |table, (name, value)| {
        table.with(name, number(value))
    })
}

impl Granting {
    async fn of(pages: &ProjectPages, server: &Server, project: &str) -> Result<Self, Fault> {
        let seen = pages.store.observed(server).await?.unwrap_or_default();
        let grant = server.grants.of(project).cloned();
        let grant = grant.unwrap_or_else(|| ProjectGrant::new(project));
        let is_on = |tool: &str| grant.tools().is_some_and(|tools| tools.contains(tool));
        let tools = seen.listed.keys().map(|tool| Tool {
            name: tool.clone(),
            label: Shown::of(tool),
            is_on: is_on(tool),
            is_selected: server.tools.policy(tool).is_some(),
        });
        let more = grant.tools().into_iter().flatten();
        let more = more.filter(|tool| !seen.listed.contains_key(*tool));
        let more: Vec<&str> = more.map(String::as_str).collect();
        let limits = grant.limits();
        let tool_limits = grant.tool_limits().iter();
        let tool_limits: Vec<_> = tool_limits
            .map(|(tool, limits)| written(tool, limits))
            .collect();
        Ok(Self {
            frame: pages.frame(),
            project_path: encoded(project),
            project_name: project.to_owned(),
            project: Shown::of(project),
            server: server.name.to_string(),
            display: Shown::of(server.display_name()),
            version: server.version,
            errors: Errors::default(),
            conflict: None,
            is_all: grant.tools().is_none(),
            tools: tools
                .filter(|tool| tool.is_selected || tool.is_on)
                .collect(),
            more_tools: more.join("\n"),
            is_limited: !limits.is_empty() || !tool_limits.is_empty(),
            limits: Vec::from(CallLimit::ALL.map(|of| {
                Limit {
                    name: of.as_str(),
                    id: field(of.as_str()),
                    label: label(of),
                    calls: limits
                        .get(of)
                        .map_or_else(String::new, |calls| calls.to_string()),
                }
            })),
            tool_limits: tool_limits.join("\n"),
        })
    }

    /// The same with what was typed, and what is wrong with it.
    fn typed(mut self, form: &Form, errors: Errors) -> Self {
        // Where tools are named although all are chosen, they are what the next try grants.
        self.is_all = form.text("scope") != "only" && errors.at("tools").is_none();
        self.errors = errors;
        let ticked: BTreeSet<&str> = form.all("tool").collect();
        for tool in &mut self.tools {
            tool.is_on = ticked.contains(&*tool.name);
        }
        let is_shown = |name: &str| self.tools.iter().any(|tool| tool.name == name);
        // What is not listed any more goes to those that are typed.
        let typed = form.text("more_tools");
        let gone = ticked.into_iter().filter(|name| !is_shown(name));
        let more: Vec<&str> = typed.lines().chain(gone).collect();
        self.more_tools = more.join("\n");
        self.tool_limits = form.text("tool_limits").to_owned();
        for limit in &mut self.limits {
            limit.calls = form.text(limit.name).to_owned();
        }
        self
    }

    /// What was typed, on top of what somebody else saved meanwhile.
    fn conflicting(self, form: &Form) -> Self {
        let theirs = self.told();
        let mut content = self.typed(form, Errors::default());
        let both = theirs.into_iter().zip(content.told());
        let differ = both.filter(|((_, theirs), (_, mine))| theirs != mine);
        let differences = differ.map(|((label, theirs), (_, mine))| {
            (label, Shown::short(&theirs, 200), Shown::short(&mine, 200))
        });
        content.conflict = Some(differences.collect());
        content
    }

    /// What the form says, by labels.
    fn told(&self) -> Vec<(&'static str, String)> {
        let ticked = self.tools.iter().filter(|tool| tool.is_on);
        let typed = lines(&self.more_tools).map(|(_, line)| line);
        let tools = ticked.map(|tool| &*tool.name).chain(typed);
        let tools: BTreeSet<&str> = tools.collect();
        let tools = match self.is_all {
            true => "all that are selected".to_owned(),
            false if tools.is_empty() => "none".to_owned(),
            false => Vec::from_iter(tools).join(", "),
        };
        let or_none = |limits: &str| match limits {
            "" => "not limited".to_owned(),
            limits => limits.to_owned(),
        };
        let limits = self.limits.iter();
        let limits = limits.map(|limit| (limit.label, or_none(limit.calls.trim())));
        let of_tools = lines(&self.tool_limits).map(|(_, line)| line);
        let of_tools = Vec::from_iter(of_tools).join("; ");
        let rest = [(OF_TOOLS, or_none(&of_tools))];
        [("Tools", tools)]
            .into_iter()
            .chain(limits)
            .chain(rest)
            .collect()
    }
}

/// The label of the limits of single tools.
const OF_TOOLS: &str = "Calls of single tools";

/// A tool with its limits in a line.
fn written(tool: &str, limits: &CallLimits) -> String {
    limits.iter().fold(tool.to_owned(), |line, (of, calls)| {
        format!("{line} {}={calls}", of.as_str())
    })
}

/// A fault at the field that it is about, in the words of the form; `of_tools` is what was typed of
/// single tools.
fn in_words(fault: Fault, of_tools: &str) -> Fault {
    let param = fault.param().unwrap_or_default();
    let reason = fault.message().strip_prefix(param);
    let reason = reason.unwrap_or(fault.message());
    let reason = reason.trim_start_matches([':', ' ']);
    let limit = CallLimit::ALL
        .into_iter()
        .find(|limit| limit.as_str() == param);
    let (field, words) = match (limit, param.split('[').next()) {
        _ if fault.page().is_some() => return fault,
        (Some(limit), _) => {
            let reason = reason.replace("leave it out", "leave the field empty");
            (limit.as_str(), format!("{} {reason}", label(limit)))
        }
        (None, Some("tool_limits")) => ("tool_limits", in_line(param, reason, of_tools)),
        (None, Some("tools")) => ("tools", format!("Tools: {reason}")),
        _ => return fault,
    };
    let words = sentence(&words);
    fault.with_page(Some(words.into())).at(field)
}

/// What is wrong with a line of the limits of single tools: `tool_limits[0].calls_per_day` is its
/// place.
fn in_line(place: &str, reason: &str, of_tools: &str) -> String {
    let item = place.split(['[', ']']).nth(1);
    let item = item.and_then(|item| item.parse().ok());
    let line = item.and_then(|item| lines(of_tools).nth(item));
    let line = line.map_or_else(
        || OF_TOOLS.to_owned(),
        |(number, _)| format!("{OF_TOOLS}, line {number}"),
    );
    match place.rsplit_once("].") {
        Some((_, member)) if member != "tool" => {
            let reason = reason.replacen("known are tool, ", "known are ", 1);
            format!("{line}: {member} {reason}")
        }
        _ => format!("{line}: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_tools_are_read_as_they_are_written() {
        for line in [
            "a calls_per_day=10",
            "a tool=with odd name calls_per_minute=1 calls_at_once=2",
            "calls_per_day calls_per_day=3",
        ] {
            let tools: Tree<'_> = [tool_limits(line)].into_iter().collect();
            let tree = Tree::new()
                .with("project", "web")
                .with("tool_limits", tools);
            let grant = read_grant(&Node::new(&tree, &Words::JSON)).unwrap();
            let (tool, limits) = grant.tool_limits().iter().next().unwrap();
            assert_eq!(written(tool, limits), line);
        }
    }
}
