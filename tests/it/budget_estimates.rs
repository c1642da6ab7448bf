//! What counts into a project's budget where the caller would have it unsaid, or the model's service
//! says nothing.

use http_body_util::BodyExt;
use mcp_layer::{McpLayer, Price, Project, Streaming, registry::Budget};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};

use crate::{
    project_budgets::{budgeted, counted, send, web},
    support::{
        events::{assembled, chunk, events, finish, streams, usage},
        gateway::{Gateway, auto, chat},
        model::{Answer, json_answer, said, says},
        silent::{SilentModel, Turn},
        until,
    },
};

/// More than any answer here has, and less than any request.
const FEW: u64 = 20;

fn few() -> Budget {
    web().with_tokens_per_day(FEW).unwrap()
}

fn text() -> Value {
    chunk(json!({"role": "assistant", "content": "one moment"}))
}

/// A request for a stream, with these options.
fn streamed(options: Option<Value>) -> Value {
    let mut body = auto(json!({"stream": true}));
    if let Some(options) = options {
        body["stream_options"] = options;
    }
    body
}

#[tokio::test]
async fn a_stream_that_goes_through_counts_whether_its_caller_asks_for_the_usage_or_not() {
    let turn = [text(), finish("stop"), usage(10, 2)];
    let budget = || web().with_tokens_per_day(12).unwrap();
    for (options, is_wanted) in [
        (None, false),
        (Some(Value::Null), false),
        (Some(json!({"include_usage": false})), false),
        (Some(json!({"include_usage": true})), true),
    ] {
        let gateway = budgeted([streams(&turn)], budget()).await;
        let body = streamed(options);
        let reply = send(&gateway, &body).await;
        let asked = gateway.model.asked()[0].json();
        assert_eq!(asked["stream_options"], json!({"include_usage": true}));
        let got = match is_wanted {
            true => events(&turn),
            false => events(&turn[..2]),
        };
        assert_eq!(reply.body, got, "{body}");
        assert_eq!(send(&gateway, &body).await.status, 429, "{body}");
    }
    let gateway = budgeted([streams(&turn)], budget()).await;
    let reply = gateway.send_as("batch", &streamed(None)).await;
    assert_eq!(reply.body, events(&turn));
    assert_eq!(gateway.model.asked()[0].json().get("stream_options"), None);
}

/// The caller knows nothing of it, and could do nothing about it.
#[tokio::test]
async fn a_service_that_knows_no_usage_of_streams_is_asked_without_and_counts_by_an_estimate() {
    let message = "Unknown parameter: 'stream_options'.";
    let error = json!({"error": {"message": message, "type": "invalid_request_error",
        "param": "stream_options", "code": "unknown_parameter"}});
    let turn = [text(), finish("stop")];
    let gateway = budgeted([json_answer(400, &error), streams(&turn)], few()).await;
    let reply = send(&gateway, &streamed(None)).await;
    assert_eq!(reply.body, events(&turn));
    let asked = gateway.model.asked();
    assert_eq!(asked[0].json()["stream_options"]["include_usage"], true);
    assert_eq!(asked[1].json().get("stream_options"), None);
    assert_eq!(send(&gateway, &streamed(None)).await.status, 429);
}

#[tokio::test]
async fn no_encoding_that_a_caller_takes_hides_the_usage() {
    let gateway = budgeted([says("a")], web().with_tokens_per_day(12).unwrap()).await;
    let body = auto(json!({"mcp": {"auto_execute_tools": false}}));
    let mut request = chat(body.to_string());
    request.extensions_mut().insert(Project::new("web"));
    let encoding = "gzip".parse().unwrap();
    request.headers_mut().insert("accept-encoding", encoding);
    assert_eq!(gateway.request(request).await.status, 200);
    assert_eq!(
        gateway.model.asked()[0].headers["accept-encoding"],
        "identity"
    );
}

