//! Who may run the calls of an exchange while stores stall and processes lose what they hold.

use std::{
    collections::VecDeque,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use mcp_layer::{
    Limits,
    registry::{BoxFuture, Error},
};
use serde_json::{Value, json};
use tokio::time::{pause, resume, sleep};

use crate::{
    repeats::{acting, asked, over},
    support::{
        failing_exchanges::{Call, Exchanges, Mortal, Rule},
        framework::{Framework, lookup, results, strict, turn},
        gateway::{Gateway, auto, chat},
        model::{Model, json_answer, says},
        until,
    },
};

/// How a put stalls.
#[derive(Clone, Copy)]
enum Stall {
    /// It never happens.
    Lost,
    /// It happens, and nobody hears of it.
    Unheard,
}

/// A store whose next puts stall.
type Stalling = Exchanges<Stalls>;

#[derive(Clone, Default)]
struct Stalls {
    is_slow_to_read: Arc<AtomicBool>,
    puts: Arc<Mutex<VecDeque<Stall>>>,
}

impl Stalls {
    fn stall(&self, stall: Stall) {
        self.puts.lock().unwrap().push_back(stall);
    }

    fn has_stalled(&self) -> bool {
        self.puts.lock().unwrap().is_empty()
    }
}

impl Rule for Stalls {
    async fn apply<T: Send>(
        &self,
        call: Call,
        made: BoxFuture<'_, Result<T, Error>>,
    ) -> Result<T, Error> {
        let is_read = matches!(call, Call::Get | Call::Find);
        if is_read && self.is_slow_to_read.load(SeqCst) {
            sleep(Duration::from_secs(5)).await;
        }
        let stall = match call {
            Call::Put => self.puts.lock().unwrap().pop_front(),
            _ => None,
        };
        match stall {
            Some(Stall::Lost) => pending().await,
            Some(Stall::Unheard) => {
                drop(made.await);
                pending().await
            }
            None => made.await,
        }
    }
}

fn body(framework: &Framework) -> String {
    let mut body = framework.request.clone();
    body["messages"] = framework.messages.clone().into();
    body.to_string()
}

/// A gateway over a stalling store, and a conversation that has answered a turn with this call of
/// ours beside.
async fn mixed(call: (&'static str, Value)) -> (Gateway, Stalling, Framework) {
    let exchanges = Stalling::default();
    let script = [
        turn(false, "", &[lookup("x"), call]),
        says("done"),
        says("done"),
    ];
    let gateway = Gateway::new(script).await;
    let gateway = gateway.layered(|layer| layer.with_exchanges(exchanges.clone()));
    let mut framework = Framework::new(false);
    let calls = framework.turn(&gateway).await;
    framework.answer(&calls);
    (gateway, exchanges, framework)
}

#[tokio::test]
async fn an_open_call_that_began_elsewhere_and_was_lost_does_not_run_again() {
    let server = acting(false).await;
    let exchanges = Stalling::default();
    let mortal = Mortal::over(exchanges.store.clone(), Default::default());
    let model = Model::new([
        turn(false, "", &[lookup("x"), ("s__act", json!({}))]),
        says("done"),
    ]);
    let (dying, late) = (
        over(&server, mortal.clone()),
        over(&server, exchanges.clone()),
    );
    let mut framework = Framework::new(false);
    let answer = asked(&late, &model, chat(body(&framework))).await;
    let mut message = answer["choices"][0]["message"].clone();
    message["finish"] = json!(["tool_calls"]);
    let calls = framework.add(&message);
    framework.answer(&calls);

    // Both have read that it is open; one of them begins it, and dies.
    exchanges.stall(Stall::Lost);
    let (of_late, of_dying) = (chat(body(&framework)), chat(body(&framework)));
    let stalls = {
        let (late, model) = (late.clone(), model.clone());
        tokio::spawn(async move { asked(&late, &model, of_late).await })
    };
    until("it stalls", || exchanges.has_stalled()).await;
    tokio::select! {
        _ = asked(&dying, &model, of_dying) => panic!("it hangs"),
        () = until("it acts", || server.count("tools/call") == 1) => {}
    }
    mortal.is_dead.store(true, SeqCst);
    pause();
    sleep(Duration::from_secs(10)).await;
    resume();
    let answer = stalls.await.unwrap();
    assert_eq!(server.count("tools/call"), 1);
    assert_eq!(answer["error"]["code"], "overloaded", "{answer}");

    let answer = asked(&late, &model, chat(body(&framework))).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "done");
    assert_eq!(server.count("tools/call"), 1);
    let told = &results(&strict(&model.asked())[1])[1];
    assert!(told.contains("the gateway was lost"), "{told}");
}

#[tokio::test]
async fn an_open_call_that_was_only_announced_runs_the_next_time() {
    for call in [
        ("s__slow", json!({"ms": 1})),
        ("s__echo", json!({"text": "a"})),
    ] {
        let (gateway, exchanges, framework) = mixed(call).await;
        exchanges.stall(Stall::Unheard);
        tokio::select! {
            _ = framework.ask(&gateway) => panic!("it stalls"),
            () = until("it stalls", || exchanges.has_stalled()) => {}
        }
        let (_, message) = framework.ask(&gateway).await;
        assert_eq!(message["content"], "done");
        assert_eq!(gateway.server.calls(), 1);
    }
}

#[tokio::test]
async fn who_could_not_claim_open_calls_does_not_release_who_could() {
    let (gateway, exchanges, framework) = mixed(("s__slow", json!({"ms": 4000}))).await;
    let model = Model::new([says("done")]);
    exchanges.stall(Stall::Lost);
    let second = {
        let (layer, model, body) = (gateway.layer.clone(), model.clone(), body(&framework));
        tokio::spawn(async move { asked(&layer, &model, chat(body)).await })
    };
    until("it stalls", || exchanges.has_stalled()).await;
    pause();
    let (reply, message) = framework.ask(&gateway).await;
    assert_eq!(message["content"], "done");
    assert_eq!(reply.receipt()["messages"], Value::Null, "nothing is lost");
    let answer = second.await.unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "done");
    assert_eq!(gateway.server.calls(), 1);
    let asked = [gateway.model.asked().remove(1), model.asked().remove(0)];
    let [first, second] = [&asked[..1], &asked[1..]].map(strict);
    assert_eq!(first, second);
}

