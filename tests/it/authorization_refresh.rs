//! Tokens that expire or are refused, and a thousand callers who need one: a single refresh.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use mcp_layer::registry::CredentialKey;
use mcp_layer::{CallToolError, CallerTokens, Inactive};
use secrecy::ExposeSecret;
use tokio::sync::watch;

use crate::support::auth_server::{flood, html, refusal, reply, silence};
use crate::support::provider::{LIFE, Rig};
use crate::support::until;

const CALLERS: usize = 1000;

/// All calls at once, each with an argument of its own.
async fn thousand(rig: &Rig) -> Vec<Result<String, CallToolError>> {
    many(rig, CALLERS).await
}

async fn many(rig: &Rig, callers: usize) -> Vec<Result<String, CallToolError>> {
    let arguments: Vec<_> = (0..callers).map(|n| n.to_string()).collect();
    join_all(arguments.iter().map(|argument| rig.call(argument))).await
}

/// Each call has given its own argument back, and its tool ran once.
fn all_well(rig: &Rig, results: Vec<Result<String, CallToolError>>) {
    for (n, result) in results.into_iter().enumerate() {
        assert_eq!(result.unwrap(), n.to_string());
    }
    let executed = rig.provider.executed();
    let most = executed.values().max();
    assert_eq!((executed.len(), most), (CALLERS, Some(&1)));
}

