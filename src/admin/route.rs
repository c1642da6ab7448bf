//! A row of a table of routes.

use axum::routing::MethodRouter;
use http::Method;

use super::parts::Parts;

/// The handler of one path.
pub(super) type Handler = MethodRouter<Parts>;

/// A method, a path, and its handler.
pub(super) type Route = (Method, &'static str, Handler);
