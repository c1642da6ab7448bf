//! Stands in for the database in a build without one: there is none to open.

use mcp_layer::{
    admin::SealingKey,
    authorization::Authorizations,
    outbound::Outbound,
    registry::{AnyStore, AnyTraces, Error},
    secret::KeyRing,
};

use crate::config::Invalid;

/// A database that is open, which none is.
#[derive(Clone)]
pub enum Store {}

impl Store {
    pub async fn open(_: &str, _: &KeyRing) -> Result<Self, Invalid> {
        Err(Invalid::new(
            "database: this proxy was built without; build it with --features full",
        ))
    }

    pub fn servers(&self) -> AnyStore {
        match *self {}
    }

    pub fn authorizations(&self, _: Outbound) -> Authorizations {
        match *self {}
    }

    pub fn traces(&self) -> AnyTraces {
        match *self {}
    }

    pub async fn keys(self) -> Result<Vec<SealingKey>, Error> {
        match self {}
    }

    pub async fn flush(&self) {
        match *self {}
    }

    pub async fn reseal(self) {
        match self {}
    }
}
