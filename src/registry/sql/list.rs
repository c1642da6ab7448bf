//! Pages of servers.
//!
//! Names are compared by bytes, whatever order the database was made with, so a page means the same
//! everywhere.

use std::sync::Arc;

use sqlx::{Row, any::AnyRow};

use super::{
    belongings,
    database::sql,
    record::{self, select_servers},
    registry::SqlRegistry,
    text,
};
use crate::{
    name::ServerName,
    registry::{
        error::Error,
        listing::{Filter, Listing, Page},
        server::Server,
    },
    secret::KeyRing,
};

/// The servers that a page is of: all, those that a project can use, those for all projects.
const EVERY: i64 = 0;
const OF_PROJECT: i64 = 1;
const OF_ALL: i64 = 2;

impl SqlRegistry {
    pub(super) async fn list_page(
        &self,
        organization: &str,
        filter: &Filter,
        page: &Page,
    ) -> Result<Listing, Error> {
        let nothing = Listing::new(Vec::new(), None);
        let pattern = match filter.text.as_deref() {
            None => String::new(),
            Some(text) => match text::pattern(text) {
                Some(pattern) => pattern,
                None => return Ok(nothing),
            },
        };
        if !text::fits(organization) {
            return Ok(nothing);
        }
        let (of, project) = match filter.project.as_deref() {
            None => (EVERY, ""),
            Some(project) if text::fits(project) => (OF_PROJECT, project),
            // No server can name it.
            Some(_) => (OF_ALL, ""),
        };
        let limit = page.size();
        // One more than asked for shows whether there is a next page.
        let rows = sql(select_servers!(
            "WHERE s.organization = $1 AND s.name > $2
               AND ($3 = '' OR s.search LIKE $3 ESCAPE '!')
               AND ($4 = 0 OR s.all_projects = 1 OR ($4 = 1 AND EXISTS (
                   SELECT 1 FROM mcp_server_projects
                   WHERE server = s.id AND project = $5)))
               AND ($6 = '' OR s.auth = $6)
               AND s.draft = $7 AND (s.draft = 0 OR s.updated_at >= $8)
             ORDER BY s.name LIMIT $9"
        ))
        .bind(organization)
        .bind(page.after.as_ref().map_or("", ServerName::as_str))
        .bind(pattern)
        .bind(of)
        .bind(project)
        .bind(filter.auth.map_or("", record::kind))
        .bind(i64::from(filter.drafts))
        .bind(belongings::drafts_since())
        .bind(i64::try_from(limit + 1).unwrap_or(i64::MAX))
        .fetch_all(&mut *self.shared.database.reading().await?)
        .await?;
        let ring = self.shared.ring.load();
        let listed = rows.iter().take(limit);
        let servers = listed.filter_map(|row| readable(row, &ring)).collect();
        let last = rows.get(limit).and(rows.get(limit - 1));
        let next = last.map(|row| row.try_get::<&str, _>(2)).transpose()?;
        let next = next.and_then(|name| name.parse().ok());
        Ok(Listing::new(servers, next))
    }
}

/// Reads a row; a server that cannot be read is left out, so that the others are seen.
fn readable(row: &AnyRow, ring: &KeyRing) -> Option<Arc<Server>> {
    match record::read(row, ring) {
        Ok(server) => Some(Arc::new(server)),
        Err(error) => {
            let name = row.try_get::<&str, _>(2).unwrap_or_default();
            tracing::error!(name, %error, "a server is left out of a list");
            None
        }
    }
}
