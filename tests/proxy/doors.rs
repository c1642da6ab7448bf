//! The doors of a proxy that are easily left open: what its key opens at the provider, who may
//! ask, how often somebody may guess, and where its secrets can be seen.

use axum::{Router, body::Body, response::Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::directory::Directory;
use crate::evidence;
use crate::support::{
    ADMIN_TOKEN, API_KEY, Proxy, UPSTREAM_KEY, Upstream, json as body_of, question, run_with,
};
use crate::{KEYS, LOCAL};

/// A proxy before `upstream` that has its key, and callers with keys of their own.
fn with_key(upstream: &str, rest: &str) -> Proxy {
    let config =
        format!("upstream = \"{upstream}/v1\"\nupstream_key_env = \"PROVIDER\"\n{rest}\n{KEYS}");
    Proxy::with(&config, &[("PROVIDER", UPSTREAM_KEY), ("WEB", API_KEY)])
}

async fn ask(proxy: &Proxy, method: &str, path: &str) -> (StatusCode, Value) {
    let url = format!("{}{path}", proxy.url);
    let request = proxy.client.request(method.parse().unwrap(), url);
    let request = request
        .bearer_auth(API_KEY)
        .header("content-type", "application/json");
    let answer = request.send().await.unwrap();
    (answer.status(), body_of(answer).await)
}

#[tokio::test]
async fn pages_may_read_what_answers_say_of_tools_and_repeats() {
    let proxy = Proxy::start(&["--allow-origin", "https://a.example"]);
    let question = question("demo", "Roll a 20-sided die.");
    let ask = async |origin: Option<&str>| {
        let request = proxy.post(&question);
        let request = origin
            .iter()
            .fold(request, |r, origin| r.header("origin", *origin));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["x-mcp-rounds"], "1");
        answer.headers().clone()
    };
    let headers = ask(Some("https://a.example")).await;
    let exposed = headers["access-control-expose-headers"].to_str().unwrap();
    let exposed: Vec<_> = exposed.split(", ").collect();
    for name in ["x-mcp-rounds", "x-mcp-calls", "x-mcp-stopped-by"] {
        assert!(exposed.contains(&name), "{exposed:?}");
    }
    assert!(!exposed.contains(&"content-type"));
    assert!(
        !ask(None)
            .await
            .contains_key("access-control-expose-headers")
    );
}

#[tokio::test]
async fn callers_reach_with_the_proxys_key_only_what_belongs_to_nobody_else() {
    let upstream = Upstream::start().await;
    let proxy = with_key(&upstream.url, "");
    for (method, path) in [
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/responses"),
        ("POST", "/v1/moderations"),
        ("POST", "/v1/audio/speech"),
        ("POST", "/v1/images/generations"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models?limit=3"),
        ("GET", "/v1/models/gpt-5"),
    ] {
        let (status, seen) = ask(&proxy, method, path).await;
        assert_eq!(status, StatusCode::OK, "{method} {path}");
        assert_eq!(seen["uri"], path);
        assert_eq!(seen["authorization"], "Bearer UPSTREAM_KEY");
    }
    for (method, path) in [
        ("GET", "/v1/files"),
        ("POST", "/v1/files"),
        ("GET", "/v1/files/file-of-another/content"),
        ("DELETE", "/v1/files/file-of-another"),
        ("POST", "/v1/batches"),
        ("GET", "/v1/fine_tuning/jobs"),
        ("GET", "/v1/responses/resp_of-another"),
        ("DELETE", "/v1/responses/resp_of-another"),
        ("POST", "/v1/responses/resp_of-another/cancel"),
        ("GET", "/v1/chat/completions"),
        ("GET", "/v1/chat/completions/chatcmpl-of-another"),
        ("POST", "/v1/chat/completions/chatcmpl-of-another"),
        ("DELETE", "/v1/models/ft:gpt-5:of-another"),
        ("PUT", "/v1/embeddings"),
        ("GET", "/v1/organization/users"),
        ("POST", "/v1/embeddings/"),
        ("GET", "/v1/Models"),
        ("GET", "/v1/%6dodels"),
        ("GET", "/v1/audio/speech"),
    ] {
        let (status, refusal) = ask(&proxy, method, path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}: {refusal}");
        let error = &refusal["error"];
        assert_eq!(error["type"], "invalid_request_error");
        assert_eq!(error["code"], "path_not_allowed");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("upstream_paths"), "{message}");
    }
}

