//! Requests that carry the address they come from.

use std::{
    convert::Infallible,
    net::IpAddr,
    task::{Context, Poll},
};

use axum::{Router, response::Response};
use http::Request;
use hyper::body::Incoming;
use mcp_layer::admin::ClientAddress;
use tower::Service;

/// A router for the requests of one connection, which adds the peer's address to each.
#[derive(Clone)]
pub struct Addressed {
    app: Router,
    from: ClientAddress,
}

impl Addressed {
    pub fn new(app: Router, peer: IpAddr) -> Self {
        Self {
            app,
            from: ClientAddress(peer),
        }
    }
}

impl Service<Request<Incoming>> for Addressed {
    type Response = Response;
    type Error = Infallible;
    type Future = <Router as Service<Request<Incoming>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Incoming>>::poll_ready(&mut self.app, context)
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.from);
        self.app.call(request)
    }
}
