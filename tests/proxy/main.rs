//! `examples/proxy` as its operators and callers meet it: the built program, over real sockets.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that cannot go on fails, and a binary has no public interface"
)]

mod admin;
mod answers;
mod api_keys;
mod connections;
mod database;
mod dear;
mod deploy;
#[path = "../it/support/dice.rs"]
#[allow(dead_code, reason = "these tests need a part of it")]
mod dice;
#[path = "../it/support/directory.rs"]
#[allow(dead_code, reason = "these tests need a part of it")]
mod directory;
mod doors;
mod environment;
#[path = "../leaks/evidence.rs"]
#[allow(dead_code, reason = "these tests need a part of it")]
mod evidence;
#[path = "../it/support/evil.rs"]
#[allow(dead_code, reason = "these tests need a part of it")]
mod evil;
#[path = "../../examples/proxy/forwarded.rs"]
#[allow(dead_code, reason = "its tests are run here")]
mod forwarded;
mod guards;
mod http2;
mod images;
#[path = "../it/support/mcp_server.rs"]
#[allow(dead_code, reason = "these tests need a part of it")]
mod mcp_server;
mod mistakes;
mod models;
#[path = "../it/support/notebook.rs"]
#[allow(dead_code, reason = "these tests need a part of it")]
mod notebook;
mod observability;
mod operated_models;
mod operators;
#[path = "../../examples/proxy/plain.rs"]
#[allow(dead_code, reason = "its tests are run here")]
mod plain;
mod projects;
#[path = "../it/support/shelf.rs"]
#[allow(dead_code, reason = "these tests need a part of it")]
mod shelf;
mod subjects;
mod support;
mod upkeep;
mod upstream;
mod ways;

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use http::StatusCode;
use serde_json::{Value, json};

use self::support::{API_KEY, CALLERS_TOKEN, Proxy, UPSTREAM_KEY, Upstream, refused, run};

