//! What services and callers do otherwise than OpenAI's reference says, without being wrong about
//! what they mean.

use http::{Request, header};
use http_body_util::Full;
use mcp_layer::Price;
use serde_json::{Value, json};

use crate::{
    streamed_faults::{done, echo},
    streamed_loop::{execute, send, streamed},
    support::{
        events::{chunk, events, finish, usage},
        gateway::{Gateway, auto},
        model::{Answer, calls, json_answer, raw_answer, said, says},
    },
};

fn streamed_turn(kind: &str, chunks: &[Value]) -> Answer {
    match kind {
        "" => raw_answer(200, &[], [events(chunks)]),
        kind => raw_answer(200, &[("content-type", kind)], [events(chunks)]),
    }
}

fn calls_echo() -> Vec<Value> {
    vec![
        chunk(json!({"role": "assistant", "content": null})),
        chunk(echo()),
        finish("tool_calls"),
        usage(10, 2),
    ]
}

fn says_hello() -> Vec<Value> {
    vec![
        chunk(json!({"role": "assistant", "content": "Hel"})),
        chunk(json!({"content": "lo"})),
        finish("stop"),
        usage(20, 3),
    ]
}

#[tokio::test]
async fn a_stream_that_nobody_asked_for_is_a_turn_and_the_caller_gets_json() {
    for kind in [
        "text/event-stream",
        "Text/Event-Stream; charset=utf-8",
        "text/plain",
        "",
    ] {
        let answers = [
            streamed_turn(kind, &calls_echo()),
            streamed_turn(kind, &says_hello()),
        ];
        let gateway = Gateway::new(answers).await;
        let reply = gateway.send(&auto(json!({}))).await;
        assert_eq!(reply.headers[header::CONTENT_TYPE], "application/json");
        let body = reply.json();
        assert_eq!(body["object"], "chat.completion");
        assert_eq!(body["choices"][0]["message"]["content"], "Hello");
        assert_eq!(body["choices"][0]["finish_reason"], "stop");
        assert_eq!(body["usage"]["total_tokens"], 35);
        assert_eq!(reply.receipt()["rounds"], 1);
        assert_eq!(
            gateway.model.asked()[1].json()["messages"][1]["tool_calls"][0]["id"],
            "a"
        );
    }
}

#[tokio::test]
async fn a_completion_with_the_end_of_a_stream_behind_it_is_one() {
    let answer = format!("{}data: [DONE]\n\n", said("hi"));
    let kind = [("content-type", "text/event-stream")];
    let gateway = Gateway::new([
        calls(&[("s__echo", json!({"text": "x"}))]),
        raw_answer(200, &kind, [answer]),
    ])
    .await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "hi");
    assert_eq!(reply.receipt()["rounds"], 1);
}

#[tokio::test]
async fn half_a_stream_that_nobody_asked_for_is_no_turn() {
    let half = || {
        let text = format!("data: {}\n\n", chunk(json!({"content": "Hel"})));
        raw_answer(200, &[("content-type", "text/event-stream")], [text])
    };
    let gateway = Gateway::new([half()]).await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.headers[header::CONTENT_TYPE], "text/event-stream");
    let gateway = Gateway::new([calls(&[("s__echo", json!({"text": "x"}))]), half()])
        .await
        .layered(|layer| layer.with_turn_retries(0));
    assert_eq!(
        gateway.send(&auto(json!({}))).await.error().1,
        "upstream_error"
    );
}

#[tokio::test]
async fn a_stream_is_one_under_any_media_type_and_so_is_a_whole_answer_in_its_place() {
    for kind in [
        "text/plain",
        "application/octet-stream",
        "TEXT/EVENT-STREAM",
        "",
    ] {
        let gateway = Gateway::new([streamed_turn(kind, &calls_echo()), done()])
            .await
            .layered(execute);
        let told = send(&gateway, &streamed(json!({}))).await;
        assert_eq!(
            (told.content.as_str(), told.is_done),
            ("done", true),
            "{kind}"
        );
        assert_eq!(told.receipts[0]["rounds"], 1);
    }
    let whole = [calls(&[("s__echo", json!({"text": "x"}))]), says("whole")];
    let gateway = Gateway::new(whole).await.layered(execute);
    let told = send(&gateway, &streamed(json!({}))).await;
    assert_eq!((told.content.as_str(), told.is_done), ("whole", true));
}

#[tokio::test]
async fn a_choice_that_forces_a_tool_is_relaxed_in_any_dialect_and_none_is_obeyed_in_any() {
    for (sent, later) in [
        (json!("any"), json!("auto")),
        (json!({"type": "any"}), json!({"type": "auto"})),
        (
            json!({"type": "tool", "name": "s__echo"}),
            json!({"type": "auto"}),
        ),
        (
            json!({"type": "function", "name": "s__echo"}),
            json!("auto"),
        ),
        (json!({"mode": "ANY"}), json!({"mode": "AUTO"})),
    ] {
        let gateway = Gateway::new([calls(&[("s__echo", json!({"text": "x"}))]), says("hi")]).await;
        gateway.send(&auto(json!({"tool_choice": sent}))).await;
        let asked = gateway.model.asked();
        let choices: Vec<_> = asked
            .iter()
            .map(|turn| turn.json()["tool_choice"].clone())
            .collect();
        assert_eq!(choices, [sent, later]);
    }
    for sent in [json!({"type": "none"}), json!({"mode": "none"})] {
        let gateway = Gateway::new([calls(&[("s__echo", json!({"text": "x"}))])]).await;
        gateway.send(&auto(json!({"tool_choice": sent}))).await;
        assert_eq!(gateway.server.calls(), 0);
    }
}

