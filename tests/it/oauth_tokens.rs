//! From a code to tokens, to fresh ones, and away with them.

use std::time::Duration;

use axum::response::Response;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use mcp_layer::oauth::{
    self, AuthorizationServer, Callback, Client, Error, ErrorKind, Http, Request, Tokens,
};
use mcp_layer::{Scopes, TokenAuth};
use secrecy::ExposeSecret;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::auth_server::{
    AuthServer, PROVIDERS_TEXT, flood, html, http, json_reply, parameter, redirect, refusal, reply,
};
use crate::support::everything;

const RESOURCE: &str = "https://mcp.example/mcp";

fn typed(server: &AuthServer) -> AuthorizationServer {
    let [authorize, token] = ["/authorize", "/token"].map(|path| server.at(path));
    let mut typed = AuthorizationServer::typed(authorize, token, Some(server.url.clone())).unwrap();
    typed.revocation_endpoint = Some(server.at("/revoke"));
    typed
}

fn client(auth: TokenAuth, server: &AuthorizationServer) -> Client {
    Client::new("client 1", Some("s3cret:/1".into()), Some(auth), server).unwrap()
}

async fn exchange(http: &Http, server: &AuthServer) -> Result<Tokens, Error> {
    let typed = typed(server);
    let request = Request {
        server: &typed,
        client: &client(TokenAuth::ClientSecretBasic, &typed),
        redirect_uri: &"https://gateway.example/oauth/callback".parse().unwrap(),
        scopes: &Scopes::default(),
        resource: Some(RESOURCE),
    };
    oauth::exchange(http, &request, &"code-1".into(), &"verifier-1".into()).await
}

async fn refresh(http: &Http, server: &AuthServer) -> Result<Tokens, Error> {
    let typed = typed(server);
    let client = client(TokenAuth::ClientSecretBasic, &typed);
    oauth::refresh(http, &typed, &client, Some(RESOURCE), &"refresh-0".into()).await
}

#[tokio::test]
async fn a_server_is_authorized_from_its_url_to_fresh_tokens() {
    let (server, http) = (AuthServer::start().await, http());
    let found = oauth::discover(&http, &server.mcp(), None, None)
        .await
        .unwrap();
    let redirect_uri = "http://127.0.0.1:8788/oauth/callback".parse().unwrap();
    let scopes = Scopes::parse("files:read").unwrap();
    let client = oauth::register(&http, &found.server, &redirect_uri, &scopes, "Gateway").await;
    let request = Request {
        server: &found.server,
        client: &client.unwrap(),
        redirect_uri: &redirect_uri,
        scopes: &scopes,
        resource: found.resource.as_deref(),
    };
    let begun = oauth::begin(&request).unwrap();
    let callback = Callback::parse(server.approve(&begun.url).query().unwrap()).unwrap();
    assert_eq!(callback.state.expose_secret(), begun.state.expose_secret());
    let code = callback.code(&found.server).unwrap();
    let tokens = oauth::exchange(&http, &request, code, &begun.verifier)
        .await
        .unwrap();
    assert_eq!(tokens.access_token.expose_secret(), "access-1");
    assert_eq!(tokens.expires_in, Some(Duration::from_secs(3600)));
    assert_eq!(tokens.scopes, Some(scopes.clone()));

    let sent = server.only("/token");
    assert_eq!(sent.header("accept"), Some("application/json"));
    let form = sent.form();
    assert_eq!(form["grant_type"], "authorization_code");
    assert_eq!(form["code"], "code-1");
    assert_eq!(form["redirect_uri"], redirect_uri.as_str());
    assert_eq!(form["resource"], server.mcp().as_str());
    let hash = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"]));
    assert_eq!(hash, parameter(&begun.url, "code_challenge"));
    assert_eq!(form.len(), 5, "{form:?}");

    let refresh_token = tokens.refresh_token.unwrap();
    let resource = found.resource.as_deref();
    oauth::refresh(
        &http,
        &found.server,
        request.client,
        resource,
        &refresh_token,
    )
    .await
    .unwrap();
    let form = server.seen().pop().unwrap().form();
    assert_eq!(form["grant_type"], "refresh_token");
    assert_eq!(form["refresh_token"], "refresh-1");
    assert_eq!(form["resource"], server.mcp().as_str());
    assert_eq!(form.len(), 3, "{form:?}");

    oauth::revoke(&http, &found.server, request.client, &refresh_token)
        .await
        .unwrap();
    let sent = server.only("/revoke");
    assert_eq!(sent.form()["token"], "refresh-1");
    assert!(sent.header("authorization").unwrap().starts_with("Basic "));
}

