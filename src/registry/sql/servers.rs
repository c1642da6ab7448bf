//! What an operator does with servers, as transactions.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sqlx::{Any, AnyConnection, Row, Transaction, any::AnyRow};

use super::{
    SqlRegistry,
    cache::{Forgets, Key},
    database::sql,
    follow,
    record::{self, Written},
    text,
};
use crate::{
    name::ServerName,
    registry::{Error, Filter, Listing, Page, Projects, Server, ServerStore},
};

/// The longest page that [`ServerStore::list`] gives.
const PAGE_LEN: usize = 200;
/// The most projects that a server names: each is a row.
const PROJECTS: usize = 1000;

/// Which servers a page is of: every one, those that a project can use, those for all projects.
const EVERY: i64 = 0;
const OF_PROJECT: i64 = 1;
const OF_ALL: i64 = 2;

/// Where versions are to come to an end before the database's numbers do.
const LAST_VERSION: u64 = i64::MAX as u64;

impl ServerStore for SqlRegistry {
    async fn list(
        &self,
        organisation: &str,
        filter: &Filter,
        page: &Page,
    ) -> Result<Listing, Error> {
        self.shared
            .database
            .in_time(self.list_page(organisation, filter, page))
            .await
    }

    async fn get(&self, organisation: &str, name: &ServerName) -> Result<Arc<Server>, Error> {
        let found = self.shared.database.in_time(async {
            let mut connection = self.shared.database.read.acquire().await?;
            self.load(&mut connection, organisation, name).await
        });
        found
            .await?
            .ok_or_else(|| Error::NotFound { name: name.clone() })
    }

    async fn insert(&self, server: Server) -> Result<Arc<Server>, Error> {
        let server = Server {
            version: 1,
            ..server
        };
        let _forgets = self.forgets(&server);
        self.shared
            .database
            .in_time(self.insert_row(&server))
            .await?;
        Ok(Arc::new(server))
    }

    async fn replace(&self, server: Server) -> Result<Arc<Server>, Error> {
        let _forgets = self.forgets(&server);
        self.shared
            .database
            .in_time(self.replace_row(server))
            .await
            .map(Arc::new)
    }

    async fn remove(&self, organisation: &str, name: &ServerName) -> Result<(), Error> {
        let key = (Arc::from(organisation), name.clone());
        let _forgets = Forgets {
            cache: &self.shared.cache,
            key: key.clone(),
        };
        self.shared.database.in_time(self.remove_rows(&key)).await
    }
}

impl SqlRegistry {
    /// The server of this name, with all that is needed to know about it.
    pub(super) async fn load(
        &self,
        connection: &mut AnyConnection,
        organisation: &str,
        name: &ServerName,
    ) -> Result<Option<Arc<Server>>, Error> {
        if !text::fits(organisation) {
            return Ok(None);
        }
        let row = sql(
            "SELECT id, organisation, name, version, record, sealed FROM mcp_servers
                       WHERE organisation = $1 AND name = $2",
        )
        .bind(organisation)
        .bind(name.as_str())
        .fetch_optional(connection)
        .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let server = record::read(&row, &self.shared.ring.load())?;
        Ok(Some(Arc::new(server)))
    }

    async fn list_page(
        &self,
        organisation: &str,
        filter: &Filter,
        page: &Page,
    ) -> Result<Listing, Error> {
        let nothing = Listing {
            servers: Vec::new(),
            next: None,
        };
        let pattern = match filter.text.as_deref() {
            None => String::new(),
            Some(text) => match text::pattern(text) {
                Some(pattern) => pattern,
                None => return Ok(nothing),
            },
        };
        let project = filter.project.as_deref();
        if !text::fits(organisation) {
            return Ok(nothing);
        }
        let (of, project) = match project {
            None => (EVERY, ""),
            Some(project) if text::fits(project) => (OF_PROJECT, project),
            // Nobody can have named it.
            Some(_) => (OF_ALL, ""),
        };
        let limit = page.limit.clamp(1, PAGE_LEN);
        // One more than asked for: whether there is a next page.
        let rows = sql(
            "SELECT id, organisation, name, version, record, sealed FROM mcp_servers
             WHERE organisation = $1 AND name > $2
               AND ($3 = '' OR search LIKE $3 ESCAPE '!')
               AND ($4 = 0 OR all_projects = 1 OR ($4 = 1 AND EXISTS (
                   SELECT 1 FROM mcp_server_projects
                   WHERE server = mcp_servers.id AND project = $5)))
             ORDER BY name LIMIT $6",
        )
        .bind(organisation)
        .bind(page.after.as_ref().map_or("", ServerName::as_str))
        .bind(pattern)
        .bind(of)
        .bind(project)
        .bind(i64::try_from(limit + 1).unwrap_or(i64::MAX))
        .fetch_all(&self.shared.database.read)
        .await?;
        let ring = self.shared.ring.load();
        let servers: Vec<_> = rows
            .iter()
            .take(limit)
            .filter_map(|row| self.listed(row, &ring))
            .collect();
        let last = rows.get(limit).and(rows.get(limit - 1));
        let next = last.map(|row| row.try_get::<&str, _>(2)).transpose()?;
        let next = next.and_then(|name| name.parse().ok());
        Ok(Listing { servers, next })
    }

