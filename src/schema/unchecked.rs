//! What stands in for the validator without the feature `validate`: servers check arguments alone.
//!
//! That arguments are a JSON object, not too deep and not too long, is held before a schema is
//! asked, with the feature and without it.

use serde_json::{Value, value::RawValue};

use super::place::Place;

/// A schema that is passed on to models, and checks nothing.
#[derive(Debug)]
pub(crate) struct Schema;

impl Schema {
    pub(crate) fn of(_: &RawValue) -> Self {
        Self
    }

    /// Nothing is compiled.
    #[expect(clippy::unused_self, reason = "the validator's interface")]
    pub(crate) fn weight(&self, _: &RawValue) -> u64 {
        0
    }

    #[expect(clippy::unused_self, reason = "the validator's interface")]
    pub(crate) fn place(&self, _: &Value) -> Place {
        Place::AtTheServer
    }

    #[expect(clippy::unused_self, reason = "the validator's interface")]
    pub(crate) fn check(
        &self,
        _: &RawValue,
        _: &Value,
        _: impl FnOnce() -> bool,
    ) -> Result<(), String> {
        Ok(())
    }
}
