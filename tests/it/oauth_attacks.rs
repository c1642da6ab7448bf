//! The attacks on an authorization that this client itself must stop (T-27 to T-33): each is
//! refused, by the right kind, and no code and no secret reaches a token endpoint.

use axum::response::Response;
use mcp_layer::Scopes;
use mcp_layer::oauth::{
    self, AuthorizationServer, Callback, Client, Error, ErrorKind, Http, Request, Tokens,
};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use crate::support::auth_server::{
    AuthServer, METADATA, RESOURCE, flood, html, http, json_reply, parameter, redirect, reply,
};
use crate::support::everything;

/// What the attacker has changed.
enum Attack {
    /// Members of the authorization server's metadata; `{as}` is its issuer, `{evil}` the
    /// attacker's own server, at another address that the operator has allowed.
    Metadata(Value),
    /// Members of the MCP server's metadata.
    Resource(Value),
    /// The whole answer at a path; given the URL of the attacker's own server.
    Answer(&'static str, fn(&str) -> Response),
    /// The issuer that the operator has set.
    Set(&'static str),
    /// The query of the callback; `{as}` is the issuer, `{AS}` the same in capitals, `{state}` the
    /// state.
    Callback(&'static str),
    /// The same, of a server that does not promise `iss`.
    Unpromised(&'static str),
    /// The endpoints and the issuer that somebody has typed; an honest callback.
    Typed(&'static str, &'static str, Option<&'static str>),
}

#[tokio::test]
async fn every_attack_is_refused_before_a_token_endpoint_is_reached() {
    let http = http();
    for (row, (name, kind, attack)) in table().into_iter().enumerate() {
        let (server, evil) = (AuthServer::start().await, elsewhere().await);
        let Err(error) = run(&http, &server, &evil, &attack).await else {
            panic!("{name}: went through");
        };
        println!("{:>2} {name:<52} {:?}: {error}", row + 1, error.kind());
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(!everything(&error).contains("script"), "{name}: {error:?}");
        assert_eq!(server.count("/token"), 0, "{name}");
        assert_eq!(evil.seen().len(), 0, "{name}");
    }
}

#[tokio::test]
async fn the_same_without_an_attack_goes_through() {
    let http = http();
    let (server, evil) = (AuthServer::start().await, elsewhere().await);
    let honest = Attack::Callback("code=code-1&state={state}&iss={as}");
    run(&http, &server, &evil, &honest).await.unwrap();
    let honest = Attack::Unpromised("code=code-1&state={state}");
    run(&http, &server, &evil, &honest).await.unwrap();
    assert_eq!(server.count("/token"), 2);
}

/// A server of which nothing was entered, at an address that the egress rules allow.
async fn elsewhere() -> AuthServer {
    AuthServer::start_on("127.0.0.2").await
}

/// A whole authorization, as an operator's would go.
async fn run(
    http: &Http,
    server: &AuthServer,
    evil: &AuthServer,
    attack: &Attack,
) -> Result<Tokens, Error> {
    let mut metadata = server.metadata();
    let mut set = None;
    let mut query = "code=code-1&state={state}&iss={as}";
    match attack {
        Attack::Metadata(changes) => merge(&mut metadata, changes, server, evil),
        Attack::Resource(changes) => {
            let mut resource = server.resource();
            merge(&mut resource, changes, server, evil);
            server.json(RESOURCE, resource);
        }
        Attack::Answer(path, answer) => {
            let (to, answer) = (evil.url.clone(), *answer);
            server.answer(path, move || answer(&to));
        }
        Attack::Set(issuer) => set = Some(*issuer),
        Attack::Callback(changed) => query = changed,
        Attack::Unpromised(changed) => {
            query = changed;
            metadata["authorization_response_iss_parameter_supported"] = Value::Null;
        }
        Attack::Typed(..) => {}
    }
    if !matches!(attack, Attack::Answer(METADATA, _)) {
        server.json(METADATA, metadata);
    }

    let (found, resource) = if let Attack::Typed(authorization, token, issuer) = attack {
        let url = |text: &str| Url::parse(&text.replace("{as}", &server.url)).unwrap();
        let issuer = issuer.map(str::to_owned);
        let typed = AuthorizationServer::typed(url(authorization), url(token), issuer)?;
        typed.check(http)?;
        (typed, None)
    } else {
        let found = oauth::discover(http, &server.mcp(), None, set).await?;
        (found.server, found.resource)
    };
    let client = Client::new("client-1", Some("s3cret".into()), None, &found)?;
    let request = Request {
        server: &found,
        client: &client,
        redirect_uri: &"https://gateway.example/oauth/callback".parse().unwrap(),
        scopes: &Scopes::default(),
        resource: resource.as_deref(),
    };
    let begun = oauth::begin(&request).unwrap();
    let state = parameter(&begun.url, "state");
    let query = query.replace("{as}", &encoded(&server.url));
    let query = query.replace("{AS}", &encoded(&server.url.to_uppercase()));
    let callback = Callback::parse(&query.replace("{state}", &state))?;
    let code = callback.code(&found)?;
    oauth::exchange(http, &request, code, &begun.verifier).await
}

/// A record that was stored, or made, before anybody looked where its endpoints are.
#[tokio::test]
async fn an_endpoint_that_nobody_entered_is_not_asked() {
    let (http, evil) = (http(), elsewhere().await);
    let mut server = AuthorizationServer::typed(evil.at("/a"), evil.at("/token"), None).unwrap();
    server.registration_endpoint = Some(evil.at("/register"));
    server.revocation_endpoint = Some(evil.at("/revoke"));
    let client = Client::new("client-1", Some("s3cret".into()), None, &server).unwrap();
    let scopes = Scopes::default();
    let redirect_uri = "https://gateway.example/oauth/callback".parse().unwrap();
    let request = Request {
        server: &server,
        client: &client,
        redirect_uri: &redirect_uri,
        scopes: &scopes,
        resource: None,
    };
    let secret = "s3cret".into();
    let register = oauth::register(&http, &server, &redirect_uri, &scopes, "Gateway");
    for error in [
        register.await.map(drop).unwrap_err(),
        oauth::exchange(&http, &request, &secret, &secret)
            .await
            .unwrap_err(),
        oauth::refresh(&http, &server, &client, None, &secret)
            .await
            .unwrap_err(),
        oauth::revoke(&http, &server, &client, &secret)
            .await
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Egress, "{error}");
    }
    assert!(evil.seen().is_empty());
    let entered = http.with_entered(&[evil.mcp()]);
    oauth::refresh(&entered, &server, &client, None, &secret)
        .await
        .unwrap();
    assert_eq!(evil.count("/token"), 1);
}

/// Replaces members; `null` removes one.
fn merge(document: &mut Value, changes: &Value, server: &AuthServer, evil: &AuthServer) {
    let changes = changes.to_string().replace("{as}", &server.url);
    let changes = changes.replace("{evil}", &evil.url);
    let changes: serde_json::Map<_, _> = serde_json::from_str(&changes).unwrap();
    for (name, value) in changes {
        document[name] = value;
    }
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// How many there are.
pub fn rows() -> usize {
    table().len()
}

fn table() -> Vec<(&'static str, ErrorKind, Attack)> {
    use Attack::{Answer, Callback as Back, Metadata, Resource, Set, Typed, Unpromised};
    use ErrorKind::{BadResponse, Callback, Denied, Discovery, Egress, Issuer, Pkce, Unreachable};
    vec![
        // Metadata of somebody else (T-29).
        (
            "metadata of another issuer",
            Issuer,
            Metadata(json!({"issuer": "https://evil.example"})),
        ),
        (
            "issuer with two slashes more",
            Issuer,
            Metadata(json!({"issuer": "{as}//"})),
        ),
        (
            "issuer with a dot segment",
            Issuer,
            Metadata(json!({"issuer": "{as}/."})),
        ),
        (
            "issuer with a blank",
            Issuer,
            Metadata(json!({"issuer": "{as} "})),
        ),
        ("no issuer", BadResponse, Metadata(json!({"issuer": null}))),
        (
            "issuer twice",
            BadResponse,
            Answer(METADATA, |_| {
                reply(200, "application/json", r#"{"issuer": "a", "issuer": "b"}"#)
            }),
        ),
        (
            "resource of another host",
            Issuer,
            Resource(json!({"resource": "https://evil.example/mcp"})),
        ),
        (
            "resource of another port",
            Issuer,
            Resource(json!({"resource": "http://127.0.0.1:1/mcp"})),
        ),
        (
            "resource that only begins alike",
            Issuer,
            Resource(json!({"resource": "{as}/mc"})),
        ),
        (
            "resource below the server",
            Issuer,
            Resource(json!({"resource": "{as}/mcp/other"})),
        ),
        (
            "resource with the server as user name",
            Issuer,
            Resource(json!({"resource": "http://127.0.0.1@evil.example/mcp"})),
        ),
        (
            "another authorization server than the one set",
            Issuer,
            Set("https://honest.example"),
        ),
        (
            "no authorization server",
            Discovery,
            Resource(json!({"authorization_servers": []})),
        ),
        // Addresses (T-11, T-12, T-30).
        (
            "issuer over http",
            Egress,
            Resource(json!({"authorization_servers": ["http://8.8.8.8"]})),
        ),
        (
            "issuer in the cloud's metadata",
            Egress,
            Resource(json!({"authorization_servers": ["https://169.254.169.254"]})),
        ),
        (
            "issuer at an oddly spelt address",
            Egress,
            Resource(json!({"authorization_servers": ["https://0xa9fea9fe/"]})),
        ),
        (
            "issuer that is a script",
            Issuer,
            Resource(json!({"authorization_servers": ["javascript:alert(1)"]})),
        ),
        (
            "issuer with a query",
            Issuer,
            Resource(json!({"authorization_servers": ["{as}?x"]})),
        ),
        (
            "issuer with a password",
            Issuer,
            Resource(json!({"authorization_servers": ["https://u:p@evil.example"]})),
        ),
        (
            "javascript: authorization endpoint",
            Egress,
            Metadata(json!({"authorization_endpoint": "javascript:alert(1)"})),
        ),
        (
            "data: authorization endpoint",
            Egress,
            Metadata(json!({"authorization_endpoint": "data:text/html,<script>"})),
        ),
        (
            "file: authorization endpoint",
            Egress,
            Metadata(json!({"authorization_endpoint": "file:///etc/passwd"})),
        ),
        (
            "authorization endpoint over http",
            Egress,
            Metadata(json!({"authorization_endpoint": "http://8.8.8.8/authorize"})),
        ),
        (
            "authorization endpoint with a user name",
            Egress,
            Metadata(json!({"authorization_endpoint": "https://as.example@evil.example/"})),
        ),
        (
            "authorization endpoint with a fragment",
            Egress,
            Metadata(json!({"authorization_endpoint": "{as}/authorize#x"})),
        ),
        (
            "authorization endpoint with a state of its own",
            Discovery,
            Metadata(json!({"authorization_endpoint": "{as}/authorize?state=x"})),
        ),
        (
            "authorization endpoint with a redirect_uri of its own",
            Discovery,
            Metadata(json!({"authorization_endpoint": "{as}/authorize?redirect%5Furi=x"})),
        ),
        (
            "relative authorization endpoint",
            BadResponse,
            Metadata(json!({"authorization_endpoint": "/authorize"})),
        ),
        (
            "token endpoint in the local network",
            Egress,
            Metadata(json!({"token_endpoint": "https://10.0.0.1/token"})),
        ),
        (
            "token endpoint at an embedded address",
            Egress,
            Metadata(json!({"token_endpoint": "https://[::ffff:10.0.0.1]/token"})),
        ),
        (
            "token endpoint over http",
            Egress,
            Metadata(json!({"token_endpoint": "http://8.8.8.8/token"})),
        ),
        (
            "registration endpoint in the local network",
            Egress,
            Metadata(json!({"registration_endpoint": "https://192.168.0.1/"})),
        ),
        (
            "file: revocation endpoint",
            Egress,
            Metadata(json!({"revocation_endpoint": "file:///etc/passwd"})),
        ),
        // What the operator has allowed for somebody else.
        (
            "issuer at another host that is allowed",
            Egress,
            Resource(json!({"authorization_servers": ["{evil}"]})),
        ),
        (
            "authorization endpoint at another host that is allowed",
            Egress,
            Metadata(json!({"authorization_endpoint": "{evil}/authorize"})),
        ),
        (
            "token endpoint at another host that is allowed",
            Egress,
            Metadata(json!({"token_endpoint": "{evil}/token"})),
        ),
        (
            "registration endpoint at another host that is allowed",
            Egress,
            Metadata(json!({"registration_endpoint": "{evil}/admin/shut-down"})),
        ),
        (
            "revocation endpoint at another host that is allowed",
            Egress,
            Metadata(json!({"revocation_endpoint": "{evil}/revoke"})),
        ),
        (
            "token endpoint at another host over TLS",
            Egress,
            Metadata(json!({"token_endpoint": "https://127.0.0.2/token"})),
        ),
        (
            "endpoints at another host that somebody else typed",
            Egress,
            Typed("{as}/authorize", "http://127.0.0.2:1/token", None),
        ),
        (
            "no token endpoint",
            Discovery,
            Metadata(json!({"token_endpoint": null})),
        ),
        (
            "javascript: URL that somebody typed",
            Egress,
            Typed("javascript:alert(1)", "{as}/token", None),
        ),
        (
            "local URL that somebody typed",
            Egress,
            Typed("https://10.0.0.1/authorize", "{as}/token", None),
        ),
        // PKCE (T-28).
        (
            "no PKCE",
            Pkce,
            Metadata(json!({"code_challenge_methods_supported": null})),
        ),
        (
            "PKCE by plain only",
            Pkce,
            Metadata(json!({"code_challenge_methods_supported": ["plain"]})),
        ),
        (
            "PKCE by nothing",
            Pkce,
            Metadata(json!({"code_challenge_methods_supported": []})),
        ),
        (
            "PKCE by something alike",
            Pkce,
            Metadata(json!({"code_challenge_methods_supported": ["s256", "S256 "]})),
        ),
        // Answers that are none (T-11, T-33).
        (
            "metadata that redirect",
            BadResponse,
            Answer(METADATA, |evil| redirect(&format!("{evil}{METADATA}"))),
        ),
        (
            "resource metadata that redirect",
            BadResponse,
            Answer(RESOURCE, |evil| redirect(&format!("{evil}{RESOURCE}"))),
        ),
        (
            "metadata without end",
            BadResponse,
            Answer(METADATA, |_| flood()),
        ),
        (
            "resource metadata without end",
            BadResponse,
            Answer(RESOURCE, |_| flood()),
        ),
        (
            "metadata in HTML",
            BadResponse,
            Answer(METADATA, |_| html()),
        ),
        (
            "resource metadata in HTML",
            BadResponse,
            Answer(RESOURCE, |_| html()),
        ),
        (
            "metadata that are no object",
            BadResponse,
            Answer(METADATA, |_| json_reply(200, &json!([]))),
        ),
        (
            "metadata in an outage",
            Unreachable,
            Answer(METADATA, |_| reply(503, "text/html", "<script>")),
        ),
        (
            "resource metadata in an outage",
            Unreachable,
            Answer(RESOURCE, |_| reply(502, "text/html", "<script>")),
        ),
        (
            "no metadata",
            Discovery,
            Answer(METADATA, |_| reply(404, "text/html", "<script>")),
        ),
        // Who answers? (T-29, RFC 9207)
        (
            "no iss, which was promised",
            Issuer,
            Back("code=c&state={state}"),
        ),
        (
            "another iss",
            Issuer,
            Back("code=c&state={state}&iss=https%3A%2F%2Fevil.example"),
        ),
        (
            "another iss, which was not promised",
            Issuer,
            Unpromised("code=c&state={state}&iss=https%3A%2F%2Fevil.example"),
        ),
        (
            "iss with a slash more",
            Issuer,
            Back("code=c&state={state}&iss={as}%2F"),
        ),
        (
            "iss with a path",
            Issuer,
            Back("code=c&state={state}&iss={as}%2Ftenant"),
        ),
        (
            "iss with a slash behind a path",
            Issuer,
            Typed(
                "{as}/authorize",
                "{as}/token",
                Some("https://as.example/tenant/"),
            ),
        ),
        (
            "iss in capitals",
            Issuer,
            Back("code=c&state={state}&iss={AS}"),
        ),
        (
            "iss encoded twice",
            Issuer,
            Back("code=c&state={state}&iss=http%253A%252F%252F127.0.0.1"),
        ),
        (
            "iss that begins alike",
            Issuer,
            Back("code=c&state={state}&iss={as}.evil.example"),
        ),
        (
            "refusal of another iss",
            Issuer,
            Back("error=access_denied&state={state}&iss=https%3A%2F%2Fevil.example"),
        ),
        (
            "refusal without iss, which was promised",
            Issuer,
            Back("error=access_denied&state={state}&error_description=<script>"),
        ),
        (
            "another issuer than the one typed",
            Issuer,
            Typed(
                "{as}/authorize",
                "{as}/token",
                Some("https://honest.example"),
            ),
        ),
        (
            "honest code for an attacker's typed endpoint",
            Issuer,
            Typed("https://evil.example/authorize", "{as}/token", None),
        ),
        (
            "refusal",
            Denied,
            Back("error=access_denied&state={state}&iss={as}&error_description=<script>"),
        ),
        (
            "refusal in words of its own",
            Denied,
            Back("error=call-us&state={state}&iss={as}&error_uri=javascript:x"),
        ),
        // Callbacks that can be read in two ways (T-27, T-30).
        (
            "code twice",
            Callback,
            Back("code=c&code=d&state={state}&iss={as}"),
        ),
        (
            "state twice",
            Callback,
            Back("code=c&state={state}&state=x&iss={as}"),
        ),
        (
            "iss twice",
            Callback,
            Back("code=c&state={state}&iss={as}&iss={as}"),
        ),
        (
            "error twice",
            Callback,
            Back("error=a&error=b&state={state}&iss={as}"),
        ),
        (
            "code under an encoded name as well",
            Callback,
            Back("code=c&c%6Fde=d&state={state}&iss={as}"),
        ),
        (
            "code and error",
            Callback,
            Back("code=c&error=access_denied&state={state}&iss={as}"),
        ),
        (
            "neither code nor error",
            Callback,
            Back("state={state}&iss={as}"),
        ),
        ("empty code", Callback, Back("code=&state={state}&iss={as}")),
        (
            "code with a line break",
            Callback,
            Back("code=c%0D%0Ax&state={state}&iss={as}"),
        ),
        (
            "code with a NUL",
            Callback,
            Back("code=c%00&state={state}&iss={as}"),
        ),
        (
            "code that is no text",
            Callback,
            Back("code=%FF%FE&state={state}&iss={as}"),
        ),
        ("no state", Callback, Back("code=c&iss={as}")),
        ("empty state", Callback, Back("code=c&state=&iss={as}")),
        (
            "error that is a script",
            Callback,
            Back("error=<script>alert(1)</script>&state={state}&iss={as}"),
        ),
        ("nothing", Callback, Back("")),
    ]
}