    /// One that cannot be read is left out: the others are to be seen all the same.
    #[allow(clippy::unused_self, reason = "reads as one of the steps of a page")]
    fn listed(&self, row: &AnyRow, ring: &crate::secret::KeyRing) -> Option<Arc<Server>> {
        match record::read(row, ring) {
            Ok(server) => Some(Arc::new(server)),
            Err(error) => {
                let id = row.try_get::<&str, _>(0).unwrap_or_default();
                tracing::error!(id, %error, "a server is left out of a list");
                None
            }
        }
    }

    async fn insert_row(&self, server: &Server) -> Result<(), Error> {
        let written = self.write(server)?;
        let now = now();
        let mut tx = self.shared.database.begin().await?;
        let inserted = sql(
            "INSERT INTO mcp_servers (id, organisation, name, version, created_at,
                updated_at, all_projects, search, record, sealed, sealed_by)
             VALUES ($1, $2, $3, 1, $4, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        )
        .bind(server.id.as_str())
        .bind(&*server.organisation)
        .bind(server.name.as_str())
        .bind(now)
        .bind(i64::from(server.projects == Projects::All))
        .bind(written.search)
        .bind(written.record)
        .bind(written.sealed)
        .bind(written.sealed_by)
        .execute(&mut *tx)
        .await?;
        if inserted.rows_affected() == 0 {
            let taken = stored(&mut tx, server).await?.is_some();
            let name = server.name.clone();
            return Err(if taken {
                Error::Conflict { name }
            } else {
                Error::invalid("id", "belongs to another server")
            });
        }
        write_projects(&mut tx, server).await?;
        follow::note(&mut tx, &self.shared.database, &key(server)).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn replace_row(&self, mut server: Server) -> Result<Server, Error> {
        let read_at = server.version;
        let mut tx = self.shared.database.begin().await?;
        let stored = stored(&mut tx, &server).await?;
        let Some((id, version)) = stored else {
            return Err(Error::NotFound { name: server.name });
        };
        let stale = |version| Error::Stale {
            name: server.name.clone(),
            version,
        };
        if version != read_at || version >= LAST_VERSION {
            return Err(stale(version));
        }
        server.id = id.parse().map_err(|_| record::Broken)?;
        server.version = version + 1;
        let written = self.write(&server)?;
        let replaced = sql("UPDATE mcp_servers SET version = $1, updated_at = $2,
                all_projects = $3, search = $4, record = $5, sealed = $6, sealed_by = $7
             WHERE id = $8 AND version = $9")
        .bind(number(server.version))
        .bind(now())
        .bind(i64::from(server.projects == Projects::All))
        .bind(written.search)
        .bind(written.record)
        .bind(written.sealed)
        .bind(written.sealed_by)
        .bind(id)
        .bind(number(version))
        .execute(&mut *tx)
        .await?;
        if replaced.rows_affected() == 0 {
            // PostgreSQL: somebody else committed since we looked.
            let now = self::stored(&mut tx, &server).await?;
            let name = server.name;
            return Err(match now {
                Some((_, version)) => Error::Stale { name, version },
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

    /// With its credentials, and with the authorizations that are under way.
    async fn remove_rows(&self, key: &Key) -> Result<(), Error> {
        let (organisation, name) = key;
        let not_found = || Error::NotFound { name: name.clone() };
        if !text::fits(organisation) {
            return Err(not_found());
        }
        let mut tx = self.shared.database.begin().await?;
        let removed =
            sql("DELETE FROM mcp_servers WHERE organisation = $1 AND name = $2 RETURNING id")
                .bind(&**organisation)
                .bind(name.as_str())
                .fetch_all(&mut *tx)
                .await?;
        let id: &str = removed.first().ok_or_else(not_found)?.try_get(0)?;
        for delete in [
            "DELETE FROM mcp_credentials WHERE organisation = $1 AND server = $2",
            "DELETE FROM mcp_states WHERE organisation = $1 AND server = $2",
            "DELETE FROM mcp_leases WHERE organisation = $1 AND server = $2",
        ] {
            sql(delete)
                .bind(&**organisation)
                .bind(id)
                .execute(&mut *tx)
                .await?;
        }
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

    fn forgets(&self, server: &Server) -> Forgets<'_> {
        Forgets {
            cache: &self.shared.cache,
            key: key(server),
        }
    }
}

fn key(server: &Server) -> Key {
    (server.organisation.clone(), server.name.clone())
}

/// Identity and version of what is stored under the name of `server`.
async fn stored(
    tx: &mut Transaction<'static, Any>,
    server: &Server,
) -> Result<Option<(String, u64)>, Error> {
    if !text::fits(&server.organisation) {
        return Ok(None);
    }
    let row = sql("SELECT id, version FROM mcp_servers WHERE organisation = $1 AND name = $2")
        .bind(&*server.organisation)
        .bind(server.name.as_str())
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let version: i64 = row.try_get(1)?;
    Ok(Some((row.try_get(0)?, version.unsigned_abs())))
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

/// A version as the database has it; larger ones than it has are nobody's.
pub(super) fn number(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(-1)
}

/// Milliseconds since 1970.
pub(super) fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The time of so many milliseconds since 1970.
pub(super) fn time(milliseconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds.max(0).unsigned_abs())
}

fn now() -> i64 {
    milliseconds(SystemTime::now())
}
