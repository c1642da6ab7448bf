//! The record of an exchange: JSON in, record out.

use std::{sync::Arc, time::Duration};

use http_body::Body;
use http_body_util::BodyExt;
use mcp_layer::registry::{
    MemoryTraces, SelectedTool, ToolPolicy, TraceFilter, TracePage, TraceStore,
};
use mcp_layer::trace::{StoppedBy, Trace, TraceSink};
use mcp_layer::{Limits, McpLayer, Price, Streaming};
use serde_json::{Value, json};

use crate::support::events::{call, chunk, finish, raw_stream, stream_of, streams, usage};
use crate::support::gateway::{Gateway, auto, chat, with_mcp};
use crate::support::model::{
    Answer, broken_answer, called, calls, json_answer, raw_answer, said, says,
};
use crate::support::traces::{Traces, attributes, names, outcomes, tools};
use mcp_layer::OwnTools;

async fn traced(answers: impl IntoIterator<Item = Answer>) -> (Gateway, Traces) {
    Traces::of(Gateway::new(answers).await)
}

fn echo(text: &str) -> Answer {
    calls(&[("s__echo", json!({"text": text}))])
}

fn manual(members: Value) -> Value {
    with_mcp(json!({"enabled": true, "servers": ["s"]}), members)
}

#[tokio::test]
async fn a_sink_that_panics_spoils_neither_the_answer_nor_the_next_sink() {
    struct Faulty;
    impl TraceSink for Faulty {
        fn record(&self, _: &Arc<Trace>) {
            panic!("a fault in a sink");
        }
    }
    let gateway = Gateway::new([says("done")]).await;
    let (gateway, traces) = Traces::with(gateway, |layer| layer.add_trace_sink(Faulty));
    let reply = gateway.send_as("web", &auto(json!({}))).await;
    assert_eq!(reply.status, 200);
    assert_eq!(traces.one().outcome.as_str(), "ok");
}

#[tokio::test]
async fn a_loop_is_recorded_turn_by_turn_and_call_by_call() {
    let (gateway, traces) = traced([echo("hi"), says("done")]).await;
    let reply = gateway.send_as("web", &auto(json!({}))).await;
    assert_eq!(reply.status, 200);
    let trace = traces.one();
    assert_eq!(&*trace.organization, "default");
    assert_eq!(
        (&*trace.project, trace.model.as_deref()),
        ("web", Some("m"))
    );
    assert_eq!(trace.servers, ["s"]);
    assert_eq!((trace.rounds, trace.outcome.as_str()), (1, "ok"));
    assert_eq!(trace.stopped_by.map(StoppedBy::as_str), Some("final"));
    assert_eq!(
        Value::Object(trace.usage.clone().unwrap()),
        reply.json()["usage"]
    );
    let spans: Vec<_> = names(&trace)
        .into_iter()
        .filter(|name| !name.starts_with("list_tools"))
        .collect();
    assert_eq!(spans, ["chat m", "execute_tool s__echo", "chat m"]);
    let all = trace.spans();
    let chats: Vec<_> = all.iter().filter(|s| s.name == "chat m").collect();
    assert_eq!(
        Value::Object(chats[0].attributes.clone()),
        json!({
            "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.response.model": "scripted",
            "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2,
            "gen_ai.response.finish_reasons": ["tool_calls"], "http.response.status_code": 200, "mcp_layer.turn": 1,
        })
    );
    assert_eq!(chats[1].attributes["mcp_layer.turn"], 2);
    assert_eq!(
        Value::Object(tools(&trace)[0].attributes.clone()),
        json!({
            "gen_ai.operation.name": "execute_tool", "mcp.method.name": "tools/call",
            "gen_ai.tool.name": "s__echo", "gen_ai.tool.call.id": "call_0",
            "mcp_layer.server": "s", "mcp_layer.tool": "echo", "mcp_layer.round": 1, "mcp_layer.outcome": "ok",
            "mcp_layer.result_bytes": 2, "mcp_layer.truncated": false,
            "gen_ai.tool.call.arguments": "{\"text\":\"hi\"}", "gen_ai.tool.call.result": "hi",
        })
    );
    let ends = all.iter().map(|span| span.start + span.duration);
    assert!(ends.max().unwrap() <= trace.duration);
}

