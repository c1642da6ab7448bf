//! Authorization servers as they are: what public reports say that they answer, and what comes of
//! it. Each row has its report; `src/oauth/tolerated.rs` has the reasons.

use std::time::Duration;

use axum::response::Response;
use mcp_layer::oauth::{
    self, AuthorizationServer, Callback, Client, Discovered, Error, ErrorKind, Request, Tokens,
};
use mcp_layer::{Scopes, TokenAuth};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::auth_server::{
    AuthServer, METADATA, OPENID, RESOURCE, RESOURCE_AT_ROOT, broken_off, flood, html, http,
    json_reply, redirect, reply,
};
use crate::support::everything;

/// A document with members replaced; `null` is one that is there and null.
fn with(mut document: Value, members: Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        document[name] = value.clone();
    }
    document
}

async fn discover(server: &AuthServer) -> Result<Discovered, Error> {
    oauth::discover(&http(), &server.mcp(), None, None).await
}

/// A callback's `iss`, taken or not by the server that was found.
fn came_from(iss: &str, found: &AuthorizationServer) -> bool {
    let callback = Callback::parse(&format!("code=c&state=s&iss={iss}")).unwrap();
    callback.code(found).is_ok()
}

// modelcontextprotocol/python-sdk#1919, anomalyco/opencode#50036, github/copilot-cli#4606,
// expo/expo#49054, SparkDevNetwork/Rock#6974, vercel/ai#20236
#[tokio::test]
async fn the_slash_at_an_issuers_root_counts_for_nothing_in_metadata() {
    let server = AuthServer::start().await;
    let (bare, slashed) = (server.url.clone(), format!("{}/", server.url));
    for named in [&bare, &slashed] {
        for stated in [&bare, &slashed] {
            server.json(
                RESOURCE,
                with(server.resource(), json!({"authorization_servers": [named]})),
            );
            server.json(METADATA, with(server.metadata(), json!({"issuer": stated})));
            for entered in [None, Some(&bare), Some(&slashed)] {
                let entered = entered.map(String::as_str);
                let found = oauth::discover(&http(), &server.mcp(), None, entered).await;
                let found = found.unwrap().server;
                assert_eq!(found.issuer.as_ref(), Some(stated));
                // RFC 9207 section 2.4: a callback says what the metadata say.
                let others = [&bare, &slashed].map(|iss| came_from(iss, &found));
                assert_eq!(others, [stated == &bare, stated == &slashed]);
            }
        }
    }
}

#[tokio::test]
async fn the_slash_behind_an_issuers_path_makes_another_issuer() {
    let server = AuthServer::start().await;
    let (bare, slashed) = (
        format!("{}/tenant", server.url),
        format!("{}/tenant/", server.url),
    );
    for (named, stated) in [(&bare, &slashed), (&slashed, &bare)] {
        server.json(
            RESOURCE,
            with(server.resource(), json!({"authorization_servers": [named]})),
        );
        let metadata = with(server.metadata(), json!({"issuer": stated}));
        server.json(&format!("{METADATA}/tenant"), metadata);
        let error = discover(&server).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Issuer);
        let said = error.said().unwrap();
        assert!(
            said.contains(&format!("the issuer is {stated:?}")),
            "{said}"
        );
    }
    let named = json!({"authorization_servers": [bare]});
    server.json(RESOURCE, with(server.resource(), named));
    let metadata = with(server.metadata(), json!({"issuer": bare}));
    server.json(&format!("{METADATA}/tenant"), metadata);
    let found = discover(&server).await.unwrap().server;
    assert!(came_from(&bare, &found) && !came_from(&slashed, &found));
}

