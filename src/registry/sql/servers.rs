//! The operator's changes to servers, as transactions.

use std::{sync::Arc, time::SystemTime};

use sqlx::{Any, Row, Transaction};

use super::{
    belongings,
    cache::{InvalidateOnDrop, Key},
    database::sql,
    follow, observed,
    record::{self, Written},
    registry::SqlRegistry,
    text,
    time::{now, time},
    version,
};
use crate::{
    name::ServerName,
    registry::{
        error::Error,
        future::BoxFuture,
        listing::{Filter, Listing, Page},
        pins::{Gate, Pins},
        projects::Projects,
        server::{Server, Source},
        server_id::ServerId,
        server_store::ServerStore,
    },
};

/// The most projects of a server, since each is a row.
const PROJECTS: usize = 1000;

/// The last version: the database's numbers go no further.
const LAST_VERSION: u64 = i64::MAX as u64;

impl ServerStore for SqlRegistry {
    fn list<'a>(
        &'a self,
        organization: &'a str,
        filter: &'a Filter,
        page: &'a Page,
    ) -> BoxFuture<'a, Result<Listing, Error>> {
        Box::pin(async move {
            self.shared
                .database
                .in_time(self.list_page(organization, filter, page))
                .await
        })
    }

    fn get<'a>(
        &'a self,
        organization: &'a str,
        name: &'a ServerName,
    ) -> BoxFuture<'a, Result<Arc<Server>, Error>> {
        Box::pin(async move {
            let found = self.shared.database.in_time(async {
                let mut connection = self.shared.database.reading().await?;
                self.load(&mut connection, organization, name).await
            });
            found
                .await?
                .ok_or_else(|| Error::NotFound { name: name.clone() })
        })
    }

    fn insert(&self, server: Server) -> BoxFuture<'_, Result<Arc<Server>, Error>> {
        Box::pin(async move {
            let _invalidate = self.invalidate_on_drop(&server);
            self.shared
                .database
                .in_time(self.insert_row(server))
                .await
                .map(Arc::new)
        })
    }

    fn replace(&self, server: Server) -> BoxFuture<'_, Result<Arc<Server>, Error>> {
        Box::pin(async move {
            let _invalidate = self.invalidate_on_drop(&server);
            self.shared
                .database
                .in_time(self.replace_row(server))
                .await
                .map(Arc::new)
        })
    }

    fn remove<'a>(
        &'a self,
        organization: &'a str,
        name: &'a ServerName,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let key = (Arc::from(organization), name.clone());
            let _invalidate = InvalidateOnDrop {
                cache: &self.shared.cache,
                key: key.clone(),
            };
            self.shared.database.in_time(self.remove_rows(&key)).await
        })
    }
}

impl SqlRegistry {
    async fn insert_row(&self, mut server: Server) -> Result<Server, Error> {
        let now = now();
        decide(&mut server, now);
        server.version = 1;
        server.created_at = server.updated_at;
        server.pins = None;
        let written = self.write(&server)?;
        let mut tx = self.shared.database.begin().await?;
        belongings::remove_old_drafts(&mut tx, &key(&server)).await?;
        let inserted = sql(
            "INSERT INTO mcp_servers (id, organization, name, version, created_at,
                updated_at, all_projects, auth, draft, search, record, sealed, sealed_by)
             VALUES ($1, $2, $3, 1, $4, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING",
        )
        .bind(server.id.as_str())
        .bind(&*server.organization)
        .bind(server.name.as_str())
        .bind(now)
        .bind(i64::from(server.projects == Projects::All))
        .bind(written.auth)
        .bind(i64::from(server.draft))
        .bind(written.search)
        .bind(written.record)
        .bind(written.sealed)
        .bind(written.sealed_by)
        .execute(&mut *tx)
        .await?;
        if inserted.rows_affected() == 0 {
            let taken = stored(&mut tx, &server).await?.is_some();
            let name = server.name;
            return Err(if taken {
                Error::Conflict { name }
            } else {
                Error::invalid("id", "belongs to another server")
            });
        }
        write_projects(&mut tx, &server).await?;
        follow::note(&mut tx, &self.shared.database, &key(&server)).await?;
        tx.commit().await?;
        Ok(server)
    }