#[tokio::test]
async fn failures_are_told_apart() {
    let turn = calls(&[
        ("s__fail", json!({})),
        ("s__refuse", json!({})),
        ("s__add", json!({"a": "one"})),
        ("s__nothing", json!({})),
        ("s__echo", json!({"text": "hi"})),
    ]);
    let (gateway, traces) = traced([turn, says("done")]).await;
    gateway.send(&auto(json!({}))).await;
    assert_eq!(
        outcomes(&traces.one()).as_array().unwrap().len(),
        5,
        "one span for each"
    );
    let mut found: Vec<_> = outcomes(&traces.one()).as_array().unwrap().clone();
    found.sort_by_key(ToString::to_string);
    assert_eq!(
        Value::Array(found),
        json!([
            ["s__add", "error", 1, "invalid_arguments"],
            ["s__echo", "ok", 1, null],
            ["s__fail", "error", 1, "tool_error"],
            ["s__nothing", "error", 1, "unknown_tool"],
            ["s__refuse", "error", 1, "rpc"],
        ])
    );
    let trace = traces.one();
    let unknown = tools(&trace)
        .into_iter()
        .find(|span| span.name.ends_with("s__nothing"))
        .unwrap();
    assert!(!unknown.attributes.contains_key("mcp_layer.server"));
    let failed = tools(&trace)
        .into_iter()
        .find(|span| span.name.ends_with("s__fail"))
        .unwrap();
    let text = failed.attributes["gen_ai.tool.call.result"]
        .as_str()
        .unwrap();
    assert!(text.starts_with("Error: "), "{text}");
}

#[tokio::test]
async fn every_round_counts_and_costs_are_summed() {
    let answers = [echo("a"), echo("b"), echo("c"), says("done")];
    let gateway = Gateway::new(answers).await;
    let (gateway, traces) = Traces::with(gateway, |layer| {
        layer.with_prices([Price::new("m", 1.0, 10.0)])
    });
    let reply = gateway.send(&auto(json!({}))).await;
    let trace = traces.one();
    assert_eq!(trace.rounds, 3);
    assert_eq!(
        outcomes(&trace),
        json!([
            ["s__echo", "ok", 1, null],
            ["s__echo", "ok", 2, null],
            ["s__echo", "ok", 3, null]
        ])
    );
    let usage = Value::Object(trace.usage.clone().unwrap());
    assert_eq!(usage["cost"], 0.00012);
    assert_eq!(usage, reply.json()["usage"]);
}

#[tokio::test]
async fn what_a_repeat_goes_on_from_is_counted_once() {
    let refused = json_answer(401, &json!({"error": {"message": "not now"}}));
    let (gateway, traces) = traced([echo("a"), refused, says("done")]).await;
    gateway.send(&auto(json!({}))).await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.json()["usage"]["total_tokens"], 24);
    let tokens = |trace: &Arc<Trace>| trace.usage.clone().unwrap()["total_tokens"].clone();
    let all = traces.all();
    assert_eq!(all.iter().map(tokens).collect::<Vec<_>>(), [12, 12]);
    assert_eq!([all[0].rounds, all[1].rounds], [1, 0]);
}