#[tokio::test]
async fn a_final_text_is_kept_without_ending_the_claim_of_calls_that_run() {
    let (gateway, _, framework) = mixed(("s__slow", json!({"ms": 1500}))).await;
    // A fork that has dropped its answer, and goes on in another way.
    let mut fork = framework.clone();
    fork.messages.pop();
    fork.user("and?");
    let model = Model::new([
        turn(false, "", &[("s__slow", json!({"ms": 300}))]),
        says("b"),
    ]);
    let forked = {
        let (layer, model, body) = (gateway.layer.clone(), model.clone(), body(&fork));
        tokio::spawn(async move { asked(&layer, &model, chat(body)).await })
    };
    until("the fork runs", || gateway.server.calls() == 1).await;
    let (reply, _) = framework.ask(&gateway).await;
    assert_eq!(reply.receipt()["messages"], Value::Null, "nothing is lost");
    let answer = forked.await.unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "b");
    assert_eq!(answer["mcp"]["messages"], Value::Null, "nothing is lost");
    framework.ask(&gateway).await;
    assert_eq!(gateway.server.calls(), 2);
    let asked = strict(&gateway.model.asked());
    assert_eq!(asked[1], asked[2], "with the result that there was");
}

#[tokio::test]
async fn an_exchange_that_another_has_taken_over_runs_nothing_more() {
    let server = acting(true).await;
    let mortal = Mortal::default();
    let (stalled, other) = (
        over(&server, mortal.clone()),
        over(&server, mortal.store.clone()),
    );
    let acts = || turn(false, "", &[("s__act", json!({}))]);
    // The second goes on from the first turn.
    let models = [
        Model::new([acts(), acts(), says("done")]),
        Model::new([acts(), says("done")]),
    ];
    let request = || chat(auto(json!({})).to_string());
    let first = {
        let (model, request) = (models[0].clone(), request());
        tokio::spawn(async move { asked(&stalled, &model, request).await })
    };
    until("it hangs", || server.count("tools/call") == 1).await;
    // For longer than its lease it does not reach the store.
    mortal.is_dead.store(true, SeqCst);
    pause();
    sleep(Duration::from_secs(6)).await;
    resume();
    let answer = asked(&other, &models[1], request()).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "done");
    assert_eq!(server.count("tools/call"), 3);
    mortal.is_dead.store(false, SeqCst);
    pause();
    let answer = first.await.unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "done");
    let asked = strict(&models[0].asked());
    assert_eq!(server.count("tools/call"), 3, "{asked:?}");
    let told = &results(&asked[2])[1];
    assert!(told.contains("a repeat of this request"), "{told}");
}

