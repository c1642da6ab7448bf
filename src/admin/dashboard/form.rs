//! A submitted form.

use percent_encoding::percent_decode;
use zeroize::{Zeroize, Zeroizing};

use super::super::fault::{Code, Fault};

/// The most fields of a form: a server of 1,024 tools has three fields for each.
const FIELDS: usize = 5000;

/// The fields of a form, in their order. Any may be a secret, so all are wiped.
pub(super) struct Form(Vec<(Zeroizing<String>, Zeroizing<String>)>);

impl Form {
    /// Reads a body, or a query.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Fault> {
        let fields = text
            .split(|byte| *byte == b'&')
            .filter(|field| !field.is_empty());
        let fields = fields.take(FIELDS + 1).map(|field| {
            let mut parts = field.splitn(2, |byte| *byte == b'=');
            let mut part = || decoded(parts.next().unwrap_or_default());
            (part(), part())
        });
        let fields: Vec<_> = fields.collect();
        match fields.len() {
            0..=FIELDS => Ok(Self(fields)),
            _ => Err(Fault::new(
                Code::InvalidRequest,
                format!("the form has more than {FIELDS} fields"),
            )),
        }
    }

    /// The first field of this name; empty if there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// The field of this name, without the blanks around it that come from pasting.
    pub(super) fn trimmed(&self, name: &str) -> &str {
        self.text(name).trim()
    }

    /// Returns `true` if the field is there: a ticked box, a pressed button.
    pub(super) fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// All fields of this name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let fields = self.0.iter().filter(move |(field, _)| **field == name);
        fields.map(|(_, value)| value.as_str())
    }
}

/// Decodes a name or a value into one buffer that never moves. A parser whose buffer grows leaves
/// pieces of a secret behind.
fn decoded(encoded: &[u8]) -> Zeroizing<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    for (index, piece) in encoded.split(|byte| *byte == b'+').enumerate() {
        if index > 0 {
            bytes.push(b' ');
        }
        bytes.extend(percent_decode(piece));
    }
    String::from_utf8(bytes).map_or_else(
        |error| {
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            error.into_bytes().zeroize();
            text.into()
        },
        Into::into,
    )
}

#[cfg(test)]
mod tests {
    use url::form_urlencoded;

    use super::*;

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        for text in [
            "",
            "a",
            "a=",
            "=b",
            "a=b=c&&d",
            "a+b=c%20d%2B+",
            "a=%C3%A9&a=é",
            "%ff=%f",
            "a=%",
            "+",
        ] {
            let form = Form::parse(text.as_bytes()).unwrap();
            let read: Vec<_> = form
                .0
                .iter()
                .map(|(name, value)| (&***name, &***value))
                .collect();
            let expected: Vec<_> = form_urlencoded::parse(text.as_bytes()).collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|(name, value)| (&**name, &**value))
                .collect();
            assert_eq!(read, expected, "{text}");
        }
    }
}
