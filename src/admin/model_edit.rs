//! A change of one alias or default, found by what it is: nothing else in the document matters to it.

use sha2::{Digest, Sha256};

use crate::{
    hex::hex,
    registry::{
        ModelRules,
        members::{Tree, write_rules},
    },
};

/// A change of one entry of a list.
pub(super) enum Edit<'e> {
    /// Adds an entry at the end.
    Add(&'e Tree<'e>),
    /// Puts an entry in the place of the one with this id.
    Replace(&'e str, &'e Tree<'e>),
    Remove(&'e str),
    /// Moves an entry before the one that stands before it.
    MoveUp(&'e str),
}

/// The id of an entry: it is another one after each change.
pub(super) fn id(entry: &Tree<'_>) -> String {
    /// Enough to tell a thousand entries apart.
    const BYTES: usize = 8;
    // A tree of texts is always written.
    let text = serde_json::to_vec(entry).unwrap_or_default();
    hex(&Sha256::digest(text)[..BYTES])
}

impl Edit<'_> {
    /// The changed document, and the place of the entry in its list; `None` if it is not there.
    pub(super) fn apply<'t>(
        &'t self,
        list: &'static str,
        rules: &'t ModelRules,
    ) -> Option<(Tree<'t>, usize)> {
        let mut tree = write_rules(rules);
        let mut entries = tree.get(list).items().to_vec();
        let place = match self {
            Self::Add(_) => entries.len(),
            Self::Replace(wanted, _) | Self::Remove(wanted) | Self::MoveUp(wanted) => {
                entries.iter().position(|entry| id(entry) == *wanted)?
            }
        };
        match self {
            Self::Add(entry) => entries.push(Tree::clone(entry)),
            Self::Replace(_, entry) => entries[place] = Tree::clone(entry),
            Self::Remove(_) => {
                entries.remove(place);
            }
            Self::MoveUp(_) => entries.swap(place.saturating_sub(1), place),
        }
        tree.set(list, Tree::List(entries));
        Some((tree, place))
    }
}