#[tokio::test]
async fn the_demos_curl_is_answered_with_the_tools_results_and_a_receipt() {
    let proxy = Proxy::start(&[]);
    let (_, rest) = proxy.printed.split_once("-d '").unwrap();
    let (body, _) = rest.split_once("}'").unwrap();
    let body = serde_json::from_str(&format!("{body}}}")).unwrap();
    assert!(
        proxy
            .printed
            .contains(&format!("curl -s {}/v1/chat/completions", proxy.url))
    );

    let (status, answer) = proxy.chat(&body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let content = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(
        content.contains("20-sided die shows") && content.contains("GMT"),
        "{content}"
    );
    assert_eq!(answer["mcp"]["rounds"], 1);
    assert_eq!(answer["mcp"]["calls"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_demo_understands_other_questions_too() {
    let proxy = Proxy::start(&[]);
    for (question, expected) in [
        ("What is 2 + 3?", "2 + 3 = 5."),
        ("Add 1, 2 and 3.5", "1 + 2 + 3.5 = 6.5."),
        (
            "How many words are in \"to be and not to be\"?",
            "The text has 6 words.",
        ),
        ("Roll a 0-sided die.", "less than the minimum"),
        (
            "What is the capital of France?",
            "You said: What is the capital of France?",
        ),
    ] {
        let (_, answer) = proxy.chat(&with_demo(question)).await;
        let content = answer["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(content.contains(expected), "{question}: {content}");
    }
}

#[tokio::test]
async fn the_demo_streams_its_tool_calls() {
    let proxy = Proxy::start(&[]);
    let mut body = with_demo("Roll a die");
    body["stream"] = true.into();
    let streamed = proxy
        .post(&body)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(streamed.contains("demo__roll_dice"), "{streamed}");
    assert!(streamed.ends_with("data: [DONE]\n\n"), "{streamed}");
}

#[tokio::test]
async fn the_demo_streams_the_whole_loop_where_the_operator_wants_it() {
    let proxy = Proxy::start(&["--streaming", "execute"]);
    let mut body = with_demo("Add 1 and 2");
    body["stream"] = true.into();
    let streamed = proxy.post(&body).send().await.unwrap();
    assert_eq!(streamed.headers()["x-accel-buffering"], "no");
    let streamed = streamed.text().await.unwrap();
    assert!(!streamed.contains("tool_calls\":[{"), "{streamed}");
    assert!(streamed.contains("\"rounds\":1"), "{streamed}");
    let texts: String = streamed
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
        .filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned()))
        .collect();
    assert_eq!(texts, "1 + 2 = 3.");
    assert!(streamed.ends_with("data: [DONE]\n\n"), "{streamed}");
}

#[test]
fn the_check_lists_the_tools_of_each_server() {
    let (code, out, _) = run(&["--check"]);
    assert_eq!(code, 0);
    assert!(
        out.contains("demo__roll_dice") && out.contains("1 server, 4 tools"),
        "{out}"
    );
    assert!(out.contains("exchanges are kept in memory"), "{out}");
}

#[test]
fn the_check_fails_where_a_server_cannot_be_used() {
    let config = format!(
        "{LOCAL}[[servers]]\nname = \"gone\"\nurl = \"http://{}/mcp\"\n",
        refused()
    );
    let (code, out, err) = Proxy::run(&config, &["--check"]);
    assert_eq!((code, &*err), (2, ""));
    assert!(
        out.contains("gone") && out.contains("inactive: it is unreachable"),
        "{out}"
    );
    assert!(out.contains("; nothing listens at 127.0.0.1:"), "{out}");
}

#[test]
fn a_broken_configuration_is_one_clear_line_and_exit_code_2() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("listen = \"{}\"", taken.local_addr().unwrap());
    for (config, expected) in [
        ("\n\nlisen = \"x\"", "line 3, column 1: unknown key `lisen`"),
        ("upstream = ", "line 1"),
        ("listen = \"nowhere\"", "line 1, column 10"),
        (&*taken, "in use"),
        ("upstream = \"ftp://x\"", "upstream: "),
        ("upstream_key_env = \"sk-not-a-name\"", "upstream_key_env: "),
        (
            "upstream_key_env = \"PROXY_TEST_NOT_SET\"",
            "PROXY_TEST_NOT_SET is not set",
        ),
        ("api_keys = [\"sk-secret\"]", "api_keys"),
        ("[[api_keys]]\nproject = \"web\"", "key_env or key_sha256"),
        (
            "[[api_keys]]\nproject = \"web\"\nkey_sha256 = \"abc\"",
            "64 hexadecimal",
        ),
        ("listen = \"0.0.0.0:0\"", "allow_anonymous"),
        (
            "allow_origins = [\"https://app.example.com/\"]",
            "not an origin",
        ),
        ("allow_origins = [\"*\"]", "not an origin"),
        ("allow_egress = [\"10.0.0.0/33\"]", "allow_egress: "),
        (
            "trusted_proxies = [\"10.0.0.0/33\"]",
            "trusted_proxies[0]: ",
        ),
        (
            "[limits]\ncaller_body_bytes = 1000000",
            "limits.caller_body_bytes: ",
        ),
        (
            "[limits]\nbody_bytes = 60000000\nall_body_bytes = 60000000",
            "limits.all_body_bytes: ",
        ),
        ("ca_file = \"/nowhere.pem\"", "ca_file: "),
        ("ca_file = \"/dev/null\"", "ca_file: "),
        ("[limits]\ndeadline = 30", "over 30 seconds"),
        ("[limits]\nmax_tool_rounds = 6", "max_tool_rounds_cap"),
        (
            "[limits]\ncalls = 0",
            "line 2, column 9: must be at least 1",
        ),
        ("[limits]\ncall = \"60s\"", "expected a whole number"),
        ("[limits]\ncal = 1", "unknown key `cal`"),
        ("[limits]\ncall = 90\ncall_max = 60", "limits.call: "),
        (
            "[[servers]]\nname = \"n\"\nurl = \"https://x/mcp\"\ncall = 0",
            "from 1 to 86400",
        ),
        (
            "[[prices]]\nmodel = \"m\"\ninput = -1.0\noutput = 1.0",
            "prices: ",
        ),
        ("[[vision]]\nmodels = []", "vision: number 1 has no models"),
        ("[[vision]]\nmodel = \"m\"", "unknown key `model`"),
        (
            "[[servers]]\nname = \"no__slug\"\nurl = \"https://x/mcp\"",
            "no__slug",
        ),
        ("streaming = \"always\"", "return-tool-calls"),
        ("own_tools = \"mine\"", "split"),
        ("on_max_rounds = \"go on\"", "answer"),
        ("tool_search = \"on\"", "\"off\", \"auto\", or a number"),
        ("tool_search = -1", "\"off\", \"auto\", or a number"),
        ("tool_search = true", "\"off\", \"auto\", or a number"),
        ("native_tool_search = \"gemini\"", "openai"),
        ("header_opt_in = \"on\"", "boolean"),
        (
            "subject_token_header = \"authorization\"",
            "subject_token_header must be the name of a header",
        ),
        ("event_payloads = \"all\"", "expected a boolean"),
        ("schema_dialect = \"claude\"", "gemini"),
        ("description_limit = 10", "description_limit must be"),
        (
            "schema_dialect = \"gemini\"\n[[servers]]\nname = \"1a\"\nurl = \"https://x/mcp\"",
            "servers \"1a\": the name begins with a digit",
        ),
    ] {
        for flags in [&["--check"][..], &[]] {
            if expected == "in use" && !flags.is_empty() {
                continue; // The check does not listen.
            }
            let (code, _, err) = Proxy::run(config, flags);
            assert_eq!((code, err.lines().count()), (2, 1), "{config}: {err}");
            assert!(
                err.starts_with("error: ") && err.contains(expected),
                "{config}: {err}"
            );
            assert!(!err.contains("sk-"), "{err}");
        }
    }
}

#[tokio::test]
async fn a_callers_key_says_whose_request_it_is_and_goes_no_further() {
    let upstream = Upstream::start().await;
    let config = format!(
        "upstream = \"{}/v1\"\nupstream_key_env = \"PROVIDER\"\n{KEYS}{SERVERS}",
        upstream.url
    );
    let proxy = Proxy::with(&config, &[("PROVIDER", UPSTREAM_KEY), ("WEB", API_KEY)]);
    let body = json!({"model": "echo", "messages": []});

    let answer = proxy
        .post(&body)
        .bearer_auth(API_KEY)
        .header("x-mcp-auth-both", format!("Bearer {CALLERS_TOKEN}"))
        .send()
        .await
        .unwrap();
    let seen: Value = support::json(answer).await;
    assert_eq!(seen["authorization"], "Bearer UPSTREAM_KEY");

    for wrong in ["", &*format!("{API_KEY}2"), UPSTREAM_KEY] {
        let answer = proxy.post(&body).bearer_auth(wrong).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        let answer: Value = support::json(answer).await;
        assert_eq!(answer["error"]["code"], "invalid_api_key");
    }
    let without = proxy.post(&body).send().await.unwrap();
    assert_eq!(without.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(
        proxy.get("/v1/mcp/servers").await.0,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(proxy.get("/healthz").await.0, StatusCode::OK);

    for (key, names) in [
        (API_KEY, json!(["both", "web-only"])),
        ("batch-key", json!(["both"])),
    ] {
        let request = proxy.client.get(format!("{}/v1/mcp/servers", proxy.url));
        let listed = request.bearer_auth(key).send().await.unwrap();
        let listed = support::json(listed).await;
        let servers = listed["servers"].as_array().unwrap();
        let listed: Vec<_> = servers.iter().map(|server| &server["name"]).collect();
        assert_eq!(json!(listed), names);
    }
}

#[tokio::test]
async fn the_leak_scan_sees_what_a_proxy_logs() {
    let proxy = Proxy::start(&[]);
    // The path of a request is in the log, and so is what is planted there.
    let path = evidence::planted("proxy");
    let request = proxy.client.get(format!("{}/v1/{path}", proxy.url));
    assert!(request.send().await.is_ok());
}

#[tokio::test]
async fn the_list_of_servers_has_what_a_caller_can_name_and_no_more() {
    let proxy = Proxy::start(&[]);
    let (status, listed) = proxy.get("/v1/mcp/servers").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        listed,
        json!({"models": [], "defaults": [], "servers": [{
            "name": "demo",
            "server_label": "demo",
            "display_name": "Demo",
            "description": "Dice, the time, sums and word counts",
            "status": "active",
            "tools": ["demo__add", "demo__current_time", "demo__roll_dice", "demo__word_count"],
        }]})
    );
}

#[tokio::test]
async fn a_server_that_is_down_is_listed_as_inactive() {
    let url = format!("http://{}/mcp", refused());
    let proxy = Proxy::with(
        &format!("{LOCAL}[[servers]]\nname = \"gone\"\nurl = \"{url}\"\n"),
        &[],
    );
    let (_, listed) = proxy.get("/v1/mcp/servers").await;
    assert_eq!(listed["servers"][0]["status"], "inactive");
    assert_eq!(listed["servers"][0]["tools"], json!([]));
    assert!(!listed.to_string().contains("127.0.0.1"));
}

#[tokio::test]
async fn only_pages_of_allowed_origins_may_use_the_proxy() {
    let proxy = Proxy::start(&["--allow-origin", "https://app.example.com"]);
    let body = json!({"model": "m", "messages": []});
    let send = |origin: &'static str| proxy.post(&body).header("origin", origin).send();
    for foreign in [
        "https://evil.example.com",
        "null",
        "https://app.example.com.evil.com",
        "",
    ] {
        let answer = send(foreign).await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{foreign}");
        let answer: Value = support::json(answer).await;
        assert_eq!(answer["error"]["code"], "origin_not_allowed");
    }
    let twice = proxy
        .post(&body)
        .header("origin", "https://app.example.com")
        .header("origin", "https://app.example.com");
    assert_eq!(twice.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    let simple = proxy.client.get(format!("{}/v1/models", proxy.url));
    let simple = simple
        .header("sec-fetch-site", "cross-site")
        .send()
        .await
        .unwrap();
    assert_eq!(simple.status(), StatusCode::FORBIDDEN);

    let allowed = send("https://app.example.com").await.unwrap();
    assert_eq!(allowed.status(), StatusCode::OK);
    let header =
        |answer: &reqwest::Response, name| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(
        header(&allowed, "access-control-allow-origin"),
        "https://app.example.com"
    );

    let url = format!("{}/v1/chat/completions", proxy.url);
    let preflight = proxy
        .client
        .request(http::Method::OPTIONS, url)
        .header("origin", "https://app.example.com")
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type",
        );
    let preflight = preflight.send().await.unwrap();
    assert!(preflight.status().is_success());
    assert_eq!(
        header(&preflight, "access-control-allow-headers"),
        "authorization,content-type"
    );
}

#[tokio::test]
async fn a_name_that_only_leads_to_the_loopback_address_is_refused() {
    let proxy = Proxy::start(&[]);
    let models = || proxy.client.get(format!("{}/v1/models", proxy.url));
    let rebound = models()
        .header("host", "evil.example.com:8787")
        .send()
        .await
        .unwrap();
    assert_eq!(rebound.status(), StatusCode::FORBIDDEN);
    let local = models()
        .header("host", "localhost:8787")
        .send()
        .await
        .unwrap();
    assert_eq!(local.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_form_is_no_chat_completion() {
    let proxy = Proxy::start(&[]);
    let body = with_demo("Roll a die").to_string();
    for (kind, slash) in [
        ("text/plain", ""),
        ("application/x-www-form-urlencoded", ""),
        ("application/jsonp", ""),
        ("text/plain", "/"),
    ] {
        let request = proxy
            .client
            .post(format!("{}/v1/chat/completions{slash}", proxy.url));
        let request = request.header("content-type", kind).body(body.clone());
        let answer = request.send().await.unwrap();
        assert_eq!(
            answer.status(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "{kind}"
        );
        let answer: Value = support::json(answer).await;
        assert_eq!(answer["error"]["type"], "invalid_request_error");
    }
    let request = proxy
        .client
        .post(format!("{}/v1/chat/completions", proxy.url));
    let request = request
        .header("content-type", "Application/JSON; charset=utf-8")
        .body(body);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn what_is_not_ours_reaches_the_upstream_as_it_came() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::with(&format!("upstream = \"{}/v1/\"\n", upstream.url), &[]);
    let body = r#" {"model" : "echo", "x": 1.0e+2, "messages": []}"#;
    let request = proxy
        .client
        .put(format!("{}/v1/any/path%20?a=b&c", proxy.url))
        .header("authorization", "Bearer callers-own")
        .header("cookie", "session=of-another-page")
        .header("connection", "x-hop, close")
        .header("x-hop", "1")
        .header("x-team", "blue")
        .body(body);
    let seen: Value = support::json(request.send().await.unwrap()).await;
    assert_eq!(seen["method"], "PUT");
    assert_eq!(seen["uri"], "/v1/any/path%20?a=b&c");
    assert_eq!(seen["body"], body);
    assert_eq!(seen["authorization"], "Bearer callers-own");
    assert_eq!(seen["content-length"], body.len().to_string());
    assert_eq!(seen["x-team"], "blue");
    assert_eq!(seen["host"], upstream.url.strip_prefix("http://").unwrap());
    for gone in ["cookie", "x-hop", "transfer-encoding"] {
        assert_eq!(seen[gone], Value::Null, "{gone}");
    }

    let large = vec![b'x'; 5 << 20];
    let length = large.len().to_string();
    let request = proxy
        .client
        .put(format!("{}/v1/files", proxy.url))
        .body(large);
    let seen: Value = support::json(request.send().await.unwrap()).await;
    assert_eq!(seen["content-length"], length);
}

#[test]
fn a_path_cannot_climb_out_of_the_upstreams_base() {
    let proxy = Proxy::start(&[]);
    for path in [
        "/v1/../models",
        "/v1/%2e%2e/models",
        "/v1/..\\models",
        "/v1",
        "/v1/",
        "/v12",
    ] {
        let answer = proxy.raw(&format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        ));
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
        assert!(answer.contains("\"error\""), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_stream_is_passed_on_piece_by_piece() {
    let upstream = Upstream::start().await;
    let proxy = Proxy::with(&format!("upstream = \"{}/v1\"\n", upstream.url), &[]);
    let body = json!({"model": "stream", "stream": true, "messages": []});
    let mut answer = proxy.post(&body).send().await.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "data: one\n\n");
    // Only now does the upstream go on: a proxy that waits for more would wait forever.
    upstream.go_on();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "data: [DONE]\n\n");
    assert_eq!(answer.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn an_upstream_that_is_down_or_silent_is_told_without_its_address() {
    let address = refused();
    let proxy = Proxy::with(&format!("upstream = \"http://{address}/v1\"\n"), &[]);
    let (status, answer) = proxy.chat(&json!({"messages": []})).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert_eq!(answer["error"]["code"], "upstream_error");
    assert!(!answer.to_string().contains("127.0.0.1"), "{answer}");

    let upstream = Upstream::start().await;
    let config = format!(
        "upstream = \"{}/v1\"\n[limits]\nupstream_timeout = 1\n",
        upstream.url
    );
    let proxy = Proxy::with(&config, &[]);
    let (status, answer) = proxy.chat(&json!({"model": "wait", "messages": []})).await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(answer["error"]["code"], "upstream_timeout");
}

#[test]
fn a_caller_that_is_slow_with_its_request_is_let_go() {
    let proxy = Proxy::with("[limits]\nheader_read = 1\nidle = 1\n", &[]);
    for begun in [
        "",
        "GET /healthz HTTP/1.1\r\nhost: lo",
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{",
    ] {
        let started = Instant::now();
        let answer = proxy.raw(begun);
        assert!(started.elapsed() < Duration::from_secs(8), "{begun}");
        assert!(!answer.contains("200 OK"), "{begun}: {answer}");
        let waits_for_body = begun.starts_with("POST");
        assert_eq!(
            waits_for_body,
            answer.starts_with("HTTP/1.1 408"),
            "{begun}: {answer}"
        );
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_stop_lets_the_running_request_end_and_takes_no_new_one() {
    let upstream = Upstream::start().await;
    let mut proxy = Proxy::with(&format!("upstream = \"{}/v1\"\n", upstream.url), &[]);
    let body = json!({"model": "wait", "messages": []});
    let running = tokio::spawn(proxy.post(&body).send());
    upstream.asked().await;
    proxy.terminate();
    proxy.until_draining().await;
    let (status, answer) = proxy.chat(&body).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
    assert!(!running.is_finished());

    upstream.go_on();
    let answer = running.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(proxy.wait(), 0);
}

#[cfg(unix)]
#[tokio::test]
async fn a_stop_ends_after_the_grace_period_whatever_still_runs() {
    let upstream = Upstream::start().await;
    let config = format!("upstream = \"{}/v1\"\n[limits]\ngrace = 1\n", upstream.url);
    let mut proxy = Proxy::with(&config, &[]);
    let running = tokio::spawn(proxy.post(&json!({"model": "wait", "messages": []})).send());
    upstream.asked().await;
    // A caller that holds its connection open without a request is not waited for either.
    let mut idle = TcpStream::connect(proxy.address()).unwrap();
    idle.write_all(b"GET /healthz").unwrap();
    proxy.terminate();
    assert_eq!(proxy.wait(), 0);
    assert!(running.await.unwrap().is_err());
    assert!(idle.read(&mut [0]).unwrap_or(0) == 0);
}

#[tokio::test]
async fn two_keys_of_one_project_are_two_callers() {
    let notebook = notebook::Notebook::start(1).await;
    let config = format!(
        "{LOCAL}{KEYS}\n[[servers]]\nname = \"n\"\nurl = \"{}\"\nshare_session = \"caller\"\n",
        notebook.url(),
    );
    // Both of one project.
    let config = config.replace("\"batch\"", "\"web\"");
    let proxy = Proxy::with(&config, &[("WEB", API_KEY)]);
    let ask = async |key: &str, question: &str| -> String {
        let body = support::question("n", question);
        let answer = proxy.post(&body).bearer_auth(key).send().await.unwrap();
        let answer: Value = support::json(answer).await;
        answer["choices"][0]["message"]["content"].to_string()
    };
    ask(API_KEY, "Remember \"the first note\".").await;
    ask("batch-key", "Remember \"the second note\".").await;
    for (key, own, other) in [
        (API_KEY, "first", "second"),
        ("batch-key", "second", "first"),
    ] {
        let told = ask(key, "Recall it.").await;
        assert!(told.contains(own) && !told.contains(other), "{key}: {told}");
    }
}

const LOCAL: &str = "allow_egress = [\"127.0.0.0/8\"]\n";

/// `batch-key` by its digest, [`API_KEY`] in the environment.
const KEYS: &str = r#"
[[api_keys]]
key_env = "WEB"
project = "web"

[[api_keys]]
key_sha256 = "9d8db2a67d146638c07fbb5652ad998062e2e2fa857eef026c40c444b07e3872"
project = "batch"
"#;

const SERVERS: &str = r#"
[[servers]]
name = "both"
url = "http://127.0.0.1:1/mcp"

[[servers]]
name = "web-only"
url = "http://127.0.0.1:1/mcp"
projects = ["web"]
"#;

fn with_demo(question: &str) -> Value {
    support::question("demo", question)
}
