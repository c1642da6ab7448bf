//! The stand-in for the validator without the feature `validate`: only servers check arguments.
//!
//! Arguments must be a JSON object within the limits of depth and length in either case: that is
//! checked before any schema is consulted.

use serde_json::{Value, value::RawValue};

use super::place::Place;

/// Nothing is read in another way.
pub(crate) fn reread(_: &RawValue, _: &str) -> Option<String> {
    None
}

pub(crate) fn has_whole_fraction(_: &str) -> bool {
    false
}

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
