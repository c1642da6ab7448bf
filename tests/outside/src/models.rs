//! The aliases, defaults and budgets of each organization.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mcp_layer::registry::{
    BoxFuture, Budget, DefaultServers, Error, ModelAlias, ModelRegistry, ModelRules, ModelStore,
};

/// A [`ModelStore`].
#[derive(Default)]
pub struct Models(Mutex<BTreeMap<String, (ModelRules, u64)>>);

impl Models {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, (ModelRules, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, organization: &str) -> Result<(Arc<ModelRules>, u64), Error> {
        match self.kept().get(organization) {
            Some((rules, version)) => Ok((Arc::new(rebuilt(rules)?), *version)),
            None => Ok((Arc::default(), 0)),
        }
    }
}

/// The rules, made anew of all that is in them: a store that keeps columns can give back as much.
fn rebuilt(kept: &ModelRules) -> Result<ModelRules, Error> {
    let aliases = kept.aliases().iter().map(|alias| {
        let mut again = ModelAlias::new(&alias.name, &alias.model, alias.servers.clone());
        again.projects = alias.projects.clone();
        again
    });
    let defaults = kept.defaults().iter().map(|rule| {
        DefaultServers::new(&rule.project, rule.servers.clone()).with_models(&rule.models)
    });
    let budgets: Result<Vec<_>, _> = kept.budgets().map(budget).collect();
    ModelRules::new(aliases, defaults)?.with_budgets(budgets?)
}

fn budget(kept: &Budget) -> Result<Budget, Error> {
    let mut again = Budget::new(kept.project());
    if let Some(tokens) = kept.tokens_per_day() {
        again = again.with_tokens_per_day(tokens)?;
    }
    match kept.cost_per_day() {
        Some(cost) => again.with_cost_per_day(cost),
        None => Ok(again),
    }
}

impl ModelRegistry for Models {
    fn rules(&self, organization: &str) -> Arc<ModelRules> {
        self.of(organization)
            .map(|(rules, _)| rules)
            .unwrap_or_default()
    }
}

impl ModelStore for Models {
    fn load_rules<'a>(
        &'a self,
        organization: &'a str,
    ) -> BoxFuture<'a, Result<(Arc<ModelRules>, u64), Error>> {
        Box::pin(async move { self.of(organization) })
    }

    fn replace_rules<'a>(
        &'a self,
        organization: &'a str,
        rules: ModelRules,
        version: u64,
    ) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        Box::pin(async move {
            let mut kept = self.kept();
            let stored = kept.get(organization).map_or(0, |(_, version)| *version);
            if stored != version {
                return Ok(None);
            }
            kept.insert(organization.to_owned(), (rules, version + 1));
            Ok(Some(version + 1))
        })
    }
}
