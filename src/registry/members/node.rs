//! A tree whose values know their paths, so that every fault says where it is.

use std::{borrow::Cow, fmt::Display};

use super::{tree::Tree, word::Word};
use crate::registry::Error;

/// The vocabulary of a kind of text, for messages and for the spelling of secrets.
pub(crate) struct Words {
    /// The message for an unknown member, such as `unknown key`.
    pub(crate) unknown: &'static str,
    /// The word for a table, with its article: `an object` in JSON.
    pub(crate) table: &'static str,
    /// Makes the name of a member fit for messages: an unknown one can be anything, even a
    /// misplaced secret.
    pub(crate) name: fn(&str) -> String,
    /// The secrets that are given under other names, and those names: a file has `value_env` in
    /// place of `value`.
    pub(crate) secrets: &'static [(&'static str, &'static [&'static str])],
    /// The meaning of an empty text.
    pub(crate) blank: Blank,
    /// `true` if the fault of a header is reported for the header itself, not for the whole list.
    pub(crate) blames_items: bool,
    /// `true` if a tool may be given with its fingerprint.
    pub(crate) pins: bool,
}

/// The meaning of an empty text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blank {
    /// A fault in every member.
    Refused,
    /// A fault, except in text for people: there it is a form field that was left empty.
    NoProse,
    /// An ordinary text.
    Kept,
}

/// A step of the path to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Member(String),
    Item(usize),
}

/// A value that was refused: its path, and the rule that it breaks.
///
/// It never contains the value, which may be a secret in the wrong place.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) path: Vec<Step>,
    /// The rule, in words that fit the [`Tone`].
    pub(crate) reason: Cow<'static, str>,
    pub(crate) tone: Tone,
    /// The message that a page shows instead.
    pub(crate) page: Option<Cow<'static, str>>,
    /// The error of the record's own check, if that refused the value.
    pub(crate) source: Option<Error>,
}

/// The grammar of a reason, by which it is joined to the name of its member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// A predicate of the name, such as `is empty`.
    Continues,
    /// A cause, such as `contains a blank`, behind "cannot be used:".
    Unusable,
    /// A sentence of its own.
    Sentence,
}

/// A value with its path and the vocabulary of its text.
#[derive(Clone)]
pub(crate) struct Node<'t> {
    tree: &'t Tree<'t>,
    path: Vec<Step>,
    words: &'static Words,
}

/// A table with its path.
pub(crate) struct Members<'t> {
    at: Node<'t>,
    members: &'t [(Cow<'t, str>, Tree<'t>)],
}

impl Fault {
    /// The path as text, such as `auth.headers[0].value`; empty for the text as a whole.
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

    /// Replaces the message that a page shows.
    pub(crate) fn with_page(mut self, page: impl Into<Cow<'static, str>>) -> Self {
        self.page = Some(page.into());
        self
    }
}

impl<'t> Node<'t> {
    /// The root of `tree`.
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

    /// Turns an error of the record's own check into a fault of this value.
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

    /// Turns an error of the record's own check, whose reason is no full sentence, into a fault of
    /// this value.
    pub(crate) fn unusable_by(&self, error: Error) -> Fault {
        Fault {
            tone: Tone::Unusable,
            ..self.refused(error)
        }
    }

    pub(crate) fn as_text(&self) -> Option<&'t str> {
        self.tree.as_text()
    }

    /// Reads a text; an empty one is a fault unless the vocabulary allows it.
    pub(crate) fn text(&self) -> Result<&'t str, Fault> {
        match self.as_text() {
            Some("") if self.words.blank != Blank::Kept => Err(self.fault("is empty")),
            Some(text) => Ok(text),
            None => Err(self.fault("must be a string")),
        }
    }

    /// Returns `true` for an empty text that counts as absent in a member for people.
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

    /// Reads a number, which may have a fraction; `rule` is the message for any other value.
    pub(crate) fn number(&self, rule: &'static str) -> Result<f64, Fault> {
        match self.tree {
            Tree::Count(count) => Ok(*count as f64),
            Tree::Fraction(fraction) => Ok(*fraction),
            _ => Err(self.fault(rule)),
        }
    }

    /// Reads one of the words of `T`.
    pub(crate) fn word<T: Word>(&self) -> Result<T, Fault> {
        let word = self.as_text().and_then(T::of_word);
        word.ok_or_else(|| self.fault(T::expected()))
    }

    /// Reads the items of a list; `kind` is the message for any other value.
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

    /// Reads a list of texts; `kind` is the message for any other value.
    pub(crate) fn texts(&self, kind: &'static str) -> Result<Vec<&'t str>, Fault> {
        self.items(kind)?.iter().map(Self::text).collect()
    }

    /// Reads a table; `kind` is the message for any other value.
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
    /// The table itself, as a value.
    pub(crate) fn at(&self) -> &Node<'t> {
        &self.at
    }

    fn find(&self, name: &str) -> Option<&'t Tree<'t>> {
        let member = self.members.iter().find(|(member, _)| member == name);
        member.map(|(_, tree)| tree)
    }

    /// The member `name`; `None` if it is absent or null.
    pub(crate) fn get(&self, name: &str) -> Option<Node<'t>> {
        let tree = self.find(name).filter(|tree| !tree.is_null())?;
        Some(Node {
            tree,
            ..self.place(name)
        })
    }

    /// All members in their order, with the names that they have.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'t str, Node<'t>)> {
        self.members.iter().map(|(name, tree)| {
            let at = self.place(name);
            (&**name, Node { tree, ..at })
        })
    }

    /// Returns `true` if the member `name` is present, even as null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    pub(crate) fn require(&self, name: &str) -> Result<Node<'t>, Fault> {
        self.get(name).ok_or_else(|| self.fault(name, "is missing"))
    }

    /// A fault of the member `name`, present or not.
    pub(crate) fn fault(&self, name: &str, reason: impl Into<Cow<'static, str>>) -> Fault {
        self.place(name).fault(reason)
    }

    /// Turns an error of the record's own check into a fault of the member that it names.
    pub(crate) fn refused(&self, error: Error) -> Fault {
        let Error::Invalid { field, .. } = &error else {
            return self.at.refused(error);
        };
        let name = field.rsplit('.').next().unwrap_or(field);
        let spelled = self.at.words.spelled(name);
        let given = spelled.iter().rev().find(|name| self.has(name));
        self.place(given.unwrap_or(&spelled[0])).refused(error)
    }

    /// Refuses members that are not `known`, and members that are given twice.
    ///
    /// Call it before requiring any member: for a mistyped name, the useful message is that it is
    /// unknown, not that another member is missing.
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
    /// The vocabulary of JSON, for REST and for pages.
    pub(crate) const JSON: Self = Self {
        unknown: "is not known here",
        table: "an object",
        name: |name| {
            /// The most characters of a name that are shown: no typo of a known member is longer.
            const SHOWN: usize = 80;
            let name: String = name.chars().take(SHOWN).collect();
            name.escape_debug().to_string()
        },
        secrets: &[],
        blank: Blank::NoProse,
        blames_items: true,
        pins: false,
    };

    /// The names under which the member `name` is given in this kind of text.
    pub(crate) fn spelled<'n>(&self, name: &'n str) -> Vec<&'n str>
    where
        'static: 'n,
    {
        let secret = self.secrets.iter().find(|(own, _)| *own == name);
        secret.map_or_else(|| vec![name], |(_, names)| names.to_vec())
    }
}
