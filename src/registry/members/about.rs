//! The description of a member: its name, label, hint and kind, and where it is given.

/// What there is to say of a member.
#[derive(Clone, Copy)]
pub(crate) struct About {
    pub(crate) name: &'static str,
    /// What people call it.
    pub(crate) label: &'static str,
    /// What a page says below the label, in HTML.
    pub(crate) hint: &'static str,
    /// What the OpenAPI document says.
    pub(crate) description: &'static str,
    /// What a page says of a value that the record refuses, where it has better words.
    pub(crate) refusal: Option<&'static str>,
    pub(crate) kind: Kind,
    /// Whether it may be absent for good: an answer has null then.
    pub(crate) is_optional: bool,
    pub(crate) given: Given,
}

/// What a value looks like.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A text for people. The form's field takes `longest` characters and shows `lines` lines; other
    /// texts are not held to it.
    Prose {
        longest: usize,
        lines: usize,
    },
    /// A server's name.
    Name,
    /// A text for programs.
    Code,
    Url,
    /// One of these words, as the schema of this name.
    Word(&'static str, fn() -> Vec<&'static str>),
    Flag,
    /// Scopes of OAuth 2.0.
    Scopes,
    Secret,
    /// What the schema of this name describes.
    Schema(&'static str),
}

/// Where a member is given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Given {
    Everywhere,
    /// By whoever enters a server: what is stored has a column for it.
    Entered,
    /// Not in a file, which says all there is to say.
    NotInFiles,
    /// Over REST only.
    OverRest,
}
