//! The loop: what the model gets, what runs, and what the caller is told.

use std::time::Duration;

use mcp_layer::registry::{Auth, MemoryRegistry, Server, ServerStore};
use mcp_layer::{Limits, McpLayer, Price};
use serde_json::{Value, json};

use crate::support::evil::{Evil, Received, Step, json_reply, reply};
use crate::support::gateway::{Gateway, auto, chat, short_connections, with_mcp};
use crate::support::model::{Answer, called, calls, json_answer, said, says};
use crate::support::{CANARY, until};

/// The `tool` messages of the model's `turn`, counted from 0.
fn results(gateway: &Gateway, turn: usize) -> Vec<(String, String)> {
    let body = gateway.model.asked()[turn].json();
    let messages = body["messages"].as_array().unwrap().clone();
    let text = |message: &Value, name: &str| message[name].as_str().unwrap().to_owned();
    messages
        .iter()
        .filter(|message| message["role"] == "tool")
        .map(|message| (text(message, "tool_call_id"), text(message, "content")))
        .collect()
}

fn result(gateway: &Gateway) -> String {
    results(gateway, 1).remove(0).1
}

#[tokio::test]
async fn a_call_is_run_and_the_final_answer_has_a_receipt() {
    let gateway = Gateway::new([
        calls(&[("s__echo", json!({"text": "42"}))]),
        says("It is 42."),
    ])
    .await;
    let reply = gateway.send(&auto(json!({}))).await;

    assert_eq!(reply.status, 200);
    let body = reply.json();
    assert_eq!(body["choices"][0]["message"]["content"], "It is 42.");
    assert_eq!(body["usage"]["total_tokens"], 24);
    assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 2);
    assert_eq!(
        results(&gateway, 1),
        [("call_0".to_owned(), "42".to_owned())]
    );

    let mut receipt = reply.receipt();
    assert!(receipt["calls"][0]["duration_ms"].take().is_u64());
    let usage = said("")["usage"].clone();
    assert_eq!(
        receipt,
        json!({
            "rounds": 1, "max_tool_rounds": 5, "stopped_by": "final",
            "calls": [{"round": 1, "id": "call_0", "server": "s", "tool": "echo", "duration_ms": null,
                       "is_error": false, "result_bytes": 2, "truncated": false}],
            "usage_by_round": [usage, usage],
        })
    );
}

