//! The operator's dashboard: pages for people over what programs have in REST.
//!
//! ```text
//! gate ──▶ a page's handler ──▶ Records, Tools, Statuses, …: the parts that REST uses
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
mod connecting;
mod control;
mod deleting;
mod diff;
mod editing;
mod errors;
mod fields;
mod filters;
mod form;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzz;
mod list;
mod models;
mod notice;
mod page;
mod selection;
mod server_pages;
mod sign_in;
mod status;
mod text;
mod timeline;
mod tools;
mod traces;
mod when;
mod wizard;

use axum::routing::{get, post};
use http::Method;

pub(super) use self::{notice::Notice, page::dress, sign_in::signed_out};
use super::route::Route;

/// The pages, and what they are made of.
pub(super) fn routes() -> Vec<Route> {
    const CONNECT: &str = "/servers/{name}/connect";
    const DISCONNECT: &str = "/servers/{name}/disconnect";
    const ACCEPT: &str = "/servers/{name}/tools/accept";
    const SERVER: &str = "/servers/{name}/setup/server";
    const AUTH: &str = "/servers/{name}/setup/auth";
    const TOOLS: &str = "/servers/{name}/setup/tools";
    const REVIEW: &str = "/servers/{name}/setup/review";
    const NEW_ENTRY: &str = "/models/{kind}";
    const ENTRY: &str = "/models/{kind}/{id}";
    const REMOVE: &str = "/models/{kind}/{id}/remove";
    vec![
        (Method::GET, "/sign-in", get(sign_in::ask)),
        (Method::POST, "/sign-in", post(sign_in::enter)),
        (Method::POST, "/sign-out", post(sign_in::leave)),
        (Method::GET, "/assets/{file}", get(assets::file)),
        (Method::GET, "/", get(list::home)),
        (Method::GET, "/servers", get(list::servers)),
        (Method::GET, "/create", get(wizard::begin)),
        (Method::POST, "/create", post(wizard::create)),
        (Method::GET, SERVER, get(wizard::server)),
        (Method::POST, SERVER, post(wizard::save_server)),
        (Method::GET, AUTH, get(wizard::auth)),
        (Method::POST, AUTH, post(wizard::save_auth)),
        (Method::GET, TOOLS, get(wizard::tools)),
        (Method::POST, TOOLS, post(wizard::save_tools)),
        (Method::GET, REVIEW, get(wizard::review)),
        (Method::POST, REVIEW, post(wizard::finish)),
        (
            Method::POST,
            "/servers/{name}/discard",
            post(wizard::discard),
        ),
        (Method::GET, "/servers/{name}", get(editing::edit)),
        (Method::POST, "/servers/{name}", post(editing::save)),
        (Method::GET, "/servers/{name}/tools", get(tools::show)),
        (Method::POST, "/servers/{name}/tools", post(tools::save)),
        (Method::POST, ACCEPT, post(tools::accept)),
        (Method::GET, "/servers/{name}/delete", get(deleting::ask)),
        (
            Method::POST,
            "/servers/{name}/delete",
            post(deleting::delete),
        ),
        (Method::POST, CONNECT, post(connecting::connect)),
        (Method::POST, DISCONNECT, post(connecting::disconnect)),
        (Method::GET, "/models", get(models::list)),
        (Method::GET, NEW_ENTRY, get(models::edit)),
        (Method::POST, NEW_ENTRY, post(models::save)),
        (Method::GET, ENTRY, get(models::edit)),
        (Method::POST, ENTRY, post(models::save)),
        (
            Method::POST,
            "/models/{kind}/{id}/up",
            post(models::move_up),
        ),
        (Method::GET, REMOVE, get(models::ask_to_remove)),
        (Method::POST, REMOVE, post(models::remove)),
        (Method::GET, "/traces", get(traces::list)),
        (Method::GET, "/traces/{id}", get(timeline::show)),
    ]
}
