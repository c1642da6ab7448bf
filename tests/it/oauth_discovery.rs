//! Finding the authorization server of an MCP server, and becoming its client.

use mcp_layer::oauth::{self, AuthorizationServer, Challenge, Discovered, Error, ErrorKind};
use mcp_layer::{Scopes, TokenAuth};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::auth_server::{
    AuthServer, METADATA, OPENID, RESOURCE, RESOURCE_AT_ROOT, http, json_reply, refusal, reply,
    silence,
};
use crate::support::everything;

async fn discover(server: &AuthServer, challenge: &str) -> Result<Discovered, Error> {
    let challenge = Challenge::parse(challenge);
    oauth::discover(&http(), &server.mcp(), challenge.as_ref(), None).await
}

fn with(mut value: Value, member: &str, new: Value) -> Value {
    value[member] = new;
    value
}

#[tokio::test]
async fn a_server_is_found_by_its_metadata() {
    let server = AuthServer::start().await;
    let found = discover(&server, "").await.unwrap();
    assert_eq!(server.paths(), [RESOURCE, METADATA]);
    assert_eq!(found.resource.as_deref(), Some(server.mcp().as_str()));
    assert_eq!(found.scopes, None);
    assert_eq!(found.server.issuer.as_deref(), Some(&*server.url));
    assert_eq!(found.server.token_endpoint, server.at("/token"));
    assert!(found.server.sends_issuer && !found.server.takes_client_metadata_url);
    assert_eq!(
        found.server.token_auth_methods,
        [
            TokenAuth::PrivateKeyJwt,
            TokenAuth::None,
            TokenAuth::ClientSecretPost,
            TokenAuth::ClientSecretBasic
        ]
    );
    for seen in server.seen() {
        assert_eq!(seen.header("accept"), Some("application/json"));
        assert_eq!(seen.header("accept-encoding"), Some("identity"));
        assert_eq!(seen.header("authorization"), None);
    }
}