#[tokio::test]
async fn calls_of_a_round_run_together_and_their_answers_keep_the_order_of_the_calls() {
    let together: Vec<(&str, Value)> = vec![
        ("s__slow", json!({"ms": 1000})),
        ("s__echo", json!({"text": "b"})),
        ("s__slow", json!({"ms": 1000})),
        ("s__add", json!({"a": 1, "b": 2})),
    ];
    let gateway = Gateway::new([calls(&together), says("done")]).await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert!(gateway.server.most_at_once() > 1);
    let texts: Vec<_> = results(&gateway, 1)
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert_eq!(texts, ["done", "b", "done", "3"]);
    let ids: Vec<_> = reply.receipt()["calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["id"].clone())
        .collect();
    assert_eq!(ids, ["call_0", "call_1", "call_2", "call_3"]);
}

#[tokio::test]
async fn parallel_tool_calls_false_is_honoured() {
    let both = [
        ("s__slow", json!({"ms": 150})),
        ("s__slow", json!({"ms": 150})),
    ];
    let gateway = Gateway::new([calls(&both), says("done")]).await;
    gateway
        .send(&auto(json!({"parallel_tool_calls": false})))
        .await;
    assert_eq!(gateway.server.most_at_once(), 1);
}

#[tokio::test]
async fn what_the_layer_does_not_know_survives_byte_for_byte() {
    let message = r#"{ "role":"assistant", "content":null,"reasoning_details":[{"n":1.50}],"tool_calls":[{"id":"a","type":"function","function":{"name":"s__echo","arguments":"{\"text\":\"x\"}"}}]}"#;
    let first = format!(r#"{{"choices":[{{"message":{message}}}]}}"#);
    let last = r#"{"id":"z", "choices":[ {"message":{"content":"hi","x":1.0}} ],"y" : [1.10]}"#;
    let raw = |body: &str| crate::support::model::raw_answer(200, &[], [body.to_owned()]);
    let gateway = Gateway::new([raw(&first), raw(last)]).await;
    let own = r#"{"type":"function","function":{ "name":"mine","x":1.0}}"#;
    let body = format!(
        r#"{{"messages":[ {{"role":"user","content":"é\u00e9", "z":1.0}} ],"mcp":{{"enabled":true,"servers":["s"],"auto_execute_tools":true}} ,"seed":1.0,"tools":[{own}],"top_p":1e0}}"#
    );
    let reply = gateway.send_bytes(body).await;

    let turns: Vec<String> = gateway
        .model
        .asked()
        .iter()
        .map(|t| String::from_utf8(t.body.to_vec()).unwrap())
        .collect();
    let tools = |turn: &str| turn[turn.find("\"tools\":").unwrap()..].to_owned();
    assert_eq!(
        tools(&turns[0]),
        tools(&turns[1]),
        "tools are the same text in every turn"
    );
    assert!(turns[0].contains(&format!(r#""seed":1.0,"tools":[{own},{{"#)));
    assert!(turns[0].starts_with(
        r#"{"messages":[ {"role":"user","content":"é\u00e9", "z":1.0} ] ,"seed":1.0"#
    ));
    assert!(turns[1].starts_with(&format!(
        r#"{{"messages":[ {{"role":"user","content":"é\u00e9", "z":1.0}},{message},{{"role":"tool","#
    )));
    assert!(
        turns
            .iter()
            .all(|turn| turn.ends_with(r#"],"top_p":1e0}"#) && !turn.contains("\"mcp\""))
    );

    let answer = String::from_utf8(reply.body.to_vec()).unwrap();
    assert!(answer.starts_with(
        r#"{"id":"z", "choices":[ {"message":{"content":"hi","x":1.0}} ],"y" : [1.10],"mcp":{"#
    ));
}

#[tokio::test]
async fn ours_are_sorted_by_name_behind_the_callers_own() {
    let gateway = Gateway::new([says("hi")]).await;
    gateway
        .send(&auto(
            json!({"tools": [{"type": "function", "function": {"name": "zzz"}}]}),
        ))
        .await;
    let body = gateway.model.asked()[0].json();
    let names: Vec<_> = body["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["function"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        names,
        [
            "zzz",
            "s__add",
            "s__big",
            "s__echo",
            "s__fail",
            "s__image",
            "s__refuse",
            "s__slow",
            "s__structured"
        ]
    );
}

#[tokio::test]
async fn only_selected_tools_are_offered_and_fewer_where_the_request_says_so() {
    let gateway = Gateway::with_server([says("hi"), says("hi")], |s| {
        s.with_tools(["echo", "add"]).unwrap()
    })
    .await;
    let names = |turn: usize| {
        let body = gateway.model.asked()[turn].json();
        let names = body["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["function"]["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    gateway.send(&auto(json!({}))).await;
    assert_eq!(names(0), ["s__add", "s__echo"]);
    gateway
        .send(&auto(json!({"mcp": {"tools": ["s__echo"]}})))
        .await;
    assert_eq!(names(1), ["s__echo"]);
}

#[tokio::test]
async fn a_choice_of_tools_that_would_never_end_is_relaxed_after_the_first_turn() {
    let gateway = Gateway::new([calls(&[("s__echo", json!({"text": "x"}))]), says("hi")]).await;
    gateway
        .send(&auto(json!({"tool_choice": "required"})))
        .await;
    let choices: Vec<_> = gateway
        .model
        .asked()
        .iter()
        .map(|turn| turn.json()["tool_choice"].clone())
        .collect();
    assert_eq!(choices, ["required", "auto"]);
}

#[tokio::test]
async fn tools_that_the_caller_forbids_are_not_run_whatever_the_model_says() {
    let gateway = Gateway::new([calls(&[("s__echo", json!({"text": "x"}))])]).await;
    let reply = gateway.send(&auto(json!({"tool_choice": "none"}))).await;
    assert_eq!(reply.receipt()["rounds"], 0);
    assert_eq!(gateway.server.calls(), 0);
}

#[tokio::test]
async fn a_failing_tool_is_shown_to_the_model_and_the_loop_goes_on() {
    let failing = [("s__fail", json!({})), ("s__refuse", json!({}))];
    let gateway = Gateway::new([calls(&failing), says("sorry")]).await;
    let reply = gateway.send(&auto(json!({}))).await;
    let results = results(&gateway, 1);
    assert_eq!(results[0].1, "Error: it did not work");
    assert!(
        results[1].1.starts_with("Error: ") && results[1].1.contains("not like this"),
        "{}",
        results[1].1
    );
    let receipt = reply.receipt();
    assert!(
        receipt["calls"]
            .as_array()
            .unwrap()
            .iter()
            .all(|call| call["is_error"] == true)
    );
    assert_eq!(receipt["stopped_by"], "final");
}

#[tokio::test]
async fn a_name_that_nobody_offers_is_answered_and_never_called() {
    for name in ["s__nothing", "other__echo", "echo", "s__", ""] {
        let gateway = Gateway::new([calls(&[(name, json!({}))]), says("sorry")]).await;
        let reply = gateway.send(&auto(json!({}))).await;
        assert!(
            result(&gateway).starts_with("Error: there is no tool named"),
            "{name}"
        );
        assert_eq!(reply.receipt()["calls"][0]["server"], Value::Null);
        assert_eq!(gateway.server.calls(), 0);
    }
}

#[tokio::test]
async fn arguments_that_do_not_fit_never_reach_the_server_and_can_be_repaired() {
    for (arguments, told) in [
        ("{\"a\":", "not valid JSON"),
        ("[1]", "not a JSON object"),
        ("\"x\"", "not a JSON object"),
        (
            "{\"a\":\"one\",\"b\":2}",
            "\"one\" is not of type \"number\"",
        ),
        ("{\"a\":1,\"a\":2}", "given twice"),
        (
            &format!("{{\"a\":\"{}\"}}", "x".repeat(300 << 10)),
            "more than the 262144 allowed",
        ),
        (
            &format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000)),
            "recursion limit",
        ),
    ] {
        let call = json!({"id": "c", "type": "function", "function": {"name": "s__add", "arguments": arguments}});
        let turn = json!({"choices": [{"message": {"role": "assistant", "tool_calls": [call]}}]});
        let gateway = Gateway::new([json_answer(200, &turn), says("sorry")]).await;
        gateway.send(&auto(json!({}))).await;
        let told_the_model = result(&gateway);
        assert!(
            told_the_model.starts_with("Error: ") && told_the_model.contains(told),
            "{told_the_model}"
        );
        assert_eq!(gateway.server.calls(), 0);
    }
}

#[tokio::test]
async fn a_result_is_cut_for_the_model_and_both_are_told() {
    let gateway = Gateway::new([
        calls(&[("s__big", json!({"bytes": 1_000_000}))]),
        says("long"),
    ])
    .await;
    let reply = gateway.send(&auto(json!({}))).await;
    let text = result(&gateway);
    assert!(text.len() < (256 << 10) + 100);
    assert!(text.ends_with("[cut: this is the first 262144 of 1000000 bytes]"));
    let call = &reply.receipt()["calls"][0];
    assert_eq!(
        (&call["truncated"], &call["result_bytes"]),
        (&json!(true), &json!(1_000_000))
    );
}

#[tokio::test]
async fn media_become_a_note_and_structured_content_is_given_once() {
    let both = [("s__image", json!({})), ("s__structured", json!({}))];
    let gateway = Gateway::new([calls(&both), says("hm")]).await;
    gateway.send(&auto(json!({}))).await;
    let results = results(&gateway, 1);
    assert!(
        results[0].1.contains("image/png") && !results[0].1.contains("AAAA"),
        "{}",
        results[0].1
    );
    assert_eq!(results[1].1, r#"{"sum":3}"#);
}

#[tokio::test]
async fn the_calls_of_a_request_are_bounded_and_the_model_is_told() {
    let many: Vec<_> = (0..40).map(|_| ("s__echo", json!({"text": "x"}))).collect();
    let gateway = Gateway::new([calls(&many), says("phew")]).await;
    gateway.send(&auto(json!({}))).await;
    assert_eq!(gateway.server.calls(), 32);
    let results = results(&gateway, 1);
    assert_eq!(results.len(), 40);
    assert!(
        results[32..]
            .iter()
            .all(|(_, text)| text.starts_with("Error: not run: a request may make 32 tool calls"))
    );
}

#[tokio::test]
async fn very_many_calls_of_one_turn_are_all_answered() {
    let many: Vec<_> = (0..5_000)
        .map(|_| ("s__echo", json!({"text": "x"})))
        .collect();
    let gateway = Gateway::new([calls(&many), says("phew")]).await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(gateway.server.calls(), 32);
    assert_eq!(results(&gateway, 1).len(), 5_000);
    let receipt = reply.receipt();
    assert_eq!(receipt["calls"].as_array().unwrap().len(), 128);
    assert_eq!(receipt["calls_omitted"], 5_000 - 128);
}

#[tokio::test]
async fn a_warm_request_lists_no_tools() {
    let gateway = Gateway::new((0..20).map(|_| says("hi"))).await;
    for _ in 0..20 {
        gateway.send(&auto(json!({}))).await;
    }
    assert_eq!(gateway.server.lists(), 1);
}

#[tokio::test]
async fn many_cold_requests_list_the_tools_once() {
    let gateway = Gateway::new((0..20).map(|_| says("hi"))).await;
    let body = auto(json!({}));
    let replies = futures_util::future::join_all((0..20).map(|_| gateway.send(&body))).await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert_eq!(gateway.server.lists(), 1);
}

#[tokio::test]
async fn usage_and_cost_are_summed_over_the_turns() {
    let priced = |mut body: Value, cost: f64| {
        body["usage"]["cost"] = json!(cost);
        json_answer(200, &body)
    };
    let echo = [("s__echo", json!({"text": "x"}))];
    let gateway = Gateway::new([priced(called(&echo), 0.1), priced(said("hi"), 0.2)]).await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.json()["usage"]["cost"], 0.3);

    let gateway = Gateway::new([calls(&echo), says("hi")])
        .await
        .layered(|layer| layer.with_prices([Price::new("m*", 1.0, 10.0)]));
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.json()["usage"]["cost"], 0.00006);
    assert_eq!(reply.receipt()["usage_by_round"][0]["cost"], 0.00003);
}

#[tokio::test]
async fn a_turn_without_usage_takes_nothing_from_the_sum() {
    let mut without = called(&[("s__echo", json!({"text": "x"}))]);
    without["usage"] = Value::Null;
    let gateway = Gateway::new([json_answer(200, &without), says("hi")]).await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.json()["usage"]["total_tokens"], 12);
    assert_eq!(reply.receipt()["usage_by_round"][0], Value::Null);
}

#[tokio::test]
async fn rounds_above_the_cap_count_as_the_cap_and_the_receipt_says_so() {
    let gateway = Gateway::new([says("hi")]).await;
    let reply = gateway
        .send(&auto(json!({"mcp": {"max_tool_rounds": 50}})))
        .await;
    assert_eq!(reply.receipt()["max_tool_rounds"], 5);
    let gateway = Gateway::new([says("hi")])
        .await
        .layered(|layer| layer.with_max_tool_rounds_cap(20));
    let reply = gateway
        .send(&auto(json!({"mcp": {"max_tool_rounds": 50}})))
        .await;
    assert_eq!(reply.receipt()["max_tool_rounds"], 20);
}

#[tokio::test]
async fn without_a_receipt_a_single_turn_comes_as_it_was_sent() {
    let gateway = Gateway::new([says("hi")]).await;
    let reply = gateway
        .send(&auto(json!({"mcp": {"receipt": false}})))
        .await;
    assert_eq!(reply.body, said("hi").to_string());
}

#[tokio::test]
async fn a_call_beside_finish_reason_stop_is_run() {
    let mut turn = called(&[("s__echo", json!({"text": "x"}))]);
    turn["choices"][0]["finish_reason"] = json!("stop");
    let gateway = Gateway::new([json_answer(200, &turn), says("hi")]).await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.receipt()["rounds"], 1);
}

#[tokio::test]
async fn a_server_that_is_taken_away_during_the_loop_is_not_called_any_more() {
    for change in ["remove", "disable", "deselect", "unshare"] {
        let echo = [("s__echo", json!({"text": "x"}))];
        let gateway = Gateway::new([]).await;
        let registry = gateway.registry.clone();
        let take_away = move || {
            let taken = async move {
                let name = "s".parse().unwrap();
                let server = registry.get("default", &name).await.unwrap();
                let server = (*server).clone();
                match change {
                    "remove" => registry.remove("default", &name).await.unwrap(),
                    "disable" => drop(registry.replace(server.with_enabled(false)).await.unwrap()),
                    "deselect" => drop(
                        registry
                            .replace(server.with_tools(["add"]).unwrap())
                            .await
                            .unwrap(),
                    ),
                    _ => drop(
                        registry
                            .replace(server.with_projects(["other"]).unwrap())
                            .await
                            .unwrap(),
                    ),
                }
            };
            futures_util::FutureExt::now_or_never(taken).unwrap();
        };
        let script = [
            calls(&echo),
            Answer::Do(Box::new(take_away)),
            calls(&echo),
            says("sorry"),
        ];
        let gateway = Gateway {
            model: crate::support::model::Model::new(script),
            ..gateway
        };
        gateway.send(&auto(json!({}))).await;
        assert_eq!(gateway.server.calls(), 1, "{change}");
        assert_eq!(
            results(&gateway, 2)[1].1,
            "Error: not run: this tool is no longer available"
        );
    }
}

#[tokio::test]
async fn the_deadline_cuts_tools_and_leaves_the_model_its_turn() {
    let mut limits = Limits::default();
    limits.deadline = Duration::from_millis(30_300);
    let slow = [("s__slow", json!({"ms": 5000}))];
    let gateway = Gateway::new([calls(&slow), calls(&slow), says("late")])
        .await
        .layered(|layer| layer.with_limits(limits));
    let reply = gateway.send(&auto(json!({}))).await;
    let text = result(&gateway);
    assert!(text.starts_with("Error: ") && text.len() < 200, "{text}");
    let receipt = reply.receipt();
    assert_eq!(receipt["stopped_by"], "deadline");
    assert_eq!(receipt["rounds"], 1);
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "late");
    assert_eq!(reply.json()["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn a_caller_who_hangs_up_cancels_what_runs_and_nothing_new_starts() {
    let slow = [("s__slow", json!({"ms": 20_000}))];
    let gateway = Gateway::new([calls(&slow)]).await;
    let gateway = gateway.layered(McpLayer::without_exchanges);
    let exchange = gateway.request(chat(auto(json!({})).to_string()));
    let hung_up = tokio::time::timeout(Duration::from_millis(300), exchange).await;
    assert!(hung_up.is_err());
    assert_eq!(gateway.server.calls(), 1);
    until("the server sees the cancellation", || {
        gateway.server.cancelled() == 1
    })
    .await;
    assert_eq!(gateway.model.asked().len(), 1);
}

#[tokio::test]
async fn without_auto_execution_the_tools_are_added_and_the_answer_comes_as_it_is() {
    let turn = called(&[("s__echo", json!({"text": "x"}))]);
    let gateway = Gateway::new([json_answer(200, &turn)]).await;
    let reply = gateway
        .send(&with_mcp(
            json!({"enabled": true, "servers": ["s"]}),
            json!({"n": 2}),
        ))
        .await;
    assert_eq!(reply.body, turn.to_string());
    assert_eq!(
        gateway.model.asked()[0].json()["tools"]
            .as_array()
            .unwrap()
            .len(),
        8
    );
    assert_eq!(gateway.server.calls(), 0);
}

#[tokio::test]
async fn a_stream_with_auto_execution_returns_the_tool_calls_untouched() {
    let stream = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{}]}}]}\n\ndata: [DONE]\n\n";
    let answer =
        crate::support::model::raw_answer(200, &[("content-type", "text/event-stream")], [stream]);
    let gateway = Gateway::new([answer]).await;
    let reply = gateway.send(&auto(json!({"stream": true}))).await;
    assert_eq!(reply.body, stream);
    assert_eq!(gateway.server.calls(), 0);
    assert_eq!(
        gateway.model.asked()[0].json()["tools"]
            .as_array()
            .unwrap()
            .len(),
        8
    );
}

