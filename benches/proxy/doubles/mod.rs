//! A model and an MCP server that answer at once.
//!
//! They live in this process, over hyper, and know no state: what is asked says what is answered.

mod mcp;
mod model;

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tower::BoxError;

pub use model::{ANSWER, EVENTS, Length, Script};

/// Where they are.
#[derive(Clone, Copy)]
pub struct Doubles {
    pub model: SocketAddr,
    pub mcp: SocketAddr,
}

impl Doubles {
    pub async fn start() -> Self {
        Self {
            model: serve(model::answer).await,
            mcp: serve(mcp::answer).await,
        }
    }

    /// The base URL of the model's API.
    pub fn upstream(&self) -> String {
        format!("http://{}/v1", self.model)
    }

    /// An MCP server with so many tools.
    pub fn server(&self, tools: usize) -> String {
        format!("http://{}/{tools}/mcp", self.mcp)
    }
}

/// Answers whole requests to a free port of loopback.
async fn serve<B>(answer: fn(&str, &Bytes) -> Response<B>) -> SocketAddr
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = service_fn(move |request: Request<Incoming>| async move {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok::<_, hyper::Error>(answer(head.uri.path(), &body))
    });
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // Whoever goes away is done.
            tokio::spawn(async move { drop(connection.await) });
        }
    });
    address
}

fn answered<B>(content_type: &'static str, body: B) -> Response<B> {
    let mut response = Response::new(body);
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

fn refused(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
