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

mod api_keys;
mod arguments;
mod assets;
mod audit;
mod chatting;
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
mod import;
mod list;
mod models;
mod notice;
mod operators;
mod overview;
mod page;
mod projects;
mod provider;
mod samples;
mod selection;
mod server_pages;
mod sign_in;
mod status;
mod text;
mod timeline;
mod title;
mod tools;
mod traces;
mod trying;
mod when;
mod wizard;

use axum::routing::{get, post};
use http::Method;

pub(super) use self::{
    chatting::answers_script, import::takes_files, notice::Notice, page::dress, sign_in::signed_out,
};
use super::{export, route::Route};

/// The pages, and what they are made of.
pub(super) fn routes() -> Vec<Route> {
    const CONNECT: &str = "/servers/{name}/connect";
    const DISCONNECT: &str = "/servers/{name}/disconnect";
    const DISCARD: &str = "/servers/{name}/discard";
    const ACCEPT: &str = "/servers/{name}/tools/accept";
    const SERVER: &str = "/servers/{name}/setup/server";
    const AUTH: &str = "/servers/{name}/setup/auth";
    const TOOLS: &str = "/servers/{name}/setup/tools";
    const REVIEW: &str = "/servers/{name}/setup/review";
    const NEW_ENTRY: &str = "/models/{kind}";
    const ENTRY: &str = "/models/{kind}/{id}";
    const REMOVE: &str = "/models/{kind}/{id}/remove";
    const PROJECT: &str = "/projects/{project}";
    const GRANT: &str = "/projects/{project}/servers/{name}";
    const REVOKE: &str = "/api-keys/{id}/revoke";
    vec![
        (Method::GET, "/sign-in", get(sign_in::ask)),
        (Method::POST, "/sign-in", post(sign_in::enter)),
        (Method::GET, "/sign-in/provider", get(provider::leave)),
        (Method::GET, "/sign-in/callback", get(provider::come_back)),
        (Method::POST, "/sign-out", post(sign_in::leave)),
        (Method::GET, "/assets/{file}", get(assets::file)),
        (Method::GET, "/", get(overview::show)),
        // Where this is nested under a path of its own, that path with a slash leads nowhere.
        (Method::GET, "/overview", get(overview::show)),
        (Method::GET, "/servers", get(list::servers)),
        (Method::GET, "/export", get(export::export)),
        (Method::GET, "/import", get(import::ask)),
        (Method::POST, "/import", post(import::preview)),
        (Method::POST, "/import/confirm", post(import::confirm)),
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
        (Method::GET, DISCARD, get(wizard::ask_to_discard)),
        (Method::POST, DISCARD, post(wizard::discard)),
        (Method::GET, "/servers/{name}", get(editing::edit)),
        (Method::POST, "/servers/{name}", post(editing::save)),
        (Method::GET, "/servers/{name}/tools", get(tools::show)),
        (Method::POST, "/servers/{name}/tools", post(tools::save)),
        (Method::POST, ACCEPT, post(tools::accept)),
        (Method::GET, "/servers/{name}/try", get(trying::show)),
        (Method::POST, "/servers/{name}/try", post(trying::run)),
        (Method::GET, "/servers/{name}/delete", get(deleting::ask)),
        (
            Method::POST,
            "/servers/{name}/delete",
            post(deleting::delete),
        ),
        (Method::POST, CONNECT, post(connecting::connect)),
        (Method::POST, DISCONNECT, post(connecting::disconnect)),
        (Method::GET, "/projects", get(projects::list)),
        (Method::GET, PROJECT, get(projects::show)),
        (Method::POST, PROJECT, post(projects::save_budget)),
        (Method::GET, GRANT, get(projects::ask_to_grant)),
        (Method::POST, GRANT, post(projects::save_grant)),
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
        (Method::GET, "/api-keys", get(api_keys::list)),
        (Method::POST, "/api-keys", post(api_keys::make)),
        (Method::GET, "/api-keys/new", get(api_keys::ask)),
        (Method::GET, REVOKE, get(api_keys::ask_to_revoke)),
        (Method::POST, REVOKE, post(api_keys::revoke)),
        (Method::GET, "/chat", get(chatting::show)),
        (Method::POST, "/chat", post(chatting::run)),
        (Method::POST, chatting::STREAM, post(chatting::stream)),
        (Method::GET, "/traces", get(traces::list)),
        (Method::GET, "/traces/{id}", get(timeline::show)),
        (Method::GET, "/audit", get(audit::list)),
        (Method::GET, "/operators", get(operators::list)),
        (
            Method::POST,
            "/operators/sessions/{id}/end",
            post(operators::end),
        ),
    ]
}
