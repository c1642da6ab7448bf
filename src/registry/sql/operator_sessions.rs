//! Browsers of operators that are signed in. What a provider is asked with was sealed by the
//! operator's side.

use sqlx::{Row, any::AnyRow};

use super::{
    database::{Database, sql},
    registry::SqlRegistry,
    text,
    time::{milliseconds, shared_now, time},
};
use crate::registry::{
    error::Error,
    future::BoxFuture,
    operator_session::{OperatorSession, OperatorSessionStore},
};

/// The longest name, in bytes.
const WORD: usize = 128;
/// The longest sealed record, in bytes: three tokens of 16 KiB.
const GRANT: usize = 64 << 10;
/// The most sessions of an operator: more browsers than anybody has. Whoever signs in all day long
/// ends their own.
const EACH: i64 = 100;
/// The most sessions of an organization: of a hundred operators, each with as many as they may have.
const SESSIONS: i64 = 10_000;
/// The most sessions in a list.
const LISTED: i64 = 1000;

impl OperatorSessionStore for SqlRegistry {
    fn begin_session<'a>(
        &'a self,
        session: &'a OperatorSession,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            check(session)?;
            let database = &self.shared.database;
            database.in_time(begun(database, session)).await
        })
    }

    fn session<'a>(
        &'a self,
        organization: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<OperatorSession>, Error>> {
        Box::pin(async move {
            if !text::fits(organization) || !text::fits(id) {
                return Ok(None);
            }
            let database = &self.shared.database;
            let row = database.in_time(async {
                let row = sql(
                    "SELECT id, operator, role, via, address, began_at, used_at, ends_at, looked_at,
                            looking_until, sealed, version
                     FROM mcp_operator_sessions WHERE id = $1 AND organization = $2",
                )
                .bind(id)
                .bind(organization)
                .fetch_optional(&mut *database.reading().await?)
                .await?;
                Ok(row)
            });
            row.await?.map(|row| read(organization, &row)).transpose()
        })
    }

    fn sessions<'a>(
        &'a self,
        organization: &'a str,
    ) -> BoxFuture<'a, Result<Vec<OperatorSession>, Error>> {
        Box::pin(async move {
            if !text::fits(organization) {
                return Ok(Vec::new());
            }
            let database = &self.shared.database;
            let rows = database.in_time(async {
                let rows = sql(
                    "SELECT id, operator, role, via, address, began_at, used_at, ends_at, looked_at,
                            looking_until, sealed, version
                     FROM mcp_operator_sessions WHERE organization = $1
                     ORDER BY used_at DESC, id LIMIT $2",
                )
                .bind(organization)
                .bind(LISTED)
                .fetch_all(&mut *database.reading().await?)
                .await?;
                Ok(rows)
            });
            let rows = rows.await?;
            rows.iter().map(|row| read(organization, row)).collect()
        })
    }

    fn replace_session<'a>(
        &'a self,
        session: &'a OperatorSession,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            check(session)?;
            let database = &self.shared.database;
            database.in_time(replaced(database, session)).await
        })
    }

    fn end_session<'a>(
        &'a self,
        organization: &'a str,
        id: &'a str,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            if !text::fits(organization) || !text::fits(id) {
                return Ok(false);
            }
            let database = &self.shared.database;
            let ended = database.in_time(async {
                let mut tx = database.begin().await?;
                let ended =
                    sql("DELETE FROM mcp_operator_sessions WHERE id = $1 AND organization = $2")
                        .bind(id)
                        .bind(organization)
                        .execute(&mut *tx)
                        .await?;
                tx.commit().await?;
                Ok(ended.rows_affected())
            });
            Ok(ended.await? > 0)
        })
    }
}

fn check(session: &OperatorSession) -> Result<(), Error> {
    text::check("organization", &session.organization)?;
    for word in [
        &session.id,
        &session.operator,
        &session.role,
        &session.via,
        &session.from,
    ] {
        if word.len() > WORD || word.contains('\0') {
            let reason = format!("has a word of more than {WORD} bytes, or a NUL");
            return Err(Error::invalid("session", reason));
        }
    }
    if session
        .grant
        .as_ref()
        .is_some_and(|grant| grant.len() > GRANT)
    {
        let reason = format!("is longer than {GRANT} bytes");
        return Err(Error::invalid("grant", reason));
    }
    Ok(())
}

