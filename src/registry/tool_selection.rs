//! The tools of a server that are offered to models.

use super::error::Error;

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
    /// [`Error::Invalid`] for an empty list and a name given twice.
    pub fn only<T: Into<SelectedTool>>(tools: impl IntoIterator<Item = T>) -> Result<Self, Error> {
        let tools: Vec<SelectedTool> = tools.into_iter().map(Into::into).collect();
        if tools.is_empty() {
            return Err(Error::invalid(
                "tools",
                "name at least one tool, or \"all\"",
            ));
        }
        for (index, tool) in tools.iter().enumerate() {
            if tools[..index].iter().any(|other| other.name == tool.name) {
                return Err(Error::invalid(
                    "tools",
                    format!("{:?} is given twice", tool.name),
                ));
            }
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
}

/// A selected tool, by its own name at the server. A `&str` or `String` converts into one with
/// [`ToolPolicy::Auto`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedTool {
    name: String,
    policy: ToolPolicy,
}

impl SelectedTool {
    /// Selects a tool with a policy.
    pub fn new(name: impl Into<String>, policy: ToolPolicy) -> Self {
        Self {
            name: name.into(),
            policy,
        }
    }

    /// The tool's own name at the server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rule for calls of the tool.
    pub fn policy(&self) -> ToolPolicy {
        self.policy
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
