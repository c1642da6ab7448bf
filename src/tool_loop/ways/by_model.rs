//! What an operator has decided for the model of a request: an alias, or default servers.

use std::sync::LazyLock;

use bytes::Bytes;
use http::request;
use memchr::memmem::Finder;

use super::{OptIn, alias, default};
use crate::{
    json::{is_ruled_out, sought_text},
    project::Project,
    registry::{DefaultServers, ModelAlias, ModelRules},
    tool_loop::gateway::Gateway,
};

/// What an operator has decided for the model of a request; an alias goes before a default.
#[derive(Clone, Debug, Default)]
pub(crate) struct ByModel {
    pub(crate) alias: Option<ModelAlias>,
    pub(crate) default: Option<DefaultServers>,
}

impl ByModel {
    /// What there is for the model of a request with this head and a body of these frames; one that
    /// has none is one for `""`. The body is only looked at where that matters, and only read where a
    /// rule may be for its model. `is_plain` says that none of the letters of `model` is an escape.
    pub(crate) fn of<'a, F: Iterator<Item = &'a Bytes>>(
        gateway: &Gateway,
        head: &request::Parts,
        frames: impl Fn() -> F,
        is_plain: bool,
    ) -> Self {
        static MODEL: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("\"model\""));
        let (organization, project) = match head.extensions.get::<Project>() {
            Some(project) => (project.organization(), project.name()),
            None => ("default", "default"),
        };
        let rules = gateway.models.rules(organization);
        let is_for_none = || {
            let is_for = |model: &str| rules.concern(project, model);
            is_plain && is_ruled_out(frames(), &MODEL, is_for)
        };
        match rules.is_empty() || is_for_none() {
            true => Self::default(),
            false => Self::by(&rules, project, sought_text(frames(), "model")),
        }
    }

    /// What there is for the model of a request of this project.
    #[cfg(feature = "admin")]
    pub(crate) fn of_project(
        gateway: &Gateway,
        organization: &str,
        project: &str,
        model: impl FnOnce() -> Option<String>,
    ) -> Self {
        let rules = gateway.models.rules(organization);
        match rules.is_empty() {
            true => Self::default(),
            false => Self::by(&rules, project, model()),
        }
    }

    fn by(rules: &ModelRules, project: &str, model: Option<String>) -> Self {
        let model = model.unwrap_or_default();
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
