//! Who gets past the operator's gate to REST: one table over all routes that the router has.

use axum::{Router, body::Body};
use http::{HeaderValue, Request};
use mcp_layer::{admin, registry::MemoryRegistry};

use super::support::admin::{Operator, Spoil, TOKEN, request, set};

/// Every method and path of REST that the router has, and some that it does not have.
fn all() -> Vec<(String, String)> {
    let mut all: Vec<_> = admin::routes()
        .filter(|(_, path)| path.starts_with("/api/") || *path == "/metrics")
        .map(|(method, path)| (method.to_string(), path.replace("{name}", "a")))
        .map(|(method, path)| (method, path.replace("{project}", "web")))
        .collect();
    assert!(all.len() >= 10);
    for (method, path) in [
        ("GET", "/api"),
        ("GET", "/api/v1"),
        ("GET", "/api/v1/"),
        ("GET", "/api/v1/unknown"),
        ("GET", "/api/v1/servers/"),
        ("GET", "/api/v1/servers/a/b/c"),
        ("GET", "/api/v1/servers/%ff"),
        ("PATCH", "/api/v1/servers"),
        ("OPTIONS", "/api/v1/servers"),
        ("HEAD", "/api/v1/servers"),
        ("POST", "/api/v1/servers/a"),
        ("TRACE", "/api/v1/projects"),
        ("QUERY", "/api/v1/servers"),
    ] {
        all.push((method.to_owned(), path.to_owned()));
    }
    all
}

fn append(request: &mut Request<Body>, name: &'static str, value: &'static str) {
    request
        .headers_mut()
        .append(name, HeaderValue::from_static(value));
}

const SPOILT: [(&str, Spoil, u16); 13] = [
    (
        "no token",
        |r| drop(r.headers_mut().remove("authorization")),
        401,
    ),
    (
        "wrong token",
        |r| set(r, "authorization", "Bearer admin-token-of-the-testz"),
        401,
    ),
    (
        "half a token",
        |r| set(r, "authorization", "Bearer admin-token-of-the"),
        401,
    ),
    (
        "another scheme",
        |r| set(r, "authorization", "Basic admin-token-of-the-tests"),
        401,
    ),
    (
        "two tokens",
        |r| append(r, "authorization", "Bearer admin-token-of-the-tests"),
        401,
    ),
    ("no host", |r| drop(r.headers_mut().remove("host")), 403),
    ("wrong host", |r| set(r, "host", "evil.example"), 403),
    ("two hosts", |r| append(r, "host", "127.0.0.1:8788"), 403),
    (
        "foreign origin",
        |r| set(r, "origin", "https://evil.example"),
        403,
    ),
    ("null origin", |r| set(r, "origin", "null"), 403),
    (
        "two origins",
        |r| {
            append(r, "origin", "http://127.0.0.1:8788");
            append(r, "origin", "http://127.0.0.1:8788");
        },
        403,
    ),
    ("text", |r| set(r, "content-type", "text/plain"), 415),
    (
        "a form",
        |r| set(r, "content-type", "application/x-www-form-urlencoded"),
        415,
    ),
];

#[tokio::test]
async fn every_route_is_closed_to_whoever_is_not_the_operator() {
    let store = MemoryRegistry::default();
    let operator = Operator::new(store.clone());
    let body = r#"{"name":"a","url":"https://mcp.example.com/mcp"}"#;
    for (method, path) in all() {
        for (what, spoil, status) in SPOILT {
            // A monitoring system asks for these by any name.
            if path == "/metrics" && what.contains("host") {
                continue;
            }
            let mut request = request(&method, &path, Some(body));
            spoil(&mut request);
            let answer = operator.send(request).await;
            let whole = format!("{method} {path} with {what}: {answer:?}");
            assert_eq!(answer.status, status, "{whole}");
            assert_eq!(answer.headers["cache-control"], "no-store", "{whole}");
            assert_eq!(answer.headers["x-content-type-options"], "nosniff");
            assert_eq!(
                answer.headers.get("www-authenticate").is_some(),
                status == 401
            );
            assert!(!answer.text.contains(TOKEN));
        }
    }
    assert_eq!(
        operator.get("/api/v1/servers").await["servers"],
        serde_json::json!([])
    );
}

#[tokio::test]
async fn whoever_guesses_has_to_wait_and_nobody_else_has() {
    let operator = Operator::memory();
    let ask = async |address: [u8; 4], token: &'static str| {
        let mut request = request("GET", "/api/v1/servers", None);
        set(&mut request, "authorization", token);
        let from = admin::ClientAddress(address.into());
        request.extensions_mut().insert(from);
        operator.send(request).await
    };
    let (wrong, right) = (
        "Bearer admin-token-of-the-testz",
        "Bearer admin-token-of-the-tests",
    );
    let (guesser, other) = ([192, 0, 2, 1], [192, 0, 2, 2]);
    for _ in 0..30 {
        assert_eq!(ask(guesser, wrong).await.status, 401);
    }
    let refused = ask(guesser, wrong).await;
    assert_eq!(refused.status, 429);
    assert!(refused.headers.contains_key("retry-after"));
    assert!(
        refused.text.contains("too_many_wrong_tokens"),
        "{refused:?}"
    );
    assert_eq!(ask(guesser, right).await.status, 200);
    assert_eq!(ask(other, wrong).await.status, 401);
    assert_eq!(ask(guesser, wrong).await.status, 429);
}

