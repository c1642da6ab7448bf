//! The members of a server, each described once; every text of a server is read and written by that
//! description.
//!
//! ```text
//! TOML file ────┐                                         ┌──▶ REST answer, form of a page
//! REST body ────┼─▶ Tree ──read──▶ Server ──write──▶ Tree ┤
//! form of a page│          ▲           ▲                  └──▶ stored record
//! stored record ┘       SERVER      Secrets
//! ```
//!
//! A row of [`SERVER`] (or of [`OAUTH2`] for an OAuth 2.0 client) describes one member completely:
//! its name, where it may be given, how it is read from a [`Tree`] and written to one, its schema
//! in the OpenAPI document, and its label and hint on a page.
//!
//! Secrets are the one thing that differs between texts: a file names environment variables, a form
//! keeps what is stored, a stored record is opened with a key. Each text therefore brings its own
//! [`Secrets`].
//!
//! Aliases of models, defaults and budgets have a description of their own, in `models.rs`.
//!
//! # Adding a member
//! 1. Add the field to [`Server`](super::Server) with its default in `Server::new`, and a row to
//!    [`SERVER`] in `server.rs`. The order of rows is the order on pages and in documents.
//! 2. If the field's type is new, implement `Value` for it, or [`Word`] for an enum whose values
//!    are single words. For anything that reads more than its own value, use `Member::new` with
//!    functions of your own.
//! 3. Say where the member may be given with [`Given`]; the default is everywhere.
//!
//! Files, REST, the OpenAPI document, forms and stored records then have it; a choice on a page
//! also needs its template and a line in `dashboard/fields.rs`. A stored record without the member
//! reads as the default, and an older program refuses a record with an unknown member. So once a
//! version is released, add a step to `registry/sql/schema.rs`, by which an older program refuses
//! the whole database instead of single records. `ARCHITECTURE.md` lists the tests and pages to
//! complete by hand.

mod about;
mod auth;
mod faults;
mod grants;
mod member;
mod models;
mod node;
mod proof;
mod secrets;
mod server;
mod tree;
mod value;
mod word;

pub(crate) use self::{
    about::{About, Given, Kind},
    auth::{HEADER, HEADER_VALUE, HEADERS, OAUTH2, PASSTHROUGH, method, write as write_auth},
    faults::Faults,
    grants::{read_grant, read_limits, write_limits},
    member::Member,
    models::{
        read_alias, read_budget, read_budget_limits, read_default, read_rules, write_budget,
        write_rules,
    },
    node::{Blank, Fault, Members, Node, Step, Tone, Words},
    proof::{ClientProof, Entered},
    secrets::{HeaderValue, Secrets, Writer},
    server::{SERVER, names, read, write},
    tree::{NotJson, Tree},
    word::Word,
};
