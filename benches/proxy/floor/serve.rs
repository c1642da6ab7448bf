//! The side towards callers, and the client that both floors send with.

use http::Response;
use http_body::Body;
use hyper::{body::Incoming, server::conn::http1, service::HttpService};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::TcpListener;
use tower::BoxError;

/// Answers all that comes to a free port, and prints its address.
pub async fn serve<S, B>(service: S)
where
    S: HttpService<Incoming, ResBody = B, Future: Send, Error: Into<BoxError>>
        + Clone
        + Send
        + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let connection =
            http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
        // A caller that goes away is no fault.
        tokio::spawn(async move { drop(connection.await) });
    }
}

/// A client that keeps its connections.
pub fn client<B>() -> Client<HttpConnector, B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
}

/// An answer with JSON.
pub fn json<B>(body: B) -> Response<B> {
    let mut response = Response::new(body);
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}
