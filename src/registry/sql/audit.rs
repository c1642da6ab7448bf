//! What operators did. It has no secrets, and is not sealed.

use sqlx::Row;

use super::{
    database::{Database, sql},
    registry::SqlRegistry,
    text,
    time::{milliseconds, time},
};
use crate::registry::{
    audit_entry::{AuditEntry, AuditId},
    audit_store::{AuditFilter, AuditListing, AuditPage, AuditStore},
    error::Error,
    future::BoxFuture,
};

/// The longest JSON of what was there before or is there since, in bytes.
const STATE: usize = 256 << 10;
/// The longest word, in bytes.
const WORD: usize = 128;
/// The most entries of an organization; the oldest go. At a thousand changes a day it is three
/// years.
const ENTRIES: i64 = 1_000_000;
/// The share of ids, by their last byte, that look for entries beyond those.
const SWEEPING: u8 = 1;

impl AuditStore for SqlRegistry {
    fn append_audit<'a>(&'a self, entry: &'a AuditEntry) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            text::check("organization", &entry.organization)?;
            text::check("target", &entry.target)?;
            for word in [
                &entry.operator,
                &entry.role,
                &entry.via,
                &entry.from,
                &entry.action,
            ] {
                if word.len() > WORD || word.contains('\0') {
                    let reason = format!("has a word of more than {WORD} bytes, or a NUL");
                    return Err(Error::invalid("entry", reason));
                }
            }
            let database = &self.shared.database;
            database.in_time(appended(database, entry)).await
        })
    }

    fn list_audit<'a>(
        &'a self,
        organization: &'a str,
        filter: &'a AuditFilter,
        page: &'a AuditPage,
    ) -> BoxFuture<'a, Result<AuditListing, Error>> {
        Box::pin(async move {
            let wanted = [&filter.operator, &filter.action, &filter.target];
            let mut texts = wanted.into_iter().flatten();
            if !text::fits(organization) || texts.any(|wanted| !text::fits(wanted)) {
                return Ok(AuditListing::new(Vec::new(), None));
            }
            let database = &self.shared.database;
            database
                .in_time(listed(database, organization, filter, page))
                .await
        })
    }
}

async fn appended(database: &Database, entry: &AuditEntry) -> Result<(), Error> {
    let [before, after] = [&entry.before, &entry.after].map(|state| {
        let state = state.as_ref().map(ToString::to_string);
        state.unwrap_or_default()
    });
    if before.len() > STATE || after.len() > STATE {
        let reason = format!("is longer than {STATE} bytes");
        return Err(Error::invalid("before", reason));
    }
    let id = entry.id.to_string();
    let mut tx = database.begin().await?;
    sql(
        "INSERT INTO mcp_audit (id, organization, at, operator, role, via, address, action, target,
                                before_change, after_change)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(&*id)
    .bind(&*entry.organization)
    .bind(milliseconds(entry.at))
    .bind(&*entry.operator)
    .bind(&*entry.role)
    .bind(&*entry.via)
    .bind(&*entry.from)
    .bind(&*entry.action)
    .bind(&*entry.target)
    .bind(before)
    .bind(after)
    .execute(&mut *tx)
    .await?;
    let last_byte = id
        .get(30..)
        .and_then(|byte| u8::from_str_radix(byte, 16).ok());
    if last_byte.is_some_and(|byte| byte < SWEEPING) {
        sql("DELETE FROM mcp_audit WHERE organization = $1 AND id <=
               (SELECT id FROM mcp_audit WHERE organization = $1
                ORDER BY id DESC LIMIT 1 OFFSET $2)")
        .bind(&*entry.organization)
        .bind(ENTRIES)
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn listed(
    database: &Database,
    organization: &str,
    filter: &AuditFilter,
    page: &AuditPage,
) -> Result<AuditListing, Error> {
    let before = page.before.map(|id| id.to_string()).unwrap_or_default();
    let action = filter.action.as_deref().unwrap_or_default();
    let begins = match action.ends_with('.') {
        true => action,
        false => "",
    };
    // What is not asked for is empty, and a text that is has `=` before it: an operator may be nobody.
    let is = |wanted: &Option<String>| {
        let wanted = wanted.as_deref();
        wanted.map_or_else(String::new, |wanted| format!("={wanted}"))
    };
    let size = page.size();
    let rows = sql(
        "SELECT id, at, operator, role, via, address, action, target, before_change, after_change
         FROM mcp_audit
         WHERE organization = $1 AND ($2 = '' OR id < $2)
           AND ($3 = '' OR '=' || operator = $3)
           AND ($4 = '' OR '=' || target = $4
                OR substr('=' || target, 1, length($4) + 1) = $4 || '/')
           AND ($5 = '' OR '=' || action = $5 OR ($6 <> '' AND substr(action, 1, length($6)) = $6))
           AND ($7 < 0 OR at >= $7) AND ($8 < 0 OR at < $8)
         ORDER BY id DESC LIMIT $9",
    )
    .bind(organization)
    .bind(before)
    .bind(is(&filter.operator))
    .bind(is(&filter.target))
    .bind(is(&filter.action))
    .bind(begins)
    .bind(filter.from.map_or(-1, milliseconds))
    .bind(filter.to.map_or(-1, milliseconds))
    .bind(i64::try_from(size + 1).unwrap_or(i64::MAX))
    .fetch_all(&mut *database.reading().await?)
    .await?;
    let mut entries = Vec::with_capacity(rows.len().min(size));
    for row in rows.iter().take(size) {
        let id: &str = row.try_get(0)?;
        let id: AuditId = id.parse().map_err(Error::unavailable)?;
        let text = |column: usize| row.try_get::<&str, _>(column).map(str::to_owned);
        let state = |column: usize| -> Result<_, Error> {
            let text: &str = row.try_get(column)?;
            // It was JSON when it was written.
            Ok((!text.is_empty()).then(|| serde_json::from_str(text).unwrap_or_default()))
        };
        let (action, target) = (text(6)?, text(7)?);
        let mut entry = AuditEntry::new(organization, time(row.try_get(1)?), action, target);
        (entry.operator, entry.role) = (text(2)?, text(3)?);
        (entry.via, entry.from) = (text(4)?, text(5)?);
        (entry.before, entry.after) = (state(8)?, state(9)?);
        entries.push(entry.with_id(id));
    }
    let next = rows.get(size).and(entries.last()).map(|entry| entry.id);
    Ok(AuditListing::new(entries, next))
}
