//! A proxy and nothing else: requests and answers go on frame by frame.

use http::{Request, Uri, header::HOST, uri::Authority};
use hyper::{body::Incoming, service::service_fn};

use crate::serve::{client, serve};

pub async fn run(upstream: &Uri) {
    let authority = upstream.authority().unwrap().clone();
    let http = client();
    serve(service_fn(move |mut request: Request<Incoming>| {
        lead(&mut request, authority.clone());
        http.request(request)
    }))
    .await;
}

/// Turns a request to this proxy into one to the upstream.
fn lead(request: &mut Request<Incoming>, upstream: Authority) {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(http::uri::Scheme::HTTP);
    parts.authority = Some(upstream);
    *request.uri_mut() = Uri::from_parts(parts).unwrap();
    request.headers_mut().remove(HOST);
}
