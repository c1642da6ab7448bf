//! What a proxy tells of itself: its log, its metrics, and traces for a collector.

use std::time::{Duration, Instant};

use axum::{Router, body::Bytes, routing::post};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};

use crate::support::{ADMIN_TOKEN, Proxy, Upstream, file, json, question, refused, until};

/// The lines of a JSON log that say this.
fn lines(proxy: &Proxy, message: &str) -> Vec<Value> {
    let logged = proxy.logged();
    let lines = logged.lines().map(|line| {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error} in {line}"))
    });
    lines.filter(|line| line["message"] == message).collect()
}

#[tokio::test]
async fn each_tool_call_is_one_line_of_json() {
    let proxy = Proxy::start(&["--log-format", "json"]);
    proxy.chat(&question("demo", "Add 1 and 2")).await;
    proxy.chat(&question("demo", "Roll a 0-sided die.")).await;
    let calls = lines(&proxy, "tool call");
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(calls.iter().all(|call| {
        call["server"] == "demo" && call["round"] == 1 && call["duration_ms"].is_u64()
    }));
    let (added, refused) = (&calls[0], &calls[1]);
    assert_eq!(added["tool"], "add");
    assert!(
        added["call_id"].as_str().unwrap().starts_with("call_"),
        "{added}"
    );
    assert_eq!(added["outcome"], "ok");
    assert!(added["result_bytes"].as_u64().unwrap() > 0);
    assert_eq!(refused["tool"], "roll_dice");
    assert_eq!(refused["outcome"], "error");
}

#[tokio::test]
async fn the_line_of_a_request_names_its_method_and_path_in_both_formats() {
    let proxy = Proxy::start(&["--log-format", "json"]);
    ask(&proxy, &[("x-request-id", "r-1")]).await;
    let line = lines(&proxy, "finished processing request");
    let within = json!([{
        "name": "request", "method": "GET", "path": "/v1/models", "id": "r-1", "client": "127.0.0.1",
    }]);
    assert_eq!(line[0]["spans"], within, "{line:?}");

    let proxy = Proxy::start(&["--log-format", "text"]);
    ask(&proxy, &[("x-request-id", "r-1")]).await;
    let line = r#"request{method=GET path="/v1/models" id=r-1 client=127.0.0.1}: tower_http::trace::on_response: finished"#;
    assert!(proxy.logged().contains(line), "{}", proxy.logged());
}

