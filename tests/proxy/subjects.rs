//! The header in which callers say who their user is: off every request, and nothing without the setting.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{self, Proxy, Upstream, run_with};

const CHECK: [&str; 3] = ["--check", "--admin-listen", "off"];

const HEADER: &str = "x-subject-token";

/// A token of somebody's for this audience, until 2100.
fn token(audience: &str) -> String {
    let claims = json!({"iss": "https://login.example", "sub": "ann", "aud": audience, "exp": 4_102_444_800_u64});
    let encoded = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    ["{}", &claims.to_string(), "signed for the proxy"]
        .map(encoded)
        .join(".")
}

/// A server whose tokens are exchanged.
const SERVER: &str = "[[servers]]\nname = \"tracker\"\nurl = \"http://127.0.0.1:1/mcp\"\n\
        [servers.auth]\ntype = \"oauth2\"\ngrant = \"token_exchange\"\nclient_id = \"gateway\"\n\
        client_secret_env = \"SECRET\"\ntoken_url = \"http://127.0.0.1:1/token\"\n\
        subject_audience = \"gateway\"\nsubject_issuer = \"https://login.example\"\n";

fn proxy(upstream: &Upstream, setting: &str) -> Proxy {
    let config = format!(
        "upstream = \"{}/v1\"\nallow_egress = [\"127.0.0.0/8\"]\n{setting}\n{SERVER}",
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
        ("nonsense".to_owned(), "not a signed JWT"),
        (String::new(), "not a signed JWT"),
    ] {
        let (status, error) = send(&proxy, &body, &token).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!(error["error"]["code"], "mcp_credential_required");
        let said = error["error"]["message"].as_str().unwrap();
        for part in [
            message,
            "send another token",
            "in the header x-subject-token",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    let answer = proxy.post(&body).send().await.unwrap();
    let error = support::json(answer).await;
    let said = error["error"]["message"].as_str().unwrap();
    assert!(
        said.contains("send the token that says who your user is in the header x-subject-token"),
        "{said}"
    );
    // The list of servers takes it as well.
    let listed = proxy.get("/v1/mcp/servers").await.1;
    assert_eq!(listed["servers"][0]["status"], "inactive");
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

#[tokio::test]
async fn a_server_for_each_user_in_a_proxy_without_the_header_is_told_of_at_once() {
    let upstream = Upstream::start().await;
    let config = |setting: &str| format!("allow_egress = [\"127.0.0.0/8\"]\n{setting}\n{SERVER}");
    let env = [("SECRET", "s3cret-of-the-gateway")];
    let (code, out, err) = run_with(&config(""), &CHECK, &env);
    assert_eq!((code, &*err), (2, ""), "{out}");
    assert!(
        out.contains("set subject_token_header") && out.contains("1 server cannot be used"),
        "{out}"
    );
    let named = config("subject_token_header = \"x-subject-token\"");
    let (code, out, err) = run_with(&named, &CHECK, &env);
    assert_eq!((code, &*err), (0, ""), "{out}");
    let proxy = proxy(&upstream, "");
    let logged = proxy.logged();
    assert!(
        logged.contains("nobody can use the server") && logged.contains("subject_token_header"),
        "{logged}"
    );
}

#[test]
fn the_check_says_what_keeps_a_machine_from_its_token() {
    // There is no authorization server.
    let server = SERVER
        .replace("token_exchange", "client_credentials")
        .lines()
        .filter(|line| !line.starts_with("subject_"))
        .collect::<Vec<_>>()
        .join("\n");
    let config = format!("allow_egress = [\"127.0.0.0/8\"]\n{server}");
    let (code, out, _) = run_with(&config, &CHECK, &[("SECRET", "s3cret-of-the-gateway")]);
    assert_eq!(code, 2, "{out}");
    for part in [
        "there is no token for it",
        "check the issuer and the token URL",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(!out.contains("s3cret"), "{out}");
}

#[test]
fn the_check_says_what_is_set_of_search_prices_grants_and_budgets() {
    let config = "tool_search = 40\n\
        [[prices]]\nmodel = \"m\"\ninput = 1.0\noutput = 2.0\n\
        [[prices]]\ntool = \"a__*\"\nper_call = 0.5\n\
        [[projects]]\nname = \"web\"\ntokens_per_day = 1000\ncost_per_day = 2.5\n\
        [[servers]]\nname = \"tracker\"\nurl = \"https://127.0.0.1:1/mcp\"\n\
        [[servers.grants]]\nproject = \"web\"\ntools = [\"read\"]\n";
    let (_, out, err) = Proxy::run(config, &["--check"]);
    for line in [
        "grants: tracker for web",
        "budgets of a day: web 1000 tokens and a cost of 2.5",
        "tool search: for requests with more than 40 tools of servers, or 128 of any",
        "prices: 1 of models, 1 of tools",
        "guards: none",
    ] {
        assert!(out.lines().any(|told| told == line), "{line}: {out}{err}");
    }
    let (_, out, _) = Proxy::run("", &["--check"]);
    for kind in ["prices:", "grants:", "budgets of"] {
        assert!(!out.contains(kind), "{out}");
    }
}