#[tokio::test]
async fn a_disabled_mcp_is_removed_and_nothing_else() {
    let gateway = Gateway::new([says("hi")]).await;
    let reply = gateway
        .send_bytes(r#"{"model":"m" , "mcp":{"enabled":false}, "messages":7}"#)
        .await;
    assert_eq!(reply.body, said("hi").to_string());
    assert_eq!(
        gateway.model.asked()[0].body,
        r#"{"model":"m", "messages":7}"#
    );
}

/// What the model is told of a call that a server answers with these steps.
async fn told(steps: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static) -> String {
    let evil = Evil::mcp(move |request| match &*request.method() {
        "tools/list" => {
            let tools = json!({"tools": [{"name": "a", "inputSchema": {}}]});
            vec![Step::Send(json_reply(&request.result(&tools)))]
        }
        _ => steps(request),
    })
    .await;
    let gateway = Gateway::new([calls(&[("s__a", json!({}))]), says("sorry")]).await;
    let auth = Auth::static_headers([("authorization", CANARY)]).unwrap();
    let server = Server::new("s", &evil.url()).unwrap().with_auth(auth);
    let registry = MemoryRegistry::new([server]).unwrap();
    let gateway =
        gateway.layered(|_| McpLayer::new(registry).with_connections(short_connections()));
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.receipt()["stopped_by"], "final");
    assert_eq!(reply.receipt()["calls"][0]["is_error"], true);
    assert_eq!(evil.count("tools/call"), 1);
    let told = result(&gateway);
    for secret in ["canary", "127.0.0.1", "http", "session-1", "<html>"] {
        assert!(!told.contains(secret), "{told}");
    }
    told
}

