//! The description of a member: its name, label, hint and form, and the texts in which it may be
//! given.

/// The description of a member, for pages and for the OpenAPI document.
#[derive(Clone, Copy)]
pub(crate) struct About {
    /// The name in every text, which is the name of the field.
    pub(crate) name: &'static str,
    /// The label on pages, also used in their messages.
    pub(crate) label: &'static str,
    /// The explanation below the label on a page, in HTML; empty for none.
    pub(crate) hint: &'static str,
    /// The description in the OpenAPI document; empty for none.
    pub(crate) description: &'static str,
    /// The message of a page for a value that the record refuses, if there are better words than
    /// the record's own.
    pub(crate) refusal: Option<&'static str>,
    /// The form of the value, from which the schema and the field of a form follow.
    pub(crate) kind: Kind,
    /// `true` if the member has no default, so that answers have `null` where it is not set.
    pub(crate) is_optional: bool,
    /// The texts in which the member may be given.
    pub(crate) given: Given,
}

/// The form of a member's value.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A text for people. The form's field takes `longest` characters and shows `lines` lines; other
    /// texts are not held to it.
    Prose { longest: usize, lines: usize },
    /// A server's name.
    Name,
    /// Text for programs, such as an id.
    Code,
    /// An absolute URL.
    Url,
    /// One of a few words: the name of the schema, and the words.
    Word(&'static str, fn() -> Vec<&'static str>),
    /// `true` or `false`.
    Flag,
    /// A number of seconds, from 1 to a day.
    Seconds,
    /// A list of OAuth 2.0 scopes.
    Scopes,
    /// A secret, which can be written and never read.
    Secret,
    /// Anything else, by the name of its schema.
    Schema(&'static str),
}

/// The texts in which a member may be given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Given {
    /// Files, REST, pages and stored records.
    Everywhere,
    /// Wherever a server is entered, but not in a stored record: the database has a column for it.
    Entered,
    /// Everywhere but in files: a file is the whole truth about its servers.
    NotInFiles,
    /// REST only; the database has a column for it.
    OverRest,
}
