//! The room that conversations with tools of the caller's own take in memory.

use futures_util::future::join_all;
use mcp_layer::registry::MemoryExchanges;
use serde_json::{Value, json};

use crate::support::{
    framework::{Framework, results, strict, turn},
    gateway::Gateway,
    model::Answer,
};

fn echo(text: &str) -> (&'static str, Value) {
    ("s__echo", json!({"text": text}))
}

fn lookup(what: &str) -> (&'static str, Value) {
    ("lookup", json!({"what": what}))
}

/// So many conversations at once, each of which is at its own mixed turn before any goes on.
async fn at_once(conversations: usize, calls: usize) {
    let mixed = || {
        let ours = (0..calls).map(|n| echo(&format!("waits {n}")));
        turn(false, "", &[lookup("x")].into_iter().chain(ours).collect::<Vec<_>>())
    };
    let repeated = |answer: &dyn Fn() -> Answer| (0..conversations).map(|_| answer()).collect();
    let script: [Vec<Answer>; 3] = [
        repeated(&|| turn(false, "", &[echo("before")])),
        repeated(&mixed),
        repeated(&|| turn(false, "done", &[])),
    ];
    let gateway = Gateway::new([]).await;
    let [before, mixed, done] = script;
    let run = async |script: Vec<Answer>, all: &mut Vec<Framework>| {
        gateway.model.add(script);
        let asked = all.iter().map(|framework| framework.ask(&gateway));
        let told = join_all(asked).await;
        for (framework, (reply, message)) in all.iter_mut().zip(told) {
            assert_eq!(reply.receipt().get("messages"), None, "none goes back whole");
            assert_eq!(reply.receipt().get("history"), None, "none is lost");
            let calls = framework.add(&message);
            framework.answer(&calls);
        }
    };
    let mut all = vec![Framework::new(false); conversations];
    run(before.into_iter().chain(mixed).collect(), &mut all).await;
    assert_eq!(gateway.server.calls(), conversations);
    run(done, &mut all).await;
    assert_eq!(gateway.server.calls(), conversations * (1 + calls));
    strict(&gateway.model.asked());
}

#[tokio::test]
async fn a_hundred_conversations_of_one_project_wait_in_memory_at_once() {
    at_once(100, 1).await;
}

#[tokio::test]
async fn so_do_ten_with_sixteen_calls_each() {
    at_once(10, 16).await;
}

#[tokio::test]
async fn a_result_larger_than_there_is_room_for_is_whole_once_and_then_a_note() {
    for stream in [false, true] {
        let large = "x".repeat(100 << 10);
        let script = [
            turn(stream, "", &[lookup("x"), echo(&large), echo("small")]),
            turn(stream, "", &[lookup("y")]),
            turn(stream, "done", &[]),
        ];
        // A project has an eighth of it.
        let exchanges = MemoryExchanges::with_bytes(8 * (180 << 10));
        let gateway = Gateway::new(script).await;
        let gateway = gateway.layered(|layer| layer.with_exchanges(exchanges));
        let mut framework = Framework::new(stream);
        framework.run(&gateway).await;
        assert_eq!(gateway.server.calls(), 2);
        let asked = strict(&gateway.model.asked());
        let [_, first, later] = &asked[..] else {
            panic!("{}", asked.len())
        };
        assert_eq!(results(first)[1], large);
        let told = results(later);
        assert!(told[1].contains("left out") && told[1].len() < 200, "{}", told[1]);
        assert_eq!(told[2], "small");
    }
}
