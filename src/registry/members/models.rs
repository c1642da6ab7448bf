//! The members of aliases, defaults and budgets, as every text has them: files, REST, pages and databases.

use super::{
    node::{Fault, Members, Node, Step},
    tree::Tree,
    value::{self, Value},
};
use crate::{
    name::ServerName,
    registry::{
        Budget, COST, DefaultServers, Error, ModelAlias, ModelRules, Projects, TOKENS,
        model_rules::{Broken, List},
    },
};

/// The members of an alias.
const ALIAS: [&str; 4] = ["name", "model", "servers", "projects"];
/// The members of a default.
const DEFAULT: [&str; 3] = ["project", "models", "servers"];

/// The members of a budget.
const BUDGET: [&str; 3] = ["name", "tokens_per_day", "cost_per_day"];

/// Reads an alias; `projects` may be absent.
pub(crate) fn read_alias(at: &Node<'_>) -> Result<ModelAlias, Fault> {
    let members = at.table(format!("must be {}", at.words().table))?;
    members.allow(ALIAS)?;
    let (name, model) = (members.require("name")?, members.require("model")?);
    let mut alias = ModelAlias::new(name.text()?, model.text()?, servers(&members)?);
    if let Some(projects) = members.get("projects") {
        alias.projects = Projects::read(&projects)?;
    }
    Ok(alias)
}

/// Reads a default; `models` may be absent.
pub(crate) fn read_default(at: &Node<'_>) -> Result<DefaultServers, Fault> {
    let members = at.table(format!("must be {}", at.words().table))?;
    members.allow(DEFAULT)?;
    let project = members.require("project")?;
    let default = DefaultServers::new(project.text()?, servers(&members)?);
    Ok(match members.get("models") {
        Some(models) => default.with_models(models.texts("must be a list of patterns of models")?),
        None => default,
    })
}

/// Reads the budget of a project.
pub(crate) fn read_budget(at: &Node<'_>) -> Result<Budget, Fault> {
    let members = at.table(format!("must be {}", at.words().table))?;
    members.allow(BUDGET)?;
    let project = members.require("name")?;
    read_budget_limits(&members, Budget::new(project.text()?))
}

/// Reads what a budget limits; the rest of its table is for the caller to allow.
pub(crate) fn read_budget_limits(
    members: &Members<'_>,
    mut budget: Budget,
) -> Result<Budget, Fault> {
    if let Some(tokens) = members.get("tokens_per_day") {
        let count = tokens.count().map_err(|_| tokens.fault(TOKENS))?;
        let limited = budget.with_tokens_per_day(count);
        budget = limited.map_err(|_| tokens.fault(TOKENS))?;
    }
    if let Some(cost) = members.get("cost_per_day") {
        let limited = budget.with_cost_per_day(cost.number(COST)?);
        budget = limited.map_err(|_| cost.fault(COST))?;
    }
    Ok(budget)
}

/// Reads rules from the lists `models`, `defaults` and `projects` of a table, which may be absent. What else it
/// has is for the caller to allow.
pub(crate) fn read_rules(members: &Members<'_>) -> Result<ModelRules, Fault> {
    let list = |list: List| match members.get(list.name()) {
        Some(entries) => entries.items("must be a list"),
        None => Ok(Vec::new()),
    };
    let aliases = list(List::Models)?;
    let aliases: Result<Vec<_>, _> = aliases.iter().map(read_alias).collect();
    let defaults = list(List::Defaults)?;
    let defaults: Result<Vec<_>, _> = defaults.iter().map(read_default).collect();
    let budgets = list(List::Projects)?;
    let budgets: Result<Vec<_>, _> = budgets.iter().map(read_budget).collect();
    let (aliases, defaults, budgets) = (aliases?, defaults?, budgets?);
    let rules = ModelRules::build(aliases, defaults).and_then(|rules| rules.budgeted(budgets));
    rules.map_err(|broken| refused(members, broken))
}

/// Writes rules as a table with both lists, and with that of budgets if there are any.
pub(crate) fn write_rules(rules: &ModelRules) -> Tree<'_> {
    let aliases: Tree<'_> = rules.aliases().iter().map(write_alias).collect();
    let defaults: Tree<'_> = rules.defaults().iter().map(write_default).collect();
    let table = Tree::new()
        .with(List::Models.name(), aliases)
        .with(List::Defaults.name(), defaults);
    let budgets: Vec<_> = rules.budgets().map(write_budget).collect();
    match budgets.is_empty() {
        true => table,
        false => table.with(List::Projects.name(), Tree::List(budgets)),
    }
}

