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
            page::{Frame, page},
            text::Shown,
        },
        fault::Fault,
        project::{Granted, Limit, ProjectRecord},
    },
    registry::{CallLimit, Source, budget_cost},
};

/// Tools of a grant that are named.
const NAMED: usize = 20;

#[derive(Template)]
#[template(path = "project.html")]
pub(super) struct Show {
    frame: Frame,
    path: String,
    name: Shown,
    done: Option<&'static str>,
    errors: Errors,
    is_declared: bool,
    /// What was typed, or is there.
    tokens: String,
    cost: String,
    /// What is used today of tokens and of cost.
    used: Option<(String, String)>,
    servers: Vec<Row>,
    keys: Option<Vec<Shown>>,
}

struct Row {
    name: String,
    display: Shown,
    is_declared: bool,
    /// `None` for all that are selected.
    tools: Option<Vec<Shown>>,
    /// The number of tools that are not named.
    more_tools: usize,
    limits: Vec<String>,
    tool_limits: Vec<(Shown, Vec<String>)>,
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
            let names = keys.iter().map(|listed| Shown::of(&listed.key.name));
            names.collect()
        });
        Ok(Self {
            frame: pages.frame(),
            path: encoded(project),
            name: Shown::of(project),
            done: None,
            errors: Errors::default(),
            is_declared,
            tokens: text(budget.and_then(|budget| Some(budget.tokens_per_day()?.to_string()))),
            cost: text(budget.and_then(|budget| Some(budget.cost_per_day()?.to_string()))),
            used: used.map(|[tokens, cost]| {
                let cost = budget_cost(cost.amount);
                (tokens.amount.to_string(), cost.to_string())
            }),
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
            let named = tools.iter().take(NAMED).map(|tool| Shown::short(tool, 60));
            named.collect()
        });
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
        }
    }
}

/// Limits in words, with what is used of each.
fn told(limits: &[Limit]) -> Vec<String> {
    let limits = limits.iter().map(|limit| {
        let of = match limit.of {
            CallLimit::PerMinute => "a minute",
            CallLimit::PerDay => "a day",
            CallLimit::AtOnce => "at once",
        };
        match limit.used {
            Some(used) => format!("{used} of {} {of}", limit.calls),
            None => format!("{} {of}", limit.calls),
        }
    });
    limits.collect()
}
