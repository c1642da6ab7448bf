//! Pages of servers: which, how many, and where the next one begins.

use std::sync::Arc;

use super::{auth::AuthKind, server::Server};
use crate::name::ServerName;

/// A filter for lists of servers; the default matches all but drafts. Conditions are combined with
/// "and".
///
/// ```
/// use mcp_layer::registry::Filter;
///
/// let mut filter = Filter::default();
/// filter.project = Some("web".to_owned());
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Filter {
    /// Only servers that this project can use.
    pub project: Option<String>,
    /// Only servers with this text in their name, display name or description, ignoring case.
    pub text: Option<String>,
    /// Only servers with this kind of authentication.
    pub auth: Option<AuthKind>,
    /// `true` lists only drafts, `false` (default) everything but drafts.
    pub drafts: bool,
}

impl Filter {
    /// Returns `true` if `server` matches all conditions. A store that filters by itself has to
    /// agree with this.
    pub fn matches(&self, server: &Server) -> bool {
        let project = self
            .project
            .as_deref()
            .is_none_or(|p| server.projects.contains(p));
        let text = self.text.as_ref().is_none_or(|text| {
            let text = text.to_lowercase();
            [
                Some(server.name.as_str()),
                server.display_name.as_deref(),
                server.description.as_deref(),
            ]
            .into_iter()
            .flatten()
            .any(|field| field.to_lowercase().contains(&text))
        });
        let auth = self.auth.is_none_or(|kind| server.auth.kind() == kind);
        project && text && auth && server.draft == self.drafts
    }
}

/// A position and a size in a list; the default is the first 50 servers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page {
    /// Only servers after this name: [`Listing::next`] of the previous page.
    pub after: Option<ServerName>,
    /// The requested number of servers; default 50. Stores use [`Page::size`].
    pub limit: usize,
}

impl Page {
    /// The number of servers on this page: the limit, clamped to 1–200.
    pub fn size(&self) -> usize {
        self.limit.clamp(1, 200)
    }
}

impl Default for Page {
    fn default() -> Self {
        Self {
            after: None,
            limit: 50,
        }
    }
}

/// A page of servers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listing {
    /// The servers, sorted by name.
    pub servers: Vec<Arc<Server>>,
    /// The cursor of the next page, for [`Page::after`]; `None` on the last page.
    pub next: Option<ServerName>,
}

impl Listing {
    /// Creates a page of `servers`, sorted by name; `next` is the last one's name if more follow.
    pub fn new(servers: Vec<Arc<Server>>, next: Option<ServerName>) -> Self {
        Self { servers, next }
    }
}
