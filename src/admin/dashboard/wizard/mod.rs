//! Creating a server in four steps, on a draft that the store keeps: nothing is lost by going
//! back, by a reload, or by the trip to a provider.

mod auth;
mod review;
mod server;
mod tools;

use std::{cmp::Ordering, sync::Arc};

use axum::{extract::State, response::Response};
use http::StatusCode;

pub(super) use self::{
    auth::{auth, save_auth},
    review::{finish, review},
    server::{begin, create, save_server, server},
    tools::{Problem, save_tools, tools},
};
use super::{
    super::{
        Admin,
        answer::{Answer, Named},
        fault::Fault,
    },
    errors::Errors,
    page::to,
};
use crate::{
    name::ServerName,
    registry::{Error, Server, ServerStore, Source},
};

/// A step, as it is shown above the others.
struct Step {
    label: &'static str,
    class: &'static str,
    link: Option<String>,
}

const STEPS: [(&str, &str); 4] = [
    ("Server and scope", "server"),
    ("Authentication", "auth"),
    ("Tools", "tools"),
    ("Review", "review"),
];

/// The steps, of which `now` is shown; of a server that is there the others can be gone to.
fn steps(admin: &Admin, name: Option<&ServerName>, now: usize) -> Vec<Step> {
    let base = admin.hosts.base();
    let step = |(index, (label, path)): (usize, (&'static str, &str))| Step {
        label,
        class: match index.cmp(&now) {
            Ordering::Less => "done",
            Ordering::Equal => "now",
            Ordering::Greater => "",
        },
        link: name
            .filter(|_| index != now)
            .map(|name| format!("{base}/servers/{name}/setup/{path}")),
    };
    STEPS.into_iter().enumerate().map(step).collect()
}

impl Admin {
    /// The draft of this name; `None`: it is a server that is finished.
    async fn draft(&self, name: &ServerName) -> Result<Option<Arc<Server>>, Fault> {
        let server = self.store.get(&self.organization, name).await?;
        if server.source == Source::File {
            let name = name.clone();
            return Err(Error::Declared { name }.into());
        }
        Ok(Some(server).filter(|server| server.draft))
    }
}

/// `POST /servers/{name}/discard`
pub(super) async fn discard(State(admin): State<Arc<Admin>>, Named(name): Named) -> Answer {
    if admin.draft(&name).await?.is_none() {
        return Ok(done(&admin, &name));
    }
    admin.store.remove(&admin.organization, &name).await?;
    tracing::info!(action = "remove", server = %name, "a draft was discarded");
    Ok(to(
        &admin,
        &format!("/servers?done=discarded&server={name}"),
    ))
}

/// On to a step.
fn step(admin: &Admin, name: &ServerName, step: &str) -> Response {
    to(admin, &format!("/servers/{name}/setup/{step}"))
}

/// There is nothing left to set up.
fn done(admin: &Admin, name: &ServerName) -> Response {
    to(admin, &format!("/servers/{name}"))
}

pub(super) fn status(errors: &Errors) -> StatusCode {
    match errors.all() {
        [] => StatusCode::OK,
        _ => StatusCode::BAD_REQUEST,
    }
}
