//! The form of what a project is granted of a server.

use std::sync::Arc;

use askama::Template;
use axum::{
    body::Bytes,
    extract::{Path, State},
};
use http::StatusCode;

use super::pages::{ProjectPages, encoded};
use crate::{
    admin::{
        answer::Answer,
        dashboard::{
            control::number,
            errors::Errors,
            form::Form,
            page::{Frame, page},
            text::{Shown, sentence},
        },
        fault::{Code, Fault, Faults},
    },
    name::ServerName,
    registry::{
        CallLimit, CallLimits, ProjectGrant, Server, Source,
        members::{Node, Tree, Words, read_grant},
    },
};

#[derive(Template)]
#[template(path = "grant.html")]
struct Granting {
    frame: Frame,
    project_path: String,
    project: Shown,
    server: String,
    display: Shown,
    version: u64,
    errors: Errors,
    is_all: bool,
    /// One tool in each line.
    tools: String,
    /// By the names of the limits.
    limits: Vec<(&'static str, &'static str, String)>,
    /// One tool in each line, with its limits.
    tool_limits: String,
    is_granted: bool,
}

type Place = Path<(String, String)>;

/// `GET /projects/{project}/servers/{name}`
pub(in super::super) async fn ask(
    State(pages): State<ProjectPages>,
    Path((project, name)): Place,
) -> Answer {
    let server = server(&pages, &project, &name).await?;
    page(StatusCode::OK, &Granting::of(&pages, &server, &project))
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
    let grants = match form.text("go") {
        "remove" => Ok(server.grants.without(&project)),
        _ => entered(&form, &project).and_then(|grant| {
            let grants = server.grants.with(grant);
            Ok(grants.map_err(Fault::from)?)
        }),
    };
    let grants = match grants {
        Ok(grants) => grants,
        Err(faults) => {
            let status = faults.as_first().status();
            let errors = Errors::of(faults.map(in_words))?;
            let content = Granting::of(&pages, &server, &project).typed(&form, errors);
            return page(status, &content);
        }
    };
    let changed = Server {
        grants,
        version,
        ..Server::clone(&server)
    };
    pages.records.replace(changed).await?;
    Ok(pages.to(&format!("/projects/{}?done=grant", encoded(&project))))
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

/// Reads a grant.
fn entered(form: &Form, project: &str) -> Result<ProjectGrant, Faults> {
    let mut tree = with_limits(Tree::new().with("project", project), |limit| {
        number(form.trimmed(limit.as_str()))
    });
    if form.text("scope") == "only" {
        let tools = lines(form.text("tools"));
        tree.set("tools", tools.collect::<Tree<'_>>());
    }
    let tools = lines(form.text("tool_limits")).map(tool_limits);
    tree.set("tool_limits", tools.collect::<Tree<'_>>());
    let read = read_grant(&Node::new(&tree, &Words::JSON));
    read.map_err(|fault| Fault::from(fault).into())
}

/// A table with those limits that `value` has.
fn with_limits<'t>(table: Tree<'t>, value: impl Fn(CallLimit) -> Tree<'t>) -> Tree<'t> {
    let limits = CallLimit::ALL.into_iter();
    limits.fold(table, |table, limit| {
        table.with(limit.as_str(), value(limit))
    })
}

/// The lines of a text that are not blank.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
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
    fn of(pages: &ProjectPages, server: &Server, project: &str) -> Self {
        let grant = server.grants.of(project);
        let is_granted = grant.is_some();
        let grant = grant.cloned().unwrap_or_else(|| ProjectGrant::new(project));
        let tools = grant.tools().into_iter().flatten();
        let tools: Vec<&str> = tools.map(String::as_str).collect();
        let limits = grant.limits();
        let tool_limits = grant.tool_limits().iter();
        let tool_limits: Vec<_> = tool_limits
            .map(|(tool, limits)| written(tool, limits))
            .collect();
        Self {
            frame: pages.frame(),
            project_path: encoded(project),
            project: Shown::of(project),
            server: server.name.to_string(),
            display: Shown::of(server.display_name()),
            version: server.version,
            errors: Errors::default(),
            is_all: grant.tools().is_none(),
            tools: tools.join("\n"),
            limits: Vec::from(CallLimit::ALL.map(|of| {
                let calls = limits.get(of).map(|calls| calls.to_string());
                (of.as_str(), label(of), calls.unwrap_or_default())
            })),
            tool_limits: tool_limits.join("\n"),
            is_granted,
        }
    }

    fn typed(mut self, form: &Form, errors: Errors) -> Self {
        self.errors = errors;
        self.is_all = form.text("scope") != "only";
        self.tools = form.text("tools").to_owned();
        self.tool_limits = form.text("tool_limits").to_owned();
        for (name, _, calls) in &mut self.limits {
            *calls = form.text(name).to_owned();
        }
        self
    }
}

/// A tool with its limits in a line.
fn written(tool: &str, limits: &CallLimits) -> String {
    limits.iter().fold(tool.to_owned(), |line, (of, calls)| {
        format!("{line} {}={calls}", of.as_str())
    })
}

fn label(limit: CallLimit) -> &'static str {
    match limit {
        CallLimit::PerMinute => "Calls a minute",
        CallLimit::PerDay => "Calls a day",
        CallLimit::AtOnce => "Calls at once",
    }
}

/// A fault at the field that it is about.
fn in_words(fault: Fault) -> Fault {
    let param = fault.param().unwrap_or_default();
    let limit = CallLimit::ALL
        .into_iter()
        .find(|limit| limit.as_str() == param);
    let (field, words) = match limit {
        Some(limit) => (
            limit.as_str(),
            fault.message().replacen(limit.as_str(), label(limit), 1),
        ),
        None if param.starts_with("tool_limits") => ("tool_limits", fault.message().to_owned()),
        None if param.starts_with("tools") => ("tools", fault.message().to_owned()),
        None => return fault,
    };
    let words = sentence(&words);
    fault.with_page(Some(words.into())).at(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_tools_are_read_as_they_are_written() {
        for line in [
            "a calls_per_day=10",
            "a",
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
