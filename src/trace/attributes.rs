//! The attributes of a span, by the names of OpenTelemetry.

use serde_json::{Map, Value};

/// Attributes as they come together.
#[derive(Default)]
pub(crate) struct Attributes(Map<String, Value>);

impl Attributes {
    /// Those of a span of this operation of generative AI.
    pub(super) fn of(operation: &'static str) -> Self {
        let mut attributes = Self::default();
        attributes.set("gen_ai.operation.name", operation);
        attributes
    }

    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    pub(crate) fn set_some(&mut self, name: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }
}

impl From<Attributes> for Map<String, Value> {
    fn from(attributes: Attributes) -> Self {
        attributes.0
    }
}
