//! The least role for each route.
//!
//! A route that has no row here is for admins: whoever adds one has to think of it, and a test does
//! not pass before.

use axum::{
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use http::Method;

use super::{acting::Acting, role::Role, route::Handler};

/// What a route asks of whoever sends a request to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Least {
    /// Nothing: it leads to a session, or back from a provider.
    Open,
    Role(Role),
}

const OPEN: Least = Least::Open;
const VIEWER: Least = Least::Role(Role::Viewer);
const EDITOR: Least = Least::Role(Role::Editor);
const ADMIN: Least = Least::Role(Role::Admin);

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;

/// All routes.
///
/// Aliases and defaults of models are for admins: a default has requests use servers that they
/// never asked for, and an alias decides which model somebody pays for. So are budgets.
const TABLE: &[(Method, &str, Least)] = &[
    (GET, "/api/v1/servers", VIEWER),
    (POST, "/api/v1/servers", EDITOR),
    (GET, "/api/v1/servers/export", VIEWER),
    (POST, "/api/v1/servers/import", EDITOR),
    (GET, "/api/v1/servers/{name}", VIEWER),
    (PUT, "/api/v1/servers/{name}", EDITOR),
    (PATCH, "/api/v1/servers/{name}", EDITOR),
    (DELETE, "/api/v1/servers/{name}", EDITOR),
    (GET, "/api/v1/servers/{name}/tools", VIEWER),
    (POST, "/api/v1/servers/{name}/tools/accept", EDITOR),
    (POST, "/api/v1/servers/{name}/tools/{tool}/call", ADMIN),
    (POST, "/api/v1/servers/{name}/refresh", EDITOR),
    (POST, "/api/v1/servers/{name}/oauth/connect", EDITOR),
    (DELETE, "/api/v1/servers/{name}/oauth", EDITOR),
    (GET, "/api/v1/projects", VIEWER),
    (GET, "/api/v1/projects/{project}", VIEWER),
    (PUT, "/api/v1/projects/{project}", ADMIN),
    (DELETE, "/api/v1/projects/{project}", ADMIN),
    (GET, "/api/v1/models", VIEWER),
    (PUT, "/api/v1/models", ADMIN),
    (GET, "/api/v1/keys", ADMIN),
    (GET, "/api/v1/api-keys", ADMIN),
    (POST, "/api/v1/api-keys", ADMIN),
    (DELETE, "/api/v1/api-keys/{id}", ADMIN),
    (GET, "/api/v1/traces", VIEWER),
    (GET, "/api/v1/traces/{id}", VIEWER),
    (POST, "/api/v1/explain", EDITOR),
    (GET, "/api/v1/overview", VIEWER),
    (GET, "/api/v1/audit", VIEWER),
    (GET, "/api/v1/operators", ADMIN),
    (GET, "/api/v1/sessions", ADMIN),
    (DELETE, "/api/v1/sessions/{id}", ADMIN),
    (GET, "/api/v1/openapi.json", VIEWER),
    (GET, "/metrics", VIEWER),
    (GET, "/oauth/start/{one_time}", OPEN),
    (GET, "/oauth/callback/{id}", OPEN),
    (GET, "/oauth/callback", OPEN),
    (GET, "/sign-in", OPEN),
    (POST, "/sign-in", OPEN),
    (GET, "/sign-in/provider", OPEN),
    (GET, "/sign-in/callback", OPEN),
    (POST, "/sign-out", VIEWER),
    (GET, "/assets/{file}", OPEN),
    (GET, "/", VIEWER),
    (GET, "/overview", VIEWER),
    (GET, "/servers", VIEWER),
    (GET, "/export", VIEWER),
    (GET, "/import", EDITOR),
    (POST, "/import", EDITOR),
    (POST, "/import/confirm", EDITOR),
    (GET, "/create", EDITOR),
    (POST, "/create", EDITOR),
    (GET, "/servers/{name}/setup/server", EDITOR),
    (POST, "/servers/{name}/setup/server", EDITOR),
    (GET, "/servers/{name}/setup/auth", EDITOR),
    (POST, "/servers/{name}/setup/auth", EDITOR),
    (GET, "/servers/{name}/setup/tools", EDITOR),
    (POST, "/servers/{name}/setup/tools", EDITOR),
    (GET, "/servers/{name}/setup/review", EDITOR),
    (POST, "/servers/{name}/setup/review", EDITOR),
    (GET, "/servers/{name}/discard", EDITOR),
    (POST, "/servers/{name}/discard", EDITOR),
    (GET, "/servers/{name}", VIEWER),
    (POST, "/servers/{name}", EDITOR),
    (GET, "/servers/{name}/tools", VIEWER),
    (POST, "/servers/{name}/tools", EDITOR),
    (POST, "/servers/{name}/tools/accept", EDITOR),
    (GET, "/servers/{name}/try", ADMIN),
    (POST, "/servers/{name}/try", ADMIN),
    (GET, "/servers/{name}/delete", EDITOR),
    (POST, "/servers/{name}/delete", EDITOR),
    (POST, "/servers/{name}/connect", EDITOR),
    (POST, "/servers/{name}/disconnect", EDITOR),
    (GET, "/projects", VIEWER),
    (GET, "/projects/{project}", VIEWER),
    (POST, "/projects/{project}", ADMIN),
    (GET, "/projects/{project}/servers/{name}", EDITOR),
    (POST, "/projects/{project}/servers/{name}", EDITOR),
    (GET, "/models", VIEWER),
    (GET, "/models/{kind}", ADMIN),
    (POST, "/models/{kind}", ADMIN),
    (GET, "/models/{kind}/{id}", ADMIN),
    (POST, "/models/{kind}/{id}", ADMIN),
    (POST, "/models/{kind}/{id}/up", ADMIN),
    (GET, "/models/{kind}/{id}/remove", ADMIN),
    (POST, "/models/{kind}/{id}/remove", ADMIN),
    (GET, "/api-keys", ADMIN),
    (POST, "/api-keys", ADMIN),
    (GET, "/api-keys/new", ADMIN),
    (GET, "/api-keys/{id}/revoke", ADMIN),
    (POST, "/api-keys/{id}/revoke", ADMIN),
    (GET, "/chat", ADMIN),
    (POST, "/chat", ADMIN),
    (POST, "/chat/stream", ADMIN),
    (GET, "/traces", VIEWER),
    (GET, "/traces/{id}", VIEWER),
    (GET, "/audit", VIEWER),
    (GET, "/operators", ADMIN),
    (POST, "/operators/sessions/{id}/end", ADMIN),
];

