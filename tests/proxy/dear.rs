//! What one caller, or one server, can make dear, and what everybody else notices of it: measured,
//! so it runs by name, with nothing else beside it.
//!
//! ```text
//! cargo test --release --test proxy dear -- --ignored --nocapture
//! ```

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    evil::{Evil, Step, json_reply},
    support::{Proxy, Upstream},
};

/// How long each input runs without pause.
const LASTS: Duration = Duration::from_secs(10);
/// How soon everybody else is answered, at the 99th percentile.
const SOON: Duration = Duration::from_millis(250);
/// What the tenth repetition may keep more than the first.
const KEPT_KIB: u64 = 64 << 10;

fn request(members: &str) -> Bytes {
    let mcp = r#""model":"m","mcp":{"enabled":true,"servers":["s"],"resume_tool_calls":true}"#;
    format!("{{{mcp},{members}}}").into()
}

/// A request to resume a turn that makes these calls.
fn forged(calls: &[Value]) -> Bytes {
    let turn = json!({"role": "assistant", "content": null, "tool_calls": calls});
    request(&format!(r#""messages":[{turn}]"#))
}

fn call(tool: &str, arguments: &Value) -> Value {
    json!({"id": "c", "type": "function", "function": {"name": tool, "arguments": arguments.to_string()}})
}

async fn server() -> Evil {
    let patterns: serde_json::Map<_, _> = (0..3050)
        .map(|i| (format!(r"\p{{L}}{{22}}{i}"), json!({})))
        .collect();
    let pattern = r"(\p{L}|\d){10}x(a|.){30}";
    let tools = json!({"tools": [
        {"name": "patterns", "inputSchema": {"type": "object", "patternProperties": patterns}},
        {"name": "pattern", "inputSchema": {"type": "object", "properties": {"a": {"pattern": pattern}}}},
        {"name": "echo", "inputSchema": {"type": "object"}},
    ]});
    let secrets = "token-".repeat(100_000);
    Evil::mcp(move |request| {
        let answer = match &*request.method() {
            "tools/list" => request.result(&tools),
            _ if request.body.contains("secrets") => request.text(&secrets),
            _ => request.text("done"),
        };
        vec![Step::Send(json_reply(&answer))]
    })
    .await
}

/// Resident memory, in KiB.
fn memory(proxy: &Proxy) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", proxy.id())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn send(proxy: &Proxy, body: &Bytes) -> u16 {
    let url = format!("{}/v1/chat/completions", proxy.url);
    let request = proxy.client.post(url).body(body.clone());
    let answer = request.header("content-type", "application/json").send();
    let answer = answer.await.unwrap();
    let status = answer.status().as_u16();
    let _ = answer.bytes().await;
    status
}

/// How long `/healthz` and a request of somebody else's take, each asked for over and over.
async fn bystanders(proxy: &Proxy, over: &AtomicBool) -> Vec<Duration> {
    let mut took = Vec::new();
    let other = Bytes::from(r#"{"model":"m","messages":[]}"#);
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let health = proxy.client.get(format!("{}/healthz", proxy.url)).send();
        assert!(health.await.unwrap().status().is_success());
        took.push(began.elapsed());
        let began = Instant::now();
        assert_eq!(send(proxy, &other).await, 200);
        took.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    took.sort();
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for a minute: runs by name"]
async fn whatever_is_made_dear_everybody_else_is_answered_and_memory_comes_back() {
    let (upstream, server) = (Upstream::start().await, server().await);
    let config = format!(
        "upstream = \"{}\"\nallow_egress = [\"127.0.0.0/8\"]\n[[servers]]\nname = \"s\"\nurl = \"{}\"\n",
        upstream.url,
        server.url()
    );
    let proxy = Arc::new(Proxy::operated(&config, &[]));
    let long = "é1".repeat(66_000);
    let empty = "{},".repeat(6_900_000);
    let inputs = [
        (
            "patterns by the thousand",
            forged(&[call("s__patterns", &json!({"a": 1}))]),
        ),
        (
            "a pattern, a long text",
            forged(&[call("s__pattern", &json!({"a": long}))]),
        ),
        (
            "a pattern, as long a text as it may",
            forged(&[call("s__pattern", &json!({"a": &long[..18_999]}))]),
        ),
        (
            "tools by the million",
            request(&format!(r#""messages":[],"tools":[{empty}{{}}]"#)),
        ),
        (
            "messages by the million",
            request(&format!(r#""messages":[{empty}{{}}]"#)),
        ),
        (
            "calls by the hundred thousand",
            forged(&vec![call("s__echo", &json!({})); 100_000]),
        ),
        (
            "what looks like secrets",
            forged(&vec![call("s__echo", &json!({"secrets": 1})); 32]),
        ),
    ];
    let mut dear = Vec::new();
    for (name, body) in &inputs {
        let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
        let attack = async || {
            let began = Instant::now();
            while began.elapsed() < LASTS {
                send(&proxy, body).await;
                // An operator looks at what happened.
                let (_, list) = proxy
                    .operate("GET", "/api/v1/traces?limit=1", Value::Null)
                    .await;
                if let Some(id) = list["traces"][0]["id"].as_str() {
                    proxy
                        .operate("GET", &format!("/api/v1/traces/{id}"), Value::Null)
                        .await;
                }
                sent.fetch_add(1, Ordering::Relaxed);
            }
            over.store(true, Ordering::Relaxed);
        };
        let (_, _, took) = tokio::join!(attack(), attack(), bystanders(&proxy, &over));
        let mut kept = Vec::new();
        for _ in 0..10 {
            send(&proxy, body).await;
            kept.push(memory(&proxy));
        }
        let late = took[took.len() * 99 / 100];
        let (first, last) = (kept[0], kept[9]);
        println!(
            "{name}: {} sent, {} others: median {:?}, 99 of 100 within {late:?}, slowest {:?}; {first} → {last} KiB",
            sent.load(Ordering::Relaxed),
            took.len(),
            took[took.len() / 2],
            took[took.len() - 1],
        );
        if late >= SOON || last >= first + KEPT_KIB {
            dear.push(name);
        }
    }
    assert!(dear.is_empty(), "{dear:?}");
}
