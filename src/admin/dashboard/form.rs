//! A submitted form.

use std::borrow::Cow;

use url::form_urlencoded;

use super::super::fault::{Code, Fault};

/// More than the largest form has: a server of 1,024 tools has three fields for each.
const FIELDS: usize = 5000;

/// The fields of a form, in their order.
pub(super) struct Form<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Form<'a> {
    /// Reads a body, or a query.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, Fault> {
        let fields: Vec<_> = form_urlencoded::parse(text).take(FIELDS + 1).collect();
        match fields.len() {
            0..=FIELDS => Ok(Self(fields)),
            _ => Err(Fault::new(
                Code::InvalidRequest,
                format!("the form has more than {FIELDS} fields"),
            )),
        }
    }

    /// The first field of this name; empty where there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        let field = self.0.iter().find(|(field, _)| field == name);
        field.map_or("", |(_, value)| value)
    }

    /// The field of this name, without the blanks around it that come from pasting.
    pub(super) fn trimmed(&self, name: &str) -> &str {
        self.text(name).trim()
    }

    /// Whether there is such a field: a box that is ticked, a button that was pressed.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(field, _)| field == name)
    }

    /// All fields of this name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let fields = self.0.iter().filter(move |(field, _)| field == name);
        fields.map(|(_, value)| value.as_ref())
    }
}
