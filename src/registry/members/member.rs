//! A member: its description, with the functions that read and write it.

use std::ops::Deref;

use super::{
    about::{About, Given, Kind},
    faults::Faults,
    node::{Fault, Members, Node},
    secrets::{Secrets, Writer},
    tree::Tree,
};

/// A member of `T`, which is a server or its OAuth 2.0 client: its description, and the functions
/// that read and write it.
pub(crate) struct Member<T: 'static> {
    about: About,
    /// `true` for a URL that the gateway itself connects to; [`Secrets::reach`] checks it before it
    /// is read.
    is_reached: bool,
    pub(super) read: Read<T>,
    pub(super) write: Write<T>,
}

/// Reads a value into its field of `T`. The value is neither absent nor null.
type Read<T> = fn(&mut T, &Node<'_>, &dyn Secrets) -> Result<(), Faults<Fault>>;
/// Writes the field of `T` as a value; [`Tree::Null`] if it is not set.
type Write<T> = for<'t> fn(&'t T, &Writer) -> Tree<'t>;

impl<T> Deref for Member<T> {
    type Target = About;

    fn deref(&self) -> &About {
        &self.about
    }
}

/// A member that is read and written by the type of the field of its name.
macro_rules! member {
    ($of:ty, $name:ident, $label:literal) => {
        $crate::registry::members::member::Member::<$of>::new(
            stringify!($name),
            $label,
            $crate::registry::members::value::looks(|of: &$of| &of.$name),
            |of, at, _| {
                of.$name = $crate::registry::members::value::Value::read(at)?;
                Ok(())
            },
            |of, writer| $crate::registry::members::value::Value::write(&of.$name, writer),
        )
    };
}
pub(super) use member;

impl<T> Member<T> {
    pub(super) const fn new(
        name: &'static str,
        label: &'static str,
        (kind, is_optional): (Kind, bool),
        read: Read<T>,
        write: Write<T>,
    ) -> Self {
        let about = About {
            name,
            label,
            hint: "",
            description: "",
            refusal: None,
            kind,
            is_optional,
            given: Given::Everywhere,
        };
        Self {
            about,
            is_reached: false,
            read,
            write,
        }
    }

    pub(super) const fn kind(mut self, kind: Kind) -> Self {
        self.about.kind = kind;
        self
    }

    pub(super) const fn hint(mut self, hint: &'static str) -> Self {
        self.about.hint = hint;
        self
    }

    pub(super) const fn description(mut self, description: &'static str) -> Self {
        self.about.description = description;
        self
    }

    pub(super) const fn refusal(mut self, words: &'static str) -> Self {
        self.about.refusal = Some(words);
        self
    }

    pub(super) const fn given(mut self, given: Given) -> Self {
        self.about.given = given;
        self
    }

    pub(super) const fn reached(mut self) -> Self {
        self.is_reached = true;
        self
    }
}

/// Reads those members of `all` that are present into `of`, and returns what is wrong with them.
pub(super) fn read_all<T: 'static>(
    all: impl IntoIterator<Item = &'static Member<T>>,
    of: &mut T,
    members: &Members<'_>,
    secrets: &dyn Secrets,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    for member in all {
        let Some(at) = members.get(member.name) else {
            continue;
        };
        if let Err(wrong) = read_one(member, of, &at, secrets) {
            faults.extend(wrong);
        }
    }
    faults
}

fn read_one<T>(
    member: &Member<T>,
    of: &mut T,
    at: &Node<'_>,
    secrets: &dyn Secrets,
) -> Result<(), Faults<Fault>> {
    // A field that nobody filled in.
    if matches!(member.kind, Kind::Prose { .. }) && at.is_blank() {
        return Ok(());
    }
    if member.is_reached {
        secrets.reach(at)?;
    }
    (member.read)(of, at, secrets)
}