fn least(method: &Method, path: &str) -> Option<Least> {
    let mut rows = TABLE.iter();
    let row = rows.find(|(other, known, _)| other == method && *known == path);
    row.map(|(.., least)| *least)
}

/// The least role that a route needs; `None` if it needs nobody to be known.
pub(super) fn least_role(method: &Method, path: &str) -> Option<Role> {
    match least(method, path).unwrap_or(ADMIN) {
        Least::Open => None,
        Least::Role(role) => Some(role),
    }
}

/// The handler, which only those may use who may use this route.
pub(super) fn guarded(method: &Method, path: &'static str, handler: Handler) -> Handler {
    let Some(least) = least_role(method, path) else {
        return handler;
    };
    handler.route_layer(from_fn_with_state(least, check))
}

async fn check(State(least): State<Role>, request: Request, next: Next) -> Response {
    match Acting::now().require(least, "this") {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{super::router::routes, *};

    #[test]
    fn every_route_has_a_row_and_every_row_a_route() {
        let routes: HashSet<_> = routes().collect();
        for (method, path) in &routes {
            assert!(least(method, path).is_some(), "{method} {path} has no row");
        }
        let mut rows = HashSet::new();
        for (method, path, _) in TABLE {
            assert!(rows.insert((method, path)), "{method} {path} twice");
            let is_there = routes.contains(&(method.clone(), *path));
            assert!(is_there, "{method} {path} is no route");
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_for_admins() {
        assert_eq!(least_role(&GET, "/new"), Some(Role::Admin));
        assert_eq!(least_role(&DELETE, "/servers"), Some(Role::Admin));
    }

    #[test]
    fn nothing_that_changes_something_is_for_viewers() {
        for (method, path, least) in TABLE {
            let is_change = *method != GET && *path != "/sign-out" && *path != "/sign-in";
            let is_guarded = matches!(least, Least::Role(role) if *role >= Role::Editor);
            assert!(!is_change || is_guarded, "{method} {path}");
        }
    }
}
