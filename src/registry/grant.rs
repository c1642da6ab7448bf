//! What single projects may do with a server: the tools that they may use, and how often.

use std::collections::{BTreeMap, BTreeSet};

use super::{call_limits::CallLimits, error::Error};

/// The most grants of a server: as many projects as it may have.
const GRANTS: usize = 1000;
/// The most tools of a grant, as a server may have selected.
const TOOLS: usize = 4096;

/// What one project may do with a server: the tools that it may use of those that are
/// [selected](super::ToolSelection), and how often.
///
/// A project without one may use all of them, as often as it likes.
///
/// ```
/// use mcp_layer::registry::{CallLimit, CallLimits, ProjectGrant, Server};
///
/// let grant = ProjectGrant::new("web")
///     .with_tools(["ask_question", "read_page"])?
///     .with_limits(CallLimits::default().with(CallLimit::PerDay, 1000)?);
/// let server = Server::new("deepwiki-mcp", "https://mcp.deepwiki.com/mcp")?.with_grants([grant])?;
/// assert!(server.grants.has("web", "read_page"));
/// assert!(!server.grants.has("web", "delete_page"));
/// assert!(server.grants.has("batch", "delete_page"));
/// # Ok::<(), mcp_layer::registry::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectGrant {
    project: String,
    /// `None` for all that are selected.
    tools: Option<BTreeSet<String>>,
    limits: CallLimits,
    tool_limits: BTreeMap<String, CallLimits>,
}

/// The grants of a server, at most one for each project; by default none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectGrants(BTreeMap<String, ProjectGrant>);

impl ProjectGrant {
    /// Grants all selected tools to `project`, without limits.
    pub fn new(project: impl Into<String>) -> Self {
        Self {
            project: project.into(),
            tools: None,
            limits: CallLimits::default(),
            tool_limits: BTreeMap::new(),
        }
    }

    /// Replaces the tools by their own names at the server. With none of them the project cannot use
    /// the server, and is told that it has no tools.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than 4,096 tools, and if one that has limits is not among them.
    pub fn with_tools<T: Into<String>>(
        mut self,
        tools: impl IntoIterator<Item = T>,
    ) -> Result<Self, Error> {
        let tools: BTreeSet<String> = tools.into_iter().take(TOOLS + 1).map(Into::into).collect();
        if tools.len() > TOOLS {
            let reason = format!("grant at most {TOOLS} tools, or leave them out for all");
            return Err(Error::invalid("tools", reason));
        }
        self.tools = Some(tools);
        let mut limited = self.tool_limits.keys();
        match limited.find(|tool| !self.has(tool)) {
            Some(tool) => Err(not_granted(tool)),
            None => Ok(self),
        }
    }

