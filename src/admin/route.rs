//! What answers a path.

use std::sync::Arc;

use axum::routing::MethodRouter;
use http::Method;

use super::Admin;

pub(super) type Handler = MethodRouter<Arc<Admin>>;

/// A method, a path, and what answers it.
pub(super) type Route = (Method, &'static str, Handler);
