//! The open calls of a turn that went back in part: each runs once, whoever sends its answers, how
//! often, and whoever hangs up.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use mcp_layer::{
    McpLayer,
    mcp::ServerLimits,
    registry::{MemoryRegistry, Server},
};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    repeats::acting,
    support::{
        failing_exchanges::Mortal,
        framework::{Framework, results, strict, turn},
        gateway::{Gateway, connections},
        model::Answer,
        until,
    },
};

/// A conversation in which a call of ours waits for the caller's answer, which is there.
async fn answered(gateway: &Gateway) -> Framework {
    let mut framework = Framework::new(false);
    let calls = framework.turn(gateway).await;
    framework.answer(&calls);
    framework
}

fn mixed(ms: u64) -> Answer {
    let slow = ("s__slow", json!({"ms": ms}));
    turn(false, "", &[("lookup", json!({})), slow])
}

#[tokio::test]
async fn a_call_that_outlives_its_caller_is_found_by_a_fork_of_the_conversation() {
    let script = [mixed(1000), turn(false, "done", &[])];
    let gateway = Gateway::new(script).await;
    let mut framework = answered(&gateway).await;
    tokio::select! {
        _ = framework.ask(&gateway) => panic!("an answer"),
        () = until("the tool runs", || gateway.server.calls() == 1) => {}
    }
    framework.user("and now?");
    let (_, message) = framework.ask(&gateway).await;
    assert_eq!(message["content"], "done");
    assert_eq!((gateway.server.calls(), gateway.server.cancelled()), (1, 0));
    let asked = strict(&gateway.model.asked());
    assert_eq!(results(&asked[1]), ["lookup says {}", "done"]);
}

#[tokio::test]
async fn forks_at_the_same_time_run_a_call_once() {
    let script = [
        mixed(300),
        turn(false, "done", &[]),
        turn(false, "done", &[]),
    ];
    let gateway = Gateway::new(script).await;
    let framework = answered(&gateway).await;
    let mut fork = framework.clone();
    fork.user("and now?");
    let (first, second) = tokio::join!(framework.ask(&gateway), fork.ask(&gateway));
    for (_, message) in [first, second] {
        assert_eq!(message["content"], "done");
    }
    assert_eq!(gateway.server.calls(), 1);
    for asked in &strict(&gateway.model.asked())[1..] {
        assert_eq!(results(asked), ["lookup says {}", "done"]);
    }
}

#[tokio::test]
async fn a_model_is_told_of_a_call_whose_gateway_died_while_it_ran() {
    for (is_read_only, told, calls) in [(false, "Nobody knows", 1), (true, "acted", 2)] {
        let server = acting(is_read_only).await;
        let record = Server::new("s", &server.url()).unwrap();
        let registry = MemoryRegistry::new([record]).unwrap();
        let mortal = Mortal::default();
        let layer = |layer: McpLayer| layer.with_connections(connections(ServerLimits::default()));
        let dying = McpLayer::new(registry.clone()).with_exchanges(mortal.clone());
        let alive = McpLayer::new(registry.clone()).with_exchanges(mortal.store.clone());
        let act = ("s__act", json!({}));
        let script = [
            turn(false, "", &[("lookup", json!({})), act]),
            turn(false, "done", &[]),
        ];
        let mut gateway = Gateway::new(script).await;
        gateway.layer = layer(dying);
        let framework = answered(&gateway).await;
        {
            let first = framework.ask(&gateway);
            tokio::select! {
                _ = first => panic!("it hangs"),
                () = until("it acts", || server.count("tools/call") == 1) => {}
            }
            mortal.is_dead.store(true, SeqCst);
        }
        tokio::time::pause();
        sleep(Duration::from_secs(6)).await;
        tokio::time::resume();
        gateway.layer = layer(alive);
        let (_, message) = framework.ask(&gateway).await;
        assert_eq!(message["content"], "done");
        assert_eq!(server.count("tools/call"), calls);
        let asked = strict(&gateway.model.asked());
        let result = &results(&asked[1])[1];
        assert!(result.contains(told), "{result}");
    }
}

#[tokio::test]
async fn a_repeat_after_a_failure_behind_the_open_calls_runs_none_of_them_again() {
    let failing = crate::support::model::json_answer(401, &json!({"error": {"message": "no"}}));
    let echo = turn(false, "", &[("s__echo", json!({"text": "later"}))]);
    let script = [mixed(0), echo, failing, turn(false, "done", &[])];
    let gateway = Gateway::new(script).await;
    let framework = answered(&gateway).await;
    let mut body = framework.request.clone();
    body["messages"] = framework.messages.clone().into();
    assert_eq!(gateway.send(&body).await.status, 401);
    let (reply, message) = framework.ask(&gateway).await;
    assert_eq!(message["content"], "done");
    assert_eq!(gateway.server.calls(), 2);
    assert_eq!(reply.receipt()["rounds"], 2);
    let asked = strict(&gateway.model.asked());
    assert_eq!(results(&asked[3]), ["lookup says {}", "done", "later"]);
    assert_eq!(gateway.model.asked()[2].body, gateway.model.asked()[3].body);
}

#[tokio::test]
async fn a_split_turn_whose_answer_was_lost_is_asked_for_again_behind_what_ran() {
    let echo = || turn(false, "", &[("s__echo", json!({"text": "once"}))]);
    let own = || turn(false, "", &[("lookup", json!({}))]);
    let gateway = Gateway::new([echo(), own(), own(), turn(false, "done", &[])]).await;
    let mut framework = Framework::new(false);
    let mut body = framework.request.clone();
    body["messages"] = framework.messages.clone().into();
    let lost = gateway
        .respond(crate::support::gateway::chat(body.to_string()))
        .await;
    drop(lost.unwrap());
    assert_eq!(framework.run(&gateway).await, "done");
    assert_eq!(gateway.server.calls(), 1);
    let asked = strict(&gateway.model.asked());
    assert_eq!(results(&asked[3]), ["once", "lookup says {}"]);
}

#[tokio::test]
async fn a_key_gives_a_turn_that_went_back_in_part_again_with_its_ids() {
    let act = ("s__echo", json!({"text": "x"}));
    let script = [
        turn(false, "", &[("lookup", json!({})), act]),
        turn(false, "done", &[]),
    ];
    let gateway = Gateway::new(script).await;
    let mut framework = Framework::new(false);
    framework.headers = vec![("idempotency-key", "k".to_owned())];
    let (first, _) = framework.ask(&gateway).await;
    let (second, message) = framework.ask(&gateway).await;
    assert_eq!(first.body, second.body);
    for name in ["x-mcp-rounds", "x-mcp-calls", "x-mcp-stopped-by"] {
        assert_eq!(first.headers[name], second.headers[name]);
    }
    let calls = framework.add(&message);
    framework.answer(&calls);
    framework.headers.clear();
    assert_eq!(framework.run(&gateway).await, "done");
    assert_eq!(gateway.server.calls(), 1);
}
