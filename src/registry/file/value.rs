//! TOML values that know where they stand, so that every error can say where.

use std::borrow::Cow;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{registry::Error, secret::Doubtful};

/// What is wrong with a value.
///
/// It never repeats the value: one pasted into the wrong place may be a secret.
#[derive(Debug)]
pub(super) struct Fault {
    /// The key within the entry, such as `auth.type`.
    pub(super) key: String,
    /// Where it stands in the text.
    pub(super) offset: usize,
    /// The rule, in words.
    pub(super) reason: Cow<'static, str>,
    /// What the record's own check said.
    pub(super) source: Option<Error>,
}

/// A value under its key.
#[derive(Clone, Debug)]
pub(super) struct Value<'a> {
    key: String,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Value<'a> {
    /// An entry, from which keys are counted.
    pub(super) fn entry(value: &'a Spanned<DeValue<'a>>) -> Self {
        Self {
            key: String::new(),
            value,
        }
    }

    pub(super) fn fault(&self, reason: impl Into<Cow<'static, str>>) -> Fault {
        Fault {
            key: self.key.clone(),
            offset: self.value.span().start,
            reason: reason.into(),
            source: None,
        }
    }

    /// The fault that the record's own check found in this value.
    pub(super) fn refused(&self, error: Error) -> Fault {
        let reason = match &error {
            Error::Invalid { reason, .. } => reason.clone(),
            other => other.to_string().into(),
        };
        Fault {
            source: Some(error),
            ..self.fault(reason)
        }
    }

    pub(super) fn as_text(&self) -> Option<&'a str> {
        self.value.get_ref().as_str()
    }

    /// The value as text with at least one character.
    pub(super) fn text(&self) -> Result<&'a str, Fault> {
        match self.as_text() {
            Some("") => Err(self.fault("is empty")),
            Some(text) => Ok(text),
            None => Err(self.fault("must be a string")),
        }
    }

    pub(super) fn flag(&self) -> Result<bool, Fault> {
        let flag = self.value.get_ref().as_bool();
        flag.ok_or_else(|| self.fault("must be true or false"))
    }

    /// The items of a list; `kind` says what the value must be when it is none.
    pub(super) fn items(&self, kind: &'static str) -> Result<Vec<Self>, Fault> {
        let DeValue::Array(items) = self.value.get_ref() else {
            return Err(self.fault(kind));
        };
        let items = items.iter().enumerate().map(|(index, value)| Self {
            key: format!("{}[{index}]", self.key),
            value,
        });
        Ok(items.collect())
    }

    pub(super) fn table(&self, kind: &'static str) -> Result<Table<'a>, Fault> {
        let DeValue::Table(keys) = self.value.get_ref() else {
            return Err(self.fault(kind));
        };
        Ok(Table {
            at: self.clone(),
            keys,
        })
    }
}

/// A table under its key.
#[derive(Debug)]
pub(super) struct Table<'a> {
    at: Value<'a>,
    keys: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    pub(super) fn get(&self, key: &str) -> Option<Value<'a>> {
        self.keys.get(key).map(|value| Value {
            key: self.path(key),
            value,
        })
    }

    pub(super) fn require(&self, key: &str) -> Result<Value<'a>, Fault> {
        self.get(key).ok_or_else(|| Fault {
            key: self.path(key),
            ..self.at.fault("is missing")
        })
    }

    /// The fault that the record's own check found in what stands under `key`, or should.
    pub(super) fn refused(&self, key: &str, error: Error) -> Fault {
        match self.get(key) {
            Some(value) => value.refused(error),
            None => Fault {
                key: self.path(key),
                ..self.at.refused(error)
            },
        }
    }

    /// Refuses every key that is not one of these.
    ///
    /// To be asked before anything is required: of a mistyped key the operator wants to hear that
    /// it is unknown, not that another one is missing.
    pub(super) fn allow(&self, known: &[&str]) -> Result<(), Fault> {
        let unknown = self
            .keys
            .keys()
            .filter(|key| !known.contains(&&**key.get_ref()))
            .min_by_key(|key| key.span().start);
        unknown.map_or(Ok(()), |key| {
            Err(Fault {
                key: self.path(key.get_ref()),
                offset: key.span().start,
                reason: format!("unknown key; known are {}", known.join(", ")).into(),
                source: None,
            })
        })
    }

    fn path(&self, key: &str) -> String {
        // A quoted key can hold anything: line breaks, and somebody's secret.
        let key = Doubtful(key);
        match self.at.key.as_str() {
            "" => key.to_string(),
            table => format!("{table}.{key}"),
        }
    }
}

/// What stands under `key`, if it is there.
pub(super) fn optional<'a, T>(
    keys: &Table<'a>,
    key: &str,
    read: impl FnOnce(&Value<'a>) -> Result<T, Fault>,
) -> Result<Option<T>, Fault> {
    keys.get(key).map(|value| read(&value)).transpose()
}

/// The line, and the column in characters, of a place in a text; both from 1.
pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    // The parser may point behind the end, or into a character.
    let before = &text[..text.floor_char_boundary(offset)];
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before[start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_are_counted_from_one_in_characters() {
        let text = "ab\r\né=\n";
        assert_eq!(line_and_column(text, 0), (1, 1));
        assert_eq!(line_and_column(text, 4), (2, 1));
        // In the middle of the é, and after it.
        assert_eq!(line_and_column(text, 5), (2, 1));
        assert_eq!(line_and_column(text, 6), (2, 2));
        assert_eq!(line_and_column(text, 8), (3, 1));
        assert_eq!(line_and_column(text, 99), (3, 1));
        assert_eq!(line_and_column("", 7), (1, 1));
    }
}
