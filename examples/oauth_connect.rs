//! Connects one MCP server with OAuth 2.0 from the command line, lists its tools, and calls them.
//!
//! ```text
//! cargo run --example oauth_connect -- https://mcp.example.com/mcp
//! ```
//!
//! It prints an address for your browser, waits for the callback on this machine, and lists the
//! tools. Then it reads calls from its input, one per line: a tool's name and its arguments as
//! JSON. At the end of the input it gives up the authorization. Nothing is written to disk.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Html;
use axum::routing::get;
use clap::Parser;
use mcp_layer::authorization::{Authorizations, redirect_uri};
use mcp_layer::outbound::{EgressRules, Outbound};
use mcp_layer::registry::{Auth, MemoryCredentialStore, OAuth2, Server};
use mcp_layer::{CallToolRequest, CallerTokens, Connections, Scopes, TokenAuth};
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use url::Url;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Connects one MCP server with OAuth 2.0, lists its tools, and calls them.
#[derive(Parser)]
struct Arguments {
    /// The MCP server's URL.
    url: String,
    /// A host or an address range that may be reached although it is private or plain http.
    #[arg(long, value_name = "RULE")]
    allow_egress: Vec<String>,
    /// The client id, if none is to be registered.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// The environment variable with the client secret.
    #[arg(long, value_name = "VARIABLE")]
    client_secret_env: Option<String>,
    /// The authorization URL, if it is not to be discovered.
    #[arg(long, value_name = "URL")]
    authorization_url: Option<Url>,
    /// The token URL, if it is not to be discovered.
    #[arg(long, value_name = "URL")]
    token_url: Option<Url>,
    /// The scopes to request, separated by blanks or commas.
    #[arg(long, default_value = "")]
    scopes: String,
    /// The only authorization server to accept.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// The resource to request.
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
    /// The client authentication method: client_secret_basic, client_secret_post or none.
    #[arg(long, value_name = "METHOD", value_parser = token_auth)]
    token_auth: Option<TokenAuth>,
    /// The port of the redirect URI, http://127.0.0.1:PORT/callback/ID; 0 takes a free one. A
    /// registered client needs the port that was registered. ID is derived from the server's URL.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Only print the redirect URI, for registering a client.
    #[arg(long)]
    print_redirect_uri: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut line = format!("error: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                line += &format!(": {error}");
                cause = error.source();
            }
            eprintln!("{line}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let outbound = Outbound::new(EgressRules::parse(&arguments.allow_egress)?);
    // Sealed with a key that nobody has, and gone at the end.
    let store = MemoryCredentialStore::default();
    let authorizations = Authorizations::new(outbound.clone(), store);
    let connections = Connections::builder(outbound)
        .authorizations(&authorizations)
        .build();
    let server = server(&arguments)?;
    if arguments.print_redirect_uri {
        let callbacks = format!("http://127.0.0.1:{}/callback", arguments.port).parse()?;
        say(redirect_uri(&callbacks, &server.id).as_str());
        return Ok(());
    }

    connect(&authorizations, &server, arguments.port).await?;
    say("Connected.");
    let used = use_tools(&connections, &server).await;
    connections.close().await;
    // Even after a failure: nobody else can give up the authorization.
    authorizations.disconnect(&server).await?;
    say("Disconnected.");
    used
}

/// Lists the tools, and runs the calls of our input.
async fn use_tools(connections: &Connections, server: &Server) -> Result<()> {
    let tools = connections.tools(server, &CallerTokens::default()).await?;
    for tool in tools.offered {
        let description = tool.description.unwrap_or_default();
        say(&format!("- {}: {}", tool.name, first_line(&description)));
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        if !line.trim().is_empty() {
            say(&call(connections, server, &line).await?);
        }
    }
    Ok(())
}

fn server(arguments: &Arguments) -> Result<Server> {
    let mut oauth = OAuth2::default();
    oauth.client_id = arguments.client_id.clone();
    if let Some(variable) = &arguments.client_secret_env {
        let secret = std::env::var(variable)
            .map_err(|_| format!("environment variable {variable} is not set"))?;
        oauth.client_secret = Some(secret.into());
    }
    oauth.authorization_url = arguments.authorization_url.clone();
    oauth.token_url = arguments.token_url.clone();
    oauth.scopes = Scopes::parse(&arguments.scopes)?;
    oauth.issuer = arguments.issuer.clone();
    oauth.resource = arguments.resource.clone();
    oauth.token_auth = arguments.token_auth;
    let mut server = Server::new("server", &arguments.url)?.with_auth(Auth::oauth2(oauth)?);
    // Derived, so that the redirect URI is always the same.
    let digest = Sha256::digest(server.url.as_str());
    let id: String = digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    server.id = id.parse()?;
    Ok(server)
}

/// Sends the browser to the provider, and waits until it comes back.
async fn connect(authorizations: &Authorizations, server: &Server, port: u16) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let callbacks = format!("http://{}/callback", listener.local_addr()?).parse()?;
    let begun = authorizations.begin(server, &callbacks).await?;
    say("Open this address in a browser:");
    say(&format!("  {}", begun.authorization_url));

    let (callbacks, mut called) = mpsc::channel(1);
    let app = Router::new()
        .route("/callback/{id}", get(callback))
        .with_state(callbacks);
    let served = tokio::spawn(async move { axum::serve(listener, app).await });
    let callback = called.recv().await.ok_or("the callback did not come")?;
    // This process serves one browser: it keeps what a cookie would.
    let connected = authorizations.finish(&callback, &begun.browser).await;
    served.abort();
    connected?;
    Ok(())
}

async fn callback(State(callbacks): State<mpsc::Sender<Uri>>, uri: Uri) -> Html<&'static str> {
    // Nobody waits for a second one.
    let _ = callbacks.try_send(uri);
    Html(
        "<!doctype html><title>Back to the terminal</title><p>You can close this page and go back to the terminal.",
    )
}

/// Runs a line such as `echo {"text": "hello"}`.
async fn call(connections: &Connections, server: &Server, line: &str) -> Result<String> {
    let (tool, arguments) = line.trim().split_once(' ').unwrap_or((line.trim(), "{}"));
    let Ok(arguments) = serde_json::from_str::<Box<RawValue>>(arguments) else {
        return Ok(r#"error: "the arguments are not JSON""#.to_owned());
    };
    let call = CallToolRequest::new(tool, &arguments);
    let (outcome, text) = match connections
        .call(server, &CallerTokens::default(), call)
        .await
    {
        Ok(result) if result.is_error => ("error", result.text),
        Ok(result) => ("result", result.text),
        Err(error) => ("error", error.to_string()),
    };
    Ok(format!("{outcome}: {}", to_raw_value(&text)?))
}

/// Returns the first line without control characters: the text is the server's.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).collect()
}

fn token_auth(method: &str) -> std::result::Result<TokenAuth, String> {
    serde_json::from_value(method.into())
        .map_err(|_| "client_secret_basic, client_secret_post or none".to_owned())
}

/// Prints a line at once, even into a pipe.
fn say(line: &str) {
    println!("{line}");
    // A closed output is no reason to stop.
    let _ = std::io::stdout().flush();
}