#[tokio::test]
async fn an_operator_names_what_else_callers_reach() {
    let upstream = Upstream::start().await;
    let paths = r#"upstream_paths = ["GET /v1/files*", "POST /v1/chat/completions", "/v1/rerank"]"#;
    let proxy = with_key(&upstream.url, paths);
    for (method, path, expected) in [
        ("GET", "/v1/files", StatusCode::OK),
        ("GET", "/v1/files/file-1/content", StatusCode::OK),
        ("POST", "/v1/chat/completions", StatusCode::OK),
        ("POST", "/v1/rerank", StatusCode::OK),
        ("DELETE", "/v1/rerank", StatusCode::OK),
        ("DELETE", "/v1/files/file-1", StatusCode::NOT_FOUND),
        ("POST", "/v1/files", StatusCode::NOT_FOUND),
        ("POST", "/v1/embeddings", StatusCode::NOT_FOUND),
        ("GET", "/v1/files/%2e%2e/batches", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(
            ask(&proxy, method, path).await.0,
            expected,
            "{method} {path}"
        );
    }
    // A preflight asks nobody but the proxy, and a page of another origin nothing at all.
    let (status, _) = ask(&proxy, "OPTIONS", "/v1/files").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

/// Ways to write a path that a server behind the proxy may read as another one.
const DISGUISED: [&str; 22] = [
    "/v1/..%2fadmin",
    "/v1/..%2Fadmin",
    "/v1/models/..%2f..%2fadmin",
    "/v1/models/..%5cadmin",
    "/v1/models/%2e%2e/files",
    "/v1/models/%2E%2e/files",
    "/v1/models/.%2e/files",
    "/v1/models/../files",
    "/v1/models/./files",
    "/v1/models/..",
    "/v1/models//files",
    "/v1//files",
    "/v1/models/%252e%252e/files",
    "/v1/models/%25252f..",
    "/v1/models\\..\\files",
    "/v1/models/..;/files",
    "/v1/models;x=1/files",
    "/v1/models%3bx=1/files",
    "/v1/models/%00",
    "/v1/models/a%0d%0ax",
    "/v1/models/%2",
    "/v1/models/%zz",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_could_be_read_in_two_ways_reaches_no_provider() {
    let upstream = Upstream::start().await;
    let keyed = with_key(&upstream.url, "upstream_paths = [\"/v1/*\"]");
    let open = Proxy::with(&format!("upstream = \"{}/v1\"\n", upstream.url), &[]);
    for (proxy, methods) in [
        (&keyed, &["GET", "POST", "DELETE", "PUT"][..]),
        (&open, &["GET"]),
    ] {
        for (path, method) in DISGUISED
            .iter()
            .flat_map(|p| methods.iter().map(move |m| (p, m)))
        {
            let answer = proxy.raw(&format!(
                "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {API_KEY}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            ));
            // What is no request target at all never becomes a request.
            let is_refused = ["HTTP/1.1 404", "HTTP/1.1 400"]
                .iter()
                .any(|status| answer.starts_with(status));
            assert!(is_refused, "{method} {path}: {answer}");
            assert!(
                !answer.contains("UPSTREAM_KEY"),
                "{method} {path}: {answer}"
            );
        }
    }
}

#[tokio::test]
async fn a_callers_own_key_opens_at_the_provider_what_it_opens_there() {
    let upstream = Upstream::start().await;
    let remove = async |config: &str| {
        let config = format!("upstream = \"{}/v1\"\n{config}", upstream.url);
        let proxy = Proxy::with(&config, &[]);
        let request = proxy.client.delete(format!("{}/v1/files/f", proxy.url));
        let answer = request.bearer_auth("callers-own").send().await.unwrap();
        (answer.status(), body_of(answer).await)
    };
    let (status, seen) = remove("").await;
    assert_eq!(status, StatusCode::OK, "{seen}");
    assert_eq!(seen["authorization"], "Bearer callers-own");
    // Unless the operator has said what is open.
    let listed = "upstream_paths = [\"POST /v1/chat/completions\"]\n";
    assert_eq!(remove(listed).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn headers_that_mean_another_method_or_path_go_to_no_provider() {
    let upstream = Upstream::start().await;
    let proxy = with_key(&upstream.url, "");
    let request = proxy.client.post(format!("{}/v1/embeddings", proxy.url));
    let mut request = request.bearer_auth(API_KEY).body("{}");
    let headers = [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-original-url",
        "x-rewrite-url",
    ];
    for name in headers {
        request = request.header(name, "DELETE");
    }
    let seen = body_of(request.send().await.unwrap()).await;
    assert_eq!(seen["method"], "POST");
    for name in headers {
        assert_eq!(seen[name], Value::Null, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_under_a_name_of_its_own_is_not_answered_where_everybody_may_ask() {
    let upstream = Upstream::start().await;
    let config = format!(
        "upstream = \"{}/v1\"\nupstream_key_env = \"PROVIDER\"\nallow_anonymous = true\n",
        upstream.url
    );
    let env = [("PROVIDER", UPSTREAM_KEY)];
    let closed = Proxy::anywhere(&config, &env);
    let named = Proxy::anywhere(
        &format!("{config}allow_hosts = [\"Gateway.internal\"]\n"),
        &env,
    );
    let own = closed.address();
    let asked = |proxy: &Proxy, path: &str, host: &str| {
        let answer = proxy.raw(&format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        ));
        answer[9..12].to_owned()
    };
    for path in ["/v1/models", "/v1/mcp/servers", "/healthz", "/nothing"] {
        for host in [
            "evil.example",
            "evil.example:8787",
            "gateway.internal",
            "127.0.0.1.nip.io",
        ] {
            assert_eq!(asked(&closed, path, host), "403", "{path} {host}");
        }
        assert_eq!(
            asked(&named, path, "evil.gateway.internal"),
            "403",
            "{path}"
        );
    }
    // Nobody else's name leads here, and an address is no name.
    for host in [
        &*own.to_string(),
        "localhost:1",
        "192.0.2.7:8787",
        "[2001:db8::1]",
    ] {
        assert_eq!(asked(&closed, "/v1/models", host), "200", "{host}");
    }
    for host in ["gateway.internal", "GATEWAY.internal:8787"] {
        assert_eq!(asked(&named, "/v1/models", host), "200", "{host}");
    }
    let twice = closed.raw(&format!(
        "GET /v1/models HTTP/1.1\r\nhost: {own}\r\nhost: evil.example\r\nconnection: close\r\n\r\n"
    ));
    assert!(!twice.starts_with("HTTP/1.1 200"), "{twice}");
    // What a key opens is not opened by a name.
    let keyed = Proxy::anywhere(
        &format!("{config}{KEYS}"),
        &[("PROVIDER", UPSTREAM_KEY), ("WEB", API_KEY)],
    );
    assert_eq!(asked(&keyed, "/v1/models", "gateway.example"), "401");
}

#[tokio::test]
async fn wrong_admin_tokens_are_counted_and_the_right_one_always_enters() {
    let proxy = Proxy::operated(LOCAL, &[]);
    let servers = format!("{}/api/v1/servers", proxy.operators);
    let mut limited = 0;
    for number in 0..60 {
        let request = proxy.client.get(&servers);
        let answer = request.bearer_auth(format!("a-wrong-admin-token-{number}"));
        let answer = answer.send().await.unwrap();
        match answer.status() {
            StatusCode::UNAUTHORIZED => assert_eq!(limited, 0),
            StatusCode::TOO_MANY_REQUESTS => {
                assert!(answer.headers().contains_key("retry-after"));
                assert_eq!(
                    body_of(answer).await["error"]["code"],
                    "too_many_wrong_tokens"
                );
                limited += 1;
            }
            status => panic!("{status}"),
        }
    }
    assert_eq!(limited, 30);
    // Pages count with REST: it is one token.
    let sign_in = async |token: &str| {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let request = client.post(format!("{}/sign-in", proxy.operators));
        let request = request
            .header("origin", &proxy.operators)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={}", token.replace('+', "%2B")));
        request.send().await.unwrap().status()
    };
    assert_eq!(
        sign_in("a-wrong-admin-token").await,
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(sign_in(ADMIN_TOKEN).await, StatusCode::SEE_OTHER);
    let (status, _) = proxy.operate("GET", "/api/v1/servers", Value::Null).await;
    assert_eq!(status, StatusCode::OK);

    let logged = proxy.logged();
    assert_eq!(logged.matches("a wrong admin token").count(), 1, "{logged}");
    assert!(logged.contains("127.0.0.1"), "{logged}");
    if evidence::folder().is_none() {
        assert!(logged.lines().count() < 50, "{logged}");
    }
    assert!(!logged.contains("a-wrong-admin-token"), "{logged}");
}

#[tokio::test]
async fn wrong_keys_of_callers_do_not_flood_the_log_and_shut_nobody_out() {
    let upstream = Upstream::start().await;
    let proxy = with_key(&upstream.url, "");
    let body = json!({"model": "echo", "messages": []});
    for number in 0..60 {
        let request = proxy.post(&body).bearer_auth(format!("sk-wrong-{number}"));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    }
    let long = proxy.post(&body).bearer_auth("k".repeat(100_000));
    assert_eq!(
        long.send().await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );
    let answer = proxy.post(&body).bearer_auth(API_KEY).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let logged = proxy.logged();
    assert_eq!(logged.matches("unknown API key").count(), 1, "{logged}");
    if evidence::folder().is_none() {
        assert!(logged.lines().count() < 30, "{logged}");
    }
}

/// What somebody may paste: each looks like another kind of secret, or like a name.
const PASTED: [&str; 7] = [
    "sk-live-PASTED0123456789abcdef",
    "sk_live_PASTED0123456789abcdef",
    "AKIAPASTED0SFODNN7EXAMPLE",
    "PASTED0123456789ABCDEF0123456789",
    "pasted",
    "eyJhbGciOiJIUzI1NiJ9.PASTED.abc",
    "PASTED+base64/of=32==",
];

#[test]
fn a_pasted_secret_is_in_no_message_about_the_configuration() {
    let server = |rest: &str| {
        format!("[[servers]]\nname = \"a\"\nurl = \"https://mcp.example.com/mcp\"\n{rest}\n")
    };
    let oauth = "auth = { type = \"oauth2\", client_id = \"c\", issuer = \"https://as.example\", ";
    let in_file = [
        "upstream_key_env = \"{}\"".to_owned(),
        "upstream_key_file = \"{}\"".into(),
        "admin_token_file = \"{}\"\nadmin_listen = \"127.0.0.1:0\"".into(),
        "upstream_key = \"{}\"".into(),
        "{}".into(),
        "\"{}\" = 1".into(),
        "upstream_key_env = {}".into(),
        "listen = \"{}\"".into(),
        "admin_listen = \"{}\"".into(),
        "streaming = \"{}\"".into(),
        "own_tools = \"{}\"".into(),
        "on_max_rounds = \"{}\"".into(),
        "tool_search = \"{}\"".into(),
        "native_tool_search = \"{}\"".into(),
        "header_opt_in = \"{}\"".into(),
        "subject_token_header = \"{} \"".into(),
        "event_payloads = \"{}\"".into(),
        "schema_dialect = \"{}\"".into(),
        "description_limit = \"{}\"".into(),
        "trace_payloads = \"{}\"".into(),
        "log_format = \"{}\"".into(),
        "upstream = \"{}\"".into(),
        "upstream = \"https://{}@api.example.com/v1\"".into(),
        "upstream = \"https://api.example.com/v1?key={}\"".into(),
        "upstream_paths = [\"{}\"]".into(),
        "allow_hosts = [\"https://{}/\"]".into(),
        "allow_origins = [\"https://u:{}@a.example\"]".into(),
        "allow_egress = [\"https://u:{}@a.example\"]".into(),
        "public_url = \"https://u:{}@a.example\"\nadmin_token_env = \"ADMIN\"".into(),
        "otlp = \"http://u:{}@127.0.0.1:4318\"".into(),
        "ca_file = \"{}\"".into(),
        "database = \"{}\"\nkey_file = \"k\"".into(),
        "database = \"sqlite://x.db\"\nkey_file = \"{}\"".into(),
        "database = \"postgres://u:{}@127.0.0.1:1/x\"\nkey_file = \"/dev/null\"".into(),
        "api_keys = [\"{}\"]".into(),
        "api_keys = { \"{}\" = \"web\" }".into(),
        "[[api_keys]]\nproject = \"{}\"".into(),
        "[[api_keys]]\nproject = \"web\"\nkey_env = \"{}\"".into(),
        "[[api_keys]]\nproject = \"web\"\nkey_file = \"{}\"".into(),
        "[[api_keys]]\nproject = \"web\"\nkey_sha256 = \"{}\"".into(),
        "[[api_keys]]\nproject = \"web\"\nkey = \"{}\"".into(),
        "[[api_keys]]\nproject = \"web\"\n\"{}\" = 1".into(),
        "[limits]\ncalls = \"{}\"".into(),
        "[limits]\n\"{}\" = 1".into(),
        "[[vision]]\nmodels = \"{}\"".into(),
        "[[guards]]\nurl = \"https://u:{}@a.example\"".into(),
        "[[guards]]\nbuiltin = \"{}\"".into(),
        "[[prices]]\nmodel = \"{}\"\ninput = -1.0\noutput = 1.0".into(),
        server("transport = \"{}\""),
        server("\"{}\" = 1"),
        server("auth = { type = \"{}\" }"),
        server(
            "auth = { type = \"static_headers\", headers = [{ name = \"x\", value_env = \"{}\" }] }",
        ),
        server(
            "auth = { type = \"static_headers\", headers = [{ name = \"x\", value_file = \"{}\" }] }",
        ),
        server(
            "auth = { type = \"static_headers\", headers = [{ name = \"x\", value = \"{}\" }] }",
        ),
        server("auth = { type = \"static_headers\", headers = [{ name = \"x\", \"{}\" = 1 }] }"),
        server(&format!("{oauth} client_secret_env = \"{{}}\" }}")),
        server(&format!("{oauth} client_secret_file = \"{{}}\" }}")),
        server(&format!("{oauth} client_secret = \"{{}}\" }}")),
    ];
    let mut shown = Vec::new();
    let mut tried = |what: &str, pasted: &str, (code, out, err): (i32, String, String)| {
        let said = out + &err;
        if said.contains(pasted) || code != 2 || said.lines().count() != 1 {
            shown.push(format!("{what} with {pasted}: {code} {said}"));
        }
    };
    for text in &in_file {
        for pasted in PASTED.iter().filter(|pasted| **pasted != "pasted") {
            // What comes before a slash is a host, and the whole a URL that nothing is wrong with.
            if text.contains("//{}@") && pasted.contains('/') {
                continue;
            }
            // What nothing is wrong with is to end as well, and be told here.
            let off: &[&str] = match text.contains("admin_") {
                true => &["--check"],
                false => &["--check", "--admin-listen", "off"],
            };
            tried(
                text,
                pasted,
                run_with(&text.replace("{}", pasted), off, &[("ADMIN", ADMIN_TOKEN)]),
            );
        }
    }
    for flag in [
        "--{}",
        "--{}=x",
        "{}",
        "--listen={}",
        "--admin-listen={}",
        "--upstream-key={}",
        "--upstream-key-env={}",
        "--upstream-key-file={}",
        "--streaming={}",
        "--own-tools={}",
        "--on-max-rounds={}",
        "--header-opt-in={}",
        "--schema-dialect={}",
        "--description-limit={}",
        "--log-format={}",
        "--check={}",
        "--otlp=http://u:{}@127.0.0.1",
        "--upstream=https://u:{}@api.example.com",
        "--public-url=https://u:{}@a.example",
        "--allow-origin=https://u:{}@a.example",
        "--allow-egress=https://u:{}@a.example",
    ] {
        for pasted in PASTED.iter().filter(|pasted| **pasted != "pasted") {
            let flag = flag.replace("{}", pasted);
            tried("a flag", pasted, crate::support::run(&["--check", &flag]));
        }
    }
    assert!(shown.is_empty(), "\n{}", shown.join("\n"));
}

/// An upstream that repeats the key that it was sent, as `model` says.
async fn repeating() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(async |body: String| -> Response {
        let sent: Value = serde_json::from_str(&body).unwrap_or_default();
        let key = UPSTREAM_KEY;
        let answer = Response::builder();
        match sent["model"].as_str() {
            Some("split") => {
                let (one, other) = key.split_at(9);
                let pieces = [
                    format!("data: {{\"error\": \"no such key: {one}"),
                    format!("{other} is none\"}}\n\n"),
                    "data: [DONE]\n\n".to_owned(),
                ];
                let pieces = pieces.map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece)));
                let body = Body::from_stream(stream::iter(pieces));
                answer
                    .header("content-type", "text/event-stream")
                    .body(body)
            }
            Some("trailing") => {
                // An answer that ends as the key begins has all of it.
                answer.body(format!("{{\"error\": \"{}", &key[..9]).into())
            }
            _ => {
                let percent: String =
                    url::form_urlencoded::byte_serialize(key.as_bytes()).collect();
                let body = json!({"error": {
                    "message": format!("Incorrect API key provided: {key}."),
                    "percent": percent,
                    "base64": STANDARD.encode(format!("Bearer {key}")),
                    "escaped": "ESCAPED",
                }});
                answer
                    .status(401)
                    .header("x-debug-authorization", format!("Bearer {key}"))
                    .header("set-cookie", format!("k={percent}"))
                    .header("content-type", "application/json")
                    .body(
                        body.to_string()
                            .replace("ESCAPED", &key.replace('/', "\\/"))
                            .into(),
                    )
            }
        }
        .unwrap()
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

#[tokio::test]
async fn an_upstream_that_repeats_its_own_key_is_not_passed_on_with_it() {
    let proxy = with_key(&repeating().await, "");
    let send = |model: &str| {
        let body = json!({"model": model, "messages": []});
        proxy.post(&body).bearer_auth(API_KEY).send()
    };
    let answer = send("plain").await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let headers = format!("{:?}", answer.headers());
    assert!(!headers.contains("canary"), "{headers}");
    assert!(answer.headers().contains_key("x-debug-authorization"));
    let text = answer.text().await.unwrap();
    assert!(!text.contains("canary"), "{text}");
    assert!(
        text.contains("Incorrect API key provided: [redacted]"),
        "{text}"
    );
    let said: Value = serde_json::from_str(&text).unwrap();
    let inside = STANDARD.decode(said["error"]["base64"].as_str().unwrap());
    let inside = inside.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(
        !inside.unwrap_or_default().contains("canary/upstream"),
        "{text}"
    );

    let text = send("split").await.unwrap().text().await.unwrap();
    assert!(
        text.starts_with("data: {\"error\": \"no such key: ") && text.ends_with("data: [DONE]\n\n")
    );
    assert!(!text.contains(&UPSTREAM_KEY[..12]), "{text}");
    assert!(!text.contains(&UPSTREAM_KEY[9..]), "{text}");
    let text = send("trailing").await.unwrap().text().await.unwrap();
    assert_eq!(text, format!("{{\"error\": \"{}", &UPSTREAM_KEY[..9]));
}

#[tokio::test]
async fn no_piece_of_a_stream_waits_because_it_is_looked_through() {
    let upstream = Upstream::start().await;
    let proxy = with_key(&upstream.url, "");
    let body = json!({"model": "stream", "stream": true, "messages": []});
    let mut answer = proxy.post(&body).bearer_auth(API_KEY).send().await.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "data: one\n\n");
    upstream.go_on();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "data: [DONE]\n\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_words_behind_a_status_are_not_those_of_an_upstream_with_our_key() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = with_key(&format!("http://{}", listener.local_addr().unwrap()), "");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        let answer =
            format!("HTTP/1.1 401 No such key {UPSTREAM_KEY}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    });
    let answer = proxy.raw(&format!(
        "GET /v1/models HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {API_KEY}\r\nconnection: close\r\n\r\n"
    ));
    assert!(
        answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"),
        "{answer}"
    );
    assert!(!answer.contains("canary"), "{answer}");
}

#[cfg(unix)]
#[tokio::test]
async fn secrets_come_from_files_too() {
    use std::os::unix::fs::PermissionsExt;

    let upstream = Upstream::start().await;
    let folder = Directory::new();
    let write = |name: &str, secret: &str| {
        let path = folder.0.join(name);
        std::fs::write(&path, format!("{secret}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let (provider, web) = (write("provider", UPSTREAM_KEY), write("web", API_KEY));
    let (admin, header) = (
        write("admin", ADMIN_TOKEN),
        write("header", "Bearer s3cret-of-a-server"),
    );
    let config = format!(
        r#"upstream = "{}/v1"
upstream_key_file = "{provider}"
admin_token_file = "{admin}"
[[api_keys]]
key_file = "{web}"
project = "web"
[[servers]]
name = "a"
url = "https://mcp.example.com/mcp"
auth = {{ type = "static_headers", headers = [{{ name = "authorization", value_file = "{header}" }}] }}
"#,
        upstream.url
    );
    let path = crate::support::file(&config);
    let proxy = Proxy::over(&path, &["--admin-listen", "127.0.0.1:0"], &[]);
    let body = json!({"model": "echo", "messages": []});
    let answer = proxy.post(&body).bearer_auth(API_KEY).send().await.unwrap();
    assert_eq!(
        body_of(answer).await["authorization"],
        "Bearer UPSTREAM_KEY"
    );
    let (status, server) = proxy.operate("GET", "/api/v1/servers/a", Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(server["auth"]["headers"][0]["value"]["set"], true);

    // A database's URL has a password, and a collector's headers its key.
    let keys = folder.0.join("proxy.keys");
    assert_eq!(
        crate::support::run(&["--generate-key", &keys.display().to_string()]).0,
        0
    );
    let url = write("url", &folder.url("proxy.db"));
    let headers = write("headers", "api-key=s3cret\nx-team = blue");
    let stored = format!(
        "database_file = \"{url}\"\nkey_file = \"{}\"\notlp_headers_file = \"{headers}\"\n{config}",
        keys.display()
    );
    let (_, out, err) = run_with(&stored, &["--admin-listen", "off", "--check"], &[]);
    assert!(out.contains("1 server") && err.is_empty(), "{out} {err}");
    assert!(folder.0.join("proxy.db").exists());
    let wrong = write("headers", "api-key=s3cret\nPASTED");
    let (code, _, err) = run_with(&stored, &["--admin-listen", "off"], &[]);
    assert!(
        code == 2 && err.contains("header 2 is invalid"),
        "{wrong}: {err}"
    );
    assert!(!err.contains("PASTED"), "{err}");

    // Flags take the place of what the file says, whichever of the two it names.
    let flags = [
        "--upstream-key-env",
        "PROVIDER",
        "--admin-listen",
        "off",
        "--check",
    ];
    let (_, out, err) = run_with(&config, &flags, &[("PROVIDER", UPSTREAM_KEY)]);
    assert!(out.contains("1 server") && err.is_empty(), "{out} {err}");

    let secrets = [&provider, &admin, &web, &header];
    for secret in secrets {
        let mode = |mode| {
            std::fs::set_permissions(secret, PermissionsExt::from_mode(mode)).unwrap();
        };
        mode(0o644);
        let (code, _, err) = run_with(&config, &["--listen", "127.0.0.1:0"], &[]);
        assert_eq!((code, err.lines().count()), (2, 1), "{err}");
        assert!(
            err.contains("_file: file ") && err.contains("run chmod 600 on it"),
            "{err}"
        );
        mode(0o600);
    }
    for (key, value) in [
        ("upstream_key_env", "PROVIDER"),
        ("admin_token_env", "ADMIN"),
    ] {
        let config = format!("{key} = \"{value}\"\n{config}");
        let (code, _, err) = run_with(&config, &[], &[("PROVIDER", "x"), ("ADMIN", "x")]);
        assert_eq!(code, 2);
        assert!(err.contains("give only one"), "{err}");
    }
}

/// A program as another user than the superuser, whom the kernel hides nothing from.
#[cfg(target_os = "linux")]
fn as_somebody(program: &std::path::Path) -> std::process::Command {
    use std::os::unix::{fs::MetadataExt, process::CommandExt};

    let mut command = std::process::Command::new(program);
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(65534).gid(65534);
    }
    command
}

#[cfg(target_os = "linux")]
#[test]
fn a_running_proxy_shows_its_environment_and_memory_to_nobody() {
    use std::{
        io::{BufRead, BufReader},
        os::unix::fs::MetadataExt,
        process::Stdio,
    };

    let mut command = as_somebody(&crate::support::program());
    let command = command
        .args(["--listen", "127.0.0.1:0", "--admin-listen", "off"])
        .env("PROVIDER", UPSTREAM_KEY)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut proxy = command.spawn().unwrap();
    let mut lines = BufReader::new(proxy.stdout.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().contains("Ctrl-C") {}

    let process = format!("/proc/{}", proxy.id());
    for file in ["environ", "maps", "mem", "auxv"] {
        let path = format!("{process}/{file}");
        assert_eq!(std::fs::metadata(&path).unwrap().uid(), 0, "{path}");
        let read = as_somebody("/bin/cat".as_ref())
            .arg(&path)
            .output()
            .unwrap();
        assert!(!read.status.success() && read.stdout.is_empty(), "{path}");
    }
    let limits = std::fs::read_to_string(format!("{process}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    proxy.kill().unwrap();
    proxy.wait().unwrap();
}
