//! Long calls through the whole layer: as long as a server shows progress, and never beyond the
//! request's own time.

use std::time::Duration;

use mcp_layer::mcp::ServerLimits;
use mcp_layer::registry::{MemoryRegistry, Server};
use mcp_layer::{Limits, McpLayer};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::progress::{each_second, notification, token};
use crate::support::{
    evil::{Evil, Received, Step, event, json_reply},
    gateway::{Gateway, auto, connections},
    model::{Answer, calls, says},
};

const MINUTES: Duration = Duration::from_secs(60);

/// A server whose tool `work` takes so many seconds, and shows progress in these.
async fn worker(seconds: u32, shows: impl Fn(u32) -> bool + Send + Sync + Copy + 'static) -> Evil {
    Evil::mcp(move |request| match &*request.method() {
        "tools/list" => {
            let tools = json!({"tools": [{"name": "work", "inputSchema": {"type": "object"}}]});
            vec![Step::Send(json_reply(&request.result(&tools)))]
        }
        _ => works(request, seconds, shows),
    })
    .await
}

fn works(request: &Received, seconds: u32, shows: impl Fn(u32) -> bool) -> Vec<Step> {
    let token = token(request);
    each_second(request, seconds, |second| match shows(second) {
        true => event(&notification(&token, &json!({"progress": second}))),
        false => b": keep-alive\n\n".to_vec(),
    })
}

/// What came of one call.
#[derive(Debug)]
struct Outcome {
    /// What the model was told.
    told: String,
    is_error: bool,
    took: Duration,
}

impl Outcome {
    fn took(&self, seconds: u64) -> bool {
        let late = self.took.checked_sub(Duration::from_secs(seconds));
        late.is_some_and(|late| late < Duration::from_secs(1))
    }
}

/// One request of which the model calls the tool; time is paused when it does.
async fn outcome(
    evil: &Evil,
    limits: (Limits, ServerLimits),
    change: impl FnOnce(Server) -> Server,
) -> Outcome {
    let record = change(Server::new("s", &evil.url()).unwrap());
    let registry = MemoryRegistry::new([record]).unwrap();
    let paused = Answer::Do(Box::new(tokio::time::pause));
    let call = calls(&[("s__work", json!({}))]);
    let gateway = Gateway::new([paused, call, says("over")]).await;
    let gateway = gateway.layered(|_| {
        let layer = McpLayer::new(registry).with_connections(connections(limits.1));
        layer.with_limits(limits.0)
    });
    let began = Instant::now();
    let reply = gateway.send(&auto(json!({}))).await;
    let took = began.elapsed();
    tokio::time::resume();
    let answer = reply.json();
    assert_eq!(
        answer["choices"][0]["message"]["content"], "over",
        "{answer}"
    );
    let asked = gateway.model.asked();
    let messages = asked[1].json()["messages"].as_array().unwrap().clone();
    let tool: Vec<&Value> = messages.iter().filter(|m| m["role"] == "tool").collect();
    Outcome {
        told: tool[0]["content"].as_str().unwrap().to_owned(),
        is_error: reply.receipt()["calls"][0]["is_error"] == true,
        took,
    }
}

fn limits(change: impl FnOnce(&mut Limits, &mut ServerLimits)) -> (Limits, ServerLimits) {
    let (mut of_requests, mut of_servers) = (Limits::default(), ServerLimits::default());
    change(&mut of_requests, &mut of_servers);
    (of_requests, of_servers)
}

/// Limits under which a call may take ten minutes and some more.
fn raised() -> (Limits, ServerLimits) {
    limits(|requests, servers| {
        requests.deadline = 15 * MINUTES;
        (requests.call_max, servers.call_max) = (11 * MINUTES, 11 * MINUTES);
    })
}

#[tokio::test]
async fn a_call_of_ten_minutes_with_progress_every_second_completes() {
    let evil = worker(600, |_| true).await;
    let outcome = outcome(&evil, raised(), |server| server).await;
    assert_eq!((&*outcome.told, outcome.is_error), ("done", false));
    assert!(outcome.took(600), "{outcome:?}");
    assert_eq!(evil.count("tools/call"), 1);
}

