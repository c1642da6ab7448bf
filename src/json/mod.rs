//! JSON that stays text: read at its top level, changed by edits over its bytes.
//!
//! A value that nobody here understands keeps its bytes: numbers, spaces and members that no type
//! has heard of. This module knows no protocol.

mod edit;
mod node;
mod object;
mod places;
pub(crate) mod raw;
mod removable;
mod scan;
mod sought;
mod text;
mod tree;
mod walk;

pub(crate) use self::{
    edit::{Edit, concat},
    node::{Members, Node},
    object::{Malformed, Object, array, elements, first, is_object, objects},
    places::Places,
    removable::Removable,
    scan::{NoJson, Scan},
    sought::{is_ruled_out, sought_text},
    text::{depth, quoted, string},
    tree::tree_or_text,
    walk::doubled,
};