#[tokio::test]
async fn the_client_proves_itself_in_the_way_that_was_agreed() {
    for auth in [
        TokenAuth::ClientSecretBasic,
        TokenAuth::ClientSecretPost,
        TokenAuth::None,
    ] {
        let server = AuthServer::start().await;
        let typed = typed(&server);
        let client = client(auth, &typed);
        oauth::refresh(&http(), &typed, &client, None, &"r".into())
            .await
            .unwrap();
        let (sent, form) = (server.only("/token"), server.only("/token").form());
        let expected = BASE64_STANDARD.encode("client+1:s3cret%3A%2F1");
        let basic = auth == TokenAuth::ClientSecretBasic;
        let header = basic.then(|| format!("Basic {expected}"));
        assert_eq!(sent.header("authorization"), header.as_deref());
        assert_eq!(form.contains_key("client_id"), !basic);
        let secret = form.get("client_secret").map(String::as_str);
        let post = auth == TokenAuth::ClientSecretPost;
        assert_eq!(secret, post.then_some("s3cret:/1"));
        assert!(!form.contains_key("resource"));
    }
}

#[tokio::test]
async fn an_answer_without_optional_members_will_do() {
    let (server, http) = (AuthServer::start().await, http());
    server.json(
        "/token",
        json!({"access_token": "a", "token_type": "bearer", "x": [1]}),
    );
    let tokens = refresh(&http, &server).await.unwrap();
    assert!(tokens.refresh_token.is_none());
    assert_eq!((tokens.expires_in, tokens.scopes), (None, None));
}

#[tokio::test]
async fn a_form_is_understood() {
    let (server, http) = (AuthServer::start().await, http());
    server.answer("/token", || {
        let form = "access_token=gho_1&scope=repo%2Cgist&token_type=bearer&expires_in=60";
        reply(
            200,
            "application/x-www-form-urlencoded; charset=utf-8",
            form,
        )
    });
    let tokens = exchange(&http, &server).await.unwrap();
    assert_eq!(tokens.access_token.expose_secret(), "gho_1");
    assert_eq!(tokens.expires_in, Some(Duration::from_secs(60)));
    assert_eq!(tokens.scopes.unwrap().to_string(), "gist repo");

    server.answer("/token", || {
        reply(
            200,
            "application/x-www-form-urlencoded",
            "error=bad_verification_code",
        )
    });
    let error = exchange(&http, &server).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidGrant);
}