/// Asks, and hangs up once the model was asked, or has begun to say something.
async fn hangs_up(gateway: &Gateway, turn: Turn) {
    let says_something = !matches!(turn, Turn::NoHead);
    let model = SilentModel::new([turn]);
    let mut request = chat(streamed(None).to_string());
    request.extensions_mut().insert(Project::new("web"));
    let service = gateway.layer.layer(model.clone());
    let reads = async {
        let mut body = std::pin::pin!(service.oneshot(request).await.unwrap().into_body());
        let mut got = Vec::new();
        while !(says_something && String::from_utf8_lossy(&got).contains("one moment")) {
            let frame = body.frame().await.expect("more").unwrap();
            got.extend_from_slice(frame.data_ref().unwrap());
        }
    };
    let asked = async {
        until("the model is asked", || model.asked() == 1).await;
        if says_something {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = reads => {}
        () = asked => {}
    }
    counted().await;
}

#[tokio::test]
async fn a_caller_who_hangs_up_before_the_usage_is_there_has_used_about_what_went_by() {
    for streaming in [None, Some(Streaming::Execute)] {
        for turn in [
            || Turn::NoHead,
            || Turn::Silent(vec![text()]),
            || Turn::Silent(vec![text(), finish("stop")]),
        ] {
            for budget in [few(), web().with_cost_per_day(1.0).unwrap()] {
                let gateway = budgeted([], budget).await.layered(|layer: McpLayer| {
                    let layer = layer.with_prices([Price::new("m", 1e6, 1e6)]);
                    match streaming {
                        Some(streaming) => layer.with_streaming(streaming),
                        None => layer,
                    }
                });
                hangs_up(&gateway, turn()).await;
                let refused = send(&gateway, &streamed(None)).await;
                assert_eq!(refused.status, 429, "{streaming:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_service_that_never_says_what_it_has_used_counts_by_an_estimate() {
    let unsaid = |usage: Option<Value>| {
        let mut answer = said("a");
        match usage {
            Some(usage) => answer["usage"] = usage,
            None => _ = answer.as_object_mut().unwrap().remove("usage"),
        }
        json_answer(200, &answer)
    };
    for usage in [None, Some(Value::Null), Some(json!({}))] {
        let gateway = budgeted([unsaid(usage)], few()).await;
        assert_eq!(send(&gateway, &auto(json!({}))).await.status, 200);
        assert_eq!(send(&gateway, &auto(json!({}))).await.status, 429);
    }
    // The caller is not told of it.
    let gateway = budgeted([unsaid(None)], few()).await;
    let reply = send(&gateway, &auto(json!({}))).await;
    assert_eq!(reply.json().get("usage"), None);
}

#[tokio::test]
async fn nobody_pays_for_a_turn_that_a_service_has_refused_or_never_answered() {
    let failures = [
        json_answer(500, &json!({})),
        json_answer(429, &json!({})),
        json_answer(400, &json!({"error": {"message": "no"}})),
        Answer::Fail,
    ];
    let gateway = budgeted(failures, web().with_tokens_per_day(1).unwrap()).await;
    for _ in 0..4 {
        let mut request = chat(auto(json!({})).to_string());
        request.extensions_mut().insert(Project::new("web"));
        if let Ok(response) = gateway.respond(request).await {
            assert!(!response.status().is_success());
        }
        counted().await;
    }
    gateway.model.add([says("a")]);
    let reply = send(&gateway, &auto(json!({}))).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn a_streamed_loop_counts_what_it_is_told_and_nothing_besides() {
    let turn = [text(), finish("stop"), usage(10, 2)];
    let budget = web().with_tokens_per_day(13).unwrap();
    let gateway = budgeted([streams(&turn), says("b")], budget).await;
    let gateway = gateway.layered(|layer| layer.with_streaming(Streaming::Execute));
    let reply = send(&gateway, &streamed(None)).await;
    assert_eq!(assembled(&reply.body).content, "one moment");
    assert_eq!(send(&gateway, &auto(json!({}))).await.status, 200);
    assert_eq!(send(&gateway, &auto(json!({}))).await.status, 429);
}