async fn begun(database: &Database, session: &OperatorSession) -> Result<(), Error> {
    let mut tx = database.begin().await?;
    let now = shared_now(&mut tx, database).await?;
    sql("DELETE FROM mcp_operator_sessions WHERE ends_at < $1")
        .bind(now)
        .execute(&mut *tx)
        .await?;
    let begun = sql(
        "INSERT INTO mcp_operator_sessions (id, organization, operator, role, via, address,
             began_at, used_at, ends_at, looked_at, looking_until, sealed, version)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         ON CONFLICT DO NOTHING",
    )
    .bind(&*session.id)
    .bind(&*session.organization)
    .bind(&*session.operator)
    .bind(&*session.role)
    .bind(&*session.via)
    .bind(&*session.from)
    .bind(milliseconds(session.began_at))
    .bind(milliseconds(session.used_at))
    .bind(milliseconds(session.ends_at))
    .bind(milliseconds(session.looked_at))
    .bind(milliseconds(session.looking_until))
    .bind(session.grant.as_deref())
    .bind(i64::try_from(session.version).unwrap_or(i64::MAX))
    .execute(&mut *tx)
    .await?;
    if begun.rows_affected() == 0 {
        return Err(Error::invalid("id", "is that of another session"));
    }
    // In both the one that begins is there already, and stays, whatever the clocks of replicas say.
    sql("DELETE FROM mcp_operator_sessions WHERE id IN
           (SELECT id FROM mcp_operator_sessions
            WHERE organization = $1 AND operator = $2 AND id <> $3
            ORDER BY used_at DESC, id LIMIT $5 OFFSET $4)")
    .bind(&*session.organization)
    .bind(&*session.operator)
    .bind(&*session.id)
    .bind(EACH - 1)
    .bind(LISTED)
    .execute(&mut *tx)
    .await?;
    sql("DELETE FROM mcp_operator_sessions WHERE id IN
           (SELECT id FROM mcp_operator_sessions WHERE organization = $1 AND id <> $2
            ORDER BY used_at DESC, id LIMIT $4 OFFSET $3)")
    .bind(&*session.organization)
    .bind(&*session.id)
    .bind(SESSIONS - 1)
    .bind(LISTED)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

async fn replaced(database: &Database, session: &OperatorSession) -> Result<bool, Error> {
    let mut tx = database.begin().await?;
    let replaced = sql(
        "UPDATE mcp_operator_sessions SET operator = $1, role = $2, via = $3, address = $4,
             used_at = $5, ends_at = $6, looked_at = $7, looking_until = $8, sealed = $9,
             version = version + 1
         WHERE id = $10 AND organization = $11 AND version = $12",
    )
    .bind(&*session.operator)
    .bind(&*session.role)
    .bind(&*session.via)
    .bind(&*session.from)
    .bind(milliseconds(session.used_at))
    .bind(milliseconds(session.ends_at))
    .bind(milliseconds(session.looked_at))
    .bind(milliseconds(session.looking_until))
    .bind(session.grant.as_deref())
    .bind(&*session.id)
    .bind(&*session.organization)
    .bind(i64::try_from(session.version).unwrap_or(i64::MAX))
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(replaced.rows_affected() > 0)
}

fn read(organization: &str, row: &AnyRow) -> Result<OperatorSession, Error> {
    let text = |column: usize| row.try_get::<&str, _>(column).map(str::to_owned);
    let at = |column: usize| row.try_get(column).map(time);
    let (began_at, ends_at) = (at(5)?, at(7)?);
    let mut session = OperatorSession::new(organization, text(0)?, text(1)?, began_at, ends_at);
    (session.role, session.via, session.from) = (text(2)?, text(3)?, text(4)?);
    (session.used_at, session.looked_at) = (at(6)?, at(8)?);
    session.looking_until = at(9)?;
    session.grant = row.try_get(10)?;
    session.version = row.try_get::<i64, _>(11)?.unsigned_abs();
    Ok(session)
}
