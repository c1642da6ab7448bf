//! One call of the REST interface: its route, and what a description of it says.

use http::Method;

use super::{media_type::JSON, route::Handler};

/// A row of the [table](super::rest::calls).
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) handler: Handler,
    pub(super) summary: &'static str,
    pub(super) parameters: &'static [Parameter],
    /// The name of its body's schema.
    pub(super) body: Option<&'static str>,
    /// The status that says that it went well, and the name of the schema of what is in it.
    pub(super) answer: (u16, Option<&'static str>),
    /// The type of what is in it.
    pub(super) media_type: &'static str,
    /// The other answers that are to be expected of this call in particular.
    pub(super) faults: &'static [(u16, &'static str)],
}

/// A parameter of a query; none has to be there.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    /// The name of its schema.
    pub(super) schema: &'static str,
    pub(super) description: &'static str,
}

impl Call {
    pub(super) fn new(
        method: Method,
        path: &'static str,
        handler: Handler,
        summary: &'static str,
    ) -> Self {
        Self {
            method,
            path,
            handler,
            summary,
            parameters: &[],
            body: None,
            answer: (204, None),
            media_type: JSON,
            faults: &[],
        }
    }

    pub(super) fn with(self, parameters: &'static [Parameter]) -> Self {
        Self { parameters, ..self }
    }

    pub(super) fn takes(self, schema: &'static str) -> Self {
        Self {
            body: Some(schema),
            ..self
        }
    }

    pub(super) fn gives(self, status: u16, schema: &'static str) -> Self {
        Self {
            answer: (status, Some(schema)),
            ..self
        }
    }

    /// Answers with a text of this type.
    pub(super) fn gives_text(self, media_type: &'static str) -> Self {
        Self {
            media_type,
            ..self.gives(200, "Text")
        }
    }

    pub(super) fn fails(self, faults: &'static [(u16, &'static str)]) -> Self {
        Self { faults, ..self }
    }
}