#[tokio::test]
async fn the_challenge_says_where_the_metadata_are() {
    let server = AuthServer::start().await;
    server.json("/custom.json", server.resource());
    let challenge = format!(r#"Bearer resource_metadata="{}/custom.json""#, server.url);
    discover(&server, &challenge).await.unwrap();
    assert_eq!(server.paths(), ["/custom.json", METADATA]);
}

#[tokio::test]
async fn a_challenge_that_points_elsewhere_is_not_followed() {
    let (server, other) = (AuthServer::start().await, AuthServer::start().await);
    let challenge = format!(r#"Bearer resource_metadata="{}{RESOURCE}""#, other.url);
    discover(&server, &challenge).await.unwrap();
    assert_eq!(server.paths(), [RESOURCE, METADATA]);
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn the_resource_is_named_as_the_server_spells_it() {
    let server = AuthServer::start().await;
    server.remove(RESOURCE);
    // No slash at its end, which a URL would have.
    server.json(
        RESOURCE_AT_ROOT,
        with(server.resource(), "resource", json!(server.url)),
    );
    let found = discover(&server, "").await.unwrap();
    assert_eq!(found.resource, Some(server.url.clone()));
    assert_eq!(server.paths(), [RESOURCE, RESOURCE_AT_ROOT, METADATA]);
}

#[tokio::test]
async fn an_issuer_with_a_path_is_looked_for_in_three_places() {
    let server = AuthServer::start().await;
    let issuer = json!(format!("{}/tenant", server.url));
    server.json(
        RESOURCE,
        with(server.resource(), "authorization_servers", json!([issuer])),
    );
    server.json(
        "/tenant/.well-known/openid-configuration",
        with(server.metadata(), "issuer", issuer.clone()),
    );
    let found = discover(&server, "").await.unwrap();
    assert_eq!(found.server.issuer.as_deref(), issuer.as_str());
    assert_eq!(
        server.paths()[1..],
        [
            format!("{METADATA}/tenant"),
            format!("{OPENID}/tenant"),
            format!("/tenant{OPENID}")
        ]
    );
}

#[tokio::test]
async fn of_several_authorization_servers_the_set_one_is_taken_else_the_first() {
    let (server, other) = (AuthServer::start().await, AuthServer::start().await);
    let both = json!([server.url, other.url]);
    server.json(
        RESOURCE,
        with(server.resource(), "authorization_servers", both),
    );
    let found = oauth::discover(&http(), &server.mcp(), None, Some(&other.url)).await;
    assert_eq!(found.unwrap().server.issuer, Some(other.url.clone()));
    let first = discover(&server, "").await.unwrap();
    assert_eq!(first.server.issuer, Some(server.url.clone()));
}

#[tokio::test]
async fn a_server_of_2025_03_26_is_its_own_authorization_server() {
    let server = AuthServer::start().await;
    server.remove(RESOURCE);
    let found = discover(&server, "Bearer").await.unwrap();
    assert_eq!(found.server.issuer, Some(server.url.clone()));
    assert_eq!(found.resource.as_deref(), Some(server.mcp().as_str()));

    let slashed = format!("{}/", server.url);
    server.json(METADATA, with(server.metadata(), "issuer", json!(slashed)));
    let found = discover(&server, "Bearer").await.unwrap();
    assert_eq!(found.server.issuer, Some(slashed));

    server.remove(METADATA);
    let found = discover(&server, "Bearer").await.unwrap().server;
    assert_eq!(found.issuer, None);
    assert_eq!(found.authorization_endpoint, Some(server.at("/authorize")));
    assert_eq!(found.token_endpoint, server.at("/token"));
    assert_eq!(found.registration_endpoint, Some(server.at("/register")));
}

#[tokio::test]
async fn an_issuer_that_is_set_needs_no_metadata_of_the_server() {
    let (server, other) = (AuthServer::start_empty().await, AuthServer::start().await);
    let found = oauth::discover(&http(), &server.mcp(), None, Some(&other.url)).await;
    assert_eq!(found.unwrap().server.token_endpoint, other.at("/token"));
}

#[tokio::test]
async fn an_outage_is_not_taken_for_absence() {
    for status in [408, 429, 500, 503] {
        let server = AuthServer::start().await;
        server.answer(RESOURCE, move || reply(status, "text/plain", ""));
        let error = discover(&server, "").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{status}");
        assert_eq!(server.paths(), [RESOURCE, RESOURCE_AT_ROOT]);
    }
    let gone = AuthServer::start().await;
    let url = gone.mcp();
    drop(gone);
    let error = oauth::discover(&http(), &url, None, None)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(!everything(&error).contains("/mcp"), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_given_up_after_15_seconds() {
    let server = AuthServer::start().await;
    server.answer(RESOURCE, silence);
    let error = discover(&server, "").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().ends_with("did not answer within 15 s"));
}

#[tokio::test]
async fn scopes_are_the_challenges_else_the_servers_else_none() {
    let server = AuthServer::start().await;
    let named = with(server.resource(), "scopes_supported", json!(["b", "a"]));
    server.json(RESOURCE, named);
    let scopes = |found: Discovered| found.scopes.unwrap().to_string();
    let found = discover(&server, r#"Bearer scope="c""#).await.unwrap();
    assert_eq!(scopes(found), "c");
    let found = discover(&server, "Bearer").await.unwrap();
    assert_eq!(scopes(found), "a b");
    // None are asked for where the list is empty, or has nothing that can be one.
    for list in [json!([]), json!(["a b"]), Value::Null] {
        server.json(RESOURCE, with(server.resource(), "scopes_supported", list));
        assert_eq!(discover(&server, "").await.unwrap().scopes, None);
    }
}

#[tokio::test]
async fn offline_access_is_asked_for_only_where_it_is_listed() {
    let server = AuthServer::start().await;
    for (listed, challenged, expected) in [
        (
            json!(["a", "offline_access"]),
            "a",
            Some("a offline_access"),
        ),
        (json!(["a"]), "a", Some("a")),
        (json!(["a"]), "a offline_access", Some("a")),
        (Value::Null, "a offline_access", Some("a")),
        (json!(["a", "offline_access"]), "", None),
    ] {
        server.json(
            METADATA,
            with(server.metadata(), "scopes_supported", listed.clone()),
        );
        let challenge = format!(r#"Bearer scope="{challenged}""#);
        let found = discover(&server, &challenge).await.unwrap();
        let scopes = found.scopes.map(|scopes| scopes.to_string());
        assert_eq!(scopes.as_deref(), expected, "{listed} {challenged}");
    }
}

async fn register(server: &AuthServer) -> Result<oauth::Client, Error> {
    let found = discover(server, "").await.unwrap().server;
    let redirect_uri = "https://gateway.example/oauth/callback".parse().unwrap();
    let scopes = Scopes::parse("b a").unwrap();
    oauth::register(&http(), &found, &redirect_uri, &scopes, "Gateway").await
}

#[tokio::test]
async fn a_client_registers_itself() {
    let server = AuthServer::start().await;
    let client = register(&server).await.unwrap();
    assert_eq!(client.id, "client-1");
    assert_eq!(
        client.secret.unwrap().expose_secret(),
        "s3cret/1-of-a-client"
    );
    assert_eq!(client.auth, TokenAuth::ClientSecretBasic);
    assert_eq!(
        server.only("/register").json(),
        json!({
            "client_name": "Gateway",
            "redirect_uris": ["https://gateway.example/oauth/callback"],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "client_secret_basic",
            "application_type": "web",
            "scope": "a b",
        })
    );
}

#[tokio::test]
async fn the_servers_word_on_how_a_client_proves_itself_counts() {
    let server = AuthServer::start().await;
    for (answer, expected) in [
        (
            json!({"client_id": "c", "client_secret": "s", "token_endpoint_auth_method": "client_secret_post"}),
            Some(TokenAuth::ClientSecretPost),
        ),
        (
            json!({"client_id": "c", "client_secret": "", "token_endpoint_auth_method": "none"}),
            Some(TokenAuth::None),
        ),
        (json!({"client_id": "c"}), Some(TokenAuth::None)),
        (
            json!({"client_id": "c", "token_endpoint_auth_method": "private_key_jwt"}),
            None,
        ),
        (
            json!({"client_id": "c", "token_endpoint_auth_method": "client_secret_basic"}),
            None,
        ),
        (json!({"client_id": "c\r\n", "client_secret": "s"}), None),
    ] {
        server.json("/register", answer.clone());
        match (register(&server).await, expected) {
            (Ok(client), Some(auth)) => assert_eq!(client.auth, auth, "{answer}"),
            (Err(error), None) => assert_eq!(error.kind(), ErrorKind::Registration, "{answer}"),
            (other, _) => panic!("{answer}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_registration_can_be_refused() {
    let server = AuthServer::start().await;
    server.answer("/register", || refusal(400, "invalid_redirect_uri"));
    let error = register(&server).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registration);
    assert_eq!(
        error.to_string(),
        "the registration endpoint says invalid_redirect_uri"
    );
    assert!(!everything(&error).contains("script"));

    server.answer("/register", || reply(403, "text/html", "<script>"));
    let error = register(&server).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registration);

    server.answer("/register", || json_reply(201, &json!({"id": "c"})));
    let error = register(&server).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadResponse);

    let mut metadata = server.metadata();
    metadata
        .as_object_mut()
        .unwrap()
        .remove("registration_endpoint");
    server.json(METADATA, metadata);
    let error = register(&server).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registration);
}

#[tokio::test]
async fn typed_endpoints_are_judged_by_the_egress_rules() {
    let check = |authorization: &str, token: &str| {
        AuthorizationServer::typed(authorization.parse().unwrap(), token.parse().unwrap(), None)
            .unwrap()
            .check(&http())
    };
    assert!(check("https://as.example/a", "https://as.example/t").is_ok());
    assert!(check("http://127.0.0.1:1/a", "http://127.0.0.1:1/t").is_ok());
    for (authorization, token) in [
        ("http://8.8.8.8/a", "https://as.example/t"),
        ("https://as.example/a", "https://10.0.0.1/t"),
        ("https://169.254.169.254/a", "https://as.example/t"),
    ] {
        let refused = check(authorization, token).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Egress, "{authorization} {token}");
    }
}