#[tokio::test]
async fn calls_that_go_back_to_the_caller_were_not_executed() {
    let mixed = [
        ("s__echo", json!({"text": "x"})),
        ("lookup", json!({"q": 1})),
    ];
    let own = json!({"tools": [{"type": "function", "function": {"name": "lookup"}}]});
    let (gateway, traces) = traced([calls(&mixed), says("done")]).await;
    let gateway = gateway.layered(|layer| layer.with_own_tools(OwnTools::Whole));
    let reply = gateway.send(&auto(own.clone())).await;
    let trace = traces.one();
    assert_eq!(
        trace.stopped_by.map(StoppedBy::as_str),
        Some("caller_tools")
    );
    assert_eq!(
        outcomes(&trace),
        json!([
            ["s__echo", "not_executed", null, null],
            ["lookup", "not_executed", null, null]
        ])
    );
    for span in tools(&trace) {
        assert_eq!(span.duration, Duration::ZERO);
    }
    assert_eq!(tools(&trace)[0].attributes["mcp_layer.server"], "s");
    assert!(!tools(&trace)[1].attributes.contains_key("mcp_layer.server"));

    // Taken up again, they are another exchange, and run.
    let mut next = auto(own);
    let mut messages = next["messages"].as_array().unwrap().clone();
    messages.push(reply.json()["choices"][0]["message"].clone());
    messages.push(json!({"role": "tool", "tool_call_id": "call_1", "content": "found"}));
    next["messages"] = messages.into();
    next["mcp"]["resume_tool_calls"] = json!(true);
    gateway.send(&next).await;
    let trace = traces.all()[1].clone();
    assert!(trace.id > traces.all()[0].id);
    assert_eq!(outcomes(&trace), json!([["s__echo", "ok", 1, null]]));
    assert_eq!(
        (trace.rounds, trace.stopped_by.map(StoppedBy::as_str)),
        (1, Some("final"))
    );

    // Where the caller has answered all of them, there is nothing to run.
    let (gateway, traces) = traced([says("done")]).await;
    let turn = called(&[("s__echo", json!({}))])["choices"][0]["message"].clone();
    let mut next = auto(json!({"mcp": {"resume_tool_calls": true}}));
    let answered = json!({"role": "tool", "tool_call_id": "call_0", "content": "found"});
    next["messages"] = json!([turn, answered]);
    assert_eq!(gateway.send(&next).await.receipt()["rounds"], 0);
    assert_eq!((traces.one().rounds, traces.one().calls), (0, 0));
}

#[tokio::test]
async fn the_other_reasons_to_stop_are_recorded() {
    let ask = |server: mcp_layer::registry::Server| {
        let tools = [SelectedTool::new("echo", ToolPolicy::AskFirst)];
        server.with_tools(tools).unwrap()
    };
    let gateway = Gateway::with_server([echo("a")], ask).await;
    let (gateway, traces) = Traces::of(gateway);
    gateway.send(&auto(json!({}))).await;
    assert_eq!(
        traces.one().stopped_by.map(StoppedBy::as_str),
        Some("ask_first")
    );

    let (gateway, traces) = traced([echo("a"), echo("b")]).await;
    gateway
        .send(&auto(
            json!({"mcp": {"max_tool_rounds": 1, "on_max_rounds": "return"}}),
        ))
        .await;
    let trace = traces.one();
    assert_eq!(trace.stopped_by.map(StoppedBy::as_str), Some("max_rounds"));
    assert_eq!(
        outcomes(&trace),
        json!([
            ["s__echo", "ok", 1, null],
            ["s__echo", "not_executed", null, null]
        ])
    );
}

#[tokio::test]
async fn without_auto_execution_the_answer_is_untouched_and_its_calls_are_seen() {
    let body = called(&[("s__echo", json!({"text": "x"}))]).to_string();
    let (first, second) = body.split_at(40);
    let head = [("content-type", "application/json"), ("x-request-id", "7")];
    let (gateway, traces) = traced([raw_answer(
        200,
        &head,
        [first.to_owned(), second.to_owned()],
    )])
    .await;
    let response = gateway
        .respond(chat(manual(json!({})).to_string()))
        .await
        .unwrap();
    assert_eq!(response.headers()["x-request-id"], "7");
    assert!(traces.all().is_empty(), "it has not ended");
    let mut body = response.into_body();
    let mut frames = Vec::new();
    while let Some(frame) = body.frame().await {
        frames.push(frame.unwrap().into_data().unwrap());
    }
    assert_eq!(frames, [first, second]);
    let trace = traces.one();
    assert_eq!(
        (trace.outcome.as_str(), trace.stopped_by, trace.rounds),
        ("ok", None, 0)
    );
    assert_eq!(
        outcomes(&trace),
        json!([["s__echo", "not_executed", null, null]])
    );
    assert_eq!(
        attributes(
            trace
                .spans()
                .iter()
                .find(|span| span.name == "chat m")
                .unwrap(),
            &[
                "gen_ai.response.finish_reasons",
                "gen_ai.response.model",
                "gen_ai.usage.input_tokens"
            ]
        ),
        json!({"gen_ai.response.finish_reasons": ["tool_calls"], "gen_ai.response.model": "scripted", "gen_ai.usage.input_tokens": 10})
    );
    assert_eq!(trace.usage.as_ref().unwrap()["total_tokens"], 12);
}

