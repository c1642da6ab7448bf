//! What an operator has decided for the model of a request: an alias, or default servers.

use http::request;

use super::{OptIn, alias, default};
use crate::{
    project::Project,
    registry::{DefaultServers, ModelAlias},
    tool_loop::gateway::Gateway,
};

/// What an operator has decided for the model of a request; an alias goes before a default.
#[derive(Clone, Debug, Default)]
pub(crate) struct ByModel {
    pub(crate) alias: Option<ModelAlias>,
    pub(crate) default: Option<DefaultServers>,
}

impl ByModel {
    /// What there is for the model of a request with this head. The model is only asked for where that
    /// matters; a request that has none is one for `""`.
    pub(crate) fn of(
        gateway: &Gateway,
        head: &request::Parts,
        model: impl FnOnce() -> Option<String>,
    ) -> Self {
        match head.extensions.get::<Project>() {
            Some(project) => {
                Self::of_project(gateway, project.organization(), project.name(), model)
            }
            None => Self::of_project(gateway, "default", "default", model),
        }
    }

    /// What there is for the model of a request of this project.
    pub(crate) fn of_project(
        gateway: &Gateway,
        organization: &str,
        project: &str,
        model: impl FnOnce() -> Option<String>,
    ) -> Self {
        let rules = gateway.models.rules(organization);
        if rules.is_empty() {
            return Self::default();
        }
        let model = model().unwrap_or_default();
        let alias = rules.alias(project, &model).cloned();
        let default = match alias {
            Some(_) => None,
            None => rules.default_servers(project, &model).cloned(),
        };
        Self { alias, default }
    }

    /// Returns `true` if there is anything.
    pub(crate) fn is_any(&self) -> bool {
        self.alias.is_some() || self.default.is_some()
    }

    /// How it opts in.
    pub(crate) fn opt_in(&self) -> Option<OptIn> {
        let by_alias = self.alias.as_ref().map(alias::opt_in);
        by_alias.or_else(|| self.default.as_ref().map(default::opt_in))
    }
}
