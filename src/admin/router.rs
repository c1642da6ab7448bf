//! The table of all paths, and the router made of it.

use axum::{Router, middleware, routing::get};
use http::Method;
use tower::Layer;

use super::{
    access::METRICS,
    builder::Admin,
    dashboard,
    fault::{Code, Fault},
    gate::gate,
    parts::Parts,
    rest::calls,
    roles::guarded,
    route::{Handler, Route},
    scrape, visits,
};

/// Creates the router: the REST interface under `/api/v1`, `/metrics`, and the dashboard beside
/// them. Serve it by itself, or nest it anywhere; links begin with the path of the [public
/// URL](Admin::with_public_url), which must therefore include the prefix that it is nested under.
///
/// Every request that reaches the router needs a token or a session, even for a path that does
/// not exist. So a router that it is merged into cannot have a fallback of its own, and the path
/// that it is nested under must not have parameters.
pub fn router(admin: Admin) -> Router {
    let parts = Parts::from(admin);
    let paths = table().into_iter();
    let paths = paths
        .fold(Router::new(), |router, (method, path, handler)| {
            router.route(path, guarded(&method, path, handler))
        })
        .fallback(async || Fault::new(Code::NotFound, "there is nothing under this path"))
        .method_not_allowed_fallback(async || {
            Fault::new(Code::MethodNotAllowed, "this path has other methods")
        })
        .with_state(parts.clone());
    // Around the whole router: one layer within it would still let `Allow` tell paths apart.
    let gate = middleware::from_fn_with_state(parts, gate);
    Router::new().fallback_service(gate.layer(paths))
}

/// Creates a router of `GET /metrics` alone, which asks for no token and looks at no `Host`: serve it
/// on a listener that only a monitoring system reaches. It has names of servers, tools, projects and
/// models, and no secrets.
pub fn metrics_router(admin: Admin) -> Router {
    Router::new()
        .route(METRICS, get(scrape::metrics))
        .with_state(Parts::from(admin))
}

/// The methods and paths of [`router`], with path parameters in braces; for documentation and
/// tests.
pub fn routes() -> impl Iterator<Item = (Method, &'static str)> {
    table().into_iter().map(|(method, path, _)| (method, path))
}

/// All routes. Which of them wants the token, a session or nothing is decided by its
/// [path](super::access::Access).
fn table() -> Vec<Route> {
    let rest = calls().into_iter();
    let rest = rest.map(|call| (call.method, call.path, call.handler));
    rest.chain([(Method::GET, METRICS, get(scrape::metrics))])
        .chain(browser_routes())
        .chain(dashboard::routes())
        .collect()
}

/// The paths that browsers open on their way to an authorization server and back.
fn browser_routes() -> [Route; 3] {
    // All are good once, so nobody uses them up by asking whether they are there.
    let visit = |handler: Handler| handler.head(visits::not_asked);
    [
        (
            Method::GET,
            "/oauth/start/{one_time}",
            visit(get(visits::start)),
        ),
        (
            Method::GET,
            "/oauth/callback/{id}",
            visit(get(visits::callback)),
        ),
        // Of clients that were registered when all servers shared one.
        (
            Method::GET,
            "/oauth/callback",
            visit(get(visits::shared_callback)),
        ),
    ]
}
