//! Where the aliases and defaults of organizations are kept.

use std::sync::Arc;

use super::{error::Error, future::BoxFuture, model_rules::ModelRules};

/// Knows the aliases of models, the default servers and the budgets of each organization.
///
/// `Arc<R>` implements the trait for every `R`.
///
/// ```
/// use std::sync::Arc;
/// use mcp_layer::{McpLayer, registry::{MemoryRegistry, ModelAlias, ModelRegistry, ModelRules}};
///
/// /// One alias, for everybody.
/// struct Docs(Arc<ModelRules>);
///
/// impl ModelRegistry for Docs {
///     fn rules(&self, _organization: &str) -> Arc<ModelRules> {
///         Arc::clone(&self.0)
///     }
/// }
///
/// let alias = ModelAlias::new("gpt-5-docs", "gpt-5", ["docs".parse()?]);
/// let models = Docs(Arc::new(ModelRules::new([alias], [])?));
/// let layer = McpLayer::new(MemoryRegistry::default()).with_models(models);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ModelRegistry: Send + Sync + 'static {
    /// The rules of `organization` as they are now.
    ///
    /// Called for every chat completion, also those without tools: answer from memory.
    fn rules(&self, organization: &str) -> Arc<ModelRules>;
}

/// A [`ModelRegistry`] whose rules an operator changes.
///
/// The rules of an organization are one document, so that they always agree with each other: read
/// it, change it, and replace it with the version that was read. [`rules`](ModelRegistry::rules)
/// are what is stored and what is [`declared`](Self::declared), together.
///
/// `conformance::models` (feature `conformance`) tests what can be seen of this contract. `Arc<S>`
/// implements the trait for every `S`.
pub trait ModelStore: ModelRegistry {
    /// The rules of `organization` that are not in the store and cannot be changed there, such as
    /// those of a file; by default none.
    fn declared(&self, _organization: &str) -> Arc<ModelRules> {
        Arc::default()
    }

    /// Returns the stored rules of `organization` with their version; 0 where none were ever stored.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn load_rules<'a>(
        &'a self,
        organization: &'a str,
    ) -> BoxFuture<'a, Result<(Arc<ModelRules>, u64), Error>>;

    /// Replaces the stored rules of `organization`, and returns their new version; `None` if it is
    /// not this `version` that is stored: somebody has changed them since they were read.
    ///
    /// They are in force in this process when the future is ready, and within a second everywhere.
    ///
    /// # Errors
    /// [`Error::Invalid`] if they do not agree with what is declared; [`Error::Unavailable`].
    ///
    /// # Cancellation
    /// A dropped future may have replaced them.
    fn replace_rules<'a>(
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
    fn declared(&self, organization: &str) -> Arc<ModelRules> {
        (**self).declared(organization)
    }

    fn load_rules<'a>(
        &'a self,
        organization: &'a str,
    ) -> BoxFuture<'a, Result<(Arc<ModelRules>, u64), Error>> {
        (**self).load_rules(organization)
    }

    fn replace_rules<'a>(
        &'a self,
        organization: &'a str,
        rules: ModelRules,
        version: u64,
    ) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        (**self).replace_rules(organization, rules, version)
    }
}
