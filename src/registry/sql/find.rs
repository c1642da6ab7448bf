//! The lookup of servers: in memory, else in the database.

use std::sync::Arc;

use sqlx::{AnyConnection, Row};

use super::{
    belongings,
    database::sql,
    record::{self, select_servers},
    registry::{Shared, SqlRegistry},
    text,
};
use crate::{
    name::ServerName,
    project::Project,
    registry::{error::Error, future::BoxFuture, server::Server, server_registry::ServerRegistry},
};

impl ServerRegistry for SqlRegistry {
    fn find<'a>(
        &'a self,
        project: &'a Project,
        names: &'a [ServerName],
    ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>> {
        Box::pin(async move {
            let cache = &self.shared.cache;
            let organization: Arc<str> = project.organization().into();
            let is_fresh = cache.is_fresh();
            let mut found = Vec::with_capacity(names.len());
            let mut absent = Vec::new();
            for name in names {
                let key = (organization.clone(), name.clone());
                match is_fresh.then(|| cache.find(&key)).flatten() {
                    Some(server) => found.extend(server),
                    None => absent.push(key),
                }
            }
            if !absent.is_empty() {
                self.shared
                    .database
                    .in_time(async {
                        let read_at = cache.epoch();
                        let mut connection = self.shared.database.reading().await?;
                        for key in absent {
                            let server = self.load(&mut connection, &key.0, &key.1).await?;
                            let server = server.filter(|server| !server.draft);
                            found.extend(server.clone());
                            cache.keep(read_at, key, server);
                        }
                        Ok(())
                    })
                    .await?;
            }
            // Cached for all projects: a server that does not exist and one that is somebody
            // else's look alike.
            found.retain(|server| server.is_usable_by(project));
            Ok(found)
        })
    }

    fn visible<'a>(
        &'a self,
        project: &'a Project,
    ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>> {
        Box::pin(async move {
            let names = self.names(project.organization()).await?;
            self.find(project, &names).await
        })
    }
}

impl SqlRegistry {
    /// The names of all servers of an organization but drafts: from memory, else from the database,
    /// and then with their records, since these are asked for next.
    async fn names(&self, organization: &str) -> Result<Arc<[ServerName]>, Error> {
        let Shared {
            cache, database, ..
        } = &*self.shared;
        let known = cache.is_fresh().then(|| cache.list(organization)).flatten();
        if let Some(names) = known {
            return Ok(names);
        }
        if !text::fits(organization) {
            return Ok(Arc::new([]));
        }
        let organization: Arc<str> = organization.into();
        let read_at = cache.epoch();
        let read = async {
            sql(select_servers!("WHERE s.organization = $1 AND s.draft = 0"))
                .bind(&*organization)
                .fetch_all(&mut *database.reading().await?)
                .await
                .map_err(Error::from)
        };
        let rows = database.in_time(read).await?;
        let mut names = Vec::with_capacity(rows.len());
        for row in &rows {
            // One that nobody can ask for is not there.
            let Ok(name) = row.try_get::<&str, _>(2)?.parse::<ServerName>() else {
                continue;
            };
            let key = (organization.clone(), name.clone());
            let is_known = cache.is_fresh() && cache.find(&key).flatten().is_some();
            if !is_known && let Ok(server) = record::read(row, &self.shared.ring.load()) {
                cache.keep(read_at, key, Some(Arc::new(server)));
            }
            names.push(name);
        }
        let names: Arc<[ServerName]> = names.into();
        cache.keep_list(read_at, organization, names.clone());
        Ok(names)
    }

    /// Reads the server of this name, even if it is a draft.
    pub(super) async fn load(
        &self,
        connection: &mut AnyConnection,
        organization: &str,
        name: &ServerName,
    ) -> Result<Option<Arc<Server>>, Error> {
        if !text::fits(organization) {
            return Ok(None);
        }
        let row = sql(select_servers!(
            "WHERE s.organization = $1 AND s.name = $2
               AND (s.draft = 0 OR s.updated_at >= $3)"
        ))
        .bind(organization)
        .bind(name.as_str())
        .bind(belongings::drafts_since())
        .fetch_optional(connection)
        .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let server = record::read(&row, &self.shared.ring.load())?;
        Ok(Some(Arc::new(server)))
    }
}
