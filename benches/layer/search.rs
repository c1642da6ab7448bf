//! Requests that have five thousand tools, of which the model is offered three that find the others,
//! against one with twenty tools that it is offered each.
//!
//! The tools are in the cache, and the model answers at once: this is what a request pays before it
//! searches for anything.

use std::{fs, rc::Rc, time::Instant};

use mcp_layer::{
    Connections, McpLayer, ToolSearch,
    outbound::{EgressRules, Outbound},
    registry::{MemoryRegistry, Server},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower::Layer;

use crate::{
    pair::{Group, Pair},
    support::{McpServer, Model, completion, post, prose, says, send},
};

/// Servers, and tools of each.
const MANY: (usize, usize) = (50, 100);

pub fn group(runtime: &Rc<Runtime>) -> Group {
    let few = McpServer::start(20);
    let spread = McpServer::start(1);
    let many = McpServer::start(MANY.1);
    Group {
        name: "search",
        pairs: vec![
            pair(
                runtime,
                "5,000 tools of 50 servers, searched, against 20 of one",
                (&few, 1),
                &many,
            ),
            pair(
                runtime,
                "5,000 tools of 50 servers, searched, against 50 of 50",
                (&spread, 50),
                &many,
            ),
        ],
        check: Box::new(|| ()),
    }
}

/// A layer with so many servers at this address.
fn layer(server: &McpServer, servers: usize) -> McpLayer {
    let rules = EgressRules::parse(["127.0.0.0/8"]).unwrap();
    let connections = Connections::new(Outbound::new(rules));
    let records = (0..servers).map(|n| Server::new(&name(n), &server.url()).unwrap());
    let registry = MemoryRegistry::new(records).unwrap();
    McpLayer::new(registry)
        .with_connections(connections)
        .with_tool_search(ToolSearch::Auto)
}

fn name(number: usize) -> String {
    format!("server-{number:02}")
}

fn body(servers: usize) -> Value {
    let names: Vec<_> = (0..servers).map(name).collect();
    json!({
        "model": "m",
        "messages": [{"role": "user", "content": prose(1900)}],
        "mcp": {"enabled": true, "servers": names, "auto_execute_tools": true},
    })
}

fn pair(
    runtime: &Rc<Runtime>,
    name: &'static str,
    (few, servers): (&McpServer, usize),
    many: &McpServer,
) -> Pair {
    let sides = [(few, servers), (many, MANY.0)].map(|(server, servers)| {
        let model = Model::new([says("yes")]);
        let service = layer(server, servers).layer(model);
        let request = post("/v1/chat/completions", body(servers).to_string());
        runtime.block_on(async {
            for _ in 0..100 {
                send(service.clone(), request.clone()).await;
            }
        });
        (service, request)
    });
    let [floor, ours] = sides;
    let ask = |(service, request)| {
        move || {
            let (service, request): (_, _) = (Clone::clone(&service), Clone::clone(&request));
            async move { drop(send(service, request).await) }
        }
    };
    Pair::new(name, runtime, ask(floor), ask(ours))
}

/// Prints what the tools and their index take in memory, and how long the first search takes.
pub fn print_index(runtime: &Rc<Runtime>) {
    let many = McpServer::start(MANY.1);
    let arguments = json!({"query": "search the documentation"}).to_string();
    let function = json!({"name": "mcp_search_tools", "arguments": arguments});
    let call = json!({"id": "c", "type": "function", "function": function});
    let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    let searches = || completion("tool_calls", message.clone());
    let script = [says("yes")]
        .into_iter()
        .chain((0..20).flat_map(|_| [searches(), says("yes")]));
    let service = layer(&many, MANY.0).layer(Model::new(script));
    let request = post("/v1/chat/completions", body(MANY.0).to_string());
    let ask = || {
        let began = Instant::now();
        runtime.block_on(async { drop(send(service.clone(), request.clone()).await) });
        began.elapsed().as_secs_f64() * 1e3
    };
    let before = resident();
    let listed = ask();
    let tools = resident();
    let first = ask();
    let index = resident();
    let warm: Vec<_> = (0..19).map(|_| ask()).collect();
    let warm = warm.iter().sum::<f64>() / warm.len() as f64;
    println!(
        "5,000 tools of 50 servers: listed in {listed:.0} ms ({:.1} MiB), the first search in {first:.1} ms ({:.1} MiB of index), the next ones in {warm:.2} ms",
        tools - before,
        index - tools,
    );
}

/// The memory of the process, in MiB.
fn resident() -> f64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or_default() * 4096.0 / f64::from(1 << 20)
}
