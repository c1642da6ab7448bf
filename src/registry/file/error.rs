//! The error of a file that cannot be used.

use std::{borrow::Cow, error::Error as StdError, fmt, io};

use toml::{Spanned, de::DeValue};

use super::value::{WORDS, line_and_column, offset};
use crate::{
    name::ServerName,
    registry::{Error, members::Fault},
};

/// The reason why a file cannot be used.
///
/// `Display` is one line, without the file's name and without any of its values, so that a secret
/// that was written there by mistake does not end up in a log. `Debug` reveals no more than that.
///
/// Errors of parsing carry the line, from 1, to be shown along with the file's name.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileError {
    /// The file cannot be read, or is not UTF-8.
    #[non_exhaustive]
    Read {
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file is over the limit of 1 MiB, and was not read.
    #[non_exhaustive]
    TooLarge {
        /// The most that is read, in bytes.
        limit: u64,
    },
    /// The text is not TOML.
    #[non_exhaustive]
    Toml {
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// The parser's message, without any of the text.
        reason: String,
        /// The parser's error, without any of the text.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// An entry breaks a rule.
    #[non_exhaustive]
    Entry {
        /// The entry: `servers "deepwiki-mcp"`, or `servers[2]` if it has no name.
        entry: String,
        /// The key within it, such as `auth.headers[0].name`; empty for the entry as a whole.
        key: String,
        /// The line, from 1.
        line: usize,
        /// The rule, in words.
        reason: Cow<'static, str>,
        /// The error of the record, if the record itself refused the value.
        source: Option<Error>,
    },
    /// A server that the file declares also exists in the store beneath it. Rename or remove one of
    /// them.
    #[non_exhaustive]
    Taken {
        /// The name that both have.
        name: ServerName,
    },
    /// A server has a name that the upstream refuses
    /// ([`SchemaDialect::name_fault`](crate::SchemaDialect::name_fault)).
    #[non_exhaustive]
    Name {
        /// The name.
        name: ServerName,
        /// The reason, in words.
        reason: &'static str,
    },
    /// Aliases or defaults of the file do not agree with those of the store beneath it.
    #[non_exhaustive]
    Models {
        /// The rule, with the entry that breaks it; those of the file come first.
        source: Error,
    },
    /// The store beneath the file cannot say whether it has what the file declares.
    #[non_exhaustive]
    Store {
        /// The error of the store.
        source: Error,
    },
    /// Following a file needs a tokio runtime, and none is running.
    #[non_exhaustive]
    NoRuntime {
        /// The error of tokio.
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl FileError {
    pub(super) fn toml(text: &str, mut source: toml::de::Error) -> Self {
        // The error holds the whole text and shows the line at fault, secrets and all.
        source.set_input(None);
        let offset = source.span().map_or(0, |span| span.start);
        let (line, column) = line_and_column(text, offset);
        Self::Toml {
            line,
            column,
            reason: source.message().to_owned(),
            source: source.into(),
        }
    }

    /// The fault of the entry `item`.
    pub(super) fn entry(
        text: &str,
        entry: String,
        item: &Spanned<DeValue<'_>>,
        fault: Fault,
    ) -> Self {
        Self::Entry {
            entry,
            key: fault.place(&WORDS),
            line: line_and_column(text, offset(item, &fault.path)).0,
            reason: fault.reason,
            source: fault.source,
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { source } => write!(f, "cannot be read: {source}"),
            Self::TooLarge { limit } => write!(f, "larger than {limit} bytes"),
            Self::Toml {
                line,
                column,
                reason,
                ..
            } => write!(f, "line {line}, column {column}: {reason}"),
            Self::Entry {
                entry,
                key,
                line,
                reason,
                ..
            } => {
                let colon = if key.is_empty() { "" } else { ": " };
                write!(f, "{entry}: {key}{colon}{reason} (line {line})")
            }
            Self::Taken { name } => write!(
                f,
                "servers \"{name}\": the store has a server of this name; remove one of the two"
            ),
            Self::Name { name, reason } => write!(f, "servers \"{name}\": the name {reason}"),
            Self::Models { source } => write!(f, "{source}"),
            Self::Store { source } => {
                write!(
                    f,
                    "the store does not say whether it has its servers: {source}"
                )
            }
            Self::NoRuntime { .. } => f.write_str("following a file needs a tokio runtime"),
        }
    }
}

impl StdError for FileError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Read { source } => Some(source),
            Self::Toml { source, .. } | Self::NoRuntime { source } => Some(&**source),
            Self::Entry { source, .. } => source.as_ref().map(|source| source as _),
            Self::Models { source } | Self::Store { source } => Some(source),
            Self::TooLarge { .. } | Self::Taken { .. } | Self::Name { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::FileRegistry;
    use super::*;

    #[test]
    fn toml_at_fault_is_reported_in_one_line_with_line_and_column() {
        let error = FileRegistry::parse("listen = \"x\"\n\nurl = s3cret\n", |_| None).unwrap_err();
        let shown = error.to_string();
        assert!(shown.starts_with("line 3, column 7: "), "{shown}");
        assert!(!shown.contains('\n'), "{shown}");
    }

    #[test]
    fn neither_display_nor_debug_nor_source_repeat_the_text() {
        for text in [
            "key = s3cret",
            "key = \"s3cret",
            "a = 1 # s3cret\na = 2",
            "[s3cret",
            "[[servers]]\nname = 3 # s3cret",
        ] {
            let error = FileRegistry::parse(text, |_| None).unwrap_err();
            let source = error.source().map(ToString::to_string).unwrap_or_default();
            let shown = format!("{error} {error:?} {source}");
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }

    #[test]
    fn the_column_counts_characters() {
        let error = FileRegistry::parse("\"é\" = x", |_| None).unwrap_err();
        assert!(
            error.to_string().starts_with("line 1, column 7: "),
            "{error}"
        );
    }
}