#[tokio::test]
async fn a_stream_without_auto_execution_is_untouched_and_its_calls_are_seen() {
    let chunks = [
        chunk(json!({"role": "assistant", "content": null})),
        chunk(call(0, "a", "s__echo", &json!({"text": "x"}))),
        chunk(call(1, "b", "own", &json!({}))),
        finish("tool_calls"),
        usage(7, 3),
    ];
    let text: String = chunks
        .iter()
        .map(|chunk| format!("data: {chunk}\r\n\r\n"))
        .collect();
    let text = format!("{text}data: [DONE]\r\n\r\n");
    let bytes = text.as_bytes().chunks(7).map(<[u8]>::to_vec);
    let frames = bytes.map(|bytes| Ok(http_body::Frame::data(bytes.into())));
    for body in [
        manual(json!({"stream": true})),
        auto(json!({"stream": true})),
    ] {
        let (gateway, traces) = traced([stream_of(frames.clone().collect())]).await;
        let reply = gateway.send(&body).await;
        assert_eq!(reply.body, text, "byte for byte");
        let trace = traces.one();
        assert_eq!(
            outcomes(&trace),
            json!([
                ["s__echo", "not_executed", null, null],
                ["own", "not_executed", null, null]
            ])
        );
        assert_eq!(trace.usage.as_ref().unwrap()["total_tokens"], 10);
        let spans = trace.spans();
        let chat = spans.iter().find(|span| span.name == "chat m").unwrap();
        assert_eq!(
            chat.attributes["gen_ai.response.finish_reasons"],
            json!(["tool_calls"])
        );
    }
}

#[tokio::test]
async fn a_watched_body_says_of_itself_what_the_upstreams_does() {
    let (gateway, _traces) = traced([says("hi"), json_answer(200, &said("hi"))]).await;
    let unheard = Gateway::new([says("hi")]).await;
    let watched = gateway
        .respond(chat(manual(json!({})).to_string()))
        .await
        .unwrap();
    let through = unheard
        .respond(chat(manual(json!({})).to_string()))
        .await
        .unwrap();
    assert_eq!(
        watched.body().size_hint().lower(),
        through.body().size_hint().lower()
    );
    assert_eq!(
        watched.body().size_hint().upper(),
        through.body().size_hint().upper()
    );
    assert_eq!(
        watched.body().is_end_stream(),
        through.body().is_end_stream()
    );
}

#[tokio::test]
async fn whoever_has_read_all_that_was_announced_need_not_read_the_end() {
    let body = said("hi").to_string();
    let length = body.len().to_string();
    let head = [
        ("content-type", "application/json"),
        ("content-length", &*length),
    ];
    let (gateway, traces) =
        traced([raw_answer(200, &head, [body]), streams(&[finish("stop")])]).await;
    for stream in [false, true] {
        let request = chat(manual(json!({"stream": stream})).to_string());
        let mut body = gateway.respond(request).await.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        if stream {
            body.frame().await.unwrap().unwrap();
        }
        drop(body);
        assert_eq!(
            traces.all().last().unwrap().outcome.as_str(),
            "ok",
            "{stream}"
        );
    }
    assert_eq!(traces.all().len(), 2);
}