// Rows 19 to 24, 26, 27, 32, 33 and 38.
#[tokio::test]
async fn whatever_a_server_does_to_a_call_the_model_is_told_and_the_loop_goes_on() {
    let huge =
        b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 52428800\r\n\r\n";
    let sends = |bytes: Vec<u8>| vec![Step::Send(bytes)];
    assert!(
        told(|_| vec![Step::Reset])
            .await
            .contains("outcome is unknown")
    );
    assert!(
        told(|_| vec![Step::Hang])
            .await
            .contains("did not answer within")
    );
    assert!(
        told(move |_| sends(huge.to_vec()))
            .await
            .contains("too large")
    );
    for (answer, expected) in [
        (
            reply(200, "content-type: text/html\r\n", "<html>"),
            "content type",
        ),
        (json_reply("{\"jsonrpc\":"), "not valid JSON"),
        (
            json_reply("{\"jsonrpc\":\"1.0\",\"id\":1,\"result\":{}}"),
            "JSON-RPC 2.0",
        ),
        (
            reply(
                200,
                "content-type: application/json\r\ncontent-encoding: gzip\r\n",
                "x",
            ),
            "content encoding",
        ),
        (
            reply(307, "location: http://127.0.0.1:1/\r\n", ""),
            "redirects",
        ),
        (reply(429, "retry-after: 1000000000\r\n", ""), "rate"),
        (reply(500, "", ""), "status 500"),
        (reply(401, "", ""), "wants authorization"),
    ] {
        let told = told(move |_| sends(answer.clone())).await;
        assert!(
            told.starts_with("Error: ") && told.contains(expected),
            "{told}"
        );
    }
}

