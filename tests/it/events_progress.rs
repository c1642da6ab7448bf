//! Events of calls whose servers say how far they are.

use http_body_util::BodyExt;
use mcp_layer::{
    McpLayer,
    mcp::ServerLimits,
    registry::{MemoryRegistry, Server},
};
use serde_json::{Value, json};

use crate::{
    events::telling,
    progress::{each_second, notification, token},
    streamed_loop::execute,
    support::{
        events::{Assembled, assembled},
        evil::{Evil, Step, event, json_reply},
        framework::turn,
        gateway::{Gateway, chat, connections},
        model::Answer,
    },
};

/// A server whose tool takes so many seconds, and says `progress` in each; and what a request for one
/// stream with events is told of it, with time paused.
async fn told(
    seconds: u32,
    progress: impl Fn(u32) -> Value + Send + Sync + Copy + 'static,
    change: impl FnOnce(McpLayer) -> McpLayer,
) -> Assembled {
    let evil = Evil::mcp(move |request| match &*request.method() {
        "tools/list" => {
            let tool =
                json!({"name": "work", "title": "Work hard", "inputSchema": {"type": "object"}});
            vec![Step::Send(json_reply(
                &request.result(&json!({"tools": [tool]})),
            ))]
        }
        _ => {
            let token = token(request);
            each_second(request, seconds, |second| {
                event(&notification(&token, &progress(second)))
            })
        }
    })
    .await;
    let registry = MemoryRegistry::new([Server::new("s", &evil.url()).unwrap()]).unwrap();
    let script = [
        Answer::Do(Box::new(tokio::time::pause)),
        turn(true, "Wait. ", &[("s__work", json!({}))]),
        turn(true, "Done.", &[]),
    ];
    let gateway = Gateway::new(script).await.layered(|_| {
        let layer = McpLayer::new(registry);
        let layer = layer.with_connections(connections(ServerLimits::default()));
        change(execute(layer))
    });
    let request = chat(telling(json!({})).to_string());
    let body = gateway.respond(request).await.unwrap().into_body();
    let body = body.collect().await.unwrap_or_else(|_| panic!("no error"));
    tokio::time::resume();
    assembled(&body.to_bytes())
}

/// The events of progress, after the one that the call begins, and before the one that it ends.
fn progress(told: &Assembled) -> Vec<Value> {
    let [first, progress @ .., last] = &told.events[..] else {
        panic!("{told:?}")
    };
    assert_eq!(first["event"], "call_started");
    assert_eq!(first["title"], "Work hard");
    assert_eq!(last["event"], "call_finished");
    assert_eq!(told.content, "Wait. Done.");
    progress.to_vec()
}

#[tokio::test]
async fn progress_of_a_server_is_told_and_its_text_where_the_operator_says_so() {
    let says = |second| json!({"progress": second, "total": 5, "message": "token=hunter2hunter2"});
    for payloads in [false, true] {
        let told = told(5, says, |layer| layer.with_event_payloads(payloads)).await;
        let events = progress(&told);
        // Time that is paused leaps over some of it.
        assert_eq!(
            events.last().map(|event| &event["progress"]),
            Some(&json!(5))
        );
        for event in &events {
            let mut expected = json!({
                "event": "call_progress", "round": 1, "id": "call_0", "server": "s", "tool": "work",
                "progress": event["progress"], "total": 5,
            });
            if payloads {
                expected["message"] = "token=[redacted]".into();
            }
            assert_eq!(*event, expected);
        }
        let steps: Vec<_> = events
            .iter()
            .map(|event| event["progress"].as_u64().unwrap())
            .collect();
        assert!(steps.windows(2).all(|pair| pair[0] < pair[1]), "{steps:?}");
    }
}

#[tokio::test]
async fn progress_that_goes_back_is_not_told() {
    let says = |second: u32| json!({"progress": if second.is_multiple_of(2) { 1 } else { second }});
    let told = told(6, says, |layer| layer).await;
    let events = progress(&told);
    let steps: Vec<_> = events
        .iter()
        .map(|event| event["progress"].as_u64().unwrap())
        .collect();
    assert!(!steps.is_empty() && steps.is_sorted(), "{steps:?}");
}
