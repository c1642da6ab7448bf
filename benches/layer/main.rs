//! What the layer costs, always beside a floor: the least that the same work costs without it.
//!
//! ```text
//! cargo bench --bench layer
//! ```
//!
//! | file | measures | against |
//! |---|---|---|
//! | `pass_through.rs` | requests that are not the layer's | the inner service alone |
//! | `injection.rs` | adding 20 and 128 tools to a request | the inner service alone |
//! | `rounds.rs` | the whole tool loop | a straight line of the same calls |
//! | `mcp_call.rs` | one call of a tool with the MCP client | a POST of the same JSON with reqwest |
//! | `credential.rs` | what a request's credential costs | a server that needs none |
//! | `scrub.rs` | looking for a credential in what a server says | reading the same JSON |
//! | `search.rs` | 5,000 tools that a model searches | 20 that it is offered |
//! | `streams.rs` | streamed answers, passed on and executed | a proxy that copies bytes |
//! | `kept.rs` | turns that go back in part, and histories that are made whole | the same with tools of the caller's alone; the whole history |
//! | `traces.rs` | the tool loop with a record of each exchange | the same without |
//!
//! criterion gives the wall time of both. The table at the end is made in the same run and is
//! what to quote: floor and layer in turns, so that whatever else the machine does hits both, in
//! processor time of the measuring thread. Everything that is measured runs on that thread, in
//! tokio's `current_thread` runtime; MCP servers run on another and are not counted. What waking
//! that other thread costs depends on the core that it sleeps on: `taskset -c 1 cargo bench --bench layer`,
//! with both on one core, gives steadier figures for rounds.
//!
//! Each file makes sure, before and after, that both sides do the same work.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    missing_debug_implementations,
    unreachable_pub,
    reason = "a bench that cannot go on fails, and a binary has no public interface"
)]

mod credential;
mod injection;
mod kept;
mod mcp_call;
mod pair;
mod pass_through;
mod rounds;
mod scrub;
mod search;
mod streams;
mod support;
#[path = "../tool.rs"]
mod tool;
mod traces;
mod wire;

use std::{rc::Rc, time::Duration};

use criterion::Criterion;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let runtime = Rc::new(runtime);
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500))
        .configure_from_args();

    let ways = streams::Ways::open(&runtime);
    let groups = [
        pass_through::group(&runtime),
        injection::group(&runtime),
        rounds::group(&runtime),
        kept::group(&runtime),
        mcp_call::group(&runtime),
        credential::group(&runtime),
        scrub::group(&runtime),
        streams::group(&runtime, &ways),
        search::group(&runtime),
        traces::group(&runtime),
    ];
    for group in &groups {
        group.bench(&mut criterion);
    }
    criterion.final_summary();
    // Absent under `cargo test`, which only sees whether everything runs.
    if std::env::args().any(|argument| argument == "--bench") {
        pair::print_table(&groups);
        streams::print_latency(&runtime, &ways);
        kept::print_bytes(&runtime);
        search::print_index(&runtime);
    }
    for group in &groups {
        group.check();
    }
}
