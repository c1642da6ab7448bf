//! The whole tool loop with a record of each exchange, against the same without.
//!
//! Records go to a `MemoryTraces` that is full, as that of a proxy is after an afternoon; arguments
//! and results are kept as they are by default.

use std::rc::Rc;

use mcp_layer::registry::MemoryTraces;
use serde_json::Value;
use tokio::runtime::Runtime;
use tower::Layer;

use crate::{
    pair::{Group, Pair},
    rounds::{PATH, request_body},
    support::{McpServer, Model, SERVER, TOOL, calls_tool, post, says, send},
};

/// More than are kept.
const BEFORE: usize = 1100;

pub fn group(runtime: &Rc<Runtime>) -> Group {
    let shapes = [
        ("one round of one call, recorded", 1, 1),
        ("three rounds of four calls, recorded", 3, 4),
    ];
    let servers = shapes.map(|_| McpServer::start(20));
    let pairs = shapes.iter().zip(&servers);
    Group {
        name: "traces",
        pairs: pairs
            .map(|((name, rounds, calls), server)| pair(runtime, name, (*rounds, *calls), server))
            .collect(),
        check: Box::new(move || servers.iter().for_each(McpServer::assert_listed_once)),
    }
}

fn pair(
    runtime: &Rc<Runtime>,
    name: &'static str,
    (rounds, calls): (usize, usize),
    server: &McpServer,
) -> Pair {
    let tool = format!("{SERVER}__{TOOL}");
    let turns = (0..rounds).map(|_| calls_tool(&tool, calls));
    let model = Model::new(turns.chain([says("That is how.")]));
    let request = post(PATH, request_body(1));
    let layer = server.layer();
    let unheard = layer.layer(model.clone());
    let traces = MemoryTraces::default();
    let heard = layer.add_trace_sink(traces.clone()).layer(model);
    runtime.block_on(async {
        for _ in 0..BEFORE {
            let answer = send(heard.clone(), request.clone()).await;
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            assert_eq!(answer["mcp"]["rounds"], rounds, "{answer}");
        }
        send(unheard.clone(), request.clone()).await;
        assert_recorded(&traces, rounds * calls).await;
    });
    let again = request.clone();
    Pair::new(
        name,
        runtime,
        move || {
            let (service, request) = (unheard.clone(), again.clone());
            async move { drop(send(service, request).await) }
        },
        move || {
            let (service, request) = (heard.clone(), request.clone());
            async move { drop(send(service, request).await) }
        },
    )
}

/// The page is full, and the latest record has all calls with their results.
async fn assert_recorded(traces: &MemoryTraces, calls: usize) {
    use mcp_layer::registry::{TraceFilter, TracePage, TraceStore};
    let (all, page) = (TraceFilter::default(), TracePage::default());
    let listed = traces.list("default", &all, &page).await.unwrap();
    assert!(listed.next.is_some());
    let latest = traces.get("default", listed.traces[0].id).await.unwrap();
    let latest = latest.unwrap();
    let spans = latest.spans();
    let results = spans
        .iter()
        .filter(|span| span.attributes.contains_key("gen_ai.tool.call.result"));
    assert_eq!(results.count(), calls);
}
