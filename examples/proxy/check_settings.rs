//! `--check` for what else is set: a line for each kind, and none for what is as usual.

use std::sync::Arc;

use mcp_layer::{
    NativeToolSearch, ToolSearch,
    registry::{Budget, ModelRules, ProjectGrant, Server},
};

use crate::config::Config;

/// The most names in a line.
const NAMED: usize = 20;

/// What the configuration says of tool search and prices.
pub fn told(config: &Config) -> Vec<String> {
    let search = match (config.native_tool_search, config.tool_search) {
        (Some(NativeToolSearch::Anthropic), _) => {
            Some("left to the upstream (anthropic)".to_owned())
        }
        (Some(_), _) => Some("left to the upstream (openai)".to_owned()),
        (None, ToolSearch::Auto) => {
            let most = config.limits.of_requests().tools;
            Some(format!("where a request has more than {most} tools"))
        }
        (None, ToolSearch::Above(most)) => Some(format!("above {most} tools of servers")),
        (None, _) => None,
    };
    let prices = [
        (config.prices.models.len(), "of models"),
        (config.prices.tools.len(), "of tools"),
    ];
    let prices = prices.into_iter().filter(|(number, _)| *number > 0);
    let prices: Vec<_> = prices
        .map(|(number, of)| format!("{number} {of}"))
        .collect();
    let prices = (!prices.is_empty()).then(|| format!("prices: {}", prices.join(", ")));
    let search = search.map(|when| format!("tool search: {when}"));
    search.into_iter().chain(prices).collect()
}

/// Which servers have grants, and for whom.
pub fn grants<'a>(servers: impl Iterator<Item = &'a Arc<Server>>) -> Option<String> {
    let granted = servers.filter(|server| !server.grants.is_empty());
    let granted = granted.map(|server| {
        let projects = server.grants.iter().map(ProjectGrant::project);
        format!(
            "{} for {}",
            server.name,
            some(projects.map(str::to_owned).collect())
        )
    });
    let granted: Vec<_> = granted.collect();
    (!granted.is_empty()).then(|| format!("grants: {}", granted.join("; ")))
}

/// What projects may use of models in a day.
pub fn budgets(rules: &ModelRules) -> Option<String> {
    let budgets: Vec<_> = rules.budgets().map(budget).collect();
    (!budgets.is_empty()).then(|| format!("budgets of a day: {}", some(budgets)))
}

fn budget(budget: &Budget) -> String {
    let tokens = budget.tokens_per_day();
    let tokens = tokens.map(|tokens| format!("{tokens} tokens"));
    let cost = budget
        .cost_per_day()
        .map(|cost| format!("a cost of {cost}"));
    let parts: Vec<_> = tokens.into_iter().chain(cost).collect();
    format!("{} {}", budget.project(), parts.join(" and "))
}

/// The first of these, and how many more there are.
fn some(mut all: Vec<String>) -> String {
    let more = all.len().saturating_sub(NAMED);
    all.truncate(NAMED);
    match more {
        0 => all.join(", "),
        more => format!("{} and {more} more", all.join(", ")),
    }
}
