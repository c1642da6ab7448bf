//! The steps of exchanges at rest: sealed for their organization and exchange, since they have what
//! callers, models and servers said.

use std::sync::Arc;

use crate::{
    apart,
    registry::error::Error,
    secret::{ExposeSecret, KeyRing, Place},
};

/// The field that steps are sealed for.
pub(super) const FIELD: &str = "trace";

/// Steps are written once.
pub(super) const VERSION: u64 = 1;

/// Seals steps as they are stored.
pub(super) fn sealed(organization: &str, id: &str, steps: String, ring: &KeyRing) -> Vec<u8> {
    ring.seal(&place(organization, id), &steps.into())
}

/// Opens the steps of an exchange, long ones on a thread apart.
///
/// # Errors
/// [`Error::Unavailable`] if they were sealed for another place, or by a key that is not there.
pub(super) async fn opened(
    organization: &str,
    id: &str,
    sealed: Vec<u8>,
    ring: Arc<KeyRing>,
) -> Result<String, Error> {
    let (organization, id) = (organization.to_owned(), id.to_owned());
    let len = sealed.len();
    let open = move || {
        let opened = ring.open(&place(&organization, &id), &sealed)?;
        Ok(opened.expose_secret().to_owned())
    };
    let opened = apart::read(len, open).await;
    let opened = opened.ok_or_else(|| Error::unavailable("a trace could not be opened"))?;
    opened.map_err(|error: crate::secret::OpenError| Error::unavailable(error))
}

fn place<'a>(organization: &'a str, id: &'a str) -> Place<'a> {
    Place {
        organization,
        server: id,
        field: FIELD,
        origin: "",
        version: VERSION,
    }
}