    /// Replaces the limits of the project's calls to all tools of the server together.
    #[must_use]
    pub fn with_limits(mut self, limits: CallLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Limits the project's calls to one tool, besides those to all of them.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a tool that is not granted, for limits that limit nothing, for one tool
    /// more than 4,096, and if it has limits already.
    pub fn add_tool_limits(
        mut self,
        tool: impl Into<String>,
        limits: CallLimits,
    ) -> Result<Self, Error> {
        let tool = tool.into();
        if !self.has(&tool) {
            return Err(not_granted(&tool));
        }
        if limits.is_empty() {
            let reason = format!("{tool:?} has no limit: leave it out, or name one");
            return Err(Error::invalid("tool_limits", reason));
        }
        if self.tool_limits.len() == TOOLS {
            let reason = format!("limit at most {TOOLS} tools");
            return Err(Error::invalid("tool_limits", reason));
        }
        if self.tool_limits.contains_key(&tool) {
            let reason = format!("{tool:?} is given twice");
            return Err(Error::invalid("tool_limits", reason));
        }
        self.tool_limits.insert(tool, limits);
        Ok(self)
    }

    /// The project that it is for.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// The granted tools; `None` for all that are selected.
    pub fn tools(&self) -> Option<&BTreeSet<String>> {
        self.tools.as_ref()
    }

    /// The limits of calls to all tools together.
    pub fn limits(&self) -> CallLimits {
        self.limits
    }

    /// The limits of calls to single tools.
    pub fn tool_limits(&self) -> &BTreeMap<String, CallLimits> {
        &self.tool_limits
    }

    /// The tools that it names, granted or limited, each once.
    pub(crate) fn named_tools(&self) -> impl Iterator<Item = &str> {
        let granted = self.tools.iter().flatten();
        let limited = self.tool_limits.keys();
        // Of tools that are named, only those that are granted have limits.
        let limited = limited.filter(|_| self.tools.is_none());
        granted.chain(limited).map(String::as_str)
    }

    /// Returns `true` if the tool of this name is granted.
    pub fn has(&self, tool: &str) -> bool {
        self.tools.as_ref().is_none_or(|tools| tools.contains(tool))
    }
}

impl ProjectGrants {
    /// Creates the grants of a server.
    ///
    /// # Errors
    /// [`Error::Invalid`] for two of one project, and for more than 1,000.
    pub fn new(grants: impl IntoIterator<Item = ProjectGrant>) -> Result<Self, Error> {
        let mut all = BTreeMap::new();
        for grant in grants {
            if all.len() == GRANTS {
                let reason = format!("there are more than {GRANTS}");
                return Err(Error::invalid("grants", reason));
            }
            let project = grant.project.clone();
            if let Some(twice) = all.insert(project, grant) {
                let reason = format!("the project {:?} has two of them", twice.project);
                return Err(Error::invalid("grants", reason));
            }
        }
        Ok(Self(all))
    }

    /// The grant of `project`; `None` if it may use all selected tools without limits.
    pub fn of(&self, project: &str) -> Option<&ProjectGrant> {
        self.0.get(project)
    }

    /// All of them, by project.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &ProjectGrant> {
        self.0.values()
    }

    /// Returns `true` if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns `true` if `project` may use this tool, as far as grants go.
    pub fn has(&self, project: &str, tool: &str) -> bool {
        self.of(project).is_none_or(|grant| grant.has(tool))
    }

    /// These with another grant of its project.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than 1,000.
    pub fn with(&self, grant: ProjectGrant) -> Result<Self, Error> {
        let others = self.without(grant.project());
        Self::new(others.0.into_values().chain([grant]))
    }

    /// These without the grant of `project`.
    #[must_use]
    pub fn without(&self, project: &str) -> Self {
        let mut others = self.0.clone();
        others.remove(project);
        Self(others)
    }
}

fn not_granted(tool: &str) -> Error {
    let reason = format!("{tool:?} is not among the tools that are granted");
    Error::invalid("tool_limits", reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::CallLimit;

    #[test]
    fn limits_of_a_tool_that_is_not_granted_are_refused_whatever_came_first() {
        let grant = ProjectGrant::new("web").with_tools(["a"]).unwrap();
        let limits = CallLimits::default().with(CallLimit::PerDay, 1).unwrap();
        let limited = grant.clone().add_tool_limits("b", limits);
        assert!(limited.unwrap_err().to_string().contains("\"b\""));
        let limited = grant.add_tool_limits("a", limits).unwrap();
        assert!(limited.clone().with_tools(["a", "c"]).is_ok());
        assert!(limited.with_tools(["c"]).is_err());
    }

    #[test]
    fn limits_that_limit_nothing_are_refused() {
        let web = ProjectGrant::new("web");
        let limited = web.add_tool_limits("a", CallLimits::default());
        assert!(limited.unwrap_err().to_string().contains("no limit"));
    }

    #[test]
    fn a_project_has_one_grant() {
        let web = || ProjectGrant::new("web");
        let twice = ProjectGrants::new([web(), ProjectGrant::new("batch"), web()]);
        assert!(twice.unwrap_err().to_string().contains("\"web\""));
        let many = (0..=GRANTS).map(|number| ProjectGrant::new(number.to_string()));
        assert!(ProjectGrants::new(many).is_err());
    }
}
