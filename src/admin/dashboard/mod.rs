//! The operator's dashboard: pages for people over what programs have in REST.
//!
//! ```text
//! gate ──▶ a page's handler ──▶ Admin, Reader, store: what REST uses
//!               │
//!               ├── form, fields   what was typed, as the JSON that REST takes
//!               ├── templates/     HTML; everything is escaped
//!               └── dress          the headers of every answer; faults become pages
//! ```
//!
//! Pages are complete without the script, which only saves some clicks; nothing is fetched from
//! elsewhere, and nothing inline runs. What servers say about themselves is shown as text, with
//! what cannot be seen made visible ([`text`]).
//!
//! This part decides nothing: what a form asks for is read and refused by the same code as a body
//! of REST.

mod assets;
mod filters;
mod form;
mod list;
mod notice;
mod page;
mod sign_in;
mod status;
mod text;
mod when;

use axum::routing::{get, post};
use http::Method;

pub(super) use self::{notice::Notice, page::dress, sign_in::signed_out};
use super::router::Route;

/// The pages, and what they are made of.
pub(super) fn routes() -> Vec<Route> {
    vec![
        (Method::GET, "/sign-in", get(sign_in::ask)),
        (Method::POST, "/sign-in", post(sign_in::enter)),
        (Method::POST, "/sign-out", post(sign_in::leave)),
        (Method::GET, "/assets/{file}", get(assets::file)),
        (Method::GET, "/", get(list::home)),
        (Method::GET, "/servers", get(list::servers)),
    ]
}
