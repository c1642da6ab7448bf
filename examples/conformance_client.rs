//! A client for the official conformance suite: it lists a server's tools, calls each, and gets
//! authorized if the server requires it.
//!
//! The suite starts it once for each scenario, with the server's URL as the last argument and the
//! scenario's name in `MCP_CONFORMANCE_SCENARIO`; `tests/conformance/run` runs the suite.
//!
//! Nobody has to consent: the suite's authorization servers send every browser straight back, so
//! the client plays the browser.

use std::env;
use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::header::LOCATION;
use http_body_util::Empty;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use mcp_layer::authorization::Authorizations;
use mcp_layer::oauth::{self, Http};
use mcp_layer::outbound::{EgressRules, Outbound};
use mcp_layer::registry::{Auth, MemoryCredentialStore, OAuth2, OAuthGrant, Server};
use mcp_layer::{
    CallToolError, CallToolRequest, CallerTokens, Connections, Inactive, OfferedTool,
    SigningAlgorithm,
};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};
use url::Url;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The most consents requested: the specification allows no more than a few.
const CONSENTS: usize = 3;

/// The time for one tool call: the suite's tools answer at once, or wait for an answer that nobody
/// here gives.
const PATIENCE: Duration = Duration::from_secs(5);

/// The base of redirect URIs. Nothing listens there, since the answer is read from the redirect.
const CALLBACKS: &str = "http://localhost:3000/callback";

/// The id that the suite expects of clients with a metadata document.
const CLIENT_METADATA: &str = "https://conformance-test.local/client-metadata.json";

/// How the names of scenarios begin in which nobody gives a consent.
const MACHINES: &str = "auth/client-credentials-";

/// The input of some scenarios.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Wanted {
    #[serde(rename = "toolCalls")]
    tool_calls: Vec<WantedCall>,
    client_id: Option<String>,
    client_secret: Option<String>,
    private_key_pem: Option<String>,
    signing_algorithm: Option<SigningAlgorithm>,
}

#[derive(Deserialize)]
struct WantedCall {
    name: String,
    arguments: Box<RawValue>,
}

struct Client {
    outbound: Outbound,
    authorizations: Authorizations,
    connections: Connections,
    server: Server,
    wanted: Wanted,
    consents: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = env::args().next_back().ok_or("no URL")?;
    // The suite's servers listen on this machine.
    let rules = EgressRules::parse(["127.0.0.0/8", "::1/128"])?;
    let outbound = Outbound::new(rules);
    let authorizations = Authorizations::new(outbound.clone(), MemoryCredentialStore::default())
        .with_client_metadata_url({
            let url: Url = CLIENT_METADATA.parse()?;
            move |_| url.clone()
        });
    let mut client = Client {
        connections: Connections::builder(outbound.clone())
            .authorizations(&authorizations)
            .build(),
        outbound,
        authorizations,
        server: Server::new("conformance", &url)?,
        wanted: match env::var("MCP_CONFORMANCE_CONTEXT") {
            Ok(context) => serde_json::from_str(&context)?,
            Err(_) => Wanted::default(),
        },
        consents: CONSENTS,
    };
    let done = client.run().await;
    client.connections.close().await;
    done
}

impl Client {
    async fn run(&mut self) -> Result<()> {
        let tools = self.tools().await?;
        let wanted = std::mem::take(&mut self.wanted.tool_calls);
        if wanted.is_empty() {
            for tool in &tools {
                self.call(&tool.name, &arguments(tool, &tools)?).await?;
            }
        }
        for WantedCall { name, arguments } in wanted {
            // A tool with bad annotations must not be called.
            if tools.iter().any(|tool| tool.name == name) {
                self.call(&name, &arguments).await?;
            }
        }
        Ok(())
    }

    async fn tools(&mut self) -> Result<Vec<OfferedTool>> {
        loop {
            let tokens = CallerTokens::default();
            match self.connections.tools(&self.server, &tokens).await {
                Ok(tools) => {
                    for tool in &tools.left_out {
                        println!("left out: {}: {}", tool.tool(), tool.reason());
                    }
                    return Ok(tools.offered);
                }
                Err(Inactive::NeedsAuthorization) => self.authorize().await?,
                Err(Inactive::NoTools) => return Ok(Vec::new()),
                Err(inactive) => return Err(inactive.into()),
            }
        }
    }

