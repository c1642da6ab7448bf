//! The header in which callers say who their user is: off every request, and nothing without the setting.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{self, Proxy, Upstream};

const HEADER: &str = "x-subject-token";

/// A token of somebody's for this audience, until 2100.
fn token(audience: &str) -> String {
    let claims = json!({"iss": "https://login.example", "sub": "ann", "aud": audience, "exp": 4_102_444_800_u64});
    let encoded = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    ["{}", &claims.to_string(), "a signature"]
        .map(encoded)
        .join(".")
}

fn proxy(upstream: &Upstream, setting: &str) -> Proxy {
    let server = "[[servers]]\nname = \"tracker\"\nurl = \"http://127.0.0.1:1/mcp\"\n\
        [servers.auth]\ntype = \"oauth2\"\ngrant = \"token_exchange\"\nclient_id = \"gateway\"\n\
        client_secret_env = \"SECRET\"\ntoken_url = \"http://127.0.0.1:1/token\"\n\
        subject_audience = \"gateway\"\nsubject_issuer = \"https://login.example\"\n";
    let config = format!(
        "upstream = \"{}/v1\"\nallow_egress = [\"127.0.0.0/8\"]\n{setting}\n{server}",
        upstream.url
    );
    Proxy::with(&config, &[("SECRET", "s3cret-of-the-gateway")])
}

async fn send(proxy: &Proxy, body: &Value, token: &str) -> (StatusCode, Value) {
    let answer = proxy.post(body).header(HEADER, token).send().await.unwrap();
    (answer.status(), support::json(answer).await)
}

#[tokio::test]
async fn a_subject_token_is_for_no_upstream() {
    let upstream = Upstream::start().await;
    let plain = json!({"model": "echo", "messages": []});
    for (setting, is_taken) in [
        ("subject_token_header = \"X-Subject-Token\"", true),
        ("", false),
    ] {
        let proxy = proxy(&upstream, setting);
        let (status, seen) = send(&proxy, &plain, &token("gateway")).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(seen.to_string().contains(HEADER), !is_taken, "{seen}");
    }
}

#[tokio::test]
async fn a_server_for_each_user_wants_a_token_for_the_gateway() {
    let upstream = Upstream::start().await;
    let proxy = proxy(&upstream, "subject_token_header = \"x-subject-token\"");
    let body = json!({"model": "echo", "messages": [],
        "mcp": {"enabled": true, "servers": ["tracker"], "auto_execute_tools": true}});
    for (token, message) in [
        (token("tracker"), "another audience"),
        ("nonsense".to_owned(), "a token of the caller's own"),
    ] {
        let (status, error) = send(&proxy, &body, &token).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!(error["error"]["code"], "mcp_credential_required");
        let said = error["error"]["message"].as_str().unwrap();
        assert!(said.contains(message), "{said}");
    }
    // One that is for it is taken to the authorization server, which is not there.
    let (status, error) = send(&proxy, &body, &token("gateway")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(error["error"]["code"], "mcp_server_inactive");
    let logged = proxy.logged();
    assert!(
        !logged.contains("s3cret") && !logged.contains(&token("gateway")),
        "{logged}"
    );
}
