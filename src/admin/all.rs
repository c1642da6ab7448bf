//! All servers, for what cannot be told of a page of them.

use std::sync::Arc;

use super::{Admin, fault::Fault};
use crate::registry::{Filter, Page, Server, ServerStore};

/// How many servers are looked at: fifty pages, more than anybody has.
const SERVERS: usize = 10_000;
/// A page of them.
pub(super) const PAGE: usize = 200;

impl Admin {
    /// The first 10,000 servers by name.
    pub(super) async fn all_servers(&self) -> Result<Vec<Arc<Server>>, Fault> {
        let mut page = Page {
            limit: PAGE,
            ..Page::default()
        };
        let (all, mut servers) = (Filter::default(), Vec::new());
        loop {
            let listing = self.store.list(&self.organization, &all, &page);
            let listing = listing.await?;
            servers.extend(listing.servers);
            match listing.next {
                Some(next) if servers.len() < SERVERS => page.after = Some(next),
                _ => return Ok(servers),
            }
        }
    }
}
