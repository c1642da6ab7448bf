//! The key of the exchanges, made when it is first needed.

use sqlx::{AnyConnection, Row};

use crate::{
    hex::{hex, unhex},
    random::fill_random,
    registry::error::Error,
    registry::sql::{database::sql, registry::SqlRegistry},
    secret::{ExposeSecret, Place},
};

/// The place that it is sealed for.
pub(crate) const PLACE: Place<'static> = Place {
    organization: "",
    server: "",
    field: "exchange key",
    origin: "",
    version: 1,
};

impl SqlRegistry {
    /// Reads the key, once; makes it if there is none.
    pub(super) async fn exchange_key(&self) -> Result<[u8; 32], Error> {
        if let Some(key) = self.shared.exchange_key.get() {
            return Ok(*key);
        }
        let mut connection = self.shared.database.reading().await?;
        let stored = self.stored_key(&mut connection).await?;
        drop(connection);
        let key = match stored {
            Some(key) => key,
            None => self.make_key().await?,
        };
        Ok(*self.shared.exchange_key.get_or_init(|| key))
    }

    async fn stored_key(&self, connection: &mut AnyConnection) -> Result<Option<[u8; 32]>, Error> {
        let row = sql("SELECT sealed FROM mcp_exchange_key WHERE one = 1")
            .fetch_optional(connection)
            .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let opened = self.shared.ring.load().open(&PLACE, row.try_get(0)?);
        let opened = opened.map_err(Error::sealed)?;
        let key = unhex(opened.expose_secret());
        key.map(Some).ok_or_else(|| Error::sealed("it is no key"))
    }

    /// Makes a key, unless somebody else was faster; returns the one that is there then.
    async fn make_key(&self) -> Result<[u8; 32], Error> {
        let mut key = [0; 32];
        fill_random(&mut key);
        let ring = self.shared.ring.load_full();
        let mut tx = self.shared.database.begin().await?;
        sql(
            "INSERT INTO mcp_exchange_key (one, sealed, sealed_by) VALUES (1, $1, $2)
             ON CONFLICT DO NOTHING",
        )
        .bind(ring.seal(&PLACE, &hex(&key).into()))
        .bind(ring.newest().to_string())
        .execute(&mut *tx)
        .await?;
        let stored = self.stored_key(&mut tx).await?;
        tx.commit().await?;
        stored.ok_or_else(|| Error::unavailable("the key of the exchanges was removed"))
    }
}