/// What an operator is told of a place, and what is there instead of a document.
type Broken = (&'static str, fn() -> Response);

fn broken() -> Vec<Broken> {
    vec![
        ("status 500, \"boom\"", || reply(500, "text/plain", "boom")),
        ("status 502, \"502 Bad Gateway\"", || {
            reply(502, "text/html", "<html><title>502 Bad Gateway</title>")
        }),
        ("status 307, redirects to https://login.example/in", || {
            redirect("https://login.example/in?state=s")
        }),
        // outline/outline#11572: a page for every path.
        ("status 200, text/html", html),
        ("status 200, application/json", || {
            json_reply(200, &json!([]))
        }),
        // macro-inc/macro#5519
        ("status 200, application/json", || {
            json_reply(200, &json!({"authorization_servers": ["x"]}))
        }),
        ("status 200, application/json", flood),
    ]
}

// code-yeongyu/oh-my-openagent#2673, archestra-ai/archestra#7246
#[tokio::test]
async fn what_is_broken_at_one_place_is_looked_for_at_the_next() {
    for (what, answer) in broken() {
        let server = AuthServer::start().await;
        server.answer(RESOURCE, answer);
        server.json(RESOURCE_AT_ROOT, server.resource());
        server.answer(METADATA, answer);
        server.json(OPENID, server.metadata());
        discover(&server).await.expect(what);
        let places = [RESOURCE, RESOURCE_AT_ROOT, METADATA, OPENID];
        assert_eq!(server.paths(), places, "{what}");
    }
}

#[tokio::test]
async fn one_place_without_an_answer_is_passed_over_and_a_second_ends_the_search() {
    let server = AuthServer::start().await;
    server.answer(METADATA, broken_off);
    server.json(OPENID, server.metadata());
    discover(&server).await.unwrap();

    server.answer(OPENID, broken_off);
    let error = discover(&server).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
}

#[tokio::test]
async fn a_document_of_somebody_else_is_passed_over_like_a_broken_one() {
    let server = AuthServer::start().await;
    let other = json!({"resource": "https://other.example/mcp"});
    server.json(RESOURCE, with(server.resource(), other));
    server.json(RESOURCE_AT_ROOT, server.resource());
    let other = json!({"issuer": "https://other.example"});
    server.json(METADATA, with(server.metadata(), other));
    // Where the older document lacks PKCE, the newer one may have it.
    server.json(OPENID, server.metadata());
    discover(&server).await.unwrap();

    let bare = json!({"code_challenge_methods_supported": null});
    server.json(METADATA, with(server.metadata(), bare));
    discover(&server).await.unwrap();
}

#[tokio::test]
async fn where_no_place_is_good_each_is_named_with_what_it_said() {
    for (what, answer) in broken() {
        let server = AuthServer::start().await;
        server.answer(METADATA, answer);
        let error = discover(&server).await.unwrap_err();
        let said = error.said().unwrap().to_owned();
        let place = format!("{}{METADATA}: {what}", server.url);
        assert!(said.starts_with(&place), "{said}");
        let absent = format!("{}{OPENID}: status 404, text/html", server.url);
        assert!(said.ends_with(&absent), "{said}");
        // Not where callers may see it.
        let shown = everything(&error);
        assert!(
            !shown.contains("boom") && !shown.contains("login.example"),
            "{shown}"
        );
        assert!(!said.contains("state"), "{said}");
    }
}

#[tokio::test]
async fn an_operator_who_names_the_issuer_needs_no_metadata_that_can_be_read() {
    for (what, answer) in broken() {
        let server = AuthServer::start().await;
        server.answer(RESOURCE, answer);
        let found = oauth::discover(&http(), &server.mcp(), None, Some(&server.url)).await;
        match what.starts_with("status 5") {
            // An outage may be over soon, and then they count.
            true => assert_eq!(found.unwrap_err().kind(), ErrorKind::Unreachable),
            false => assert_eq!(found.unwrap().server.issuer, Some(server.url.clone())),
        }
    }
}

// Okta's and Keycloak's documentation.
#[tokio::test]
async fn metadata_behind_an_issuers_path_are_found_under_either_name() {
    for place in [OPENID, METADATA] {
        let server = AuthServer::start().await;
        let issuer = format!("{}/oauth2/default", server.url);
        let named = json!({"authorization_servers": [issuer]});
        server.json(RESOURCE, with(server.resource(), named));
        let metadata = with(server.metadata(), json!({"issuer": issuer}));
        server.json(&format!("/oauth2/default{place}"), metadata);
        let found = discover(&server).await.unwrap();
        assert_eq!(found.server.issuer, Some(issuer));
    }
}

// modelcontextprotocol/typescript-sdk#1923, open-metadata/OpenMetadata#30642
#[tokio::test]
async fn optional_members_of_metadata_of_another_type_count_as_absent() {
    let server = AuthServer::start().await;
    for odd in [
        json!(null),
        json!(""),
        json!(7),
        json!({}),
        json!([1]),
        json!("/relative"),
    ] {
        server.json(
            RESOURCE,
            with(
                server.resource(),
                json!({"scopes_supported": [odd], "bearer_methods_supported": odd, "jwks_uri": odd}),
            ),
        );
        let members = json!({
            "registration_endpoint": odd, "revocation_endpoint": odd,
            "token_endpoint_auth_methods_supported": [odd], "scopes_supported": [odd],
            "introspection_endpoint": odd, "client_id_metadata_document_supported": odd,
            "authorization_response_iss_parameter_supported": odd, "jwks_uri": odd,
        });
        server.json(METADATA, with(server.metadata(), members));
        let found = discover(&server).await.unwrap();
        assert_eq!(found.server.registration_endpoint, None, "{odd}");
        assert!(!found.server.sends_issuer && !found.server.takes_client_metadata_url);
    }
    let members = json!({"authorization_response_iss_parameter_supported": "true"});
    server.json(METADATA, with(server.metadata(), members));
    assert!(discover(&server).await.unwrap().server.sends_issuer);
}

#[tokio::test]
async fn a_list_that_is_one_text_is_a_list_of_it() {
    let server = AuthServer::start().await;
    let named = json!({"authorization_servers": server.url, "scopes_supported": "b a"});
    server.json(RESOURCE, with(server.resource(), named));
    let members = json!({"token_endpoint_auth_methods_supported": "client_secret_post"});
    server.json(METADATA, with(server.metadata(), members));
    let found = discover(&server).await.unwrap();
    assert_eq!(found.scopes.unwrap().to_string(), "a b");
    let methods = found.server.token_auth_methods;
    assert_eq!(methods, [TokenAuth::ClientSecretPost]);
}

// logiscape/mcp-sdk-php#56
#[tokio::test]
async fn an_operator_can_name_the_authorization_server_that_the_metadata_do_not() {
    for none in [json!(null), json!([]), json!(""), json!([7])] {
        let server = AuthServer::start().await;
        let named = json!({"authorization_servers": none});
        server.json(RESOURCE, with(server.resource(), named));
        let error = discover(&server).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Discovery);
        assert!(error.to_string().ends_with("enter its issuer"), "{error}");
        let found = oauth::discover(&http(), &server.mcp(), None, Some(&server.url)).await;
        assert_eq!(found.unwrap().server.issuer, Some(server.url.clone()));
    }
}

