//! The members of a server, each described once, and what is read and written by that.
//!
//! ```text
//! TOML ─────────┐                                         ┌──▶ an answer of REST, a page's form
//! a body of REST├─▶ Tree ──read──▶ Server ──write──▶ Tree ┤
//! a page's form │          ▲           ▲                  └──▶ a stored record
//! stored record ┘       SERVER      Secrets
//! ```
//!
//! A row of [`SERVER`] (of [`OAUTH2`](OAUTH2) for OAuth 2.0) is all that there is to say of
//! a member: what it is called and where it is given, how it is read from a [`Tree`] and written
//! into one, what its schema is in the OpenAPI document, its label and its hint on a page. What a
//! text has of secrets differs: a file names variables, an operator keeps what is stored, a record
//! is opened. That is for the text's [`Secrets`] to know.

mod about;
mod auth;
mod member;
mod node;
mod secrets;
mod server;
mod tree;
mod value;
mod word;

pub(crate) use self::{
    about::{About, Given, Kind},
    auth::{HEADER, HEADER_VALUE, HEADERS, OAUTH2, PASSTHROUGH, method, write as write_auth},
    member::Member,
    node::{Blank, Fault, Members, Node, Step, Tone, Words},
    secrets::{HeaderValue, Secrets, Writer},
    server::{SERVER, names, read, write},
    tree::{NotJson, Tree},
    word::Word,
};