fn message(error: CallToolError) -> String {
    match error {
        CallToolError::Inactive(Inactive::Unreachable { message }) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_thousand_callers_with_an_expired_token_share_one_refresh() {
    let rig = Rig::start().await;
    rig.provider.clock.pass(LIFE);
    all_well(&rig, thousand(&rig).await);
    let requests = rig.provider.refreshes();
    println!("expired: {CALLERS} callers, {CALLERS} successes, {requests} token request");
    assert_eq!(requests, 1);
    let counts = rig.connections.counts();
    let refreshes = (counts.token_refreshes, counts.failed_token_refreshes);
    assert_eq!(refreshes, (1, 0));
}

#[tokio::test]
async fn a_thousand_callers_of_whom_the_first_hangs_up_share_one_refresh() {
    let rig = Rig::start().await;
    rig.provider.clock.pass(LIFE);
    let (go, gate) = watch::channel(false);
    rig.provider.before(move |_| {
        let mut gate = gate.clone();
        async move { gate.wait_for(|go| *go).await.map(|_| None).unwrap() }
    });
    {
        let mut first = Box::pin(rig.call("first"));
        // As far as it gets by itself: its refresh has begun.
        assert!(first.as_mut().now_or_never().is_none());
        until("the refresh is under way", || {
            // It does nothing by itself; this lets it see what has come.
            let _ = first.as_mut().now_or_never();
            rig.provider.refreshes() == 1
        })
        .await;
    }
    let (results, ()) = tokio::join!(thousand(&rig), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        go.send(true).unwrap();
    });
    all_well(&rig, results);
    let requests = rig.provider.refreshes();
    println!("first caller gone: {CALLERS} callers, {CALLERS} successes, {requests} token request");
    assert_eq!(requests, 1);
}

#[tokio::test]
async fn a_thousand_listings_with_an_expired_token_share_one_refresh() {
    let rig = Rig::start().await;
    rig.provider.clock.pass(LIFE);
    let tokens = CallerTokens::default();
    let lists = (0..CALLERS).map(|_| rig.connections.tools(&rig.server, &tokens));
    for list in join_all(lists).await {
        assert_eq!(list.unwrap().offered.len(), 3);
    }
    assert_eq!(rig.provider.refreshes(), 1);
    let again = rig.connections.tools(&rig.server, &tokens).await;
    assert_eq!(again.unwrap().offered.len(), 3);
    // How many came before the list was there is a matter of the machine.
    let counts = rig.connections.counts();
    assert_eq!(counts.list_hits + counts.list_misses, 1001);
    assert!(counts.list_hits >= 1 && counts.list_misses >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_whose_token_is_refused_share_one_refresh_and_run_once_each() {
    let rig = Rig::start().await;
    rig.provider.refuse_tokens();
    all_well(&rig, thousand(&rig).await);
    let requests = rig.provider.refreshes();
    println!("refused: {CALLERS} callers, {CALLERS} executions, {requests} token request");
    assert_eq!(requests, 1);
}

#[tokio::test]
async fn callers_in_a_session_whose_token_is_refused_share_one_refresh() {
    let rig = Rig::start().await;
    rig.call("before").await.unwrap();
    rig.provider.refuse_tokens();
    let results = many(&rig, 200).await;
    assert!(results.iter().all(Result::is_ok));
    assert!(rig.provider.executed().values().all(|times| *times == 1));
    assert_eq!(rig.provider.refreshes(), 1);
}

/// Whoever had renewed the token joined a handshake that another caller had just begun with the
/// old one, and failed with it.
#[tokio::test]
async fn a_handshake_that_began_with_the_refused_token_fails_nobody_who_has_the_new_one() {
    let rig = Rig::start().await;
    rig.provider.refuse_tokens();
    let [(refresh, may_refresh), (greet, may_greet)] =
        [watch::channel(false), watch::channel(false)];
    let open = |mut gate: watch::Receiver<bool>| async move {
        gate.wait_for(|open| *open).await.map(|_| None).unwrap()
    };
    rig.provider.before(move |_| open(may_refresh.clone()));
    let (first, second) = tokio::join!(rig.call("first"), async {
        until("the first has been refused", || {
            rig.provider.refreshes() == 1
        })
        .await;
        rig.provider.before_mcp(move |token| {
            let gate = may_greet.clone();
            async move {
                match &*token {
                    "Bearer access-0.1" => open(gate).await,
                    _ => None,
                }
            }
        });
        let (second, ()) = tokio::join!(rig.call("second"), async {
            until("the second has begun", || {
                rig.provider.server.count("/mcp") >= 3
            })
            .await;
            refresh.send(true).unwrap();
            until("the token is renewed", || {
                rig.log().contains(&"stored".to_owned())
            })
            .await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            greet.send(true).unwrap();
        });
        second
    });
    assert_eq!(first.unwrap(), "first");
    assert_eq!(second.unwrap(), "second");
    assert_eq!(rig.provider.refreshes(), 1);
}

#[tokio::test]
async fn renewed_tokens_are_stored_before_they_are_used() {
    let rig = Rig::start().await;
    rig.provider.clock.pass(LIFE);
    rig.forget_log();
    rig.call("a").await.unwrap();
    let expected = ["token for refresh-0.1", "stored", "call with access-0.2"];
    assert_eq!(rig.log(), expected);
}

#[tokio::test]
async fn an_answer_without_a_refresh_token_keeps_the_old_one() {
    let rig = Rig::start().await;
    rig.provider.keep_refresh_tokens();
    for n in 2..5 {
        rig.provider.clock.pass(LIFE);
        rig.forget_log();
        rig.call(&n.to_string()).await.unwrap();
        let call = format!("call with access-0.{n}");
        assert_eq!(rig.log(), ["token for refresh-0.1", "stored", &*call]);
    }
}

#[tokio::test]
async fn a_token_that_is_due_is_used_at_once_while_it_is_refreshed() {
    let rig = Rig::start().await;
    let (go, gate) = watch::channel(false);
    rig.provider.before(move |_| {
        let mut gate = gate.clone();
        async move { gate.wait_for(|go| *go).await.map(|_| None).unwrap() }
    });
    rig.provider.clock.pass(LIFE - 30);
    rig.forget_log();
    let results = many(&rig, 200).await;
    assert!(results.iter().all(Result::is_ok));
    assert!(
        rig.log()
            .iter()
            .filter(|line| line.starts_with("call"))
            .all(|line| line == "call with access-0.1")
    );
    go.send(true).unwrap();
    until("the new token is stored", || {
        rig.log().contains(&"stored".to_owned())
    })
    .await;
    rig.call("after").await.unwrap();
    assert_eq!(rig.log().last().unwrap(), "call with access-0.2");
    assert_eq!(rig.provider.refreshes(), 1);
}

#[tokio::test]
async fn an_authorization_server_that_hangs_stalls_nobody_whose_token_is_good() {
    let rig = Rig::start().await;
    rig.provider.fail(silence);
    rig.provider.clock.pass(LIFE - 30);
    for n in 0..20 {
        rig.call(&n.to_string()).await.unwrap();
    }
    assert_eq!(rig.provider.refreshes(), 1, "it still hangs");
}

#[tokio::test]
async fn what_an_authorization_server_says_in_trouble_takes_nothing_away() {
    type Answer = fn() -> axum::response::Response;
    let answers: [(&str, Answer); 11] = [
        ("500", || reply(500, "text/html", "<script>")),
        ("503", || reply(503, "text/plain", "")),
        ("429", || refusal(429, "slow_down")),
        ("temporarily_unavailable", || {
            refusal(400, "temporarily_unavailable")
        }),
        ("server_error", || refusal(400, "server_error")),
        ("unauthorized_client", || {
            refusal(400, "unauthorized_client")
        }),
        ("a code of its own", || refusal(400, "try_tuesday")),
        ("401 without a code", || reply(401, "text/html", "<script>")),
        ("HTML", html),
        ("1 GB", flood),
        ("a token of another type", || {
            reply(
                200,
                "application/json",
                r#"{"access_token": "x", "token_type": "DPoP"}"#,
            )
        }),
    ];
    let rig = Rig::start().await;
    let key = CredentialKey::of(&rig.server);
    rig.provider.clock.pass(LIFE);
    for (what, answer) in answers {
        let before = rig.store.opened(&key).await.unwrap();
        rig.provider.fail(answer);
        // A new process has no pause to keep.
        let (_, connections) = rig.replica();
        let error = crate::support::provider::call(&connections, &rig.server, "echo", "x").await;
        let said = message(error.unwrap_err());
        println!("{what:<24} {said}");
        assert!(
            said.starts_with("its token could not be refreshed: the token endpoint "),
            "{said}"
        );
        assert!(
            !said.contains("script") && !said.contains("tuesday"),
            "{said}"
        );
        let after = rig.store.opened(&key).await.unwrap();
        assert_eq!(before.expose_secret(), after.expose_secret(), "{what}");
    }
    rig.provider.recover();
    rig.call("well").await.unwrap();
}

#[tokio::test]
async fn invalid_grant_and_invalid_client_make_a_server_need_authorization() {
    for code in [
        "invalid_grant",
        "invalid_client",
        "bad_refresh_token",
        "incorrect_client_credentials",
    ] {
        let rig = Rig::start().await;
        rig.provider.clock.pass(LIFE);
        rig.provider.fail(move || refusal(400, code));
        for _ in 0..3 {
            let error = rig.call("x").await.unwrap_err();
            let needs = matches!(error, CallToolError::Inactive(Inactive::NeedsAuthorization));
            assert!(needs, "{code}: {error}");
        }
        assert_eq!(rig.provider.refreshes(), 1, "{code}");
        let counts = rig.connections.counts();
        let refreshes = (counts.token_refreshes, counts.failed_token_refreshes);
        assert_eq!(refreshes, (0, 1), "{code}");
        rig.provider.recover();
        rig.connect().await.unwrap();
        rig.call("x").await.unwrap();
    }
}

#[tokio::test]
async fn a_task_outlives_its_token_and_its_call_is_made_once() {
    let rig = Rig::start().await;
    rig.call("before").await.unwrap();
    rig.forget_log();
    tokio::time::pause();
    let working = crate::support::provider::call(&rig.connections, &rig.server, "work", "task");
    let passing = async {
        until("it runs", || !rig.log().is_empty()).await;
        rig.provider.clock.pass(LIFE);
    };
    let (done, ()) = tokio::join!(working, passing);
    assert_eq!(done.unwrap(), "done");
    assert_eq!(rig.provider.executed()["task"], 1);
    assert_eq!(rig.provider.refreshes(), 1);
}

/// Lets time pass for whoever measures pauses, and for no connection.
async fn wait(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn pauses_between_failed_refreshes_double_from_a_second_to_a_minute() {
    let rig = Rig::start().await;
    rig.provider.clock.pass(LIFE);
    rig.provider.fail(|| reply(503, "text/plain", ""));
    let mut asked = 0;
    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        asked += 1;
        message(rig.call("x").await.unwrap_err());
        assert_eq!(rig.provider.refreshes(), asked);
        wait(Duration::from_millis(pause * 1000 - 500)).await;
        message(rig.call("x").await.unwrap_err());
        assert_eq!(rig.provider.refreshes(), asked, "too early: {pause} s");
        wait(Duration::from_millis(500)).await;
    }
    rig.provider.recover();
    rig.call("x").await.unwrap();
    // All is well again: the next trouble begins with a second.
    rig.provider.clock.pass(LIFE);
    rig.provider.fail(|| reply(503, "text/plain", ""));
    message(rig.call("x").await.unwrap_err());
    rig.provider.recover();
    wait(Duration::from_secs(1)).await;
    rig.call("x").await.unwrap();
}