// Row 51, T-33.
#[tokio::test]
async fn odd_answers_of_the_token_endpoint_are_refused_by_kind() {
    use ErrorKind::{
        BadResponse, InvalidClient, InvalidGrant, InvalidScope, InvalidTarget, Refused, Unreachable,
    };
    type Odd = (&'static str, ErrorKind, fn() -> Response);
    let odd: [Odd; 26] = [
        ("HTML", BadResponse, html),
        ("a body without end", BadResponse, flood),
        ("nothing", BadResponse, || {
            reply(200, "application/json", "")
        }),
        ("a list", BadResponse, || {
            json_reply(200, &json!(["a", "bearer", 1, null, null]))
        }),
        ("a list of an error", BadResponse, || {
            json_reply(400, &json!(["invalid_grant", null, null]))
        }),
        ("no token", BadResponse, || {
            json_reply(200, &json!({"token_type": "bearer"}))
        }),
        ("another type", BadResponse, || {
            json_reply(200, &json!({"access_token": "s3cret", "token_type": "mac"}))
        }),
        ("a token with a line break", BadResponse, || {
            json_reply(
                200,
                &json!({"access_token": "s3cret\r\nx: y", "token_type": "bearer"}),
            )
        }),
        ("an empty token", BadResponse, || {
            json_reply(200, &json!({"access_token": "", "token_type": "bearer"}))
        }),
        ("an empty type", BadResponse, || {
            json_reply(200, &json!({"access_token": "a", "token_type": ""}))
        }),
        ("a token twice", BadResponse, || {
            let twice = r#"{"access_token": "a", "token_type": "bearer", "access_token": "b"}"#;
            reply(200, "application/json", twice)
        }),
        ("a form with a token twice", BadResponse, || {
            let twice = "access_token=a&token_type=bearer&access_token=b";
            reply(200, "application/x-www-form-urlencoded", twice)
        }),
        ("an error with status 200", InvalidGrant, || {
            refusal(200, "invalid_grant")
        }),
        ("an error beside a token", Refused, || {
            let both =
                json!({"access_token": "a", "token_type": "bearer", "error": PROVIDERS_TEXT});
            json_reply(200, &both)
        }),
        ("invalid_grant", InvalidGrant, || {
            refusal(400, "invalid_grant")
        }),
        ("invalid_client", InvalidClient, || {
            refusal(401, "invalid_client")
        }),
        ("invalid_scope", InvalidScope, || {
            refusal(400, "invalid_scope")
        }),
        ("invalid_target", InvalidTarget, || {
            refusal(400, "invalid_target")
        }),
        ("an error of its own", Refused, || {
            refusal(400, PROVIDERS_TEXT)
        }),
        ("temporarily_unavailable", Unreachable, || {
            refusal(400, "temporarily_unavailable")
        }),
        ("401 with HTML", BadResponse, || {
            reply(401, "text/html", PROVIDERS_TEXT)
        }),
        ("429", Unreachable, || refusal(429, "invalid_grant")),
        ("500", Unreachable, || refusal(500, "invalid_grant")),
        ("503", Unreachable, || {
            reply(503, "text/html", PROVIDERS_TEXT)
        }),
        ("a redirect", BadResponse, || {
            redirect("https://evil.example/")
        }),
        ("compression", BadResponse, || {
            let mut reply = json_reply(200, &json!({"access_token": "a", "token_type": "bearer"}));
            reply
                .headers_mut()
                .insert("content-encoding", "gzip".parse().unwrap());
            reply
        }),
    ];
    let http = http();
    for (what, kind, answer) in odd {
        let server = AuthServer::start().await;
        server.answer("/token", answer);
        for error in [
            exchange(&http, &server).await,
            refresh(&http, &server).await,
        ] {
            let error = error.expect_err(what);
            assert_eq!(error.kind(), kind, "{what}: {error}");
            let shown = everything(&error);
            for secret in ["script", "s3cret", "code-1", "refresh-0", &*server.url] {
                assert!(!shown.contains(secret), "{what}: {shown}");
            }
        }
        // Asked once each: nothing is repeated by itself.
        assert_eq!(server.count("/token"), 2, "{what}");
    }
}

#[tokio::test]
async fn a_redirect_takes_no_code_and_no_secret_elsewhere() {
    let (server, other, http) = (AuthServer::start().await, AuthServer::start().await, http());
    let to = other.at("/token").to_string();
    server.answer("/token", move || redirect(&to));
    let error = exchange(&http, &server).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadResponse);
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn revoking_is_done_where_there_is_an_endpoint_for_it() {
    let server = AuthServer::start().await;
    let mut typed = typed(&server);
    let client = client(TokenAuth::ClientSecretPost, &typed);
    let http = http();
    for status in [200, 204] {
        server.answer("/revoke", move || reply(status, "text/plain", ""));
        oauth::revoke(&http, &typed, &client, &"r".into())
            .await
            .unwrap();
    }
    server.answer("/revoke", || refusal(400, "unsupported_token_type"));
    let error = oauth::revoke(&http, &typed, &client, &"r".into())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(server.count("/revoke"), 3);

    typed.revocation_endpoint = None;
    oauth::revoke(&http, &typed, &client, &"r".into())
        .await
        .unwrap();
    assert_eq!(server.seen().len(), 3);
}
