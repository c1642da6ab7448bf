//! Which paths there are, and what answers them.

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{MethodRouter, delete, get, post, put},
};
use http::Method;
use tower::Layer;

use super::{
    Admin,
    fault::{Code, Fault},
    gate::gate,
    keys, projects, scrape, servers, tools,
};

/// The operator's REST interface, to be served or nested anywhere; its paths begin with `/api/v1`,
/// but for `/metrics`.
///
/// Everything that reaches it is behind the token, also what has no path here. So a router that it
/// is merged into cannot have a fallback of its own, and a path that it is nested under has no
/// parameters.
pub fn router(admin: Admin) -> Router {
    let admin = Arc::new(admin);
    let paths = table().into_iter();
    let paths = paths
        .fold(Router::new(), |router, (_, path, handler)| {
            router.route(path, handler)
        })
        .fallback(async || Fault::new(Code::NotFound, "there is nothing under this path"))
        .method_not_allowed_fallback(async || {
            Fault::new(Code::MethodNotAllowed, "this path has other methods")
        })
        .with_state(admin.clone());
    // Around the whole router: one layer within it would still let `Allow` tell paths apart.
    let gate = middleware::from_fn_with_state(admin, gate);
    Router::new().fallback_service(gate.layer(paths))
}

/// All methods and paths of [`router`], with the names of a path's parameters in braces; for
/// whoever describes or tests them.
pub fn routes() -> impl Iterator<Item = (Method, &'static str)> {
    table().into_iter().map(|(method, path, _)| (method, path))
}

type Handler = MethodRouter<Arc<Admin>>;

fn table() -> Vec<(Method, &'static str, Handler)> {
    const SERVERS: &str = "/api/v1/servers";
    const SERVER: &str = "/api/v1/servers/{name}";
    const TOOLS: &str = "/api/v1/servers/{name}/tools";
    const ACCEPT: &str = "/api/v1/servers/{name}/tools/accept";
    const REFRESH: &str = "/api/v1/servers/{name}/refresh";
    vec![
        (Method::GET, SERVERS, get(servers::list)),
        (Method::POST, SERVERS, post(servers::create)),
        (Method::GET, SERVER, get(servers::read)),
        (Method::PUT, SERVER, put(servers::replace)),
        (Method::DELETE, SERVER, delete(servers::remove)),
        (Method::GET, TOOLS, get(tools::list)),
        (Method::POST, ACCEPT, post(tools::accept)),
        (Method::POST, REFRESH, post(tools::refresh)),
        (Method::GET, "/api/v1/projects", get(projects::list)),
        (Method::GET, "/api/v1/keys", get(keys::list)),
        (Method::GET, "/metrics", get(scrape::metrics)),
    ]
}
