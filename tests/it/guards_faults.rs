//! Guards with faults, made up at random, against what may have run: 300 requests, or as many as
//! `MCP_LAYER_CASES` says.
//!
//! ```text
//! MCP_LAYER_CASES=10000 cargo test --all-features --test it guards_faults -- --nocapture
//! ```
//!
//! One to three guards allow, rewrite, deny, ask, fail, panic, hang, and rewrite to what does not fit,
//! each failing open or closed; callers approve what is asked for, or hang up. A server counts what
//! ran, by the token that each call carries.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use mcp_layer::{
    Connections, McpLayer,
    guard::{Fail, GuardRule, Guards},
    mcp::ServerLimits,
    registry::{MemoryRegistry, Server},
};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};

use crate::support::{
    counting::{Counting, Runs},
    dice::Dice,
    gateway::{auto, chat, connections},
    guards::{Does, Sentry},
    model::{Model, calls, says},
};

/// Requests at the same time.
const AT_ONCE: usize = 16;

fn cases() -> u64 {
    let cases = std::env::var("MCP_LAYER_CASES");
    cases.map_or(300, |cases| cases.parse().unwrap())
}

/// What all requests share.
struct Stage {
    tools: Counting,
    registry: MemoryRegistry,
    connections: Connections,
}

#[derive(Default)]
struct Tally {
    denied: AtomicUsize,
    ran: AtomicUsize,
    approved: AtomicUsize,
    hung_up: AtomicUsize,
}

/// What a guard does before a call: of the seed, the guard and the call alone, so that it does the same
/// when it is asked again.
fn does(case: u64, guard: u64, call: u64, token: &str) -> Does {
    let mut dice = Dice(case << 16 | guard << 8 | call);
    match dice.roll(12) {
        0 => Does::Rewrite(json!({"token": format!("{token}r")})),
        1 => Does::Rewrite(json!({"token": 5.5})),
        2 => Does::Deny("so it was thrown"),
        3 => Does::Ask,
        4 => Does::Fail,
        5 => Does::Panic,
        6 => Does::Hang,
        _ => Does::Allow,
    }
}

fn fail(case: u64, guard: u64) -> Fail {
    match Dice(case << 8 | guard | 1 << 60).roll(3) {
        0 => Fail::Open,
        _ => Fail::Closed,
    }
}

/// The token that a call runs with, and whether it asks; `None` if it must not run.
fn expected(case: u64, guards: u64, call: u64) -> Option<(String, bool)> {
    let (mut token, mut asks) = (format!("f{case}-{call}."), false);
    for guard in 0..guards {
        match does(case, guard, call, &token) {
            Does::Allow => {}
            Does::Rewrite(to) => token = to["token"].as_str()?.to_owned(),
            Does::Deny(_) => return None,
            Does::Ask => asks = true,
            Does::Fail | Does::Panic | Does::Hang => match fail(case, guard) {
                Fail::Open => {}
                Fail::Closed => return None,
            },
        }
    }
    Some((token, asks))
}

/// The number of the call that has this token.
fn number(token: &str) -> u64 {
    let (_, call) = token.split_once('-').unwrap();
    call.split_once('.').unwrap().0.parse().unwrap()
}

impl Stage {
    async fn run(&self, case: u64, tally: &Tally) {
        let mut dice = Dice(case);
        let (guards, turn) = (1 + dice.roll(3), 1 + dice.roll(4));
        let rules = (0..guards).map(|guard| {
            let sentry = Sentry::new(move |asked| match asked["stage"] == "before" {
                true => {
                    let token = asked["arguments"]["token"].as_str().unwrap();
                    does(case, guard, number(token), token)
                }
                false => Does::Allow,
            });
            GuardRule::new(format!("g{guard}"), sentry)
                .with_timeout(Duration::from_millis(20))
                .with_fail(fail(case, guard))
        });
        let tools: Vec<(&str, Value)> = (0..turn)
            .map(|call| {
                let tool = *dice.of(&["s__write", "s__look"]);
                (tool, json!({"token": format!("f{case}-{call}.")}))
            })
            .collect();
        let model = Model::new([calls(&tools), says("done")]);
        let layer = McpLayer::new(self.registry.clone())
            .with_connections(self.connections.clone())
            .with_guards(Guards::new(rules));
        let mut request = auto(json!({}));
        let send = async |request: &Value| -> Value {
            let answer = layer
                .layer(model.clone())
                .oneshot(chat(request.to_string()));
            let body = answer.await.unwrap().into_body();
            serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap()
        };
        let patience = match dice.roll(5) {
            0 => Duration::from_micros(500 * dice.roll(60)),
            _ => Duration::MAX,
        };
        let expected: Vec<_> = (0..turn).map(|call| expected(case, guards, call)).collect();
        let asks = expected.iter().flatten().any(|(_, asks)| *asks);
        let mut is_whole = false;
        let goes = async {
            let answer = send(&request).await;
            let stopped_by = if asks { "ask_first" } else { "final" };
            assert_eq!(answer["mcp"]["stopped_by"], stopped_by, "case {case}");
            if asks {
                let ran = self.tools.take(&format!("f{case}-"));
                assert_eq!(ran, Vec::new(), "case {case}: before it was approved");
                let messages = request["messages"].as_array_mut().unwrap();
                messages.push(answer["choices"][0]["message"].clone());
                request["mcp"]["resume_tool_calls"] = true.into();
                send(&request).await;
                tally.approved.fetch_add(1, Relaxed);
            }
            is_whole = true;
        };
        let _ = tokio::time::timeout(patience, goes).await;
        if !is_whole {
            tally.hung_up.fetch_add(1, Relaxed);
            // What still runs ends.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let ran = self.tools.take(&format!("f{case}-"));
        for (token, runs) in &ran {
            let allowed = expected[usize::try_from(number(token)).unwrap()].as_ref();
            let allowed = allowed.map(|(token, _)| token);
            assert_eq!(allowed, Some(token), "case {case}: {token} has run");
            assert_eq!(runs.begun, 1, "case {case}: {token}");
        }
        tally.ran.fetch_add(ran.len(), Relaxed);
        let denied = expected.iter().filter(|call| call.is_none()).count();
        tally.denied.fetch_add(denied, Relaxed);
        if is_whole {
            let all: Vec<Runs> = ran.iter().map(|(_, runs)| *runs).collect();
            assert_eq!(all.len(), expected.len() - denied, "case {case}: {ran:?}");
        }
    }
}

#[tokio::test]
async fn nothing_runs_that_a_guard_should_have_stopped() {
    let tools = Counting::start(|| {}).await;
    let server = Server::new("s", &tools.url()).unwrap();
    let stage = Stage {
        tools,
        registry: MemoryRegistry::new([server]).unwrap(),
        connections: connections(ServerLimits::default()),
    };
    // Nobody wants to read of all guards that panic.
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.to_string().contains("as a guard might") {
            told(panic);
        }
    }));
    let tally = Tally::default();
    let runs = stream::iter(0..cases()).map(|case| stage.run(case, &tally));
    runs.buffer_unordered(AT_ONCE).for_each(async |()| {}).await;
    println!(
        "{} requests, {} of them given up, {} approved: {} calls ran, {} were denied, 0 of these ran",
        cases(),
        tally.hung_up.load(Relaxed),
        tally.approved.load(Relaxed),
        tally.ran.load(Relaxed),
        tally.denied.load(Relaxed),
    );
}