#[tokio::test]
async fn one_that_falls_silent_is_cut_within_its_silence_and_a_second() {
    let evil = worker(600, |second| second <= 100).await;
    let outcome = outcome(&evil, raised(), |server| server).await;
    assert!(outcome.is_error && outcome.took(160), "{outcome:?}");
    assert!(
        outcome.told.contains("no further progress for 60s"),
        "{outcome:?}"
    );
    assert_eq!(evil.count("notifications/cancelled"), 1);
}

#[tokio::test]
async fn one_without_progress_is_cut_as_ever() {
    let evil = worker(600, |_| false).await;
    let outcome = outcome(&evil, limits(|_, _| ()), |server| server).await;
    assert!(outcome.is_error && outcome.took(60), "{outcome:?}");
    let text = "Error: the server did not answer within 60s";
    assert_eq!(outcome.told, text);
}

#[tokio::test]
async fn progress_makes_no_call_longer_than_the_longest_and_the_model_is_told_which_limit_it_was() {
    let evil = worker(600, |_| true).await;
    for limits in [
        limits(|requests, _| requests.call_max = 2 * MINUTES),
        limits(|_, servers| servers.call_max = 2 * MINUTES),
    ] {
        let outcome = outcome(&evil, limits, |server| server).await;
        assert!(outcome.is_error && outcome.took(120), "{outcome:?}");
        assert!(outcome.told.contains("after 120s"), "{outcome:?}");
        assert!(outcome.told.contains("still made progress"), "{outcome:?}");
    }
}

#[tokio::test]
async fn the_deadline_of_the_request_holds_whatever_a_server_may_take() {
    let evil = worker(600, |_| true).await;
    let hour = Some(60 * MINUTES);
    let outcome = outcome(&evil, limits(|_, _| ()), |server| {
        server.with_call_time(hour, hour).unwrap()
    })
    .await;
    // What is left before the time for the last turn.
    assert!(
        outcome.is_error && outcome.took.as_secs() == 270,
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_servers_record_may_make_its_calls_longer_or_shorter_than_the_limits() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let silent = worker(100, |_| false).await;
    for (call, told, took) in [
        (seconds(120), "done", 100),
        (seconds(5), "Error: the server did not answer within 5s", 5),
        (None, "Error: the server did not answer within 60s", 60),
    ] {
        let outcome = outcome(&silent, limits(|_, _| ()), |server| {
            server.with_call_time(call, None).unwrap()
        })
        .await;
        assert_eq!(outcome.told, told);
        assert!(outcome.took(took), "{outcome:?}");
    }
    let busy = worker(100, |_| true).await;
    for (call_max, is_error, took) in [(seconds(50), true, 50), (seconds(200), false, 100)] {
        let few = limits(|requests, servers| {
            (requests.call_max, servers.call_max) = (MINUTES, MINUTES);
        });
        let outcome = outcome(&busy, few, |server| {
            server.with_call_time(None, call_max).unwrap()
        })
        .await;
        assert!(
            outcome.is_error == is_error && outcome.took(took),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_longer_silence_of_a_record_makes_the_longest_call_longer_too() {
    let silent = worker(100, |_| false).await;
    let few = limits(|requests, servers| {
        (requests.call_max, servers.call_max) = (MINUTES, MINUTES);
    });
    let two = Some(2 * MINUTES);
    let outcome = outcome(&silent, few, |server| {
        server.with_call_time(two, None).unwrap()
    })
    .await;
    assert_eq!(outcome.told, "done");
}

#[test]
fn a_record_takes_whole_seconds_of_at_most_a_day() {
    let server = || Server::new("s", "https://mcp.example.com/mcp").unwrap();
    for time in [
        Duration::ZERO,
        Duration::from_millis(1500),
        Duration::from_secs(86_401),
        Duration::MAX,
    ] {
        let refused = server().with_call_time(Some(time), None).unwrap_err();
        assert!(refused.to_string().contains("86400"), "{refused}");
        assert!(server().with_call_time(None, Some(time)).is_err());
    }
    let day = Some(Duration::from_secs(86_400));
    assert!(server().with_call_time(day, day).is_ok());
}
