//! A tree with the place of each of its values, so that every fault says where it is.

use std::{borrow::Cow, fmt::Display};

use super::{tree::Tree, word::Word};
use crate::registry::Error;

/// In whose words something is written, and what is wrong with it told.
pub(crate) struct Words {
    /// What a member is that nobody knows.
    pub(crate) unknown: &'static str,
    /// What has members, with its article.
    pub(crate) table: &'static str,
    /// How the name of a member is shown that may be anything, or somebody's secret.
    pub(crate) name: fn(&str) -> String,
    /// Secrets that are not written under their own name, and the names by which they are found.
    pub(crate) secrets: &'static [(&'static str, &'static [&'static str])],
    /// What a text without a character is.
    pub(crate) blank: Blank,
    /// Whether what is wrong with a header is told of its own members, not of the list.
    pub(crate) blames_items: bool,
    /// Whether a tool may be given with its fingerprint.
    pub(crate) pins: bool,
}

/// What a text without a character is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blank {
    /// A fault.
    Refused,
    /// A fault, but where people read it: there it is a field that nobody filled in.
    NoProse,
    /// A text like any other.
    Kept,
}

/// A step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Member(String),
    Item(usize),
}

/// What is wrong with a value.
///
/// It never repeats the value: one in the wrong place may be a secret.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) path: Vec<Step>,
    /// The rule, in words.
    pub(crate) reason: Cow<'static, str>,
    pub(crate) tone: Tone,
    /// What a page says instead.
    pub(crate) page: Option<Cow<'static, str>>,
    /// What the record's own check said.
    pub(crate) source: Option<Error>,
}

/// How a reason is put behind the name of its member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// It goes on from there, such as `is empty`.
    Continues,
    /// It says why the value cannot be used.
    Unusable,
    /// It is a sentence of its own.
    Sentence,
}

/// A value in its place.
#[derive(Clone)]
pub(crate) struct Node<'t> {
    tree: &'t Tree<'t>,
    path: Vec<Step>,
    words: &'static Words,
}

/// A table in its place.
pub(crate) struct Members<'t> {
    at: Node<'t>,
    members: &'t [(Cow<'t, str>, Tree<'t>)],
}

impl Fault {
    /// Where it is, such as `auth.headers[0].value`; empty for the whole.
    pub(crate) fn place(&self, words: &Words) -> String {
        let mut place = String::new();
        for step in &self.path {
            match step {
                Step::Item(index) => place.push_str(&format!("[{index}]")),
                Step::Member(name) => {
                    let dot = if place.is_empty() { "" } else { "." };
                    place.push_str(&format!("{dot}{}", (words.name)(name)));
                }
            }
        }
        place
    }

    /// What a page says instead.
    pub(crate) fn with_page(mut self, page: impl Into<Cow<'static, str>>) -> Self {
        self.page = Some(page.into());
        self
    }
}

impl<'t> Node<'t> {
    /// The whole of `tree`.
    pub(crate) fn new(tree: &'t Tree<'t>, words: &'static Words) -> Self {
        Self {
            tree,
            path: Vec::new(),
            words,
        }
    }