// modelcontextprotocol/python-sdk#1264, sigbit/mcp-auth-proxy#177; mesh/mesh-mcp#20
#[tokio::test]
async fn a_resource_that_is_the_origin_is_the_servers_and_one_over_another_scheme_is_not() {
    let server = AuthServer::start().await;
    for resource in [
        server.url.clone(),
        format!("{}/", server.url),
        format!("{}/mcp/", server.url),
    ] {
        server.json(
            RESOURCE,
            with(server.resource(), json!({"resource": resource})),
        );
        assert_eq!(discover(&server).await.unwrap().resource, Some(resource));
    }
    let resource = server.mcp().as_str().replace("http:", "https:");
    server.json(
        RESOURCE,
        with(server.resource(), json!({"resource": resource})),
    );
    let error = discover(&server).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Issuer);
    let said = error.said().unwrap();
    assert!(
        said.contains(&format!("the resource is {resource:?}")),
        "{said}"
    );
}

async fn exchange(server: &AuthServer) -> Result<Tokens, Error> {
    let [authorize, token] = ["/authorize", "/token"].map(|path| server.at(path));
    let typed = AuthorizationServer::typed(authorize, token, None).unwrap();
    let request = Request {
        server: &typed,
        client: &Client::new(
            "client-1",
            Some("s3cret-of-the-client".into()),
            None,
            &typed,
        )
        .unwrap(),
        redirect_uri: &"https://gateway.example/oauth/callback".parse().unwrap(),
        scopes: &Scopes::default(),
        resource: None,
    };
    let (code, verifier) = ("code-of-the-callback".into(), "verifier-of-ours".into());
    oauth::exchange(&http(), &request, &code, &verifier).await
}

