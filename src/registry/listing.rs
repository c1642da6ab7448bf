//! Pages of servers: which, how many, and where the next one begins.

use std::sync::Arc;

use super::{auth::AuthKind, server::Server};
use crate::name::ServerName;

/// The servers to list; the default is all but drafts.
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
    /// Only servers with this text in name, display name or description, whatever its case.
    pub text: Option<String>,
    /// Only servers with this kind of authentication.
    pub auth: Option<AuthKind>,
    /// Drafts and nothing else; `false` lists no drafts.
    pub drafts: bool,
}

impl Filter {
    /// Returns `true` if `server` is to be listed.
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

/// The part of a list to return; the default is its first 50 servers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page {
    /// Only servers whose name comes after this one: the `next` of the page before.
    pub after: Option<ServerName>,
    /// The number of servers wanted; default 50. A store goes by [`Page::size`].
    pub limit: usize,
}

impl Page {
    /// The most servers on this page: its limit, but at least 1 and at most 200.
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
    /// The servers, by name.
    pub servers: Vec<Arc<Server>>,
    /// The cursor of the next page, for [`Page::after`]; `None` on the last page.
    pub next: Option<ServerName>,
}

impl Listing {
    /// A page of `servers`, which are sorted by name; `next` is the last one's name where more
    /// follow.
    pub fn new(servers: Vec<Arc<Server>>, next: Option<ServerName>) -> Self {
        Self { servers, next }
    }
}
