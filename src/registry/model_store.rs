//! Where the aliases and defaults of organizations are kept.

use std::sync::Arc;

use super::{error::Error, future::BoxFuture, model_rules::ModelRules};

/// Knows the aliases of models and the default servers of each organization.
///
/// `Arc<R>` implements the trait for every `R`.
pub trait ModelRegistry: Send + Sync + 'static {
    /// The rules of `organization` as they are now.
    ///
    /// Called for every chat completion, also those without tools: answer from memory.
    fn rules(&self, organization: &str) -> Arc<ModelRules>;
}

/// A [`ModelRegistry`] whose rules an operator changes.
pub trait ModelStore: ModelRegistry {
    /// Returns the rules of `organization` with their version; 0 where none were ever stored.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn load<'a>(
        &'a self,
        organization: &'a str,
    ) -> BoxFuture<'a, Result<(Arc<ModelRules>, u64), Error>>;

    /// Replaces the rules of `organization`, and returns their new version; `None` if it is not
    /// this `version` that is stored: somebody has changed them since they were read.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn replace<'a>(
        &'a self,
        organization: &'a str,
        rules: ModelRules,
        version: u64,
    ) -> BoxFuture<'a, Result<Option<u64>, Error>>;
}

impl<R: ModelRegistry + ?Sized> ModelRegistry for Arc<R> {
    fn rules(&self, organization: &str) -> Arc<ModelRules> {
        (**self).rules(organization)
    }
}

impl<S: ModelStore + ?Sized> ModelStore for Arc<S> {
    fn load<'a>(
        &'a self,
        organization: &'a str,
    ) -> BoxFuture<'a, Result<(Arc<ModelRules>, u64), Error>> {
        (**self).load(organization)
    }

    fn replace<'a>(
        &'a self,
        organization: &'a str,
        rules: ModelRules,
        version: u64,
    ) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        (**self).replace(organization, rules, version)
    }
}
