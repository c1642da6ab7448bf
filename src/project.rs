//! Projects: owners of requests.

use std::sync::{Arc, LazyLock};

/// The caller's project, put into the request's extensions by the proxy's own authentication.
///
/// A server can be used by the projects that it lists, within one organization. A request without a
/// `Project` in its extensions belongs to [`Project::default`], unless the layer [requires
/// one](crate::McpLayer::with_required_project).
///
/// ```
/// use mcp_layer::Project;
///
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(Project::new("web"));
/// assert_eq!(Project::new("web").organization(), "default");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Project {
    organization: Arc<str>,
    name: Arc<str>,
}

impl Project {
    /// Creates the project `name` of the organization `default`.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            organization: "default".into(),
            name: name.into(),
        }
    }

    /// Replaces the organization.
    #[must_use]
    pub fn with_organization(mut self, organization: impl Into<Arc<str>>) -> Self {
        self.organization = organization.into();
        self
    }

    /// Returns the organization, within which server names are unique.
    pub fn organization(&self) -> &str {
        &self.organization
    }

    pub(crate) fn shared_organization(&self) -> Arc<str> {
        self.organization.clone()
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        self.name.clone()
    }

    /// Returns the project's name within its organization.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Returns the project `default` of the organization `default`.
impl Default for Project {
    fn default() -> Self {
        // Shared, since each request without a project uses it.
        static DEFAULT: LazyLock<Project> = LazyLock::new(|| Project::new("default"));
        DEFAULT.clone()
    }
}