#[tokio::test]
async fn token_answers_that_are_nearly_right_are_read() {
    const JSON: &str = "application/json";
    const FORM: &str = "application/x-www-form-urlencoded";
    let bare = r#"{"access_token": "access-1", "token_type": "Bearer"}"#;
    for (source, status, kind, body) in [
        ("well-formed", 200, JSON, bare),
        (
            "ssoready/ssoready#265",
            200,
            "text/plain; charset=utf-8",
            bare,
        ),
        (
            "django-oauth/django-oauth-toolkit#80",
            200,
            "text/html",
            bare,
        ),
        (
            "no media type worth the name",
            200,
            "application/octet-stream",
            bare,
        ),
        ("MoonshotAI/kimi-cli#1625", 201, JSON, bare),
        ("a byte order mark", 200, JSON, &format!("\u{feff}{bare}")),
        (
            "cmd-johnson/deno-oauth2-client#37",
            200,
            JSON,
            r#"{"access_token": "access-1", "expires_in": 60}"#,
        ),
        (
            "anomalyco/openauth#318",
            200,
            JSON,
            r#"{"access_token": "access-1", "token_type": null}"#,
        ),
        (
            "in capitals",
            200,
            JSON,
            r#"{"access_token": "access-1", "token_type": "BEARER"}"#,
        ),
        (
            "LibreChat-AI/librechat.ai#420",
            200,
            JSON,
            r#"{"access_token": "access-1", "token_type": "Bearer", "expires_in": "60", "ext_expires_in": "5250"}"#,
        ),
        (
            "BerriAI/litellm#20788",
            200,
            JSON,
            r#"{"access_token": "access-1", "token_type": "Bearer", "expires_in": null}"#,
        ),
        (
            "QwenLM/qwen-code#5510",
            200,
            JSON,
            r#"{"access_token": "access-1", "token_type": "Bearer", "expires_in": "3600abc"}"#,
        ),
        (
            "a life that is over",
            200,
            JSON,
            r#"{"access_token": "access-1", "token_type": "Bearer", "expires_in": -1}"#,
        ),
        (
            "a life beyond all numbers",
            200,
            JSON,
            r#"{"access_token": "access-1", "token_type": "Bearer", "expires_in": 1e999}"#,
        ),
        (
            "ramosbugs/oauth2-rs#86",
            200,
            JSON,
            r#"{"access_token": "access-1", "token_type": "bearer", "scope": ["user:read", "openid"]}"#,
        ),
        (
            "optional members of other types",
            200,
            JSON,
            r#"{"access_token": "access-1", "token_type": "Bearer", "refresh_token": false, "scope": 7, "id_token": {}}"#,
        ),
        (
            "an empty refresh token, and an empty error",
            200,
            JSON,
            r#"{"access_token": "access-1", "token_type": "Bearer", "refresh_token": "", "error": ""}"#,
        ),
        (
            "GitHub",
            200,
            FORM,
            "access_token=access-1&scope=repo%2Cgist&token_type=bearer",
        ),
        (
            "apereo/cas#173",
            200,
            "text/plain",
            "access_token=access-1&expires=60",
        ),
    ] {
        let server = AuthServer::start().await;
        let body = body.to_owned();
        server.answer("/token", move || reply(status, kind, &body));
        let tokens = exchange(&server)
            .await
            .unwrap_or_else(|error| panic!("{source}: {error}"));
        assert_eq!(tokens.access_token.expose_secret(), "access-1", "{source}");
        assert!(tokens.refresh_token.is_none(), "{source}");
        let life = tokens.expires_in.unwrap_or(Duration::from_secs(60));
        assert!(life >= Duration::from_secs(60), "{source}");
    }
}