    async fn replace_row(&self, mut server: Server) -> Result<Server, Error> {
        let read_at = server.version;
        let mut tx = self.shared.database.begin().await?;
        let stored = stored(&mut tx, &server).await?;
        let Some(stored) = stored else {
            return Err(Error::NotFound { name: server.name });
        };
        let version = stored.version;
        let stale = |version| Error::Stale {
            name: server.name.clone(),
            version,
        };
        if version != read_at || version >= LAST_VERSION {
            return Err(stale(version));
        }
        let now = now();
        decide(&mut server, now);
        server.version = version + 1;
        server.id = stored.id;
        server.created_at = Some(stored.created_at);
        server.pins = stored.pins;
        let written = self.write(&server)?;
        let replaced = sql(
            "UPDATE mcp_servers SET version = $1, updated_at = $2, all_projects = $3, auth = $4,
                draft = $5, search = $6, record = $7, sealed = $8, sealed_by = $9
             WHERE id = $10 AND version = $11",
        )
        .bind(version::stored(server.version))
        .bind(now)
        .bind(i64::from(server.projects == Projects::All))
        .bind(written.auth)
        .bind(i64::from(server.draft))
        .bind(written.search)
        .bind(written.record)
        .bind(written.sealed)
        .bind(written.sealed_by)
        .bind(server.id.as_str())
        .bind(version::stored(version))
        .execute(&mut *tx)
        .await?;
        if replaced.rows_affected() == 0 {
            // PostgreSQL: somebody else committed since the read.
            let now = self::stored(&mut tx, &server).await?;
            let name = server.name;
            return Err(match now {
                Some(Stored { version, .. }) => Error::Stale { name, version },
                None => Error::NotFound { name },
            });
        }
        sql("DELETE FROM mcp_server_projects WHERE server = $1")
            .bind(server.id.as_str())
            .execute(&mut *tx)
            .await?;
        write_projects(&mut tx, &server).await?;
        follow::note(&mut tx, &self.shared.database, &key(&server)).await?;
        tx.commit().await?;
        Ok(server)
    }

    /// Removes a server with everything that belongs to it.
    async fn remove_rows(&self, key: &Key) -> Result<(), Error> {
        let (organization, name) = key;
        let not_found = || Error::NotFound { name: name.clone() };
        if !text::fits(organization) {
            return Err(not_found());
        }
        let mut tx = self.shared.database.begin().await?;
        let removed =
            sql("DELETE FROM mcp_servers WHERE organization = $1 AND name = $2 RETURNING id")
                .bind(&**organization)
                .bind(name.as_str())
                .fetch_all(&mut *tx)
                .await?;
        let id: &str = removed.first().ok_or_else(not_found)?.try_get(0)?;
        belongings::remove(&mut tx, organization, id).await?;
        follow::note(&mut tx, &self.shared.database, key).await?;
        tx.commit().await?;
        Ok(())
    }

    fn write(&self, server: &Server) -> Result<Written, Error> {
        if let Projects::Only(projects) = &server.projects
            && projects.len() > PROJECTS
        {
            let reason = format!("at most {PROJECTS} projects are allowed, or \"all\"");
            return Err(Error::invalid("projects", reason));
        }
        Written::new(server, &self.shared.ring.load())
    }

    fn invalidate_on_drop(&self, server: &Server) -> InvalidateOnDrop<'_> {
        InvalidateOnDrop {
            cache: &self.shared.cache,
            key: key(server),
        }
    }
}

fn key(server: &Server) -> Key {
    (server.organization.clone(), server.name.clone())
}

/// Sets what the operator leaves open, and what is not for the operator to say.
fn decide(server: &mut Server, now: i64) {
    server.on_change.get_or_insert(Gate::Block);
    server.new_tools.get_or_insert(Gate::Block);
    server.source = Source::Store;
    server.updated_at = Some(time(now));
}

/// The parts of a record that outlive a replacement.
struct Stored {
    id: ServerId,
    version: u64,
    created_at: SystemTime,
    pins: Option<Arc<Pins>>,
}

/// Reads what is stored under the name of `server`.
async fn stored(
    tx: &mut Transaction<'static, Any>,
    server: &Server,
) -> Result<Option<Stored>, Error> {
    if !text::fits(&server.organization) {
        return Ok(None);
    }
    let row = sql("SELECT s.id, s.version, s.created_at, o.pins
         FROM mcp_servers AS s LEFT JOIN mcp_observations AS o
             ON o.organization = s.organization AND o.server = s.id
         WHERE s.organization = $1 AND s.name = $2 AND (s.draft = 0 OR s.updated_at >= $3)")
    .bind(&*server.organization)
    .bind(server.name.as_str())
    .bind(belongings::drafts_since())
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let id: &str = row.try_get(0)?;
    Ok(Some(Stored {
        id: id.parse().map_err(|_| record::Broken)?,
        version: row.try_get::<i64, _>(1)?.unsigned_abs(),
        created_at: time(row.try_get(2)?),
        pins: observed::pins(row.try_get(3)?),
    }))
}

async fn write_projects(
    tx: &mut Transaction<'static, Any>,
    server: &Server,
) -> Result<(), sqlx::Error> {
    let Projects::Only(projects) = &server.projects else {
        return Ok(());
    };
    for project in projects {
        sql("INSERT INTO mcp_server_projects (server, project) VALUES ($1, $2)")
            .bind(server.id.as_str())
            .bind(project.as_str())
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}