#[tokio::test]
async fn a_caller_with_tools_of_its_own_keeps_its_choice_unless_it_names_a_tool_of_ours() {
    let own = json!([{"type": "function", "function": {"name": "own"}}]);
    let named = |name: &str| json!({"type": "function", "function": {"name": name}});
    for (sent, later) in [
        (json!("required"), json!("required")),
        (json!("any"), json!("any")),
        (named("own"), named("own")),
        (named("s__echo"), json!("auto")),
    ] {
        let gateway = Gateway::new([calls(&[("s__echo", json!({"text": "x"}))]), says("hi")]).await;
        gateway
            .send(&auto(json!({"tool_choice": sent, "tools": own})))
            .await;
        assert_eq!(gateway.model.asked()[1].json()["tool_choice"], later);
    }
}

#[tokio::test]
async fn cached_tokens_cost_what_cached_tokens_cost_under_any_name() {
    for cached in [
        json!({"prompt_cache_hit_tokens": 9_000, "prompt_cache_miss_tokens": 1_000}),
        json!({"cached_tokens": 9_000}),
        json!({"num_cached_tokens": 9_000}),
        json!({"cache_read_input_tokens": 9_000}),
        json!({"prompt_tokens_details": {"cached_tokens": 9_000}, "prompt_cache_hit_tokens": 9_000}),
    ] {
        let with_usage = |mut body: Value| {
            body["usage"] = json!({"prompt_tokens": 10_000, "completion_tokens": 0});
            for (name, value) in cached.as_object().unwrap() {
                body["usage"][name] = value.clone();
            }
            json_answer(200, &body)
        };
        let call = crate::support::model::called(&[("s__echo", json!({"text": "x"}))]);
        let gateway = Gateway::new([with_usage(call), with_usage(said("hi"))])
            .await
            .layered(|layer| {
                layer.with_prices([Price::new("m", 10.0, 0.0).with_cached_input(1.0)])
            });
        let reply = gateway.send(&auto(json!({}))).await;
        assert_eq!(
            reply.receipt()["usage_by_round"][0]["cost"],
            0.019,
            "{cached}"
        );
        assert_eq!(reply.json()["usage"]["cost"], 0.038);
        let (name, count) = cached.as_object().unwrap().iter().next_back().unwrap();
        if let Some(count) = count.as_u64() {
            assert_eq!(reply.json()["usage"][name], 2 * count);
        }
    }
}

fn post(path: &str, body: &Value) -> Request<Full<bytes::Bytes>> {
    let request = Request::post(path).header("content-type", "application/json");
    request.body(Full::new(body.to_string().into())).unwrap()
}

#[tokio::test]
async fn a_slash_more_does_not_hide_a_chat_completion() {
    for path in [
        "/v1/chat/completions/",
        "/v1//chat/completions",
        "/chat/completions//",
    ] {
        let gateway = Gateway::new([calls(&[("s__echo", json!({"text": "x"}))]), says("hi")]).await;
        let reply = gateway.request(post(path, &auto(json!({})))).await;
        assert_eq!(reply.receipt()["rounds"], 1, "{path}");
        assert_eq!(gateway.model.asked()[0].uri.path(), path);
    }
}

#[tokio::test]
async fn a_request_for_tools_to_another_api_is_told_which_one_has_them() {
    for path in [
        "/v1/responses",
        "/v1/completions",
        "/v1/messages",
        "/v1/responses/",
    ] {
        for mcp in [
            json!({"enabled": true, "servers": ["s"]}),
            json!({"enabled": false}),
            json!(7),
        ] {
            let gateway = Gateway::new([]).await;
            let reply = gateway
                .request(post(
                    path,
                    &json!({"model": "m", "input": "hi", "mcp": mcp}),
                ))
                .await;
            assert_eq!(
                reply.error(),
                (400, "invalid_mcp_options".into(), json!("mcp"))
            );
            let message = reply.json()["error"]["message"]
                .as_str()
                .unwrap()
                .to_owned();
            assert!(
                message.contains("/chat/completions") && message.contains(path),
                "{message}"
            );
        }
    }
}

#[tokio::test]
async fn a_request_to_another_api_passes_byte_for_byte_unless_it_asks_for_tools() {
    let large = format!(r#"{{"input":"{}","mcp":{{}}}}"#, "x".repeat(21 << 20));
    for body in [
        r#"{ "input": "hi" }"#,
        r#"{"input":"\"mcp\"","metadata":{"mcp":1}}"#,
        r#"{"mcp":"#,
        "",
        // More than is read: its own service's matter.
        &large,
    ] {
        let gateway = Gateway::new([raw_answer(200, &[], ["as it is"])]).await;
        let request = Request::post("/v1/responses")
            .body(Full::new(body.to_owned().into()))
            .unwrap();
        let reply = gateway.request(request).await;
        assert_eq!(reply.body, "as it is");
        assert_eq!(gateway.model.asked()[0].body, body);
    }
    // Where an operator names the paths, others are nobody's.
    let gateway = Gateway::new([raw_answer(200, &[], ["ok"])]).await;
    let gateway = gateway.layered(|layer| layer.with_paths(["/ask"]));
    let reply = gateway
        .request(post("/v1/messages", &json!({"mcp": {}})))
        .await;
    assert_eq!(reply.body, "ok");
}
