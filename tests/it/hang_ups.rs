//! Callers who hang up by the dozen: their calls run on up to a bound.

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::{
    repeats::{content, results, with},
    support::{
        framework::{Framework, turn},
        gateway::{Gateway, auto, chat},
        model::{Answer, calls, says},
        until,
    },
};

/// The batches of one caller that run on.
const MOST: usize = 32;

fn slow() -> Answer {
    calls(&[("s__slow", json!({"ms": 60_000}))])
}

/// A request that differs from those of other numbers.
fn numbered(number: usize) -> Value {
    auto(json!({"seed": number}))
}

/// Sends requests, and hangs up on all of them once so many calls have begun.
async fn hangs_up(gateway: &Gateway, requests: Vec<Request<Full<Bytes>>>, calls: usize) {
    let all = join_all(requests.into_iter().map(|r| gateway.request(r)));
    tokio::select! {
        _ = all => panic!("answers"),
        () = until("the tools run", || gateway.server.calls() == calls) => {}
    }
}

#[tokio::test]
async fn the_calls_of_one_caller_run_on_up_to_a_bound_and_others_are_cancelled() {
    let script = (0..MOST + 9).map(|_| slow());
    let gateway = Gateway::new(script).await;
    let requests = (0..MOST + 8).map(|number| chat(numbered(number).to_string()));
    hangs_up(&gateway, requests.collect(), MOST + 8).await;
    until("eight are cancelled", || gateway.server.cancelled() == 8).await;
    // Another caller has a bound of its own.
    let other = with("authorization", "Bearer other", &numbered(0));
    hangs_up(&gateway, vec![other], MOST + 9).await;
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(gateway.server.cancelled(), 8);
}

#[tokio::test]
async fn a_model_is_told_of_a_call_that_was_cancelled_and_it_does_not_run_again() {
    let script = (0..=MOST).map(|_| slow());
    let gateway = Gateway::new(script.chain([says("done")])).await;
    let requests = (0..MOST).map(|number| chat(numbered(number).to_string()));
    hangs_up(&gateway, requests.collect(), MOST).await;
    let request = numbered(MOST);
    hangs_up(&gateway, vec![chat(request.to_string())], MOST + 1).await;
    let reply = gateway.send(&request).await;
    assert_eq!(content(&reply), "done");
    assert_eq!(reply.receipt()["calls"][0]["is_error"], true);
    let told = &results(&gateway.model, MOST + 1)[0];
    assert!(told.contains("may have been carried out"), "{told}");
    assert_eq!(gateway.server.calls(), MOST + 1);
    assert_eq!(gateway.server.cancelled(), 1);
}

#[tokio::test]
async fn so_it_is_with_a_call_that_had_waited_for_the_caller() {
    let mixed = turn(
        false,
        "",
        &[("lookup", json!({})), ("s__slow", json!({"ms": 60_000}))],
    );
    let script = [mixed].into_iter().chain((0..MOST).map(|_| slow()));
    let gateway = Gateway::new(script.chain([says("done")])).await;
    let mut framework = Framework::new(false);
    let calls = framework.turn(&gateway).await;
    framework.answer(&calls);
    let requests = (0..MOST).map(|number| chat(numbered(number).to_string()));
    hangs_up(&gateway, requests.collect(), MOST).await;
    tokio::select! {
        _ = framework.ask(&gateway) => panic!("an answer"),
        () = until("it runs", || gateway.server.calls() == MOST + 1) => {}
    }
    let (_, message) = framework.ask(&gateway).await;
    assert_eq!(message["content"], "done");
    let told = &results(&gateway.model, MOST + 1)[1];
    assert!(told.contains("may have been carried out"), "{told}");
    assert_eq!(gateway.server.calls(), MOST + 1);
}
