//! The page of one project: its budget, its servers, and its keys.

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use http::StatusCode;

use super::pages::{ProjectPages, encoded};
use crate::{
    admin::{
        answer::Answer,
        dashboard::{
            errors::Errors,
            form::Form,
            overview::{count, fraction},
            page::{Frame, page},
            text::Shown,
        },
        fault::Fault,
        project::{Granted, Limit, ProjectRecord},
    },
    registry::{Budget, CallLimit, Source, budget_cost, usage::Used},
};

/// Tools of a grant that are named.
const NAMED: usize = 20;

#[derive(Template)]
#[template(path = "project.html")]
pub(super) struct Show {
    frame: Frame,
    path: String,
    project: String,
    name: Shown,
    done: Option<&'static str>,
    errors: Errors,
    is_declared: bool,
    /// What was typed, or is there.
    tokens: String,
    cost: String,
    /// What is used today of tokens and of cost.
    used: Option<[Use; 2]>,
    servers: Vec<Row>,
    /// With their limits.
    keys: Option<Vec<(Shown, Vec<String>)>>,
}

/// What is used today of one part of a budget.
pub(super) struct Use {
    used: Option<String>,
    limit: Option<String>,
    /// Requests are refused for it.
    pub(super) is_used_up: bool,
}

struct Row {
    name: String,
    display: Shown,
    is_declared: bool,
    /// `None` for all that are selected.
    tools: Option<Vec<GrantedTool>>,
    /// The number of tools that are not named.
    more_tools: usize,
    limits: Vec<String>,
    tool_limits: Vec<(Shown, Vec<String>)>,
    /// Other tools of the grant that the server does not list, or that cannot be offered, and the number of
    /// those that are not named.
    unlisted: Vec<Shown>,
    more_unlisted: usize,
}

struct GrantedTool {
    name: Shown,
    /// The server lists it, and it can be offered, as far as is known.
    is_listed: bool,
}

/// `GET /projects/{project}`
pub(in super::super) async fn show(
    State(pages): State<ProjectPages>,
    Path(project): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = Form::parse(query.unwrap_or_default().as_bytes())?;
    let mut content = Show::of(&pages, &project).await?;
    content.done = match query.text("done") {
        "budget" => Some("Saved. Requests that come now are held to it."),
        "unlimited" => Some("Removed. The project may use as much as it likes."),
        "grant" => Some("Saved. Calls that are made now are held to it."),
        "limits" => Some("The limits of calls are removed. Which tools are granted is as it was."),
        _ => None,
    };
    page(StatusCode::OK, &content)
}

impl Show {
    pub(super) async fn of(pages: &ProjectPages, project: &str) -> Result<Self, Fault> {
        let record = pages.project_records.read(project).await?;
        let ProjectRecord {
            budget,
            used,
            servers,
            keys,
            is_declared,
            ..
        } = record;
        let text = |limit: Option<String>| limit.unwrap_or_default();
        let budget = budget.as_ref();
        let keys = keys.map(|keys| {
            let keys = keys.iter().map(|listed| {
                let limits = listed.key.limits.iter();
                let limits = limits.map(|(of, calls)| format!("{calls} {}", each(of)));
                (Shown::of(&listed.key.name), limits.collect())
            });
            keys.collect()
        });
        Ok(Self {
            frame: pages.frame(),
            path: encoded(project),
            project: project.to_owned(),
            name: Shown::of(project),
            done: None,
            errors: Errors::default(),
            is_declared,
            tokens: text(budget.and_then(|budget| Some(budget.tokens_per_day()?.to_string()))),
            cost: text(budget.and_then(|budget| Some(budget.cost_per_day()?.to_string()))),
            used: used.map(|used| Use::of(budget, Some(used))),
            servers: servers.iter().map(Row::of).collect(),
            keys,
        })
    }

    /// The same with what was typed, and what is wrong with it.
    pub(super) fn typed(self, form: &Form, errors: Errors) -> Self {
        Self {
            tokens: form.text("tokens_per_day").to_owned(),
            cost: form.text("cost_per_day").to_owned(),
            errors,
            ..self
        }
    }
}

impl Row {
    fn of(granted: &Granted) -> Self {
        let tools = granted.grant.tools();
        let named = tools.map(|tools| {
            let named = tools.iter().take(NAMED).map(|tool| GrantedTool {
                name: Shown::short(tool, 60),
                is_listed: !granted.unlisted.contains(tool),
            });
            named.collect()
        });
        let is_named = |tool: &String| {
            let mut named = tools.into_iter().flatten().take(NAMED);
            named.any(|named| named == tool)
        };
        let unlisted = granted.unlisted.iter().filter(|tool| !is_named(tool));
        let unlisted: Vec<_> = unlisted.collect();
        let tool_limits = granted.tool_limits.iter();
        let tool_limits = tool_limits.map(|(tool, limits)| (Shown::short(tool, 60), told(limits)));
        Self {
            name: granted.server.name.to_string(),
            display: Shown::of(granted.server.display_name()),
            is_declared: granted.server.source == Source::File,
            tools: named,
            more_tools: tools.map_or(0, |tools| tools.len().saturating_sub(NAMED)),
            limits: told(&granted.limits),
            tool_limits: tool_limits.collect(),
            more_unlisted: unlisted.len().saturating_sub(NAMED),
            unlisted: unlisted
                .into_iter()
                .take(NAMED)
                .map(|tool| Shown::short(tool, 60))
                .collect(),
        }
    }
}

impl Use {
    /// What is used of tokens, and of cost.
    pub(super) fn of(budget: Option<&Budget>, used: Option<[Used; 2]>) -> [Self; 2] {
        let limits = [
            budget.and_then(Budget::tokens_per_day),
            budget.and_then(Budget::cost_nanos),
        ];
        let [tokens, cost] = [0, 1].map(|at| {
            let used = used.map(|used| used[at].amount);
            (used, limits[at])
        });
        let in_units = |nanos: u64| fraction(budget_cost(nanos));
        [Self::told_by(tokens, count), Self::told_by(cost, in_units)]
    }

    fn told_by((used, limit): (Option<u64>, Option<u64>), written: impl Fn(u64) -> String) -> Self {
        Self {
            is_used_up: used.zip(limit).is_some_and(|(used, limit)| used >= limit),
            used: used.map(&written),
            limit: limit.map(written),
        }
    }

    /// Such as `5 of 42.0k`.
    pub(super) fn told(&self) -> String {
        let used = self.used.as_deref().unwrap_or("not known");
        match &self.limit {
            Some(limit) => format!("{used} of {limit}"),
            None => used.to_owned(),
        }
    }
}

/// Limits in words, with what is used of each.
fn told(limits: &[Limit]) -> Vec<String> {
    let limits = limits.iter().map(|limit| {
        let of = each(limit.of);
        match limit.used {
            Some(used) => format!("{used} of {} {of}", limit.calls),
            None => format!("{} {of}", limit.calls),
        }
    });
    limits.collect()
}

/// What a limit is of, behind its number.
pub(in super::super) fn each(limit: CallLimit) -> &'static str {
    match limit {
        CallLimit::PerMinute => "a minute",
        CallLimit::PerDay => "a day",
        CallLimit::AtOnce => "at once",
    }
}

/// The label of the field of a limit.
pub(in super::super) fn label(limit: CallLimit) -> &'static str {
    match limit {
        CallLimit::PerMinute => "Calls a minute",
        CallLimit::PerDay => "Calls a day",
        CallLimit::AtOnce => "Calls at once",
    }
}
