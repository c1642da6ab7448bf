//! The entry that a page is about, as its path names it.

use std::collections::HashMap;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;

use crate::{
    admin::{
        fault::{Code, Fault},
        model_edit::id,
        models::{ALIASES, DEFAULTS, Document, entries},
    },
    registry::members::Tree,
};

/// The two kinds of entries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kind {
    Alias,
    Default,
}

/// The entry that a path names: a new one where it has no id.
pub(in super::super) struct Place {
    pub(super) kind: Kind,
    pub(super) id: Option<String>,
}

/// An entry that is there.
pub(super) struct Found<'d> {
    pub(super) entry: Tree<'d>,
    /// `true` if it is the file's.
    pub(super) is_declared: bool,
}

impl Kind {
    /// The list that it is in.
    pub(super) fn list(self) -> &'static str {
        match self {
            Self::Alias => ALIASES,
            Self::Default => DEFAULTS,
        }
    }

    /// The word for it, in paths and sentences.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Alias => "alias",
            Self::Default => "default",
        }
    }

    /// Its members with their labels.
    pub(super) fn labels(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Alias => &[
                ("name", "Alias"),
                ("model", "Model"),
                ("servers", "Servers"),
                ("projects", "Project scope"),
            ],
            Self::Default => &[
                ("project", "Project"),
                ("models", "Models"),
                ("servers", "Servers"),
            ],
        }
    }
}

impl Place {
    /// The entry in `document`; `None` if it is not there, or not any more as it was.
    pub(super) fn find<'d>(&self, document: &'d Document) -> Option<Found<'d>> {
        let wanted = self.id.as_deref()?;
        let of = |rules| entries(rules, self.kind.list()).into_iter();
        let stored = of(&document.stored).map(|entry| (entry, false));
        let declared = of(&document.declared).map(|entry| (entry, true));
        let mut all = stored.chain(declared);
        let (entry, is_declared) = all.find(|(entry, _)| id(entry) == wanted)?;
        Some(Found { entry, is_declared })
    }

    /// The path of its page.
    pub(super) fn path(&self) -> String {
        let kind = self.kind.word();
        match &self.id {
            Some(id) => format!("/models/{kind}/{id}"),
            None => format!("/models/{kind}"),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Place {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let nothing = || Fault::new(Code::NotFound, "there is nothing under this path");
        let path = Path::<HashMap<String, String>>::from_request_parts(parts, state).await;
        let Path(mut path) = path.map_err(|_| nothing())?;
        let kinds = [Kind::Alias, Kind::Default].into_iter();
        let named = path.remove("kind").unwrap_or_default();
        let kind = kinds.into_iter().find(|kind| kind.word() == named);
        Ok(Self {
            kind: kind.ok_or_else(nothing)?,
            id: path.remove("id"),
        })
    }
}