#[tokio::test]
async fn refusals_in_any_form_are_known_by_their_code_and_told_in_their_words() {
    use ErrorKind::{
        BadResponse, InvalidClient, InvalidGrant, InvalidTarget, Refused, Unreachable,
    };
    const JSON: &str = "application/json";
    for (source, status, kind, body, expected, said) in [
        (
            "modelcontextprotocol/typescript-sdk#1342",
            200,
            JSON,
            r#"{"error": "incorrect_client_credentials", "error_description": "The client_id is incorrect."}"#,
            InvalidClient,
            "status 200, \"incorrect_client_credentials: The client_id is incorrect.\"",
        ),
        (
            "redhat-data-and-ai/template-agent#265",
            200,
            JSON,
            r#"{"ok": false, "error": "invalid_code"}"#,
            Refused,
            "status 200, \"invalid_code\"",
        ),
        (
            "kanidm/kanidm#4470",
            400,
            "text/plain; charset=utf-8",
            r#"{"error":"invalid_request"}"#,
            Refused,
            "status 400, \"invalid_request\"",
        ),
        (
            "supabase/auth#2829",
            400,
            JSON,
            r#"{"code": 400, "error_code": "refresh_token_not_found", "msg": "Invalid Refresh Token"}"#,
            InvalidGrant,
            "status 400, \"refresh_token_not_found: Invalid Refresh Token\"",
        ),
        (
            "an error as an object",
            400,
            JSON,
            r#"{"error": {"code": "invalid_grant", "message": "used"}}"#,
            InvalidGrant,
            "status 400, \"invalid_grant: used\"",
        ),
        (
            "an error as an object of numbers",
            400,
            JSON,
            r#"{"error": {"code": 400, "message": "No such thing", "status": "INVALID_ARGUMENT"}}"#,
            BadResponse,
            "status 400, \"No such thing\"",
        ),
        (
            "a word",
            400,
            "text/plain",
            "invalid_grant\n",
            InvalidGrant,
            "status 400, \"invalid_grant\"",
        ),
        (
            "webflow/mcp-server#107",
            404,
            "text/plain",
            "Not found",
            BadResponse,
            "status 404, \"Not found\"",
        ),
        (
            "mattermost/mattermost#10924",
            500,
            "text/html",
            "<!doctype html>\n<h1>Internal Server Error</h1>",
            Unreachable,
            "status 500, \"Internal Server Error\"",
        ),
        (
            "punkpeye/mcp-remote#217",
            400,
            JSON,
            r#"{"error": "invalid_request", "error_description": "AADSTS9010010: The resource parameter provided in the request doesn't match with the requested scopes."}"#,
            InvalidTarget,
            "status 400, \"invalid_request: AADSTS9010010: The resource parameter provided",
        ),
        (
            "Softeria/ms-365-mcp-server#490",
            400,
            JSON,
            r#"{"error": "invalid_grant", "error_description": "AADSTS70043: The refresh token has expired", "suberror": "bad_token"}"#,
            InvalidGrant,
            "status 400, \"invalid_grant: AADSTS70043: The refresh token has expired\"",
        ),
        (
            "a server that repeats what it was sent",
            400,
            JSON,
            r#"{"error": "invalid_grant", "error_description": "no code-of-the-callback of s3cret-of-the-client (verifier-of-ours) 7f3a9c5e1b2d4f6a8c0e"}"#,
            InvalidGrant,
            "status 400, \"invalid_grant: no [redacted:credential] of … ([redacted:credential]) …\"",
        ),
        (
            "a page that was meant for a person",
            200,
            "text/html",
            "<p>Sign in",
            BadResponse,
            "status 200, text/html",
        ),
    ] {
        let server = AuthServer::start().await;
        server.answer("/token", move || reply(status, kind, body));
        let error = exchange(&server).await.expect_err(source);
        assert_eq!(error.kind(), expected, "{source}: {error}");
        let heard = error.said().unwrap();
        assert!(heard.starts_with(said), "{source}: {heard}");
        let shown = everything(&error);
        for words in [
            "AADSTS",
            "Server Error",
            "incorrect.",
            "Not found",
            "of-the",
            "…",
        ] {
            assert!(!shown.contains(words), "{source}: {shown}");
        }
    }
}

async fn register(server: &AuthServer) -> Result<Client, Error> {
    let found = discover(server).await.unwrap().server;
    let redirect_uri = "https://gateway.example/oauth/callback".parse().unwrap();
    oauth::register(
        &http(),
        &found,
        &redirect_uri,
        &Scopes::default(),
        "Gateway",
    )
    .await
}

#[tokio::test]
async fn registrations_that_are_nearly_right_are_clients() {
    let server = AuthServer::start().await;
    for (source, status, answer, expected) in [
        (
            "200 instead of 201, and hardly a member",
            200,
            json!({"client_id": "c"}),
            TokenAuth::None,
        ),
        (
            "sigbit/mcp-auth-proxy#173",
            201,
            json!({"client_id": "c", "client_secret": "s", "grant_types": null, "response_types": null,
                "token_endpoint_auth_method": ""}),
            TokenAuth::ClientSecretBasic,
        ),
        (
            "huggingface/chat-ui#2467",
            201,
            json!({"client_id": "c", "client_secret": null, "logo_uri": null, "tos_uri": null,
                "token_endpoint_auth_method": null}),
            TokenAuth::None,
        ),
        (
            "modelcontextprotocol/python-sdk#2076",
            201,
            json!({"client_id": "c", "client_secret": "", "client_uri": "", "logo_uri": ""}),
            TokenAuth::None,
        ),
        (
            "jitsucom/jitsu#1430",
            201,
            json!({"client_id": "c", "client_secret": "s"}),
            TokenAuth::ClientSecretBasic,
        ),
        (
            "a secret that expired in 1970, or never",
            201,
            json!({"client_id": "c", "client_secret": "s", "client_secret_expires_at": 1,
                "token_endpoint_auth_method": "client_secret_post"}),
            TokenAuth::ClientSecretPost,
        ),
    ] {
        server.answer("/register", move || json_reply(status, &answer));
        let client = register(&server)
            .await
            .unwrap_or_else(|error| panic!("{source}: {error}"));
        assert_eq!(client.auth, expected, "{source}");
    }
}

