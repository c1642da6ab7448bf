//! Lines of `--check` for prices, grants and budgets, where there are any.

use std::sync::Arc;

use mcp_layer::registry::{Budget, ModelRules, ProjectGrant, Server};

use crate::file::Prices;

/// The most names in a line.
const NAMED: usize = 20;

/// How many prices there are.
pub fn prices(prices: &Prices) -> Option<String> {
    let prices = [
        (prices.models.len(), "of models"),
        (prices.tools.len(), "of tools"),
    ];
    let prices = prices.into_iter().filter(|(number, _)| *number > 0);
    let prices: Vec<_> = prices
        .map(|(number, of)| format!("{number} {of}"))
        .collect();
    (!prices.is_empty()).then(|| format!("prices: {}", prices.join(", ")))
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