    pub(crate) fn words(&self) -> &'static Words {
        self.words
    }

    pub(crate) fn fault(&self, reason: impl Into<Cow<'static, str>>) -> Fault {
        Fault {
            path: self.path.clone(),
            reason: reason.into(),
            tone: Tone::Continues,
            page: None,
            source: None,
        }
    }

    pub(crate) fn unusable(&self, reason: impl Display) -> Fault {
        Fault {
            tone: Tone::Unusable,
            ..self.fault(reason.to_string())
        }
    }

    /// The fault that the record's own check found in this value.
    pub(crate) fn refused(&self, error: Error) -> Fault {
        let reason = match &error {
            Error::Invalid { reason, .. } => reason.clone(),
            other => other.to_string().into(),
        };
        Fault {
            tone: Tone::Sentence,
            source: Some(error),
            ..self.fault(reason)
        }
    }

    /// The same, of a value for which the record has a sentence without a subject.
    pub(crate) fn unusable_by(&self, error: Error) -> Fault {
        Fault {
            tone: Tone::Unusable,
            ..self.refused(error)
        }
    }

    pub(crate) fn as_text(&self) -> Option<&'t str> {
        self.tree.as_text()
    }

    /// A text with at least one character.
    pub(crate) fn text(&self) -> Result<&'t str, Fault> {
        match self.as_text() {
            Some("") if self.words.blank != Blank::Kept => Err(self.fault("is empty")),
            Some(text) => Ok(text),
            None => Err(self.fault("must be a string")),
        }
    }

    /// Whether it is a text for people that is not there.
    pub(crate) fn is_blank(&self) -> bool {
        self.as_text() == Some("") && self.words.blank == Blank::NoProse
    }

    pub(crate) fn flag(&self) -> Result<bool, Fault> {
        match self.tree {
            Tree::Flag(flag) => Ok(*flag),
            _ => Err(self.fault("must be true or false")),
        }
    }

    pub(crate) fn count(&self) -> Result<u64, Fault> {
        match self.tree {
            Tree::Count(count) => Ok(*count),
            _ => Err(self.fault("must be a number from 0")),
        }
    }

    /// One of the words of `T`.
    pub(crate) fn word<T: Word>(&self) -> Result<T, Fault> {
        let word = self.as_text().and_then(T::of_word);
        word.ok_or_else(|| self.fault(T::expected()))
    }

    /// The items of a list; `kind` says what the value must be when it is none.
    pub(crate) fn items(&self, kind: impl Into<Cow<'static, str>>) -> Result<Vec<Self>, Fault> {
        let Tree::List(items) = self.tree else {
            return Err(self.fault(kind));
        };
        let item = |(index, tree)| Self {
            tree,
            path: self.path_to(Step::Item(index)),
            words: self.words,
        };
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// A list of texts.
    pub(crate) fn texts(&self, kind: &'static str) -> Result<Vec<&'t str>, Fault> {
        self.items(kind)?.iter().map(Self::text).collect()
    }

    /// The members of a table; `kind` says what the value must be when it is none.
    pub(crate) fn table(&self, kind: impl Into<Cow<'static, str>>) -> Result<Members<'t>, Fault> {
        let Tree::Table(members) = self.tree else {
            return Err(self.fault(kind));
        };
        Ok(Members {
            at: self.clone(),
            members,
        })
    }

    fn path_to(&self, step: Step) -> Vec<Step> {
        let mut path = self.path.clone();
        path.push(step);
        path
    }
}

impl<'t> Members<'t> {
    /// The table's own place.
    pub(crate) fn at(&self) -> &Node<'t> {
        &self.at
    }

    fn find(&self, name: &str) -> Option<&'t Tree<'t>> {
        let member = self.members.iter().find(|(member, _)| member == name);
        member.map(|(_, tree)| tree)
    }

    /// The member `name`, unless it is absent or null.
    pub(crate) fn get(&self, name: &str) -> Option<Node<'t>> {
        let tree = self.find(name).filter(|tree| !tree.is_null())?;
        Some(Node {
            tree,
            ..self.place(name)
        })
    }

    /// Whether the member `name` is there, if only as null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    pub(crate) fn require(&self, name: &str) -> Result<Node<'t>, Fault> {
        self.get(name).ok_or_else(|| self.fault(name, "is missing"))
    }

    /// A fault of the member `name`, whether it is there or not.
    pub(crate) fn fault(&self, name: &str, reason: impl Into<Cow<'static, str>>) -> Fault {
        self.place(name).fault(reason)
    }

    /// The fault that the record's own check found in the member that it names.
    pub(crate) fn refused(&self, error: Error) -> Fault {
        let Error::Invalid { field, .. } = &error else {
            return self.at.refused(error);
        };
        let name = field.rsplit('.').next().unwrap_or(field);
        let spelled = self.at.words.spelled(name);
        let given = spelled.iter().rev().find(|name| self.has(name));
        self.place(given.unwrap_or(&spelled[0])).refused(error)
    }

    /// Refuses every member that is not one of these, and one that is there twice.
    ///
    /// To be asked before anything is required: of a mistyped member the operator wants to hear
    /// that it is unknown, not that another one is missing.
    pub(crate) fn allow<'k>(&self, known: impl IntoIterator<Item = &'k str>) -> Result<(), Fault> {
        let words = self.at.words;
        let members: Vec<&str> = known.into_iter().collect();
        let known: Vec<&str> = members
            .iter()
            .flat_map(|name| words.spelled(name))
            .collect();
        for (index, (name, _)) in self.members.iter().enumerate() {
            // A secret under its own name is refused by whoever looks for it.
            if !known.contains(&&**name) && !members.contains(&&**name) {
                let reason = format!("{}; known are {}", words.unknown, known.join(", "));
                return Err(self.fault(name, reason));
            }
            if self.members[..index].iter().any(|(other, _)| other == name) {
                return Err(self.fault(name, "is given twice"));
            }
        }
        Ok(())
    }

    fn place(&self, name: &str) -> Node<'t> {
        Node {
            tree: self.at.tree,
            path: self.at.path_to(Step::Member(name.to_owned())),
            words: self.at.words,
        }
    }
}

impl Words {
    /// The words of JSON.
    pub(crate) const JSON: Self = Self {
        unknown: "is not known here",
        table: "an object",
        name: |name| {
            /// Names can be anything; what is longer is no mistyped member.
            const SHOWN: usize = 80;
            let name: String = name.chars().take(SHOWN).collect();
            name.escape_debug().to_string()
        },
        secrets: &[],
        blank: Blank::NoProse,
        blames_items: true,
        pins: false,
    };

    /// The names by which a member is given.
    pub(crate) fn spelled<'n>(&self, name: &'n str) -> Vec<&'n str>
    where
        'static: 'n,
    {
        let secret = self.secrets.iter().find(|(own, _)| *own == name);
        secret.map_or_else(|| vec![name], |(_, names)| names.to_vec())
    }
}