#[tokio::test]
async fn a_caller_who_hangs_up_before_anything_began_asks_anew() {
    let exchanges = Stalling::default();
    let acts = || turn(false, "", &[("s__slow", json!({"ms": 1}))]);
    let gateway = Gateway::new([acts(), acts(), says("done")]).await;
    let gateway = gateway.layered(|layer| layer.with_exchanges(exchanges.clone()));
    let request = auto(json!({}));
    exchanges.stall(Stall::Unheard);
    tokio::select! {
        _ = gateway.send(&request) => panic!("it stalls"),
        () = until("it stalls", || exchanges.has_stalled()) => {}
    }
    let reply = gateway.send(&request).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert_eq!(gateway.server.calls(), 1);
}

#[tokio::test]
async fn ids_that_are_spelt_with_escapes_are_ids() {
    for (plain, spelt) in [
        (r#""mcp_"#, r#""\u006dcp_"#),
        (r#""mcp_"#, r#""m\u0063p_"#),
        (r#""mcp_"#, r#""mc\u0070_"#),
        (r#""mcp_"#, r#""mcp\u005F"#),
        (r#""id":"mcp_"#, r#""id":"\u006Dcp\u005f"#),
        (r#""tool_call_id":"mcp_"#, r#""tool_call_id":"mcp\u005f"#),
    ] {
        let (gateway, _, framework) = mixed(("s__echo", json!({"text": "a"}))).await;
        let body = body(&framework).replace(plain, spelt);
        let reply = gateway.send_bytes(body).await;
        assert_eq!(reply.status, 200);
        let asked = strict(&gateway.model.asked());
        assert_eq!(
            results(&asked[1]),
            [r#"lookup says {"what":"x"}"#, "a"],
            "{spelt}"
        );
        assert_eq!(gateway.server.calls(), 1, "{spelt}");
    }
}

#[tokio::test]
async fn a_history_that_takes_long_to_read_is_read() {
    let (gateway, exchanges, framework) = mixed(("s__echo", json!({"text": "a"}))).await;
    exchanges.is_slow_to_read.store(true, SeqCst);
    pause();
    let (_, message) = framework.ask(&gateway).await;
    assert_eq!(message["content"], "done");
    assert_eq!(gateway.server.calls(), 1);
}

#[tokio::test]
async fn a_repeat_hears_of_steps_that_take_long_to_read() {
    let exchanges = Stalling::default();
    let script = [
        turn(false, "", &[("s__slow", json!({"ms": 1}))]),
        json_answer(401, &json!({"error": {"message": "not now"}})),
        says("done"),
    ];
    let gateway = Gateway::new(script).await;
    let gateway = gateway.layered(|layer| layer.with_exchanges(exchanges.clone()));
    let request = auto(json!({}));
    assert_eq!(gateway.send(&request).await.status, 401);
    exchanges.is_slow_to_read.store(true, SeqCst);
    pause();
    let mut repeat = chat(request.to_string());
    let headers = repeat.headers_mut();
    headers.insert("x-stainless-retry-count", "1".parse().unwrap());
    let reply = gateway.request(repeat).await;
    assert_eq!(reply.status, 200);
    assert_eq!(gateway.server.calls(), 1);
    let asked = strict(&gateway.model.asked());
    assert_eq!(results(&asked[2]), ["done"], "it goes on");
}

#[tokio::test]
async fn what_a_history_is_restored_from_counts_as_the_bodies_of_its_caller() {
    let (mut gateway, _, framework) =
        mixed(("s__echo", json!({"text": "x".repeat(80 << 10)}))).await;
    let mut limits = Limits::default();
    limits.caller_body_bytes = 140 << 10;
    gateway = gateway.layered(|layer| layer.with_limits(limits));
    let (_, message) = framework.ask(&gateway).await;
    assert_eq!(message["content"], "done");
    // The result is kept as well now.
    let reply = gateway.send_bytes(body(&framework)).await;
    assert_eq!(reply.error(), (503, "overloaded".to_owned(), Value::Null));
    assert_eq!(gateway.model.asked().len(), 2);
}