    async fn call(&mut self, tool: &str, arguments: &RawValue) -> Result<()> {
        loop {
            let tokens = CallerTokens::default();
            let mut call = CallToolRequest::new(tool, arguments);
            call.timeout = PATIENCE;
            match self.connections.call(&self.server, &tokens, call).await {
                Err(
                    CallToolError::Inactive(Inactive::NeedsAuthorization)
                    | CallToolError::MissingScopes(_),
                ) => self.authorize().await?,
                Err(CallToolError::Failed(error)) if error.status() == Some(401) => {
                    self.authorize().await?;
                }
                Ok(result) => {
                    println!("{tool}: error {}: {}", result.is_error, result.text);
                    return Ok(());
                }
                Err(error) => {
                    println!("{tool}: {error}");
                    return Ok(());
                }
            }
        }
    }

    /// Requests consent, and gives it; or does without, where the scenario is for machines.
    async fn authorize(&mut self) -> Result<()> {
        self.consents = self.consents.checked_sub(1).ok_or("asked too often")?;
        if matches!(self.server.auth, Auth::None) {
            self.server.auth = self.auth().await?;
        }
        if let Auth::OAuth2(entered) = &self.server.auth
            && entered.grant == OAuthGrant::ClientCredentials
        {
            let connected = self.authorizations.connect(&self.server).await?;
            println!("authorized with the scopes {}", connected.scopes);
            return Ok(());
        }
        let callbacks = CALLBACKS.parse()?;
        let begun = self.authorizations.begin(&self.server, &callbacks).await?;
        // A redirect is never followed, so the way back can be read.
        let browser = legacy::Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let consent = browser
            .get(begun.authorization_url.as_str().parse()?)
            .await?;
        let back = consent.headers().get(LOCATION).ok_or("no way back")?;
        let back = begun.redirect_uri.join(back.to_str()?)?;
        let back = back[url::Position::BeforePath..].parse()?;
        let connected = self.authorizations.finish(&back, &begun.browser).await?;
        println!("connected with the scopes {}", connected.scopes);
        Ok(())
    }

    /// Returns the authentication that an operator would enter. A secret is for one authorization
    /// server, and an MCP server must not choose which; here the suite is both operator and server.
    async fn auth(&self) -> Result<Auth> {
        let mut entered = OAuth2::default();
        entered.client_id = self.wanted.client_id.clone();
        entered.client_secret = self.wanted.client_secret.clone().map(Into::into);
        entered.private_key = self.wanted.private_key_pem.clone().map(Into::into);
        entered.signing_algorithm = self.wanted.signing_algorithm;
        let scenario = env::var("MCP_CONFORMANCE_SCENARIO").unwrap_or_default();
        if scenario.starts_with(MACHINES) {
            entered.grant = OAuthGrant::ClientCredentials;
        }
        if entered.client_secret.is_some() || entered.private_key.is_some() {
            let http = Http::new(self.outbound.clone());
            let http = http.with_entered([&self.server.url]);
            let found = oauth::discover(&http, &self.server.url, None, None).await?;
            entered.issuer = found.server.issuer;
        }
        Ok(Auth::oauth2(entered)?)
    }
}

/// Arguments that a tool's schema may accept.
fn arguments(tool: &OfferedTool, all: &[OfferedTool]) -> Result<Box<RawValue>> {
    const ECHO: &str = "json_schema_echo";
    const ECHOED: &str = "json_schema_2020_12_tool";
    if tool.name == ECHO
        && let Some(echoed) = all.iter().find(|tool| tool.name == ECHOED)
    {
        // Byte for byte what the server sent.
        let text = format!(r#"{{"schema":{}}}"#, echoed.input_schema.get());
        return Ok(RawValue::from_string(text)?);
    }
    let schema: Value = serde_json::from_str(tool.input_schema.get())?;
    let properties = schema["properties"].as_object().into_iter().flatten();
    let arguments: Map<String, Value> = properties
        .map(|(name, property)| (name.clone(), example(property)))
        .collect();
    Ok(to_raw_value(&arguments)?)
}

fn example(property: &Value) -> Value {
    match property["type"].as_str() {
        Some("number" | "integer") => json!(2),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => json!("text"),
    }
}
