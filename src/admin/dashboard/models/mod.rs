//! Aliases of models and default servers: the list of them, and forms to add, change and remove one.
//!
//! A page names an entry by a hash of it, so a form never changes another one than the one that it
//! shows, and two people who change different entries do not disturb each other.

mod editing;
mod entry_fields;
mod known;
mod list;
mod pages;
mod place;
mod preview;
mod removing;

pub(super) use self::{
    editing::{edit, save},
    list::{list, move_up},
    removing::{ask as ask_to_remove, remove},
};
