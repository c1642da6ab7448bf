//! The demo: a model and an MCP server in this process, reached over real sockets.
//!
//! They exchange exactly what a real model and a real server would.

mod model;
mod rules;
mod server;

use std::{io, net::SocketAddr};

use axum::{Router, serve::ListenerExt};
use tokio::net::TcpListener;
use url::Url;

use crate::admin::Token;

/// Starts a rule-driven model, and returns its base URL.
pub async fn model() -> io::Result<Url> {
    let address = serve(model::router()).await?;
    format!("http://{address}/v1")
        .parse()
        .map_err(io::Error::other)
}

/// Starts an MCP server, and returns its address.
pub async fn server() -> io::Result<SocketAddr> {
    serve(server::router()).await
}

/// Returns the demo's servers as a configuration file: the one at `address`, named `demo`.
pub fn servers(address: SocketAddr) -> String {
    format!(
        r#"
        [[servers]]
        name = "demo"
        display_name = "Demo"
        description = "Dice, the time, sums and word counts"
        url = "http://{address}/mcp"
        "#
    )
}

/// Returns the text printed at the start: addresses, a command to paste, and how to stop.
pub fn introduction(
    listen: SocketAddr,
    upstream: Option<&Url>,
    operators: Option<(SocketAddr, &Token)>,
) -> String {
    let model = match upstream {
        Some(upstream) => format!("requests go to {upstream}"),
        None => "a small demo model answers".into(),
    };
    // The caller chooses the model if there is a real one.
    let name = match upstream {
        Some(_) => "MODEL",
        None => "demo",
    };
    let operators =
        operators.map_or_else(String::new, |(listen, token)| operators_side(listen, token));
    format!(
        r#"The proxy listens on http://{listen}: {model}, with the tools of the MCP server "demo".
Try it in another terminal, with this question or one of your own:

curl -s http://{listen}/v1/chat/completions \
  -H 'content-type: application/json' \
  -d '{{
    "model": "{name}",
    "messages": [{{"role": "user", "content": "Roll a 20-sided die and tell me the time."}}],
    "mcp": {{"enabled": true, "servers": ["demo"], "auto_execute_tools": true}}
  }}'

The tools: http://{listen}/v1/mcp/servers
{operators}Ctrl-C stops it.
"#
    )
}

/// Returns the dashboard's address, its token, and a command for a terminal.
fn operators_side(listen: SocketAddr, token: &Token) -> String {
    let (said, token) = match token {
        Token::Made(token) => (format!("the token {token}, made for this run"), &**token),
        Token::Given(_) => ("your admin token".to_owned(), "TOKEN"),
    };
    format!(
        r#"
The dashboard has servers, their tools, and traces of what you ask.
Open http://{listen} and sign in with {said}.
Or use REST; this lists the servers:

curl -s http://{listen}/api/v1/servers -H 'authorization: Bearer {token}'

"#
    )
}

async fn serve(router: Router) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    // A small answer must not wait for the acknowledgement of its headers.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}
