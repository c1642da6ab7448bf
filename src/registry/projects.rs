//! The projects that may use a server.

use std::collections::BTreeSet;

use super::error::Error;

/// The projects that may use a server; default all.
///
/// ```
/// use mcp_layer::registry::Projects;
///
/// let projects = Projects::only(["web", "batch"])?;
/// assert!(projects.contains("web"));
/// assert!(!projects.contains("mobile"));
/// # Ok::<(), mcp_layer::registry::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Projects {
    /// Every project of the organization, including future ones.
    #[default]
    All,
    /// Only these projects of the organization; never empty.
    Only(BTreeSet<String>),
}

impl Projects {
    /// Creates [`Projects::Only`] from these names.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty list, which no caller could ever use.
    pub fn only<P: Into<String>>(projects: impl IntoIterator<Item = P>) -> Result<Self, Error> {
        let projects: BTreeSet<String> = projects.into_iter().map(Into::into).collect();
        if projects.is_empty() {
            return Err(Error::invalid(
                "projects",
                "name at least one project, or \"all\"",
            ));
        }
        Ok(Self::Only(projects))
    }

    /// Returns `true` if `project` is one of them.
    pub fn contains(&self, project: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(projects) => projects.contains(project),
        }
    }
}
