//! Requests that say that they repeat, while the store of exchanges is full or away: in one process
//! each tool runs once all the same.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use mcp_layer::{McpLayer, Streaming};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    budgets::Log,
    repeats::{content, echoes, failure, keyed, results, with},
    support::{
        events::{assembled, call, chunk, finish, streams},
        failing_exchanges::{FailingExchanges, Fault, Mortal},
        gateway::{Gateway, auto},
        model::{Answer, calls, says},
        until,
    },
};

fn slow() -> Answer {
    calls(&[("s__slow", json!({"ms": 300}))])
}

/// Gateways whose stores keep nothing from now on.
async fn failing(script: fn() -> Vec<Answer>) -> Vec<Gateway> {
    let away = Mortal::default();
    away.is_dead.store(true, SeqCst);
    let mut gateways = vec![with_store(script(), |layer| layer.with_exchanges(away)).await];
    for fault in [Fault::Full, Fault::Away] {
        let store = FailingExchanges::new(fault);
        store.fail_after(0);
        gateways.push(with_store(script(), |layer| layer.with_exchanges(store)).await);
    }
    gateways
}

async fn with_store(script: Vec<Answer>, store: impl FnOnce(McpLayer) -> McpLayer) -> Gateway {
    let gateway = Gateway::new(script).await.layered(store);
    gateway.layered(|layer| layer.with_turn_retries(0))
}

#[tokio::test]
async fn of_requests_at_once_with_one_key_one_runs_and_all_have_its_answer() {
    for gateway in failing(|| vec![slow(), says("done")]).await {
        let request = auto(json!({}));
        let all = (0..5).map(|_| gateway.request(keyed("k", &request)));
        let all = futures_util::future::join_all(all).await;
        assert!(all.iter().all(|reply| content(reply) == "done"), "{all:?}");
        assert_eq!(gateway.server.calls(), 1);
        assert_eq!(gateway.model.asked().len(), 2);
    }
}

#[tokio::test]
async fn a_repeat_that_waits_goes_on_where_the_first_failed() {
    for gateway in failing(|| vec![slow(), failure(401), says("done")]).await {
        let request = auto(json!({}));
        let second = async {
            until("the tool runs", || gateway.server.calls() == 1).await;
            gateway.request(keyed("k", &request)).await
        };
        let (first, second) = tokio::join!(gateway.request(keyed("k", &request)), second);
        assert_eq!(first.status, 401);
        assert_eq!(content(&second), "done");
        assert_eq!(second.receipt()["rounds"], 1);
        assert_eq!(results(&gateway.model, 2), ["done"]);
        assert_eq!(gateway.server.calls(), 1);
    }
}

#[tokio::test]
async fn a_repeat_of_an_sdk_waits_and_has_the_answer() {
    for gateway in failing(|| vec![slow(), says("done")]).await {
        let request = auto(json!({}));
        let second = async {
            until("the tool runs", || gateway.server.calls() == 1).await;
            let repeat = with("x-stainless-retry-count", "1", &request);
            gateway.request(repeat).await
        };
        let (first, second) = tokio::join!(gateway.send(&request), second);
        assert_eq!(first.body, second.body);
        assert_eq!(gateway.server.calls(), 1);
    }
}

#[tokio::test]
async fn a_repeat_of_a_stream_has_all_of_it() {
    let script = || {
        let turn = [
            chunk(json!({"role": "assistant", "content": "Wait. "})),
            chunk(call(0, "a", "s__slow", &json!({"ms": 300}))),
            finish("tool_calls"),
        ];
        let last = [
            chunk(json!({"role": "assistant", "content": "done"})),
            finish("stop"),
        ];
        vec![streams(&turn), streams(&last)]
    };
    for gateway in failing(script).await {
        let gateway = gateway.layered(|layer| layer.with_streaming(Streaming::Execute));
        let request = auto(json!({"stream": true}));
        let all = (0..2).map(|_| gateway.request(keyed("k", &request)));
        for reply in futures_util::future::join_all(all).await {
            assert_eq!(assembled(&reply.body).content, "Wait. done");
        }
        assert_eq!(gateway.server.calls(), 1);
    }
}

#[tokio::test]
async fn what_was_cancelled_by_a_hang_up_does_not_run_again_for_a_repeat_that_waits() {
    let hangs = || vec![calls(&[("s__slow", json!({"ms": 60_000}))])];
    for gateway in failing(hangs).await {
        let request = auto(json!({}));
        let second = async {
            until("the tool runs", || gateway.server.calls() == 1).await;
            gateway.request(keyed("k", &request)).await
        };
        let first = async {
            tokio::select! {
                _ = gateway.request(keyed("k", &request)) => panic!("an answer"),
                () = sleep(Duration::from_millis(1500)) => {}
            }
        };
        let ((), second) = tokio::join!(first, second);
        assert_eq!(second.error().1, "outcome_unknown");
        assert_eq!(gateway.server.calls(), 1);
    }
}

#[tokio::test]
async fn an_operator_hears_of_results_that_could_not_be_stored() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_env_filter("mcp_layer=warn");
    let subscriber = subscriber.with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    // With two subscribers nothing is decided for both by one of them.
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());

    let store = Mortal::default();
    let exchanges = store.clone();
    let gateway = with_store(vec![slow()], |layer| layer.with_exchanges(exchanges)).await;
    let request = auto(json!({}));
    tokio::select! {
        _ = gateway.send(&request) => panic!("an answer"),
        () = until("the tool runs", || gateway.server.calls() == 1) => {}
    }
    store.is_dead.store(true, SeqCst);
    until("it is told", || log.text().contains("lost to repeats")).await;
    assert!(log.text().contains("the store of exchanges failed"));
}

#[tokio::test]
async fn a_request_that_ran_nothing_leaves_the_key_free() {
    for gateway in failing(|| vec![failure(429), echoes(), says("done")]).await {
        let request = auto(json!({}));
        let all = (0..2).map(|_| gateway.request(keyed("k", &request)));
        let mut all = futures_util::future::join_all(all).await;
        all.sort_by_key(|reply| reply.status);
        assert_eq!(
            (content(&all[0]), all[1].status.as_u16()),
            (json!("done"), 429)
        );
    }
}

#[tokio::test]
async fn the_same_key_with_another_body_is_refused() {
    for gateway in failing(|| vec![slow(), says("done")]).await {
        let (request, other) = (auto(json!({})), auto(json!({"seed": 1})));
        let second = async {
            until("the tool runs", || gateway.server.calls() == 1).await;
            gateway.request(keyed("k", &other)).await
        };
        let (_, second) = tokio::join!(gateway.request(keyed("k", &request)), second);
        assert_eq!(second.error().1, "idempotency_key_reused");
        assert_eq!(gateway.server.calls(), 1);
    }
}
