//! The exchange store: what later requests need to know of exchanges, in rows that are sealed.

pub(super) mod key;
mod put;
mod read;
pub(super) mod room;
pub(super) mod sealed_text;

use self::{put::Put, read::find, room::give_back, sealed_text::opened};
use super::{database::sql, registry::SqlRegistry, text, time::shared_now, version};
use crate::{
    hex::hex,
    registry::{
        error::Error,
        exchange::{ExchangeId, ExchangeOwner, ExchangeRecord, StoredExchange},
        exchange_store::ExchangeStore,
        future::BoxFuture,
    },
};

impl ExchangeStore for SqlRegistry {
    fn key(&self) -> BoxFuture<'_, Result<[u8; 32], Error>> {
        Box::pin(self.shared.database.in_time(self.exchange_key()))
    }

    fn put<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        id: ExchangeId,
        record: ExchangeRecord,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        Box::pin(async move {
            text::check("organization", &owner.organization)?;
            text::check("project", &owner.project)?;
            let Some(put) = Put::new(owner, id, record, expected)? else {
                return Ok(None);
            };
            // Before the time of the database, and the transaction that others wait for.
            let put = put.sealed(self.shared.ring.load_full()).await?;
            let version = put.version();
            let put = self.shared.database.in_time(self.put_exchange(put));
            Ok(put.await?.then_some(version))
        })
    }

    fn get<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        ids: &'a [ExchangeId],
    ) -> BoxFuture<'a, Result<Vec<StoredExchange>, Error>> {
        Box::pin(async move {
            if ids.is_empty() || !fits(owner) {
                return Ok(Vec::new());
            }
            let read = self.shared.database.in_time(async {
                let mut connection = self.shared.database.reading().await?;
                let now = shared_now(&mut connection, &self.shared.database).await?;
                let ids = self.affordable(&mut connection, owner, ids).await?;
                let rows = self.rows(&mut connection, owner, &ids, now).await?;
                Ok((rows, now))
            });
            let (rows, now) = read.await?;
            let renewed = self.renew(&rows, now);
            if let Err(error) = self.shared.database.in_time(renewed).await {
                tracing::debug!(%error, "the lives of kept exchanges were not renewed");
            }
            opened(owner, &rows, now, self.shared.ring.load_full()).await
        })
    }

    fn find<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        topic: &'a [u8; 32],
    ) -> BoxFuture<'a, Result<Vec<StoredExchange>, Error>> {
        Box::pin(async move {
            if !fits(owner) {
                return Ok(Vec::new());
            }
            let read = self.shared.database.in_time(async {
                let mut connection = self.shared.database.reading().await?;
                let now = shared_now(&mut connection, &self.shared.database).await?;
                let rows = find(&mut connection, owner, topic, now).await?;
                Ok((rows, now))
            });
            let (rows, now) = read.await?;
            opened(owner, &rows, now, self.shared.ring.load_full()).await
        })
    }

    fn remove<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        id: ExchangeId,
        version: u64,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            if !fits(owner) {
                return Ok(false);
            }
            let removed = self.shared.database.in_time(async {
                let mut tx = self.shared.database.begin().await?;
                let now = shared_now(&mut tx, &self.shared.database).await?;
                let rows = sql("DELETE FROM mcp_exchanges
                     WHERE id = $1 AND organization = $2 AND project = $3 AND caller = $4
                       AND version = $5 AND ends_at > $6
                     RETURNING organization, project, room")
                .bind(hex(&id.0))
                .bind(&*owner.organization)
                .bind(&*owner.project)
                .bind(hex(&owner.caller))
                .bind(version::stored(version))
                .bind(now)
                .fetch_all(&mut *tx)
                .await?;
                give_back(&mut tx, &rows).await?;
                tx.commit().await?;
                Ok(!rows.is_empty())
            });
            removed.await
        })
    }
}

fn fits(owner: &ExchangeOwner) -> bool {
    text::fits(&owner.organization) && text::fits(&owner.project)
}