// Row 12.
#[tokio::test]
async fn names_that_look_alike_reach_each_its_own_server() {
    let serve = |tool: &'static str, text: &'static str| {
        Evil::mcp(move |request| {
            let answer = match &*request.method() {
                "tools/list" => {
                    request.result(&json!({"tools": [{"name": tool, "inputSchema": {}}]}))
                }
                _ => request.text(text),
            };
            vec![Step::Send(json_reply(&answer))]
        })
    };
    let (one, two) = (serve("b__c", "one").await, serve("c", "two").await);
    let servers =
        [("a", &one), ("a-b", &two)].map(|(name, evil)| Server::new(name, &evil.url()).unwrap());
    let registry = MemoryRegistry::new(servers).unwrap();
    let both = [
        ("a-b__c", json!({})),
        ("a__b__c", json!({})),
        ("a__c", json!({})),
    ];
    let gateway = Gateway::new([calls(&both), says("hi")])
        .await
        .layered(|_| McpLayer::new(registry).with_connections(short_connections()));
    gateway
        .send(&auto(json!({"mcp": {"servers": ["a", "a-b"]}})))
        .await;
    let texts: Vec<_> = results(&gateway, 1)
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert_eq!(texts[..2], ["two", "one"]);
    assert!(texts[2].contains("no tool named"));
}