#[tokio::test]
async fn a_resumed_stream_ends_with_its_body_and_says_why() {
    let turn = called(&[("s__echo", json!({"text": "x"}))])["choices"][0]["message"].clone();
    let resume = |stream: bool| {
        let mut body = manual(json!({"stream": stream}));
        body["messages"] = json!([{"role": "user", "content": "hi"}, turn]);
        body["mcp"]["resume_tool_calls"] = json!(true);
        body
    };
    for (chunks, stopped_by, calls) in [
        (
            vec![
                chunk(json!({"content": "done"})),
                finish("stop"),
                usage(3, 1),
            ],
            "final",
            1,
        ),
        (
            vec![
                chunk(call(0, "b", "s__echo", &json!({}))),
                finish("tool_calls"),
                usage(3, 1),
            ],
            "max_rounds",
            2,
        ),
    ] {
        let (gateway, traces) = traced([streams(&chunks)]).await;
        let reply = gateway.send(&resume(true)).await;
        assert!(String::from_utf8_lossy(&reply.body).contains("\"mcp\":"));
        let trace = traces.one();
        assert_eq!(
            (trace.rounds, trace.stopped_by.map(StoppedBy::as_str)),
            (1, Some(stopped_by))
        );
        assert_eq!(tools(&trace).len(), calls);
        assert_eq!(trace.usage.as_ref().unwrap()["total_tokens"], 4);
    }
}

#[tokio::test]
async fn a_loop_that_is_one_stream_is_recorded_like_any_other() {
    let turn = vec![
        chunk(json!({"role": "assistant", "content": "let me see"})),
        chunk(call(0, "a", "s__echo", &json!({"text": "x"}))),
        finish("tool_calls"),
        usage(10, 2),
    ];
    let last = vec![
        chunk(json!({"content": "done"})),
        finish("stop"),
        usage(20, 3),
    ];
    let gateway = Gateway::new([streams(&turn), streams(&last)]).await;
    let (gateway, traces) = Traces::with(gateway, |layer| layer.with_streaming(Streaming::Execute));
    let response = gateway
        .respond(chat(auto(json!({"stream": true})).to_string()))
        .await
        .unwrap();
    assert!(traces.all().is_empty());
    response.into_body().collect().await.unwrap();
    let trace = traces.one();
    assert_eq!(
        (
            trace.outcome.as_str(),
            trace.stopped_by.map(StoppedBy::as_str)
        ),
        ("ok", Some("final"))
    );
    assert_eq!(outcomes(&trace), json!([["s__echo", "ok", 1, null]]));
    assert_eq!(trace.usage.as_ref().unwrap()["total_tokens"], 35);
    let spans = trace.spans();
    let chats = spans.iter().filter(|span| span.name == "chat m");
    let reasons: Vec<_> = chats
        .map(|span| &span.attributes["gen_ai.response.finish_reasons"])
        .collect();
    assert_eq!(reasons, [&json!(["tool_calls"]), &json!(["stop"])]);
}

#[tokio::test]
async fn refused_requests_say_why() {
    for (body, code) in [
        (
            with_mcp(json!({"enabled": true, "servers": ["nobody"]}), json!({})),
            "mcp_server_not_found",
        ),
        (
            with_mcp(json!({"enabled": true, "servers": "s"}), json!({})),
            "invalid_mcp_options",
        ),
        (auto(json!({"n": 2})), "invalid_mcp_options"),
        (
            auto(json!({"mcp": {"tools": ["s__nothing"]}})),
            "invalid_mcp_options",
        ),
        (
            auto(json!({"mcp": {"resume_tool_calls": true}})),
            "invalid_mcp_options",
        ),
        (
            auto(json!({"tools": [{"type": "function", "function": {"name": "s__echo"}}]})),
            "mcp_tool_name_conflict",
        ),
    ] {
        let (gateway, traces) = traced([]).await;
        let reply = gateway.send_as("web", &body).await;
        assert!(reply.status.is_client_error());
        let trace = traces.one();
        assert_eq!(
            (trace.outcome.as_str(), &*trace.project),
            ("refused", "web"),
            "{code}"
        );
        let spans = trace.spans();
        let refuse = spans.iter().find(|span| span.name == "refuse").unwrap();
        assert_eq!(refuse.attributes["error.type"], code);
        assert_eq!(
            refuse.attributes["error.message"],
            reply.json()["error"]["message"]
        );
    }
    let disabled = Gateway::with_server([], |server| server.with_enabled(false));
    let (gateway, traces) = Traces::of(disabled.await);
    gateway.send(&auto(json!({}))).await;
    let trace = traces.one();
    assert_eq!(names(&trace), ["list_tools s", "refuse"]);
    assert_eq!(trace.spans()[0].attributes["error.type"], "server_inactive");
}

