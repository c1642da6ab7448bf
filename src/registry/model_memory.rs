//! Aliases and defaults in memory.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::{
    error::Error,
    future::BoxFuture,
    model_rules::ModelRules,
    model_store::{ModelRegistry, ModelStore},
};

/// The rules of each organization, with their version.
type Stored = HashMap<String, (Arc<ModelRules>, u64)>;

/// Aliases and defaults in memory, lost with the process. Clones are the same store.
///
/// ```
/// use mcp_layer::registry::{MemoryModels, ModelAlias, ModelRegistry, ModelRules, ModelStore};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let models = MemoryModels::default();
/// let alias = ModelAlias::new("gpt-5-docs", "gpt-5", ["docs".parse()?]);
/// let (_, version) = models.load_rules("default").await?;
/// models.replace_rules("default", ModelRules::new([alias], [])?, version).await?;
/// assert!(models.rules("default").alias("web", "gpt-5-docs").is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryModels(Arc<RwLock<Stored>>);

impl MemoryModels {
    /// Creates a store in which the organization `default` has these rules.
    pub fn new(rules: ModelRules) -> Self {
        let stored = Stored::from([("default".to_owned(), (Arc::new(rules), 1))]);
        Self(Arc::new(RwLock::new(stored)))
    }

    fn stored(&self, organization: &str) -> (Arc<ModelRules>, u64) {
        let stored = self.0.read().unwrap_or_else(PoisonError::into_inner);
        stored.get(organization).cloned().unwrap_or_default()
    }

    fn set(&self, organization: &str, rules: ModelRules, version: u64) -> Option<u64> {
        let mut stored = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_current = version == stored.get(organization).map_or(0, |(_, version)| *version);
        is_current.then(|| {
            stored.insert(organization.to_owned(), (Arc::new(rules), version + 1));
            version + 1
        })
    }
}

impl ModelRegistry for MemoryModels {
    fn rules(&self, organization: &str) -> Arc<ModelRules> {
        self.stored(organization).0
    }
}

impl ModelStore for MemoryModels {
    fn load_rules<'a>(
        &'a self,
        organization: &'a str,
    ) -> BoxFuture<'a, Result<(Arc<ModelRules>, u64), Error>> {
        Box::pin(async move { Ok(self.stored(organization)) })
    }

    fn replace_rules<'a>(
        &'a self,
        organization: &'a str,
        rules: ModelRules,
        version: u64,
    ) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        Box::pin(async move { Ok(self.set(organization, rules, version)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::conformance;

    #[tokio::test]
    async fn every_clause_holds() {
        conformance::models::all(async || MemoryModels::default()).await;
        let make = async || Arc::new(MemoryModels::default()) as Arc<dyn ModelStore>;
        conformance::models::all(make).await;
    }
}
