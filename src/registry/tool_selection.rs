//! The tools of a server that are offered to models.

use std::collections::HashSet;

use super::error::Error;

/// The most tools of a selection: each list of a server is held against all of them, and no model is
/// given as many.
const TOOLS: usize = 4096;

/// The tools of a server that are offered to models; default all.
///
/// ```
/// use mcp_layer::registry::{SelectedTool, ToolPolicy, ToolSelection};
///
/// let tools = ToolSelection::only([
///     "ask_question".into(),
///     SelectedTool::new("delete_page", ToolPolicy::AskFirst),
/// ])?;
/// assert_eq!(tools.policy("ask_question"), Some(ToolPolicy::Auto));
/// assert_eq!(tools.policy("delete_page"), Some(ToolPolicy::AskFirst));
/// assert_eq!(tools.policy("rename_page"), None);
/// # Ok::<(), mcp_layer::registry::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToolSelection {
    /// Every tool that the server lists, now and later, each with [`ToolPolicy::Auto`].
    #[default]
    All,
    /// Only these tools of the server; never empty. A selected tool that the server does not list
    /// is not offered.
    Only(Vec<SelectedTool>),
}

impl ToolSelection {
    /// Creates [`ToolSelection::Only`] from these tools.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty list, more than 4,096 tools, and a name given twice.
    pub fn only<T: Into<SelectedTool>>(tools: impl IntoIterator<Item = T>) -> Result<Self, Error> {
        // One more than there may be shows that there are too many.
        let tools = tools.into_iter().take(TOOLS + 1).map(Into::into);
        let tools: Vec<SelectedTool> = tools.collect();
        if tools.is_empty() {
            return Err(Error::invalid(
                "tools",
                "name at least one tool, or \"all\"",
            ));
        }
        if tools.len() > TOOLS {
            return Err(Error::invalid(
                "tools",
                format!("select at most {TOOLS} tools, or \"all\""),
            ));
        }
        let mut seen = HashSet::with_capacity(tools.len());
        if let Some(twice) = tools.iter().find(|tool| !seen.insert(&*tool.name)) {
            return Err(Error::invalid(
                "tools",
                format!("{:?} is given twice", twice.name),
            ));
        }
        Ok(Self::Only(tools))
    }

    /// The policy of a tool by its own name; `None` if it is not selected.
    pub fn policy(&self, tool: &str) -> Option<ToolPolicy> {
        match self {
            Self::All => Some(ToolPolicy::Auto),
            Self::Only(tools) => tools.iter().find(|t| t.name == tool).map(|t| t.policy),
        }
    }

    /// Returns `true` if a tool, by its own name, is selected to be
    /// [always offered](SelectedTool::always).
    pub fn is_always(&self, tool: &str) -> bool {
        match self {
            Self::All => false,
            Self::Only(tools) => tools.iter().any(|t| t.is_always && t.name == tool),
        }
    }
}

/// A selected tool, by its own name at the server. A `&str` or `String` converts into one with
/// [`ToolPolicy::Auto`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedTool {
    name: String,
    policy: ToolPolicy,
    is_always: bool,
}

impl SelectedTool {
    /// Selects a tool with a policy.
    pub fn new(name: impl Into<String>, policy: ToolPolicy) -> Self {
        Self {
            name: name.into(),
            policy,
            is_always: false,
        }
    }

    /// The same tool, offered also in requests whose tools are
    /// [searched for](crate::ToolSearch). For those that nearly every conversation needs.
    ///
    /// ```
    /// use mcp_layer::registry::{SelectedTool, ToolSelection};
    ///
    /// let tools = ToolSelection::only([SelectedTool::from("search").always(), "read".into()])?;
    /// assert!(tools.is_always("search") && !tools.is_always("read"));
    /// # Ok::<(), mcp_layer::registry::Error>(())
    /// ```
    #[must_use]
    pub fn always(mut self) -> Self {
        self.is_always = true;
        self
    }

    /// The tool's own name at the server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rule for calls of the tool.
    pub fn policy(&self) -> ToolPolicy {
        self.policy
    }

    /// Returns `true` if the tool is also offered in requests whose tools are searched for.
    pub fn is_always(&self) -> bool {
        self.is_always
    }
}

impl<T: Into<String>> From<T> for SelectedTool {
    fn from(name: T) -> Self {
        Self::new(name, ToolPolicy::Auto)
    }
}

/// The rule for calls of a tool in a request with auto-execution; default [`ToolPolicy::Auto`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToolPolicy {
    /// Calls are executed.
    #[default]
    Auto,
    /// The turn is returned to the caller, who approves the call by resuming the conversation.
    AskFirst,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_is_given_twice_is_refused_by_its_name() {
        let twice = ToolSelection::only(["a", "b", "a"]).unwrap_err();
        assert!(
            twice.to_string().contains("\"a\" is given twice"),
            "{twice}"
        );
    }

    /// As many as a body has room for took minutes while each was compared with all others.
    #[test]
    fn tools_by_the_thousand_are_refused() {
        let refused = ToolSelection::only((0..130_000).map(|n| format!("{n:05}")));
        assert!(refused.unwrap_err().to_string().contains("at most"));
    }
}
