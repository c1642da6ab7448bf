//! Aliases of models and default servers: what an operator decides for callers that cannot say `mcp`.

use super::{error::Error, projects::Projects};
use crate::{name::ServerName, pattern::fits};

/// A name that callers may use as their `model`, to get another model with the tools of servers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelAlias {
    /// The name that callers use.
    pub name: String,
    /// The model that the upstream is asked for.
    pub model: String,
    /// The servers, at least one.
    pub servers: Vec<ServerName>,
    /// The projects that have the alias; default all.
    pub projects: Projects,
}

/// The servers that requests of a project get which ask for none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DefaultServers {
    /// The project whose requests these are.
    pub project: String,
    /// Patterns of their models, in which `*` stands for any text; at least one.
    pub models: Vec<String>,
    /// The servers, at least one.
    pub servers: Vec<ServerName>,
}

/// The aliases and defaults of one organization, which agree with each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelRules {
    aliases: Vec<ModelAlias>,
    defaults: Vec<DefaultServers>,
}

impl ModelAlias {
    /// Creates an alias that all projects have.
    pub fn new(
        name: impl Into<String>,
        model: impl Into<String>,
        servers: impl IntoIterator<Item = ServerName>,
    ) -> Self {
        Self {
            name: name.into(),
            model: model.into(),
            servers: servers.into_iter().collect(),
            projects: Projects::All,
        }
    }
}

impl DefaultServers {
    /// Creates a default for requests of `project` to models of any name.
    pub fn new(project: impl Into<String>, servers: impl IntoIterator<Item = ServerName>) -> Self {
        Self {
            project: project.into(),
            models: vec!["*".to_owned()],
            servers: servers.into_iter().collect(),
        }
    }
}

impl ModelRules {
    /// Creates rules of these aliases and defaults.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn new(
        aliases: impl IntoIterator<Item = ModelAlias>,
        defaults: impl IntoIterator<Item = DefaultServers>,
    ) -> Result<Self, Error> {
        Ok(Self {
            aliases: aliases.into_iter().collect(),
            defaults: defaults.into_iter().collect(),
        })
    }

    /// The aliases, in the order in which they were given.
    pub fn aliases(&self) -> &[ModelAlias] {
        &self.aliases
    }

    /// The defaults, in the order in which they were given.
    pub fn defaults(&self) -> &[DefaultServers] {
        &self.defaults
    }

    /// Returns `true` if there is neither an alias nor a default.
    pub fn is_empty(&self) -> bool {
        self.aliases.is_empty() && self.defaults.is_empty()
    }

    /// The alias that `model` is for `project`.
    pub fn alias(&self, project: &str, model: &str) -> Option<&ModelAlias> {
        let mut aliases = self.aliases.iter();
        aliases.find(|alias| alias.name == model && alias.projects.contains(project))
    }

    /// The servers that a request of `project` for `model` gets: those of the first default that
    /// is for it.
    pub fn default(&self, project: &str, model: &str) -> Option<&DefaultServers> {
        let is_for = |rule: &&DefaultServers| {
            rule.project == project && rule.models.iter().any(|pattern| fits(pattern, model))
        };
        self.defaults.iter().find(is_for)
    }
}
