//! A text field, which is described completely by its member.

use super::errors::field;
use crate::registry::members::{About, Kind, Tree};

pub(super) struct Control {
    /// The path of the member within a server, such as `auth.client_id`.
    pub(super) param: String,
    pub(super) id: String,
    pub(super) about: About,
    pub(super) value: String,
    pub(super) lines: usize,
    /// The most characters that it takes; 0 for any number.
    pub(super) longest: usize,
}

impl Control {
    /// The field of a member of `whole`; `None` if the member is not entered as text.
    pub(super) fn of(whole: &str, about: About, value: &Tree<'_>) -> Option<Self> {
        let (lines, longest) = match about.kind {
            Kind::Prose { longest, lines } => (lines, longest),
            Kind::Name => (1, 40),
            Kind::Code | Kind::Url | Kind::Scopes => (1, 0),
            Kind::Seconds => (1, 5),
            _ => return None,
        };
        let param = format!("{whole}{}", about.name);
        Some(Self {
            id: field(&param),
            value: match value {
                Tree::List(_) => texts(value).join(", "),
                Tree::Count(count) => count.to_string(),
                value => value.as_text().unwrap_or_default().to_owned(),
            },
            about,
            param,
            lines,
            longest,
        })
    }

    /// Returns `true` for a value that programs read: the field is set in monospace, without spell
    /// checking.
    pub(super) fn is_code(&self) -> bool {
        !matches!(self.about.kind, Kind::Prose { .. })
    }

    pub(super) fn is_url(&self) -> bool {
        matches!(self.about.kind, Kind::Url)
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self.about.kind, Kind::Seconds)
    }

    pub(super) fn is_required(&self) -> bool {
        ["name", "url", "model", "project"].contains(&&*self.param)
    }

    /// Returns `true` for a field that is needed where no person authorizes the gateway.
    pub(super) fn is_needed_alone(&self) -> bool {
        ["auth.client_id", "auth.subject_audience"].contains(&&*self.param)
    }

    pub(super) fn example(&self) -> &'static str {
        match &*self.param {
            "url" => "https://mcp.example.com/mcp",
            "auth.header" => "Authorization",
            _ => "",
        }
    }

    /// The ids of the hint, if there is one, and of the error.
    pub(super) fn described_by(&self, is_wrong: bool) -> String {
        let hint = (!self.about.hint.is_empty()).then(|| format!("{}-hint", self.id));
        let wrong = is_wrong.then(|| format!("{}-wrong", self.id));
        hint.into_iter().chain(wrong).collect::<Vec<_>>().join(" ")
    }
}

/// The texts of a list.
pub(super) fn texts<'t>(list: &'t Tree<'_>) -> Vec<&'t str> {
    list.items().iter().filter_map(Tree::as_text).collect()
}

/// A number that was typed. What is none stays a text, for whoever reads it to refuse; nothing is
/// nothing.
pub(super) fn number(typed: &str) -> Tree<'_> {
    let fraction = || typed.parse().map_or_else(|_| typed.into(), Tree::Fraction);
    match typed {
        "" => Tree::Null,
        typed => typed.parse().map_or_else(|_| fraction(), Tree::Count),
    }
}