#[tokio::test]
async fn requests_without_mcp_are_nobodys_matter() {
    let (gateway, traces) = traced([says("a"), says("b")]).await;
    gateway.send(&json!({"model": "m", "messages": []})).await;
    gateway
        .send(&with_mcp(json!({"enabled": false}), json!({})))
        .await;
    assert!(traces.all().is_empty());
}

#[tokio::test]
async fn failures_of_the_models_service_are_recorded() {
    let (gateway, traces) = traced([Answer::Fail]).await;
    assert!(
        gateway
            .respond(chat(auto(json!({})).to_string()))
            .await
            .is_err()
    );
    let trace = traces.one();
    assert_eq!(trace.outcome.as_str(), "upstream_failed");
    assert_eq!(
        trace.spans().last().unwrap().attributes["error.type"],
        "upstream_failed"
    );

    let error = || json_answer(429, &json!({"error": {"message": "slow down"}}));
    for body in [auto(json!({})), manual(json!({}))] {
        let (gateway, traces) = traced([error()]).await;
        assert_eq!(gateway.send(&body).await.status, 429);
        let trace = traces.one();
        assert_eq!(trace.outcome.as_str(), "upstream_error");
        let spans = trace.spans();
        let chat = spans.last().unwrap();
        assert_eq!(chat.attributes["error.type"], "429");
        assert_eq!(chat.attributes["http.response.status_code"], 429);
    }
    for (answer, outcome) in [
        (Answer::Fail, "upstream_failed"),
        (error(), "upstream_error"),
        (broken_answer(), "upstream_failed"),
    ] {
        let (gateway, traces) = traced([echo("a"), answer]).await;
        let gateway = gateway.layered(|layer| layer.with_turn_retries(0));
        gateway.send(&auto(json!({}))).await;
        let trace = traces.one();
        assert_eq!((trace.outcome.as_str(), trace.rounds), (outcome, 1));
        assert_eq!(outcomes(&trace), json!([["s__echo", "ok", 1, null]]));
    }
    // In the middle of what only passes.
    let (gateway, traces) = traced([broken_answer()]).await;
    let response = gateway
        .respond(chat(manual(json!({})).to_string()))
        .await
        .unwrap();
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(traces.one().outcome.as_str(), "upstream_failed");
}

#[tokio::test]
async fn whoever_hangs_up_while_a_tool_runs_leaves_a_cancelled_call_where_nothing_is_kept() {
    for layer in [
        McpLayer::without_exchanges as fn(McpLayer) -> McpLayer,
        |layer| layer.without_exchanges().with_streaming(Streaming::Execute),
    ] {
        let streamed = layer(McpLayer::new(mcp_layer::registry::MemoryRegistry::default()));
        let is_streamed = format!("{streamed:?}").contains("Execute");
        let slow = [
            chunk(json!({"role": "assistant", "content": "wait"})),
            chunk(call(0, "call_0", "s__slow", &json!({"ms": 60_000}))),
            finish("tool_calls"),
        ];
        let answer = match is_streamed {
            true => streams(&slow),
            false => calls(&[("s__slow", json!({"ms": 60_000}))]),
        };
        let (gateway, traces) = Traces::with(Gateway::new([answer]).await, layer);
        let body = auto(json!({"stream": is_streamed}));
        let request = async {
            let response = gateway.respond(chat(body.to_string())).await.unwrap();
            response.into_body().collect().await
        };
        tokio::select! {
            _ = request => panic!("an answer"),
            () = crate::support::until("the call runs", || gateway.server.calls() == 1) => {}
        }
        let trace = traces.soon().await;
        assert_eq!(
            (trace.outcome.as_str(), trace.stopped_by),
            ("cancelled", None)
        );
        assert_eq!(
            outcomes(&trace),
            json!([["s__slow", "cancelled", 1, "cancelled"]])
        );
        if !is_streamed {
            assert_eq!(trace.usage.as_ref().unwrap()["prompt_tokens"], 10);
        }
    }
}