#[tokio::test]
async fn who_is_reached_over_https_tells_browsers_to_stay_there() {
    for (url, expected) in [
        ("https://gateway.example", Some("max-age=31536000")),
        ("http://localhost:8788", None),
    ] {
        let operator = Operator::with(MemoryRegistry::default(), |admin| {
            admin.with_public_url(url.parse().unwrap())
        });
        for path in [
            "/api/v1/servers",
            "/sign-in",
            "/servers",
            "/nothing",
            "/oauth/callback",
        ] {
            for host in [&url[url.find("//").unwrap() + 2..], "evil.example"] {
                let mut request = request("GET", path, None);
                request.headers_mut().insert("host", host.parse().unwrap());
                let answer = operator.send(request).await;
                let said = answer.headers.get("strict-transport-security");
                let said = said.map(|value| value.to_str().unwrap());
                assert_eq!(said, expected, "{path} of {host}");
                let policy = answer.headers["content-security-policy"].to_str().unwrap();
                assert!(
                    policy.contains("frame-ancestors 'none'"),
                    "{path}: {policy}"
                );
                assert_eq!(answer.headers["referrer-policy"], "no-referrer", "{path}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_browser_opens_is_asked_for_under_our_name_and_by_no_other_page() {
    let operator = Operator::memory();
    let open = admin::routes().filter(|(_, path)| path.starts_with("/oauth/"));
    let open: Vec<_> = open.collect();
    assert_eq!(open.len(), 3);
    for (method, path) in open {
        let path = path.replace("{one_time}", "x");
        let path = path.replace("{id}", &"0".repeat(32));
        let ask = || request(method.as_str(), &path, None);
        let told = operator.send(ask()).await;
        assert_eq!(told.headers["content-type"], "text/html; charset=utf-8");
        for (what, spoil, status) in SPOILT {
            let mut request = ask();
            spoil(&mut request);
            let answer = operator.send(request).await;
            match (what, status) {
                (_, 403) => assert_eq!(answer.status, 403, "{path} with {what}"),
                _ => assert_eq!(answer.text, told.text, "{path} with {what}"),
            }
        }
    }
}

#[tokio::test]
async fn without_the_token_all_paths_look_alike() {
    let operator = Operator::memory();
    let mut seen = std::collections::HashSet::new();
    for (method, path) in all() {
        // An answer to HEAD has no body.
        if method == "HEAD" {
            continue;
        }
        let mut request = request(&method, &path, None);
        request.headers_mut().remove("authorization");
        let answer = operator.send(request).await;
        seen.insert(format!("{:?} {:?}", answer.headers, answer.text));
    }
    assert_eq!(seen.len(), 1, "{seen:#?}");
}

#[tokio::test]
async fn whoever_is_the_operator_hears_what_there_is_not() {
    let operator = Operator::memory();
    for path in [
        "/api",
        "/api/v1",
        "/api/v1/servers/a/b/c",
        "/api/v1/servers/",
    ] {
        let (code, _) = operator.ask("GET", path, None).await.error(404);
        assert_eq!(code, "not_found", "{path}");
    }
    for path in [
        "/api/v1/servers/a",
        "/api/v1/servers/%ff",
        "/api/v1/servers/A_B",
    ] {
        let (code, _) = operator.ask("GET", path, None).await.error(404);
        assert_eq!(code, "mcp_server_not_found", "{path}");
    }
    let answer = operator.ask("POST", "/api/v1/servers/a", None).await;
    assert_eq!(answer.error(405).0, "method_not_allowed");
    assert_eq!(answer.headers["allow"], "GET,HEAD,PUT,PATCH,DELETE");
}

#[tokio::test]
async fn a_body_is_json_and_of_a_size() {
    let operator = Operator::memory();
    for kind in ["application/json", "application/json; charset=UTF-8"] {
        let mut request = request("POST", "/api/v1/servers", Some("{}"));
        set(&mut request, "content-type", kind);
        assert_eq!(operator.send(request).await.status, 400, "{kind}");
    }
    let mut unsaid = request("POST", "/api/v1/servers", Some("{}"));
    unsaid.headers_mut().remove("content-type");
    assert_eq!(
        operator.send(unsaid).await.error(415).0,
        "unsupported_media_type"
    );
    let mut packed = request("POST", "/api/v1/servers", Some("{}"));
    set(&mut packed, "content-encoding", "gzip");
    assert_eq!(operator.send(packed).await.status, 415);
    let long = format!("{{\"name\":\"{}\"}}", "x".repeat(1 << 20));
    let answer = operator.ask("POST", "/api/v1/servers", Some(&long)).await;
    assert_eq!(answer.error(413).0, "request_too_large");
}

#[tokio::test]
async fn the_router_can_be_nested_and_served_under_a_public_url() {
    let operator = Operator::with(MemoryRegistry::default(), |admin| {
        admin.with_public_url("https://gateway.example/ops".parse().unwrap())
    });
    let outer = Router::new()
        .route("/open", axum::routing::get(async || "open"))
        .nest("/t/ops", operator.0);
    let operator = Operator(outer);
    let ask = |method, path, body| {
        let mut request = request(method, path, body);
        set(&mut request, "host", "gateway.example");
        set(&mut request, "origin", "https://gateway.example");
        request
    };
    let body = r#"{"name":"a","url":"https://mcp.example.com/mcp"}"#;
    let created = ask("POST", "/t/ops/api/v1/servers", Some(body));
    let created = operator.send(created).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let place = created.headers["location"].to_str().unwrap();
    assert_eq!(place, "/t/ops/api/v1/servers/a");
    assert_eq!(operator.send(ask("GET", place, None)).await.status, 200);
    assert_eq!(operator.send(request("GET", place, None)).await.status, 403);
    let mut closed = request("GET", "/t/ops/api/unknown", None);
    closed.headers_mut().remove("authorization");
    assert_eq!(operator.send(closed).await.status, 401);
    assert_eq!(
        operator.send(request("GET", "/open", None)).await.status,
        200
    );
}
