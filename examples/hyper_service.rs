//! The layer around a bare hyper service: here a client that sends everything to one upstream.
//!
//! ```text
//! cargo run --example hyper_service -- http://127.0.0.1:11434      # such as a local ollama
//! curl http://127.0.0.1:8789/v1/chat/completions -H 'content-type: application/json' -d '{
//!   "model": "llama3.2", "messages": [{"role": "user", "content": "What is tower-rs/tower?"}],
//!   "mcp": {"enabled": true, "servers": ["deepwiki-mcp"], "auto_execute_tools": true}}'
//! ```

use http::{Request, Uri, header::HOST, uri::PathAndQuery};
use hyper::server::conn::http1;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use mcp_layer::{
    McpLayer, RequestBody,
    registry::{MemoryRegistry, Server},
};
use tower::ServiceBuilder;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let upstream = std::env::args().nth(1);
    let upstream: Uri = upstream
        .as_deref()
        .unwrap_or("http://127.0.0.1:11434")
        .parse()?;

    let registry =
        MemoryRegistry::new([Server::new("deepwiki-mcp", "https://mcp.deepwiki.com/mcp")?])?;
    let client: Client<HttpConnector, RequestBody<hyper::body::Incoming>> =
        Client::builder(TokioExecutor::new()).build_http();
    let service = ServiceBuilder::new()
        // Gives the requests that ask for it the tools of the server.
        .layer(McpLayer::new(registry))
        // Sends every turn to the upstream: its own host, the caller's path.
        .map_request(move |mut request: Request<_>| {
            let path = request.uri().path_and_query().cloned();
            let mut uri = upstream.clone().into_parts();
            uri.path_and_query = path.or(Some(PathAndQuery::from_static("/")));
            if let Ok(uri) = Uri::from_parts(uri) {
                *request.uri_mut() = uri;
            }
            request.headers_mut().remove(HOST);
            request
        })
        .service(client);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:8789").await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                eprintln!("a connection ended early: {error}");
            }
        });
    }
}
