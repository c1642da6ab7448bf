//! Streamed answers through a proxy of its own, over real connections, against one that only
//! copies bytes, and against the layer where it only passes on.
//!
//! One by one, as a model's chunks come, each is a read and a write of the proxy's. All at once
//! many are in one read, which leaves little but what the layer does with each of them.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use bytes::Bytes;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::runtime::Runtime;
use tower::Layer;

use mcp_layer::Streaming;

use crate::{
    pair::{Group, Pair},
    support::{McpServer, SERVER},
    wire::{CHUNKS, Pace, Peers, Times, listen, serve},
};

/// A way through a proxy.
#[derive(Clone)]
struct Way {
    peers: Peers,
    proxy: SocketAddr,
    body: Bytes,
}

/// The three ways: bytes are copied, the layer passes on, the layer runs the loop.
pub struct Ways {
    copies: Way,
    passes: Way,
    executes: Way,
}

impl Ways {
    pub fn open(runtime: &Runtime) -> Self {
        let peers = Peers::start();
        let server = McpServer::start(20);
        let layer = server.layer().with_streaming(Streaming::Execute);
        let (copying, copies) = listen();
        let (layered, passes) = listen();
        runtime.spawn(serve(copying, TowerToHyperService::new(peers.copying())));
        let service = layer.layer(peers.copying());
        runtime.spawn(serve(layered, TowerToHyperService::new(service)));
        let way = |proxy, mcp: Option<serde_json::Value>| {
            let messages = json!([{"role": "user", "content": "how does a layer work?"}]);
            let mut body = json!({"model": "m", "stream": true, "messages": messages});
            if let Some(mcp) = mcp {
                body["mcp"] = mcp;
            }
            Way {
                peers: peers.clone(),
                proxy,
                body: body.to_string().into(),
            }
        };
        let mcp = json!({"enabled": true, "servers": [SERVER], "auto_execute_tools": true});
        Self {
            copies: way(copies, None),
            passes: way(passes, None),
            executes: way(passes, Some(mcp)),
        }
    }
}

pub fn group(runtime: &Rc<Runtime>, ways: &Ways) -> Group {
    let Ways {
        copies,
        passes,
        executes,
    } = ways;
    let pairs = [
        ("200 chunks one by one, passed on", copies, passes),
        ("200 chunks one by one, executed", copies, executes),
        (
            "200 chunks one by one, executed, not passed on",
            passes,
            executes,
        ),
    ];
    let pairs = pairs.map(|(name, floor, ours)| (name, floor, ours, Pace::OneByOne));
    let at_once = [
        ("200 chunks all at once, passed on", copies, passes),
        ("200 chunks all at once, executed", copies, executes),
        (
            "200 chunks all at once, executed, not passed on",
            passes,
            executes,
        ),
    ];
    let at_once = at_once.map(|(name, floor, ours)| (name, floor, ours, Pace::AllAtOnce));
    let pair = |(name, floor, ours, pace): (_, &Way, &Way, _)| {
        Pair::new(name, runtime, floor.repeated(pace), ours.repeated(pace)).of(CHUNKS as u64)
    };
    Group {
        name: "streams",
        pairs: pairs.into_iter().chain(at_once).map(pair).collect(),
        check: Box::new(|| {}),
    }
}

impl Way {
    fn repeated(
        &self,
        pace: Pace,
    ) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = ()>>> + 'static {
        let way = self.clone();
        move || {
            let way = way.clone();
            Box::pin(async move { drop(way.times(pace).await) })
        }
    }

    async fn times(&self, pace: Pace) -> Times {
        self.peers.read(self.proxy, self.body.clone(), pace).await
    }
}

/// Prints what chunks take on their way, in the form of a README's table.
pub fn print_latency(runtime: &Runtime, ways: &Ways) {
    const STREAMS: usize = 500;
    let named = [
        ("copied", &ways.copies),
        ("passed on", &ways.passes),
        ("executed", &ways.executes),
    ];
    let mut all = named.map(|_| Times::default());
    for _ in 0..STREAMS {
        // In turns, so that whatever else the machine does hits all of them.
        for ((_, way), all) in named.iter().zip(&mut all) {
            let times = runtime.block_on(way.times(Pace::OneByOne));
            all.first.extend(times.first);
            all.others.extend(times.others);
        }
    }
    println!("| loopback, µs | first byte: median | 99 % | a chunk: median | 99 % |");
    println!("|---|--:|--:|--:|--:|");
    for ((name, _), times) in named.iter().zip(&mut all) {
        let [first, others] = [&mut times.first, &mut times.others].map(|times| percentiles(times));
        println!(
            "| {name} | {:.0} | {:.0} | {:.0} | {:.0} |",
            first.0, first.1, others.0, others.1
        );
    }
}

/// The median and the 99th percentile, in microseconds.
fn percentiles(times: &mut [Duration]) -> (f64, f64) {
    times.sort();
    let at = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e6;
    (at(50), at(99))
}
