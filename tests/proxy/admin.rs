//! The operator's side of a proxy: what opens it, and what is done there is in force for callers.

use std::net::TcpListener;

use http::StatusCode;
use serde_json::{Value, json};

use crate::database::{Storage, answers, entry};
use crate::mcp_server::{McpServer, Mode};
use crate::support::{
    ADMIN_TOKEN, API_KEY, Proxy, UPSTREAM_KEY, Upstream, json as body_of, run_with,
};
use crate::{KEYS, LOCAL};

const SERVERS: &str = "/api/v1/servers";

/// A server as an operator writes it, with a secret of its own.
fn described(name: &str, mcp: &McpServer) -> Value {
    json!({
        "name": name,
        "url": mcp.url(),
        "auth": {
            "type": "static_headers",
            "headers": [{"name": "x-key", "value": crate::database::STORED}],
        },
    })
}

#[test]
fn what_is_wrong_about_the_operators_side_is_one_clear_line_and_exit_code_2() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("admin_listen = \"{}\"", taken.local_addr().unwrap());
    let token = "admin_token_env = \"ADMIN\"\n";
    for (config, expected) in [
        ("", "admin_token_env or admin_token_file is required"),
        (
            "admin_token_env = \"ADMIN_NOT_SET\"",
            "ADMIN_NOT_SET is not set",
        ),
        (
            "admin_token_env = \"SHORT\"",
            "admin_token_env: the admin token has fewer than 16",
        ),
        (
            &*format!("{token}admin_listen = \"here\""),
            "must be IP:PORT, or off",
        ),
        (
            &format!("{token}admin_listen = \"0.0.0.0:0\""),
            "public_url is required",
        ),
        (
            &format!("{token}public_url = \"http://gateway.example.com\""),
            "public_url: must begin with https://",
        ),
        (
            &format!("{token}public_url = \"http://localhost.example.com\""),
            "public_url: must begin with https://",
        ),
        (
            &format!("{token}public_url = \"gateway\""),
            "public_url: not a URL",
        ),
        (
            &format!("{token}public_url = \"https://u:s3cret@gateway.example.com\""),
            "public_url: the URL must not have a user",
        ),
        (&format!("{token}{taken}"), "--admin-listen"),
    ] {
        for flags in [&["--check"][..], &["--listen", "127.0.0.1:0"]] {
            if config.contains(&taken) && flags == ["--check"] {
                continue; // The check does not listen.
            }
            let env = [("ADMIN", ADMIN_TOKEN), ("SHORT", "s3cret")];
            let (code, _, err) = run_with(config, flags, &env);
            assert_eq!((code, err.lines().count()), (2, 1), "{config}: {err}");
            assert!(
                err.starts_with("error: ") && err.contains(expected),
                "{config}: {err}"
            );
            assert!(!err.contains("s3cret"), "{err}");
        }
    }
}

