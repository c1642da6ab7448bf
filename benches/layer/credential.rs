//! What a request pays for the credential of its server: the tools of a server from the cache,
//! against those of a server that needs none.
//!
//! Nothing is sent, so the difference is what it takes to have the credential at hand: for OAuth
//! 2.0 to load it from the store, to open it and to read it.

use std::rc::Rc;

use axum::{Json, Router, routing::post};
use http::HeaderMap;
use mcp_layer::{
    CallerTokens, Connections,
    authorization::Authorizations,
    outbound::{EgressRules, Outbound},
    registry::{Auth, MemoryCredentialStore, OAuth2, Server},
};
use serde_json::json;
use tokio::{net::TcpListener, runtime::Runtime};

use crate::{
    pair::{Group, Pair},
    support::{McpServer, SERVER},
};

/// As long as the tokens are that are only a reference, and those that say everything.
const TOKEN_LENS: [usize; 2] = [64, 1200];

pub fn group(runtime: &Rc<Runtime>) -> Group {
    let rules = EgressRules::parse(["127.0.0.0/8"]).unwrap();
    let outbound = Outbound::new(rules);
    let authorizations = Authorizations::new(outbound.clone(), MemoryCredentialStore::default());
    let connections = Connections::builder(outbound)
        .authorizations(&authorizations)
        .build();
    let mcp = McpServer::start(1);
    let server = || Server::new(SERVER, &mcp.url()).unwrap();
    let headers = Auth::static_headers([("authorization", "Bearer sk-0123456789abcdef")]);
    let oauth = TOKEN_LENS.map(|len| {
        let token_url = token_endpoint(runtime, len);
        let server = server().with_auth(oauth(&token_url));
        runtime.block_on(connect(&authorizations, &server));
        server
    });

    let [short, long] = oauth;
    let none = server();
    let pair = |name, with: Server| {
        let mut headers = HeaderMap::new();
        let own = "Bearer sk-0123456789abcdef".parse().unwrap();
        headers.insert("x-mcp-auth-docs", own);
        let tokens = CallerTokens::take(&mut headers);
        let tools = |server: Server| {
            let (connections, tokens) = (connections.clone(), tokens.clone());
            let shared = Rc::new((connections, tokens, server));
            move || {
                let shared = shared.clone();
                async move {
                    let (connections, tokens, server) = &*shared;
                    let tools = connections.tools(server, tokens).await.unwrap();
                    assert_eq!(tools.offered.len(), 1);
                }
            }
        };
        let (floor, ours) = (tools(none.clone()), tools(with));
        runtime.block_on(async {
            floor().await;
            ours().await;
        });
        Pair::new(name, runtime, floor, ours)
    };
    let pairs = vec![
        pair(
            "credential: static header",
            server().with_auth(headers.unwrap()),
        ),
        pair(
            "credential: token passthrough",
            server().with_auth(Auth::token_passthrough(None).unwrap()),
        ),
        pair("credential: OAuth 2.0, short tokens", short),
        pair("credential: OAuth 2.0, long tokens", long),
    ];
    Group {
        name: "credential",
        pairs,
        check: Box::new(|| {}),
    }
}

fn oauth(token_url: &str) -> Auth {
    let mut oauth = OAuth2::default();
    oauth.client_id = Some("client".to_owned());
    oauth.authorization_url = Some("https://provider.example/authorize".parse().unwrap());
    oauth.token_url = Some(token_url.parse().unwrap());
    Auth::oauth2(oauth).unwrap()
}

/// An endpoint that gives everybody the same tokens.
fn token_endpoint(runtime: &Runtime, len: usize) -> String {
    let tokens = json!({"access_token": "a".repeat(len), "token_type": "Bearer",
        "refresh_token": "r".repeat(len), "scope": "files:read files:write"});
    let app = Router::new().route("/token", post(async move || Json(tokens)));
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}/token")
}

async fn connect(authorizations: &Authorizations, server: &Server) {
    let back = "http://127.0.0.1:1/callback".parse().unwrap();
    let begun = authorizations.begin(server, &back).await.unwrap();
    let mut parameters = begun.authorization_url.query_pairs();
    let (_, state) = parameters.find(|(name, _)| name == "state").unwrap();
    let path = begun.redirect_uri.path();
    let callback = format!("{path}?code=code&state={state}").parse().unwrap();
    authorizations
        .finish(&callback, &begun.browser)
        .await
        .unwrap();
}
