//! Records of exchanges, shared by all users of the database.

use std::sync::Arc;

use sqlx::Row;

use super::{
    database::sql,
    registry::SqlRegistry,
    sealed_steps, text,
    trace_queue::Queue,
    trace_record::{self, column, server},
};
use crate::{
    registry::{
        error::Error,
        future::BoxFuture,
        trace_store::{TraceFilter, TraceListing, TracePage, TraceStore},
    },
    trace::{Trace, TraceId, TraceSink},
};

impl TraceSink for SqlRegistry {
    fn record(&self, trace: &Arc<Trace>) {
        self.traces().put(trace);
    }
}

impl TraceStore for SqlRegistry {
    fn list<'a>(
        &'a self,
        organization: &'a str,
        filter: &'a TraceFilter,
        page: &'a TracePage,
    ) -> BoxFuture<'a, Result<TraceListing, Error>> {
        Box::pin(async move {
            if !text::fits(organization) {
                let (traces, next) = (Vec::new(), None);
                return Ok(TraceListing { traces, next });
            }
            let limit = page.size();
            // The page ends before the least of these; ids are in the order of time.
            let before = [page.before, filter.end()].into_iter().flatten().min();
            let before = before.map(|id| id.to_string()).unwrap_or_default();
            let first = filter.first().map(|id| id.to_string()).unwrap_or_default();
            let text = filter.wanted_text().unwrap_or_default();
            let rows = self.shared.database.in_time(async {
                // What is not asked for is empty. A name is in a list if there is something to be taken
                // out of it. The records are looked up once it is known which ones.
                let rows = sql("SELECT t.id, t.record FROM (
                     SELECT id FROM mcp_trace_names
                     WHERE organization = $1 AND ($2 = '' OR id < $2)
                       AND ($3 = '' OR '=' || project = $3) AND ($4 = '' OR '=' || model = $4)
                       AND ($5 = '' OR '=' || outcome = $5)
                       AND ($6 = '' OR replace(servers, $6, '') <> servers)
                       AND ($7 = '' OR replace(search, $7, '') <> search)
                       AND ($8 = 0 OR failed_calls > 0) AND id >= $9
                     ORDER BY id DESC LIMIT $10) AS found
                 JOIN mcp_traces AS t ON t.id = found.id ORDER BY t.id DESC")
                .bind(organization)
                .bind(before)
                .bind(wanted(&filter.project))
                .bind(wanted(&filter.model))
                .bind(wanted(&filter.outcome))
                .bind(filter.server.as_deref().map(server).unwrap_or_default())
                .bind(&*column(&text))
                .bind(i64::from(filter.failed_tools))
                .bind(first)
                .bind(i64::try_from(limit + 1).unwrap_or(i64::MAX))
                .fetch_all(&mut *self.shared.database.reading().await?)
                .await?;
                Ok(rows)
            });
            let rows = rows.await?;
            let mut traces = Vec::with_capacity(rows.len().min(limit));
            let mut last = None;
            for row in rows.iter().take(limit) {
                let id = row.try_get::<&str, _>(0)?;
                last = id.parse().ok();
                // One that cannot be read is left out: the others are to be seen all the same.
                match trace_record::read(id, organization, row.try_get(1)?, None) {
                    Ok(trace) => traces.push(Arc::new(trace)),
                    Err(error) => tracing::error!(id, %error, "an exchange is left out of a list"),
                }
            }
            let next = rows.get(limit).and(last);
            Ok(TraceListing { traces, next })
        })
    }

    fn get<'a>(
        &'a self,
        organization: &'a str,
        id: TraceId,
    ) -> BoxFuture<'a, Result<Option<Arc<Trace>>, Error>> {
        Box::pin(async move {
            if !text::fits(organization) {
                return Ok(None);
            }
            let id = id.to_string();
            let row = self.shared.database.in_time(async {
                let row = sql("SELECT record, spans, sealed FROM mcp_traces
                         WHERE id = $1 AND organization = $2")
                .bind(&*id)
                .bind(organization)
                .fetch_optional(&mut *self.shared.database.reading().await?)
                .await?;
                Ok(row)
            });
            let Some(row) = row.await? else {
                return Ok(None);
            };
            // Those of before they were sealed are as they were.
            let plain: &str = row.try_get(1)?;
            let steps = match row.try_get::<Option<Vec<u8>>, _>(2)? {
                Some(sealed) => {
                    let ring = self.shared.ring.load_full();
                    sealed_steps::opened(organization, &id, sealed, ring).await?
                }
                None => plain.to_owned(),
            };
            let trace = trace_record::read(&id, organization, row.try_get(0)?, Some(&steps))?;
            Ok(Some(Arc::new(trace)))
        })
    }
}

/// Encodes an optional text, so that an empty one differs from none.
fn wanted(text: &Option<String>) -> String {
    let text = text.as_deref();
    text.map_or_else(String::new, |text| format!("={}", column(text)))
}

impl SqlRegistry {
    /// Waits until all exchanges recorded so far are written, for at most 10 s. Call it before the
    /// process ends; otherwise those of the last half second may be lost.
    ///
    /// # Cancellation
    /// Writing continues in the background.
    pub async fn flush_traces(&self) {
        self.traces().flush().await;
    }

    fn traces(&self) -> &Queue {
        &self.shared.traces
    }
}