/// Writes a budget.
pub(crate) fn write_budget(budget: &Budget) -> Tree<'_> {
    Tree::new()
        .with("name", budget.project())
        .with("tokens_per_day", budget.tokens_per_day())
        .with("cost_per_day", budget.cost_per_day())
}

/// Writes an alias.
fn write_alias(alias: &ModelAlias) -> Tree<'_> {
    Tree::new()
        .with("name", alias.name.as_str())
        .with("model", alias.model.as_str())
        .with("servers", named(&alias.servers))
        .with("projects", value::projects(&alias.projects))
}

/// Writes a default.
fn write_default(default: &DefaultServers) -> Tree<'_> {
    let models: Tree<'_> = default.models.iter().map(String::as_str).collect();
    Tree::new()
        .with("project", default.project.as_str())
        .with("models", models)
        .with("servers", named(&default.servers))
}

fn named(servers: &[ServerName]) -> Tree<'_> {
    servers.iter().map(ServerName::as_str).collect()
}

/// The fault of the entry that breaks a rule.
fn refused(members: &Members<'_>, broken: Broken) -> Fault {
    let mut fault = members.fault(broken.list.name(), broken.reason.clone());
    fault.path.extend(broken.at.map(Step::Item));
    fault.source = Some(Error::from(broken));
    fault
}

fn servers(members: &Members<'_>) -> Result<Vec<ServerName>, Fault> {
    let names = members.require("servers")?;
    let names = names.items("must be a list of names of servers")?;
    let name = |at: &Node<'_>| {
        let name = at.text()?.parse();
        name.map_err(|error: crate::name::InvalidServerName| at.fault(error.to_string()))
    };
    names.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::members::Words;

    fn read(json: &str) -> Result<ModelRules, String> {
        let tree = Tree::json(json.as_bytes()).unwrap();
        let root = Node::new(&tree, &Words::JSON);
        let rules = root
            .table("must be an object")
            .and_then(|table| read_rules(&table));
        rules.map_err(|fault| format!("{} {}", fault.place(&Words::JSON), fault.reason))
    }

    #[test]
    fn rules_are_read_as_they_were_written() {
        let text = r#"{"models":[{"name":"é\"","model":"m","servers":["b","a"],"projects":["x","y"]},{"name":"n","model":"m","servers":["a"],"projects":"all"}],"defaults":[{"project":"web","models":["gpt-5*","o3"],"servers":["a"]}]}"#;
        let rules = read(text).unwrap();
        assert_eq!(serde_json::to_string(&write_rules(&rules)).unwrap(), text);
        let short = r#"{"models":[{"name":"n","model":"m","servers":["a"]}],"defaults":[{"project":"p","servers":["a"]}]}"#;
        let rules = read(short).unwrap();
        assert_eq!(rules.aliases()[0].projects, Projects::All);
        assert_eq!(rules.defaults()[0].models, ["*"]);
        assert!(read("{}").unwrap().is_empty());
    }

    #[test]
    fn every_fault_has_its_place() {
        for (text, expected) in [
            (r#"{"models":{}}"#, "models must be a list"),
            (r#"{"models":[1]}"#, "models[0] must be an object"),
            (
                r#"{"models":[{"name":"n","x":1}]}"#,
                "models[0].x is not known here; known are name, model, servers, projects",
            ),
            (
                r#"{"models":[{"name":"n","servers":["a"]}]}"#,
                "models[0].model is missing",
            ),
            (
                r#"{"models":[{"name":"n","model":"m","servers":["a","B"]}]}"#,
                "models[0].servers[1] use 1 to 40 lowercase letters, digits and single hyphens",
            ),
            (
                r#"{"models":[{"name":"n","model":"n","servers":["a"]}]}"#,
                "models[0] model is the name of an alias; give the model that the upstream knows",
            ),
            (
                r#"{"defaults":[{"project":"p","models":[],"servers":["a"]}]}"#,
                "defaults[0] models is empty",
            ),
            (
                r#"{"defaults":[{"project":"p","models":"*","servers":["a"]}]}"#,
                "defaults[0].models must be a list of patterns of models",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), expected);
        }
    }
}
