//! Sums of exchanges over time, shared by all users of the database.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::Row;

use super::{
    database::{Database, sql},
    registry::SqlRegistry,
    text,
};
use crate::{
    apart,
    registry::{
        error::Error,
        future::BoxFuture,
        overview::{Breakdown, Figures, Grain, OverviewSpan, OverviewStore, Sums},
    },
};

/// The most that one removal takes; the next one is soon enough for more.
const SWEPT: i64 = 10_000;
/// The most bytes that are added up on a thread that serves, which takes a few milliseconds.
const FEW: usize = 256 << 10;

impl OverviewStore for SqlRegistry {
    fn put<'a>(&'a self, sums: &'a [Sums]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let database = &self.shared.database;
            database.in_time(put(database, sums)).await
        })
    }

    fn figures<'a>(
        &'a self,
        span: OverviewSpan<'a>,
    ) -> BoxFuture<'a, Result<Vec<(SystemTime, Figures)>, Error>> {
        Box::pin(async move {
            let rows = read(
                &self.shared.database,
                "SELECT starts_at, figures FROM mcp_overview
                 WHERE organization = $1 AND project = $2 AND grain = $3
                   AND starts_at >= $4 AND starts_at < $5
                 ORDER BY starts_at",
                span,
            );
            let mut found: Vec<(SystemTime, Figures)> = Vec::new();
            for (start, bytes) in rows.await? {
                let figures = Figures::from_bytes(&bytes).ok_or_else(unreadable)?;
                let start = UNIX_EPOCH + Duration::from_secs(start.max(0).unsigned_abs());
                match found.last_mut() {
                    Some((last, sum)) if *last == start => sum.add(&figures),
                    _ => found.push((start, figures)),
                }
            }
            Ok(found)
        })
    }

    fn breakdown<'a>(&'a self, span: OverviewSpan<'a>) -> BoxFuture<'a, Result<Breakdown, Error>> {
        Box::pin(async move {
            let rows = read(
                &self.shared.database,
                "SELECT starts_at, breakdown FROM mcp_overview
                 WHERE organization = $1 AND project = $2 AND grain = $3
                   AND starts_at >= $4 AND starts_at < $5",
                span,
            );
            let rows = rows.await?;
            let size: usize = rows.iter().map(|(_, bytes)| bytes.len()).sum();
            let sum = match size <= FEW {
                true => sum(&rows),
                false => apart::finish(move || sum(&rows)).await.flatten(),
            };
            sum.ok_or_else(unreadable)
        })
    }

    fn remove_before(&self, grain: Grain, time: SystemTime) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let database = &self.shared.database;
            let remove = async {
                let mut tx = database.begin().await?;
                sql("DELETE FROM mcp_overview WHERE id IN (
                         SELECT id FROM mcp_overview WHERE grain = $1 AND starts_at < $2
                         ORDER BY starts_at LIMIT $3)
                     AND grain = $1 AND starts_at < $2")
                .bind(length(grain))
                .bind(seconds(time))
                .bind(SWEPT)
                .execute(&mut *tx)
                .await?;
                Ok(tx.commit().await?)
            };
            database.in_time(remove).await
        })
    }
}

/// Puts all sums in one transaction.
async fn put(database: &Database, sums: &[Sums]) -> Result<(), Error> {
    if sums.is_empty() {
        return Ok(());
    }
    let mut tx = database.begin().await?;
    for sums in sums {
        let project = column(sums.project.as_deref());
        // Nobody asks for what has such a name; the sums of all projects have it.
        if !text::fits(&sums.organization) || !text::fits(&project) {
            continue;
        }
        sql("INSERT INTO mcp_overview
                 (organization, project, grain, starts_at, id, figures, breakdown)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (organization, project, grain, starts_at, id)
             DO UPDATE SET figures = excluded.figures, breakdown = excluded.breakdown")
        .bind(&*sums.organization)
        .bind(project)
        .bind(length(sums.grain))
        .bind(seconds(sums.start))
        .bind(i64::try_from(sums.id).unwrap_or(i64::MAX))
        .bind(sums.figures.to_bytes())
        .bind(sums.breakdown.to_bytes())
        .execute(&mut *tx)
        .await?;
    }
    Ok(tx.commit().await?)
}

/// The rows of a span: the beginning of a bucket, and bytes.
async fn read(
    database: &Database,
    query: &'static str,
    span: OverviewSpan<'_>,
) -> Result<Vec<(i64, Vec<u8>)>, Error> {
    let project = column(span.project);
    if !text::fits(span.organization) || !text::fits(&project) {
        return Ok(Vec::new());
    }
    let rows = database.in_time(async {
        let rows = sql(query)
            .bind(span.organization)
            .bind(project)
            .bind(length(span.grain))
            .bind(seconds(span.from))
            .bind(seconds(span.to))
            .fetch_all(&mut *database.reading().await?)
            .await?;
        Ok(rows)
    });
    let rows = rows.await?.into_iter();
    rows.map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect()
}

fn sum(rows: &[(i64, Vec<u8>)]) -> Option<Breakdown> {
    let mut sum = Breakdown::default();
    for (_, bytes) in rows {
        sum.add(&Breakdown::from_bytes(bytes)?);
    }
    Some(sum)
}

/// A project as it stands in its column.
fn column(project: Option<&str>) -> String {
    project.map_or_else(String::new, |project| format!("={project}"))
}

fn length(grain: Grain) -> i64 {
    i64::try_from(grain.length().as_secs()).unwrap_or(i64::MAX)
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn unreadable() -> Error {
    Error::unavailable("figures of the overview cannot be read")
}
