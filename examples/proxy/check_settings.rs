//! Lines of `--check` for prices, grants and budgets, where there are any.

use std::{collections::BTreeSet, sync::Arc};

use mcp_layer::registry::{Budget, ModelRules, ProjectGrant, Server};

use crate::file::Prices;

/// The most names in a line.
const NAMED: usize = 20;

/// How many prices there are, and each pattern of them that fits none of the `offered` names.
pub fn prices(prices: &Prices, offered: &[String]) -> Vec<String> {
    let numbers = [
        (prices.models.len(), "of models"),
        (prices.tools.len(), "of tools"),
    ];
    let numbers = numbers.into_iter().filter(|(number, _)| *number > 0);
    let numbers: Vec<_> = numbers
        .map(|(number, of)| format!("{number} {of}"))
        .collect();
    let told = (!numbers.is_empty()).then(|| format!("prices: {}", numbers.join(", ")));
    let unmatched = (prices.tools.iter())
        .filter(|price| price.tool() != "*" && !offered.iter().any(|name| price.is_for(name)));
    let unmatched =
        unmatched.map(|price| format!("prices: no tool above has a name like {}", price.tool()));
    told.into_iter().chain(unmatched).collect()
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

/// What projects may use of models in a day, and those of them that none of callers' keys is for, if
/// there are keys: `projects` are those of the keys.
pub fn budgets(rules: &ModelRules, projects: Option<&BTreeSet<String>>) -> Vec<String> {
    let budgets: Vec<_> = rules.budgets().map(budget).collect();
    let told = (!budgets.is_empty()).then(|| format!("budgets of a day: {}", some(budgets)));
    let named = rules.budgets().map(Budget::project);
    let unknown = named.filter(|one| projects.is_some_and(|all| !all.contains(*one)));
    let unknown =
        unknown.map(|one| format!("there is a budget for {one}, a project without an API key"));
    told.into_iter().chain(unknown).collect()
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