#[tokio::test]
async fn the_demo_prints_where_its_dashboard_is_and_a_token_that_opens_it() {
    let proxy = Proxy::start(&[]);
    let open = format!("Open {} and sign in with the token ", proxy.operators);
    assert!(proxy.printed.contains(&open), "{}", proxy.printed);
    let curl = format!("curl -s {}{SERVERS}", proxy.operators);
    assert!(proxy.printed.contains(&curl), "{}", proxy.printed);
    let (_, rest) = proxy.printed.split_once("authorization: Bearer ").unwrap();
    let (token, _) = rest.split_once('\'').unwrap();
    assert_eq!(token.len(), 32);
    assert!(
        !Proxy::start(&[]).printed.contains(token),
        "each run has its own"
    );

    let ask = |token: &str| {
        let request = proxy.client.get(format!("{}{SERVERS}", proxy.operators));
        request.bearer_auth(token).send()
    };
    let listed = body_of(ask(token).await.unwrap()).await;
    assert_eq!(listed["servers"][0]["name"], "demo");
    assert_eq!(listed["servers"][0]["source"], "file");
    let refused = ask("another-token-of-length").await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    // It is not on the side of the callers.
    assert_eq!(proxy.get(SERVERS).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_server_that_is_created_is_usable_at_once_and_outlives_a_kill() {
    let mcp = McpServer::start(Mode::Newest).await;
    let storage = Storage::new();
    let config = storage.config("");
    let proxy = Proxy::operated(&config, &[]);
    let (status, created) = proxy
        .operate("POST", SERVERS, described("made", &mcp))
        .await;
    assert_eq!(status, StatusCode::CREATED, "{created}");
    assert!(!created.to_string().contains("canary"), "{created}");
    assert!(answers(&proxy, "made").await);

    proxy.kill();
    let proxy = Proxy::operated(&config, &[]);
    assert!(answers(&proxy, "made").await);
    let path = format!("{SERVERS}/made");
    let (_, read) = proxy.operate("GET", &path, Value::Null).await;
    assert_eq!(read["id"], created["id"]);
    assert_eq!(
        (&read["status"], &read["tool_count"]),
        (&json!("active"), &json!(8))
    );

    let (status, _) = proxy.operate("DELETE", &path, Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert!(!answers(&proxy, "made").await);
}

#[tokio::test]
async fn without_a_database_a_server_is_there_until_the_end() {
    let mcp = McpServer::start(Mode::Newest).await;
    let proxy = Proxy::operated(LOCAL, &[]);
    let (status, _) = proxy
        .operate("POST", SERVERS, described("made", &mcp))
        .await;
    assert_eq!(status, StatusCode::CREATED);
    assert!(answers(&proxy, "made").await);
    proxy.kill();
    let proxy = Proxy::operated(LOCAL, &[]);
    assert!(!answers(&proxy, "made").await);
}

#[tokio::test]
async fn what_the_file_declares_is_shown_and_not_changed() {
    let mcp = McpServer::start(Mode::Newest).await;
    let config = format!("{LOCAL}{}", entry("declared", &mcp.url()));
    let proxy = Proxy::operated(&config, &[]);
    let path = format!("{SERVERS}/declared");
    let (_, read) = proxy.operate("GET", &path, Value::Null).await;
    assert_eq!(read["source"], "file");
    let mut changed = described("declared", &mcp);
    changed["version"] = read["version"].clone();
    for (method, path, body) in [
        ("POST", SERVERS, changed.clone()),
        ("PUT", &path, changed),
        ("DELETE", &path, Value::Null),
    ] {
        let (status, refusal) = proxy.operate(method, path, body).await;
        assert_eq!(status, StatusCode::CONFLICT, "{method}: {refusal}");
        assert_eq!(refusal["error"]["code"], "declared_in_file");
    }
}

#[tokio::test]
async fn two_proxies_on_one_file_have_the_same_servers_within_a_second() {
    let mcp = McpServer::start(Mode::Newest).await;
    let storage = Storage::new();
    let [one, other] = [0, 1].map(|_| Proxy::operated(&storage.config(""), &[]));
    let (status, _) = one.operate("POST", SERVERS, described("made", &mcp)).await;
    assert_eq!(status, StatusCode::CREATED);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(answers(&other, "made").await);
    let path = format!("{SERVERS}/made");
    assert_eq!(
        other.operate("DELETE", &path, Value::Null).await.0,
        StatusCode::NO_CONTENT
    );
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(!answers(&one, "made").await);
}

#[tokio::test]
async fn projects_are_known_from_keys_and_a_callers_key_opens_nothing() {
    let upstream = Upstream::start().await;
    let storage = Storage::new();
    let rest = format!(
        "upstream = \"{}/v1\"\nupstream_key_env = \"PROVIDER\"\n{KEYS}",
        upstream.url
    );
    let env = [("PROVIDER", UPSTREAM_KEY), ("WEB", API_KEY)];
    let proxy = Proxy::operated(&storage.config(&rest), &env);
    let (_, projects) = proxy.operate("GET", "/api/v1/projects", Value::Null).await;
    assert_eq!(projects, json!({"projects": ["batch", "web"]}));
    let (_, keys) = proxy.operate("GET", "/api/v1/keys", Value::Null).await;
    assert_eq!(keys["keys"][0]["newest"], true);
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);

    let rest = mcp_layer::admin::routes();
    let rest = rest.filter(|(_, path)| path.starts_with("/api/") || *path == "/metrics");
    for (method, path) in rest {
        let path = path.replace("{name}", "a").replace("{id}", "0");
        let url = format!("{}{path}", proxy.operators);
        let request = proxy.client.request(method.clone(), url);
        let refused = request.bearer_auth(API_KEY).send().await.unwrap();
        // There are more routes than an address may be wrong in a minute; who is right never has to wait.
        let status = refused.status();
        assert!(
            matches!(
                status,
                StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS
            ),
            "{method} {path}: {status}"
        );
    }
    // And the operator's token is none of a caller's.
    let request = proxy.client.get(format!("{}/v1/mcp/servers", proxy.url));
    let refused = request.bearer_auth(ADMIN_TOKEN).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_public_url_is_the_only_host_that_is_answered() {
    let config = format!("{LOCAL}public_url = \"https://gateway.example.com\"\n");
    let proxy = Proxy::operated(&config, &[]);
    for (host, expected) in [
        ("gateway.example.com", StatusCode::OK),
        ("evil.example.com", StatusCode::FORBIDDEN),
        ("127.0.0.1", StatusCode::FORBIDDEN),
    ] {
        let request = proxy.client.get(format!("{}{SERVERS}", proxy.operators));
        let request = request.bearer_auth(ADMIN_TOKEN).header("host", host);
        assert_eq!(request.send().await.unwrap().status(), expected, "{host}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_stop_ends_both_sides() {
    let upstream = Upstream::start().await;
    let config = format!("upstream = \"{}/v1\"\n", upstream.url);
    let mut proxy = Proxy::operated(&config, &[]);
    let running = tokio::spawn(proxy.post(&json!({"model": "wait", "messages": []})).send());
    upstream.asked().await;
    proxy.terminate();
    proxy.until_draining().await;
    let (status, refused) = proxy.operate("GET", SERVERS, Value::Null).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused["error"]["code"], "shutting_down");
    upstream.go_on();
    assert_eq!(running.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(proxy.wait(), 0);
}

/// Whoever read the log could begin the authorization that waited for the operator's browser.
#[tokio::test]
async fn the_log_has_nothing_with_which_an_authorization_is_begun_or_finished() {
    let config = format!(
        r#"{LOCAL}
[[servers]]
name = "tracker"
url = "http://127.0.0.1:9/mcp"
auth = {{ type = "oauth2", client_id = "gateway", authorization_url = "http://127.0.0.1:9/authorize", token_url = "http://127.0.0.1:9/token" }}
"#
    );
    for level in ["info", "trace"] {
        let proxy = Proxy::operated(&config, &[("RUST_LOG", level)]);
        let path = "/api/v1/servers/tracker/oauth/connect";
        let (status, answer) = proxy.operate("POST", path, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let start = answer["authorization_url"].as_str().unwrap();
        let browser = reqwest::Client::builder().no_proxy();
        let browser = browser.redirect(reqwest::redirect::Policy::none());
        let browser = browser.build().unwrap();
        let looked = browser.head(start).send().await.unwrap();
        assert_eq!(looked.status(), StatusCode::METHOD_NOT_ALLOWED);
        let started = browser.get(start).send().await.unwrap();
        assert_eq!(started.status(), StatusCode::SEE_OTHER);
        let text = |name| started.headers()[name].to_str().unwrap();
        let cookie = text("set-cookie").split(';').next().unwrap();
        let provider: url::Url = text("location").parse().unwrap();
        let asked: std::collections::HashMap<_, _> = provider.query_pairs().collect();
        let (state, callback) = (&asked["state"], &asked["redirect_uri"]);
        let back = format!("{callback}?code=code-of-the-callback&state={state}");
        let back = browser.get(back).header("cookie", cookie).send().await;
        assert_eq!(back.unwrap().status(), StatusCode::BAD_REQUEST);

        let log = proxy.logged();
        assert!(
            log.contains("/oauth/start/…") && log.contains("/oauth/callback/"),
            "{log}"
        );
        let one_time = start.rsplit('/').next().unwrap();
        let browsers = cookie.split(['=', '.']).nth(1).unwrap();
        for secret in [one_time, state, browsers, "code-of-the-callback"] {
            assert!(!log.contains(secret), "{level}: {secret} in {log}");
        }
    }
}

/// Whoever tries the demo has servers on this machine, and no file that could declare any.
#[tokio::test]
async fn the_demo_takes_servers_of_this_machine_and_calls_its_own_built_in() {
    let mcp = McpServer::start(Mode::Newest).await;
    let proxy = Proxy::start(&[]);
    let printed = proxy.printed.split("Bearer ").nth(1).unwrap();
    let token = printed.split('\'').next().unwrap();
    let post = async |path: &str, body: Value| {
        let request = proxy.client.post(format!("{}{path}", proxy.operators));
        let request = request.bearer_auth(token).body(body.to_string());
        let answer = request.header("content-type", "application/json").send();
        let answer = answer.await.unwrap();
        (answer.status(), body_of(answer).await)
    };
    let here = json!({"name": "here", "url": mcp.url()});
    assert_eq!(post(SERVERS, here).await.0, StatusCode::CREATED);
    let (status, tools) = post(&format!("{SERVERS}/here/refresh"), json!({})).await;
    assert_eq!(status, StatusCode::OK, "{tools}");
    assert!(answers(&proxy, "here").await);
    let there = json!({"name": "there", "url": "http://10.0.0.1:9000/mcp"});
    let (status, refusal) = post(SERVERS, there).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let message = refusal["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("--allow-egress 10.0.0.1:9000"),
        "{message}"
    );

    let client = reqwest::Client::builder().no_proxy();
    let client = client
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let sign_in = client.post(format!("{}/sign-in", proxy.operators));
    let sign_in = sign_in.header("sec-fetch-site", "same-origin");
    let sign_in = sign_in.header("content-type", "application/x-www-form-urlencoded");
    let signed_in = sign_in.body(format!("token={token}")).send().await.unwrap();
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let page = async |path: &str| {
        let request = client.get(format!("{}{path}", proxy.operators));
        let answer = request.header("cookie", cookie).send().await.unwrap();
        answer.text().await.unwrap()
    };
    let list = page("/servers").await;
    assert!(list.contains("built in</span>") && !list.contains("declared in file"));
    // The command to copy is for this very proxy.
    let created = page("/servers/here?done=created").await;
    assert!(
        created.contains(&format!("{}/v1/chat/completions", proxy.url)),
        "{created}"
    );
}

/// On two threads: the server answers while the test waits for the other proxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_exported_is_a_configuration_that_another_proxy_takes() {
    let mcp = McpServer::start(Mode::Newest).await;
    let proxy = Proxy::operated(LOCAL, &[]);
    let (status, _) = proxy
        .operate("POST", SERVERS, described("made", &mcp))
        .await;
    assert_eq!(status, StatusCode::CREATED);
    let url = format!("{}{SERVERS}/export", proxy.operators);
    let answer = proxy.client.get(url).bearer_auth(ADMIN_TOKEN).send().await;
    let exported = answer.unwrap().text().await.unwrap();
    assert!(!exported.contains(crate::database::STORED), "{exported}");
    let check = |env: &[(&str, &str)]| {
        let config = format!("{LOCAL}{exported}");
        run_with(&config, &["--admin-listen", "off", "--check"], env)
    };
    let (code, out, err) = check(&[("MADE_X_KEY", crate::database::STORED)]);
    assert!(code == 0 && out.contains("made__echo"), "{out}{err}");
    let (code, _, err) = check(&[]);
    assert!(code == 2 && err.contains("MADE_X_KEY"), "{err}");
}
