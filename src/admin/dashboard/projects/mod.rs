//! Projects: the list of them, the page of one with its budget, and what it is granted of a server.

mod budget;
mod granting;
mod list;
mod pages;
mod show;

pub(super) use self::{
    budget::save as save_budget,
    granting::{ask as ask_to_grant, save as save_grant},
    list::list,
    pages::encoded,
    show::{each, label, show},
};