/// Asks for the models, with these headers.
async fn ask(proxy: &Proxy, headers: &[(&str, &str)]) -> reqwest::Response {
    let mut request = proxy.client.get(format!("{}/v1/models", proxy.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn the_id_of_a_request_is_in_the_log_in_the_answer_and_at_the_upstream() {
    let upstream = Upstream::start().await;
    let config = format!("upstream = \"{}\"\n", upstream.url);
    let proxy = Proxy::with(&config, &[]);
    for (given, is_taken) in [
        (None, false),
        (Some("r-1"), true),
        (Some("two words"), false),
        (Some("forged\" client=6.6.6.6"), false),
    ] {
        let headers: Vec<_> = given.map(|id| ("x-request-id", id)).into_iter().collect();
        let answer = ask(&proxy, &headers).await;
        let id = answer.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        assert_eq!(Some(&*id) == given, is_taken, "{given:?} became {id}");
        assert_eq!(json(answer).await["x-request-id"], *id, "the upstream's");
        until("it is logged", async || proxy.logged().contains(&id)).await;
    }
    // Answers of the proxy's own have one as well.
    let own = proxy.client.get(format!("{}/v1/mcp/servers", proxy.url));
    assert!(
        own.send()
            .await
            .unwrap()
            .headers()
            .contains_key("x-request-id")
    );
}

#[tokio::test]
async fn a_callers_address_is_told_by_those_who_are_trusted_alone() {
    let forwarded = [("x-forwarded-for", "6.6.6.6, 192.0.2.7")];
    for (trusted, client) in [("127.0.0.1", "192.0.2.7"), ("10.0.0.1", "127.0.0.1")] {
        let flags = ["--log-format", "json", "--trusted-proxy", trusted];
        let proxy = Proxy::start(&flags);
        ask(&proxy, &forwarded).await;
        let line = lines(&proxy, "finished processing request");
        assert_eq!(line[0]["spans"][0]["client"], client, "{line:?}");
    }
}

#[tokio::test]
async fn a_listener_of_its_own_has_the_metrics_for_whoever_reaches_it() {
    let upstream = Upstream::start().await;
    let mcp = crate::mcp_server::McpServer::start(crate::mcp_server::Mode::Newest).await;
    let config = format!(
        "upstream = \"{}\"\n{}[[servers]]\nname = \"a\"\nurl = \"{}\"\n",
        upstream.url,
        crate::LOCAL,
        mcp.url(),
    );
    let address = refused().to_string();
    let flags = ["--admin-listen", "off", "--metrics-listen", &address];
    let proxy = Proxy::over(&file(&config), &flags, &[]);
    let scrape = async || {
        let url = format!("http://{address}/metrics");
        let request = proxy.client.get(url).header("host", "prometheus.internal");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap()
    };
    let plain = serde_json::json!({"model": "m", "messages": []});
    let opted = serde_json::json!({
        "model": "m", "messages": [{"role": "user", "content": "hi"}],
        "mcp": {"enabled": true, "servers": ["a"]},
    });
    for body in [&plain, &plain, &opted] {
        assert_eq!(proxy.chat(body).await.0, 200);
    }
    proxy.get("/v1/mcp/servers").await;
    let text = scrape().await;
    for line in [
        r#"mcp_proxy_requests_total{kind="pass_through",status="200"} 2"#,
        r#"mcp_proxy_requests_total{kind="exchange",status="200"} 1"#,
        r#"mcp_proxy_requests_total{kind="own",status="200"} 1"#,
        r#"mcp_proxy_request_duration_seconds_count{kind="pass_through"} 2"#,
        r#"mcp_proxy_upstream_answers_total{status="200"} 3"#,
        concat!(
            "mcp_proxy_build_info{version=\"",
            env!("CARGO_PKG_VERSION_MAJOR")
        ),
        "mcp_layer_registry_up 1",
        r#"mcp_layer_exchanges_total{outcome="#,
    ] {
        assert!(
            text.lines().any(|l| l.starts_with(line)),
            "{line} in\n{text}"
        );
    }
    #[cfg(target_os = "linux")]
    for name in [
        "cpu_seconds_total",
        "resident_memory_bytes",
        "open_fds",
        "max_fds",
        "start_time_seconds",
    ] {
        let begins = format!("process_{name} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&*begins));
        let value: f64 = value
            .unwrap_or_else(|| panic!("{name} in\n{text}"))
            .parse()
            .unwrap();
        assert!(
            value >= 0.0 && (value > 0.0 || name == "cpu_seconds_total"),
            "{name}"
        );
    }
    // Nothing else is there.
    let other = proxy.client.get(format!("http://{address}/api/v1/servers"));
    assert_eq!(other.send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_scrape_of_the_operators_side_may_come_to_any_name() {
    let proxy = Proxy::operated("", &[]);
    for (host, origin, status) in [
        ("gateway.internal:9", None, 200),
        ("127.0.0.1", Some("https://evil.example"), 403),
    ] {
        let request = proxy.client.get(format!("{}/metrics", proxy.operators));
        let mut request = request.bearer_auth(ADMIN_TOKEN).header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        assert_eq!(request.send().await.unwrap().status(), status, "{host}");
    }
}

#[tokio::test]
async fn what_was_done_is_counted_for_whoever_has_the_token() {
    let mcp = crate::mcp_server::McpServer::start(crate::mcp_server::Mode::Newest).await;
    let config = format!(
        "{}[[servers]]\nname = \"a\"\nurl = \"{}\"\n",
        crate::LOCAL,
        mcp.url()
    );
    let proxy = Proxy::operated(&config, &[]);
    let scrape = async |token: &str| {
        let request = proxy.client.get(format!("{}/metrics", proxy.operators));
        request.bearer_auth(token).send().await.unwrap()
    };
    assert_eq!(scrape("another-token-of-length").await.status(), 401);
    let text = scrape(ADMIN_TOKEN).await.text().await.unwrap();
    for line in ["mcp_layer_registry_up 1", "mcp_layer_rounds_total 0"] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    // It is not on the side of the callers.
    let open = proxy.client.get(format!("{}/metrics", proxy.url)).send();
    assert_eq!(open.await.unwrap().status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_the_spans_also_those_of_the_last_moment() {
    let (sender, mut sent) = mpsc::unbounded_channel();
    let take = move |body: Bytes| async move { drop(sender.send(body)) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let collector = format!("http://{}/", listener.local_addr().unwrap());
    let app = Router::new().route("/v1/traces", post(take));
    tokio::spawn(async move { axum::serve(listener, app).await });

    let mut proxy = Proxy::start(&["--otlp", &collector]);
    proxy.chat(&question("demo", "Add 1 and 2")).await;
    let stopped = Instant::now();
    proxy.terminate();
    assert_eq!(proxy.wait(), 0);
    assert!(
        stopped.elapsed() < Duration::from_secs(4),
        "it waits for no batch"
    );
    // On a slow machine a batch may have gone out before.
    let mut body = sent.recv().await.unwrap().to_vec();
    while let Ok(more) = sent.try_recv() {
        body.extend_from_slice(&more);
    }
    // What is in it is for the interop suite to decode.
    let contains = |text: &str| body.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(contains("mcp-layer-proxy") && contains("http.request.method"));
    assert!(
        !contains("examples/proxy"),
        "no paths of the machine that built it"
    );
}

#[tokio::test]
async fn a_collector_that_is_down_costs_a_line_and_nothing_else() {
    let collector = format!("http://{}", refused());
    let mut proxy = Proxy::start(&["--otlp", &collector, "--log-format", "json"]);
    let body = json!({"model": "demo", "messages": [{"role": "user", "content": "hi"}]});
    for _ in 0..5 {
        assert_eq!(proxy.chat(&body).await.0, 200);
    }
    let message = "the collector accepts no traces; requests are not affected";
    until("it says so", async || !lines(&proxy, message).is_empty()).await;
    let stopped = Instant::now();
    proxy.terminate();
    assert_eq!(proxy.wait(), 0);
    assert!(stopped.elapsed() < Duration::from_secs(15));
    let said = lines(&proxy, message);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0]["reason"].as_str().unwrap().contains("refused"),
        "{said:?}"
    );
}