// Row 9: with the flag a call from the history passes every check that a fresh one passes.
#[tokio::test]
async fn a_resumed_call_is_checked_like_any_other() {
    let assistant = called(&[("s__add", json!({"a": "one"})), ("s__fail", json!({}))])["choices"]
        [0]["message"]
        .clone();
    let gateway = Gateway::with_server([says("hi")], |server| {
        server.with_tools(["add", "fail"]).unwrap()
    })
    .await;
    let mut body = auto(json!({"messages": [assistant], "mcp": {"resume_tool_calls": true}}));
    gateway.send(&body).await;
    assert_eq!(
        gateway.server.calls(),
        1,
        "the arguments of the other do not fit"
    );
    // What is not selected, by the operator or by the request, is not resumed.
    body["mcp"]["tools"] = json!(["s__add"]);
    assert_eq!(gateway.send(&body).await.error().1, "invalid_mcp_options");
    assert_eq!(gateway.server.calls(), 1);
}

#[tokio::test]
async fn the_cost_is_computed_where_the_upstream_says_null() {
    let mut body = said("hi");
    body["usage"]["cost"] = Value::Null;
    let gateway = Gateway::new([json_answer(200, &body)])
        .await
        .layered(|layer| layer.with_prices([Price::new("m", 1.0, 10.0)]));
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.json()["usage"]["cost"], 0.00003);
}

#[tokio::test]
async fn only_an_exchange_that_its_caller_left_is_recorded_as_cancelled() {
    use tracing_subscriber::fmt::MakeWriter;
    #[derive(Clone, Default)]
    struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    impl<'a> MakeWriter<'a> for Log {
        type Writer = Self;
        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        // The server of the test logs as well, and speaks of cancelled tasks.
        .with_env_filter("mcp_layer=info")
        .with_writer(log.clone())
        .finish();
    // With a second one alive, tracing asks all of them and not only that of the thread which
    // comes to an event first, and which may be another test's.
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);

    let gateway = Gateway::new([Answer::Fail]).await;
    let refused = auto(json!({"mcp": {"resume_tool_calls": true}}));
    assert_eq!(gateway.send(&refused).await.status, 400);
    let failed = gateway.respond(chat(auto(json!({})).to_string())).await;
    assert!(failed.is_err());
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        text.contains("refused") && text.contains("upstream_failed"),
        "{text}"
    );
    assert!(!text.contains("cancelled"), "{text}");
}
