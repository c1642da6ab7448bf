//! A caller of a streamed loop who hangs up, one who reads slowly, and one who waits long.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use mcp_layer::{McpBody, McpLayer, RequestBody, Streaming};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};

use crate::{
    streamed_loop::streamed,
    support::{
        events::{assembled, call, chunk, finish},
        gateway::{Gateway, chat},
        model::{BrokenOff, says},
        silent::{SilentModel, Turn},
        traces::Traces,
        until,
    },
};

/// A layer that streams the loop, with the tools of its server known.
async fn warm() -> Gateway {
    let gateway = Gateway::new([says("warm")])
        .await
        .layered(|layer: McpLayer| layer.with_streaming(Streaming::Execute));
    let reply = gateway.send(&streamed(json!({}))).await;
    assert_eq!(reply.status, 200);
    gateway
}

async fn ask(gateway: &Gateway, model: &SilentModel) -> McpBody<UnsyncBoxBody<Bytes, BrokenOff>> {
    let service = gateway.layer.layer(model.clone());
    let request = chat(streamed(json!({})).to_string());
    service.oneshot(request).await.unwrap().into_body()
}

fn text() -> Value {
    chunk(json!({"role": "assistant", "content": "one moment"}))
}

fn slow() -> Value {
    chunk(call(0, "a", "s__slow", &json!({"ms": 60_000})))
}

/// A turn that calls a tool which is done at once.
fn echoes() -> Turn {
    let echo = chunk(call(0, "a", "s__echo", &json!({"text": "hi"})));
    Turn::Slow(Duration::ZERO, vec![text(), echo, finish("tool_calls")])
}

#[tokio::test]
async fn a_caller_who_hangs_up_ends_the_model_s_turn_at_once_whenever_it_is() {
    let (gateway, traces) = Traces::of(warm().await);
    let mut recorded = 0;
    for (what, turns, asked) in [
        ("before the head", vec![Turn::NoHead], 1),
        ("in silence", vec![Turn::Silent(vec![])], 1),
        ("in a text", vec![Turn::Silent(vec![text()])], 1),
        ("in a call", vec![Turn::Silent(vec![text(), slow()])], 1),
        (
            "before a turn is over",
            vec![Turn::Silent(vec![text(), slow(), finish("tool_calls")])],
            1,
        ),
        ("before the second head", vec![echoes(), Turn::NoHead], 2),
        (
            "in the last text",
            vec![echoes(), Turn::Silent(vec![text()])],
            2,
        ),
        (
            "before the last end",
            vec![echoes(), Turn::Silent(vec![text(), finish("stop")])],
            2,
        ),
    ] {
        recorded += 1;
        let model = SilentModel::new(turns);
        let reads = async {
            let mut body = std::pin::pin!(ask(&gateway, &model).await);
            while body.frame().await.is_some() {}
        };
        let hung_up = tokio::time::timeout(Duration::from_millis(400), reads).await;
        // The body went with the future just now, and nothing had a chance to run since.
        assert_eq!(model.open(), 0, "{what}");
        assert!(hung_up.is_err(), "{what}");
        assert_eq!(model.asked(), asked, "{what}");
        assert_eq!(traces.all().len(), recorded, "{what}");
        let trace = traces.all().pop().unwrap();
        assert_eq!(trace.outcome.as_str(), "cancelled", "{what}");
        assert_eq!(trace.rounds, asked as u64 - 1, "{what}");
        tokio::task::yield_now().await;
        assert_eq!(model.asked(), asked, "{what}: something new began");
    }
}

#[tokio::test]
async fn a_tool_that_runs_is_told_within_a_tenth_of_a_second_where_nothing_is_kept() {
    let gateway = warm().await.layered(McpLayer::without_exchanges);
    let mut took = Vec::new();
    for number in 1..=5 {
        let turn = Turn::Slow(Duration::ZERO, vec![text(), slow(), finish("tool_calls")]);
        let model = SilentModel::new([turn]);
        let mut body = Box::pin(ask(&gateway, &model).await);
        let running = until("the tool runs", || gateway.server.calls() == number);
        tokio::select! {
            () = async { while body.frame().await.is_some() {} } => panic!("the stream ended"),
            () = running => {}
        }
        let hung_up = Instant::now();
        drop(body);
        while gateway.server.cancelled() < number {
            assert!(hung_up.elapsed() < Duration::from_secs(20), "never");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        took.push(hung_up.elapsed());
        assert_eq!((model.asked(), model.open()), (1, 0));
    }
    // The machine may have been busy for some of them, but hardly for all.
    let best = took.iter().min().unwrap();
    assert!(*best < Duration::from_millis(100), "{took:?}");
}

#[tokio::test]
async fn a_slow_reader_has_little_waiting_for_it() {
    const FRAME: usize = 64 << 10;
    let gateway = warm().await;
    let read = Arc::new(Mutex::new((0_usize, 0_usize)));
    let sent = read.clone();
    let event = format!(
        "data: {}\n\n",
        chunk(json!({"content": "é\u{1f44b} and so on"}))
    );
    let frame = event.repeat(FRAME / event.len());
    let model = service_fn(move |_: http::Request<RequestBody<Full<Bytes>>>| {
        let (sent, frame) = (sent.clone(), frame.clone());
        let end = format!("data: {}\n\ndata: [DONE]\n\n", finish("stop"));
        let frames = std::iter::repeat_n(frame, 64)
            .chain([end])
            .map(move |frame| {
                sent.lock().unwrap().0 += frame.len();
                Ok::<_, BrokenOff>(Frame::data(Bytes::from(frame)))
            });
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let response = http::Response::builder().header("content-type", "text/event-stream");
        std::future::ready(Ok::<_, BrokenOff>(response.body(body).unwrap()))
    });
    let request = chat(streamed(json!({})).to_string());
    let mut body = gateway
        .layer
        .layer(model)
        .oneshot(request)
        .await
        .unwrap()
        .into_body();
    let mut largest = 0;
    while let Some(frame) = body.frame().await {
        let mut counts = read.lock().unwrap();
        counts.1 += frame.unwrap().into_data().unwrap().len();
        largest = largest.max(counts.0.saturating_sub(counts.1));
        assert!(counts.0 < counts.1 + 2 * FRAME, "{counts:?}");
    }
    assert!(read.lock().unwrap().1 > 60 * FRAME, "all of it came");
    assert!(largest > 0, "it is counted");
}

#[tokio::test]
async fn a_silent_model_does_not_let_the_connection_die() {
    let gateway = warm().await;
    tokio::time::pause();
    let turn = vec![text(), chunk(json!({"content": "!"})), finish("stop")];
    let model = SilentModel::new([Turn::Slow(Duration::from_secs(35), turn)]);
    let body = ask(&gateway, &model).await;
    let body = body
        .collect()
        .await
        .unwrap_or_else(|_| panic!("no error"))
        .to_bytes();
    let told = assembled(&body);
    assert_eq!(told.content, "one moment!");
    // Four waits of 35 s, with one comment every 10 s.
    assert_eq!(told.comments, 12);
}