#[tokio::test]
async fn whoever_hangs_up_while_a_tool_runs_leaves_a_call_that_ended_where_exchanges_are_kept() {
    let answer = calls(&[("s__slow", json!({"ms": 300}))]);
    let (gateway, traces) = Traces::of(Gateway::new([answer]).await);
    let body = auto(json!({}));
    let request = gateway.send(&body);
    tokio::select! {
        _ = request => panic!("an answer"),
        () = crate::support::until("the call runs", || gateway.server.calls() == 1) => {}
    }
    let trace = traces.soon().await;
    assert_eq!(trace.outcome.as_str(), "cancelled");
    assert_eq!(outcomes(&trace), json!([["s__slow", "ok", 1, null]]));
    assert_eq!(trace.usage.as_ref().unwrap()["prompt_tokens"], 10);
}

#[tokio::test]
async fn whoever_drops_a_body_that_passes_has_cancelled_the_exchange() {
    let (gateway, traces) = traced([raw_stream("data: {\"choices\":[]}\n\n")]).await;
    let request = chat(manual(json!({"stream": true})).to_string());
    let mut body = gateway.respond(request).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    let trace = traces.one();
    assert_eq!(trace.outcome.as_str(), "cancelled");
    assert_eq!(
        trace.spans().last().unwrap().attributes["error.type"],
        "cancelled"
    );
}

#[tokio::test]
async fn calls_beyond_those_allowed_are_recorded_as_failed() {
    let turn = calls(&[
        ("s__echo", json!({"text": "a"})),
        ("s__echo", json!({"text": "b"})),
    ]);
    let gateway = Gateway::new([turn, says("done")]).await;
    let mut limits = Limits::default();
    limits.calls = 1;
    let (gateway, traces) = Traces::with(gateway, |layer| layer.with_limits(limits));
    gateway.send(&auto(json!({}))).await;
    assert_eq!(
        outcomes(&traces.one()),
        json!([
            ["s__echo", "ok", 1, null],
            ["s__echo", "error", 1, "call_limit"]
        ])
    );
}

#[tokio::test]
async fn what_a_caller_names_is_bounded_in_a_record() {
    let long = "x".repeat(10_000);
    let (gateway, traces) = traced([says("hi")]).await;
    let mut body = auto(json!({"model": long}));
    gateway.send(&body).await;
    body["mcp"]["servers"] = (0..1000).map(|n| format!("{long}{n}")).collect();
    gateway.send(&body).await;
    for trace in traces.all() {
        let size = format!("{trace:?}").len();
        assert!(size < 64 * 1024, "{size}");
    }
}

#[tokio::test]
async fn a_memory_of_traces_shows_what_was_recorded() {
    let store = MemoryTraces::default();
    let kept = store.clone();
    let gateway = Gateway::new([echo("a"), says("done")]).await;
    let gateway = gateway.layered(|layer| layer.add_trace_sink(kept));
    gateway.send(&auto(json!({}))).await;
    let listing = store
        .list("default", &TraceFilter::default(), &TracePage::default())
        .await
        .unwrap();
    assert_eq!(listing.traces.len(), 1);
    let id = listing.traces[0].id;
    let trace = store.get("default", id).await.unwrap().unwrap();
    assert_eq!(tools(&trace).len(), 1);
    assert!(store.get("other", id).await.unwrap().is_none());
}
