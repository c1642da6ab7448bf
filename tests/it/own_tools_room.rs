//! The room that conversations with tools of the caller's own take in memory.

use futures_util::future::join_all;
use mcp_layer::registry::MemoryExchanges;
use serde_json::json;

use crate::support::{
    framework::{Framework, echo, lookup, results, strict, turn},
    gateway::Gateway,
};

/// So many conversations at once, none of which goes on before all are at the same turn.
async fn at_once(conversations: usize, calls: usize) {
    let gateway = Gateway::new([]).await;
    let mut all = vec![Framework::new(false); conversations];
    let ours = (0..calls).map(|n| echo(&format!("waits {n}")));
    let mixed: Vec<_> = [lookup("x")].into_iter().chain(ours).collect();
    for (text, tools) in [("", &mixed[..]), ("", &mixed), ("done", &[])] {
        gateway
            .model
            .add((0..conversations).map(|_| turn(false, text, tools)));
        let told = join_all(all.iter().map(|framework| framework.ask(&gateway))).await;
        for (framework, (reply, message)) in all.iter_mut().zip(told) {
            let receipt = reply.receipt();
            assert_eq!(receipt.get("messages"), None, "none goes back whole");
            assert_eq!(receipt.get("history"), None, "none is lost");
            let calls = framework.add(&message);
            framework.answer(&calls);
        }
    }
    assert_eq!(gateway.server.calls(), conversations * 2 * calls);
    for asked in &strict(&gateway.model.asked())[2 * conversations..] {
        assert_eq!(results(asked).len(), 2 * (1 + calls));
    }
}

#[tokio::test]
async fn a_hundred_conversations_of_one_project_wait_in_memory_at_once() {
    at_once(100, 1).await;
}

#[tokio::test]
async fn ten_conversations_with_sixteen_calls_each_wait_in_memory_at_once() {
    at_once(10, 16).await;
}

#[tokio::test]
async fn a_result_larger_than_there_is_room_for_is_whole_once_and_then_a_note() {
    for stream in [false, true] {
        let big = |bytes| ("s__big", json!({"bytes": bytes}));
        let script = [
            turn(stream, "", &[lookup("x"), big(100 << 10), big(10)]),
            turn(stream, "", &[lookup("y")]),
            turn(stream, "done", &[]),
        ];
        // A project has an eighth of it: what two calls reserve, and some more.
        let exchanges = MemoryExchanges::with_bytes(8 * (80 << 10));
        let gateway = Gateway::new(script).await;
        let gateway = gateway.layered(|layer| layer.with_exchanges(exchanges));
        let mut framework = Framework::new(stream);
        framework.run(&gateway).await;
        assert_eq!(gateway.server.calls(), 2);
        let asked = strict(&gateway.model.asked());
        let [_, first, later] = &asked[..] else {
            panic!("{}", asked.len())
        };
        let (first, later) = (results(first), results(later));
        assert!(first[1].len() >= 100 << 10);
        assert!(
            later[1].contains("left out") && later[1].len() < 200,
            "{}",
            later[1]
        );
        assert_eq!(later[2], first[2]);
    }
}
