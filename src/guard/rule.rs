//! The terms on which guards are asked.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use super::tool_guard::ToolGuard;
use crate::{pattern::fits, trace::GuardStage};

/// The time that a guard has for each question by default: 2 s. It is added to the time of the turn, so
/// a service that is asked over the network has to answer much sooner.
pub const TIMEOUT: Duration = Duration::from_secs(2);

/// The consequence where a guard fails, panics or takes too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fail {
    /// The call does not run, or its result is withheld.
    #[default]
    Closed,
    /// It goes on as if the guard had allowed it.
    Open,
}

/// A guard, with the terms on which it is asked.
///
/// ```
/// use std::time::Duration;
/// use mcp_layer::{guard::{Fail, GuardRule, Secrets}, trace::GuardStage};
///
/// let rule = GuardRule::new("secrets", Secrets::mask())
///     .with_tools(["github__*", "mail__send"])
///     .with_stages([GuardStage::After])
///     .with_timeout(Duration::from_millis(500))
///     .with_fail(Fail::Open);
/// ```
#[derive(Clone)]
pub struct GuardRule {
    name: Arc<str>,
    pub(super) guard: Arc<dyn ToolGuard>,
    tools: Vec<String>,
    is_before: bool,
    is_after: bool,
    pub(super) timeout: Duration,
    fail: Fail,
}

impl GuardRule {
    /// Creates the rule of a guard that is asked about all tools, before and after, for at most
    /// [`TIMEOUT`] each time, and that fails [closed](Fail::Closed). The name is for operators: in the
    /// log, in traces and in metrics, where guards of one name are counted as one.
    pub fn new(name: impl Into<Arc<str>>, guard: impl ToolGuard) -> Self {
        Self {
            name: name.into(),
            guard: Arc::new(guard),
            tools: vec!["*".to_owned()],
            is_before: true,
            is_after: true,
            timeout: TIMEOUT,
            fail: Fail::Closed,
        }
    }

    /// Replaces the tools, by patterns of their offered names, in which `*` matches any text.
    #[must_use]
    pub fn with_tools<P: Into<String>>(mut self, tools: impl IntoIterator<Item = P>) -> Self {
        self.tools = tools.into_iter().map(Into::into).collect();
        self
    }

    /// Replaces the stages at which the guard is asked; default both.
    #[must_use]
    pub fn with_stages(mut self, stages: impl IntoIterator<Item = GuardStage>) -> Self {
        (self.is_before, self.is_after) = (false, false);
        for stage in stages {
            match stage {
                GuardStage::Before => self.is_before = true,
                GuardStage::After => self.is_after = true,
            }
        }
        self
    }

    /// Replaces the time for each question; default [`TIMEOUT`]. The deadline of the request limits it
    /// as well.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Replaces what follows where the guard has no decision; default [`Fail::Closed`].
    #[must_use]
    pub fn with_fail(mut self, fail: Fail) -> Self {
        self.fail = fail;
        self
    }

    /// The patterns of its tools that none of these offered names fits: they are misspelt, or for tools
    /// that are not there yet.
    ///
    /// ```
    /// use mcp_layer::guard::{Destructive, GuardRule};
    ///
    /// let rule = GuardRule::new("destructive", Destructive).with_tools(["crm__*", "cmr__drop"]);
    /// assert_eq!(rule.unmatched(&["crm__find", "crm__drop"]), ["cmr__drop"]);
    /// ```
    pub fn unmatched(&self, offered_names: &[impl AsRef<str>]) -> Vec<&str> {
        let tools = self.tools.iter().map(String::as_str);
        let is_unmatched = |tools: &&str| {
            let mut names = offered_names.iter();
            !names.any(|name| fits(tools, name.as_ref()))
        };
        tools.filter(is_unmatched).collect()
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn fails_open(&self) -> bool {
        self.fail == Fail::Open
    }

    /// Returns `true` if the guard is asked about the tool of this offered name at this stage.
    pub(crate) fn is_for(&self, stage: GuardStage, offered_name: &str) -> bool {
        let is_asked = match stage {
            GuardStage::Before => self.is_before,
            GuardStage::After => self.is_after,
        };
        is_asked && self.tools.iter().any(|tools| fits(tools, offered_name))
    }
}

impl fmt::Debug for GuardRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardRule")
            .field("name", &self.name)
            .field("tools", &self.tools)
            .field("is_before", &self.is_before)
            .field("is_after", &self.is_after)
            .field("timeout", &self.timeout)
            .field("fail", &self.fail)
            .finish_non_exhaustive()
    }
}

/// The guards of a layer, in their order. Clones are the same guards, so that a program can
/// [replace](Self::replace) them while its layer runs.
///
/// ```
/// use mcp_layer::{McpLayer, guard::{Destructive, GuardRule, Guards}, registry::MemoryRegistry};
///
/// let guards = Guards::default();
/// let layer = McpLayer::new(MemoryRegistry::default()).with_guards(guards.clone());
/// guards.replace([GuardRule::new("destructive", Destructive)]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Guards(Arc<RwLock<Arc<[GuardRule]>>>);

impl Guards {
    /// Creates guards that are asked in this order.
    pub fn new(rules: impl IntoIterator<Item = GuardRule>) -> Self {
        let guards = Self::default();
        guards.replace(rules);
        guards
    }

    /// Replaces all guards: for calls and results of which none was asked yet.
    pub fn replace(&self, rules: impl IntoIterator<Item = GuardRule>) {
        let rules = rules.into_iter().collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// The guards of this moment.
    pub(crate) fn now(&self) -> Arc<[GuardRule]> {
        // Held for the copy of a pointer.
        let rules = self.0.read().unwrap_or_else(PoisonError::into_inner);
        rules.clone()
    }
}

impl From<Vec<GuardRule>> for Guards {
    fn from(rules: Vec<GuardRule>) -> Self {
        Self::new(rules)
    }
}

impl<const N: usize> From<[GuardRule; N]> for Guards {
    fn from(rules: [GuardRule; N]) -> Self {
        Self::new(rules)
    }
}