#[tokio::test]
async fn a_registration_that_is_refused_is_told_in_the_servers_words() {
    let server = AuthServer::start().await;
    for (source, status, body, said) in [
        (
            "opensearch-project/opensearch-mcp-server-py#227",
            403,
            r#"{"error": "insufficient_scope", "error_description": "Policy 'Trusted Hosts' rejected request to client-registration service. Details: Host not trusted."}"#,
            "status 403, \"insufficient_scope: Policy 'Trusted Hosts' rejected request to \
             client-registration service. Details: Host not trusted.\"",
        ),
        (
            "obot-platform/mcp-oauth-proxy#52",
            400,
            r#"{"error": "invalid_client_metadata", "error_description": "unsupported token_endpoint_auth_method: client_secret_basic"}"#,
            "status 400, \"invalid_client_metadata: unsupported token_endpoint_auth_method: client_secret_basic\"",
        ),
        (
            "marselsel/Lexware-MCP-Server#36",
            400,
            r#"{"error": "dynamic_client_registration_disabled"}"#,
            "status 400, \"dynamic_client_registration_disabled\"",
        ),
        (
            "a firewall",
            403,
            "<html><h1>Forbidden</h1>",
            "status 403, \"Forbidden\"",
        ),
        (
            "a policy that answers with a list",
            422,
            r#"[{"detail": "x"}]"#,
            "status 422, ",
        ),
    ] {
        server.answer("/register", move || reply(status, "application/json", body));
        let error = register(&server).await.expect_err(source);
        assert_eq!(error.kind(), ErrorKind::Registration, "{source}");
        let heard = error.said().unwrap();
        assert!(heard.starts_with(said), "{source}: {heard}");
        assert!(!everything(&error).contains("Policy"), "{source}");
    }
}

#[test]
fn a_callback_that_cannot_count_says_as_much_as_can_be_believed() {
    let server = |promises: bool| {
        let mut server = AuthorizationServer::typed(
            "https://as.example/authorize".parse().unwrap(),
            "https://as.example/token".parse().unwrap(),
            Some("https://as.example".to_owned()),
        )
        .unwrap();
        server.sends_issuer = promises;
        server
    };
    let refused = |query: &str, promises: bool| match Callback::parse(query) {
        Ok(callback) => callback.code(&server(promises)).unwrap_err(),
        Err(error) => error,
    };
    // An error redirect without the state that was sent.
    let stateless = refused("error=invalid_scope&error_description=Call+us", false);
    assert_eq!(stateless.kind(), ErrorKind::Callback);
    assert_eq!(
        stateless.to_string(),
        "the callback has no state, and says invalid_scope"
    );
    assert_eq!(stateless.said(), None);
    let unknown = refused("error=call-us", false);
    assert_eq!(unknown.to_string(), "the callback has no state");

    // cloudflare/mcp-server-cloudflare#449
    let silent = refused("code=c&state=s", true);
    assert_eq!(silent.kind(), ErrorKind::Issuer);
    assert!(
        silent
            .to_string()
            .ends_with("it has no iss, which that one promises"),
        "{silent}"
    );
    let silent = refused("error=access_denied&state=s&error_description=no", true);
    assert_eq!((silent.kind(), silent.said()), (ErrorKind::Issuer, None));

    // modelcontextprotocol/csharp-sdk#648
    let entra = refused(
        "error=invalid_request&state=s&error_description=AADSTS901002%3A+The+%27resource%27+request+\
         parameter+is+not+supported.%0D%0ATrace+ID%3A+4d4c1b2a-0000",
        false,
    );
    assert_eq!(entra.kind(), ErrorKind::InvalidTarget);
    let said = entra.said().unwrap();
    assert_eq!(
        said,
        "\"AADSTS901002: The 'resource' request parameter is not supported.\""
    );
    assert!(!everything(&entra).contains("AADSTS"));

    let denied = refused(
        "error=access_denied&state=s&error_description=%3Cb%3Eno",
        false,
    );
    assert_eq!(denied.kind(), ErrorKind::Denied);
    assert_eq!(denied.said(), Some("\"no\""));
}
