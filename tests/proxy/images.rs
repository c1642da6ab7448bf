//! What images of tool results cost in memory, measured at the running proxy.

use std::fs;

use serde_json::{Value, json};

use crate::{
    evil::{Evil, Step, json_reply, reply},
    support::Proxy,
};

const MIB: usize = 1 << 20;

/// A server whose tool `see` gives an image of so many bytes of Base64, as one event in pieces of
/// what a socket takes.
async fn server(bytes: usize) -> Evil {
    Evil::mcp(move |request| {
        if request.method() == "tools/list" {
            let tool = json!({"name": "see", "inputSchema": {"type": "object"}});
            return vec![Step::Send(json_reply(
                &request.result(&json!({"tools": [tool]})),
            ))];
        }
        let data = "iVBORw0KGgoA".to_owned() + &"A".repeat(bytes - 12);
        let image = json!({"type": "image", "data": data, "mimeType": "image/png"});
        let result = request.result(&json!({"content": [image]}));
        vec![Step::Send(reply(
            200,
            "content-type: text/event-stream\r\n",
            &format!("data: {result}\n\n"),
        ))]
    })
    .await
}

/// A model that calls this tool once.
async fn model() -> Evil {
    Evil::serve(|request| {
        let body = request.json();
        let messages = body["messages"].as_array().cloned().unwrap_or_default();
        let function =
            json!({"name": format!("{}__see", body["model"].as_str().unwrap()), "arguments": "{}"});
        let message = match messages.len() {
            1 => json!({"role": "assistant", "content": null,
                "tool_calls": [{"id": "c", "type": "function", "function": function}]}),
            4 => json!({"role": "assistant", "content": "seen"}),
            _ => json!({"role": "assistant", "content": "not seen"}),
        };
        let answer = json!({"choices": [{"index": 0, "message": message}]});
        vec![Step::Send(json_reply(&answer.to_string()))]
    })
    .await
}

/// A size in a process's status, in bytes.
fn status(id: u32, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap();
    let kib: usize = line
        .trim_start_matches(':')
        .trim_end_matches("kB")
        .trim()
        .parse()
        .unwrap();
    kib << 10
}

async fn see(proxy: &Proxy, server: &str) {
    let body: Value = json!({"model": server, "messages": [{"role": "user", "content": "look"}],
        "mcp": {"enabled": true, "servers": [server], "auto_execute_tools": true}});
    let (status, answer) = proxy.chat(&body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["choices"][0]["message"]["content"], "seen");
}

/// The most memory that a round with this much of an image takes at once, beyond one with hardly any.
async fn peak(bytes: usize) -> usize {
    let (small, large, model) = (server(64).await, server(bytes).await, model().await);
    let servers = [("small", &small), ("large", &large)].map(|(name, server)| {
        format!(
            "[[servers]]\nname = \"{name}\"\nurl = \"{}\"\n",
            server.url()
        )
    });
    let config = format!(
        "upstream = \"http://{}/v1\"\nallow_egress = [\"127.0.0.0/8\"]\n[[vision]]\nmodels = [\"*\"]\n{}",
        model.address,
        servers.concat()
    );
    // What is free goes back at once, not a little later.
    let proxy = Proxy::with(&config, &[("MIMALLOC_PURGE_DELAY", "0")]);
    for _ in 0..3 {
        see(&proxy, "small").await;
    }
    let before = status(proxy.id(), "VmRSS");
    fs::write(format!("/proc/{}/clear_refs", proxy.id()), "5").unwrap();
    see(&proxy, "large").await;
    status(proxy.id(), "VmHWM").saturating_sub(before)
}

/// At once there are two copies of the images, which `tests/memory` counts. The process has about four,
/// since its allocator keeps some of what one thread has freed before another asks for as much; and it
/// is a debug build.
#[tokio::test]
async fn a_round_with_four_mib_of_images_costs_a_bounded_number_of_copies() {
    let mut peaks = Vec::new();
    for _ in 0..3 {
        peaks.push(peak(4 * MIB - 64).await);
    }
    peaks.sort_unstable();
    let mib = peaks.iter().map(|peak| *peak as f64 / MIB as f64);
    println!("MiB at most, of three: {:?}", mib.collect::<Vec<_>>());
    assert!(peaks[1] <= 5 * 4 * MIB, "{peaks:?}");
}
