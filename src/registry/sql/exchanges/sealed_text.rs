//! The texts of exchanges, each sealed for its caller, record and version.

use std::sync::Arc;

use sqlx::{Row, any::AnyRow};

use crate::{
    apart,
    hex::{hex, unhex},
    registry::{
        error::Error,
        exchange::{ExchangeId, ExchangeOwner, StoredExchange},
    },
    secret::{ExposeSecret, KeyRing, Place},
};

/// The field that a text is sealed for.
pub(crate) const FIELD: &str = "exchange";

/// A text that is sealed for its place.
pub(super) struct Text {
    pub(super) len: i64,
    pub(super) sealed: Vec<u8>,
    pub(super) sealed_by: String,
}

/// Seals a text for its place.
pub(super) async fn sealed(
    owner: &ExchangeOwner,
    id: ExchangeId,
    data: Arc<str>,
    version: i64,
    ring: Arc<KeyRing>,
) -> Result<Text, Error> {
    let (owner, len) = (owner.clone(), data.len());
    let seal = move || {
        let (server, origin) = (hex(&id.0), origin(&owner));
        let place = place(&owner, &server, &origin, version);
        Text {
            len: i64::try_from(data.len()).unwrap_or(i64::MAX),
            sealed: ring.seal(&place, &data.to_string().into()),
            sealed_by: ring.newest().to_string(),
        }
    };
    let sealed = apart::read(len, seal).await;
    sealed.ok_or_else(|| Error::unavailable("a text could not be sealed"))
}

/// Opens the texts of rows; one that does not open is as if it were not there.
pub(super) async fn opened(
    owner: &ExchangeOwner,
    rows: &[AnyRow],
    now: i64,
    ring: Arc<KeyRing>,
) -> Result<Vec<StoredExchange>, Error> {
    let mut sealed = Vec::with_capacity(rows.len());
    for row in rows {
        sealed.push(Sealed::read(row, now)?);
    }
    let owner = owner.clone();
    let len = sealed.iter().map(|record| record.sealed.len()).sum();
    let open = move || {
        let opened = sealed.iter();
        opened
            .filter_map(|record| record.open(&owner, &ring))
            .collect()
    };
    let opened = apart::read(len, open).await;
    opened.ok_or_else(|| Error::unavailable("the texts could not be opened"))
}

/// A record whose text is still sealed.
pub(super) struct Sealed {
    id: ExchangeId,
    version: u64,
    is_leased: bool,
    /// The version that the text was sealed for.
    sealed_for: i64,
    sealed: Vec<u8>,
}

impl Sealed {
    pub(super) fn read(row: &AnyRow, now: i64) -> Result<Self, Error> {
        let id = unhex(row.try_get(0)?).map(ExchangeId);
        Ok(Self {
            id: id.ok_or_else(|| Error::unavailable("an exchange has an id of another form"))?,
            version: row.try_get::<i64, _>(1)?.unsigned_abs(),
            is_leased: row.try_get::<i64, _>(2)? > now,
            sealed_for: row.try_get(5)?,
            sealed: row.try_get(6)?,
        })
    }

    fn open(&self, owner: &ExchangeOwner, ring: &KeyRing) -> Option<StoredExchange> {
        let (server, origin) = (hex(&self.id.0), origin(owner));
        let place = place(owner, &server, &origin, self.sealed_for);
        match ring.open(&place, &self.sealed) {
            Ok(data) => {
                let data = data.expose_secret();
                Some(StoredExchange::new(
                    self.id,
                    self.version,
                    data,
                    self.is_leased,
                ))
            }
            Err(error) => {
                tracing::error!(%error, "a kept exchange does not open");
                None
            }
        }
    }
}

fn place<'a>(owner: &'a ExchangeOwner, id: &'a str, origin: &'a str, version: i64) -> Place<'a> {
    Place {
        organization: &owner.organization,
        server: id,
        field: FIELD,
        origin,
        version: version.unsigned_abs(),
    }
}

/// Caller and project, as `reseal.rs` puts them together.
fn origin(owner: &ExchangeOwner) -> String {
    format!("{} {}", hex(&owner.caller), owner.project)
}
