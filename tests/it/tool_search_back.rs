//! Turns that go back to a caller whose model searches for tools: with calls of tools that the caller
//! knows, and what the model said is what it is given again.

use mcp_layer::registry::{SelectedTool, Server, ToolPolicy};
use serde_json::{Value, json};

use crate::{
    support::{
        events::assembled,
        framework::{Framework, grows, lookup, results, strict, turn},
        gateway::{Gateway, Reply},
        model::{Answer, calls, says},
    },
    tool_search::{search, searching, through},
};

fn echo(text: &str) -> (&'static str, Value) {
    through("s__echo", json!({"text": text}))
}

fn asks_first(server: Server) -> Server {
    let ask = SelectedTool::new("echo", ToolPolicy::AskFirst);
    server.with_tools([ask, "add".into()]).unwrap()
}

fn framework(stream: bool) -> Framework {
    let mut framework = Framework::new(stream);
    framework.request["mcp"]["tool_search"] = true.into();
    framework
}

/// Name and arguments of calls.
fn said(calls: &[Value]) -> Value {
    let call = |call: &Value| json!([call["function"]["name"], call["function"]["arguments"]]);
    calls.iter().map(call).collect()
}

#[tokio::test]
async fn a_framework_never_sees_a_search_and_each_tool_runs_once() {
    for stream in [false, true] {
        let gateway = Gateway::new([
            turn(stream, "", &[search("echo")]),
            turn(
                stream,
                "Both. ",
                &[echo("one"), lookup("x"), search("add"), echo("two")],
            ),
            turn(stream, "", &[through("s__add", json!({"a": 1, "b": 2}))]),
            turn(stream, "Done.", &[]),
        ])
        .await;
        let mut framework = framework(stream);
        let calls = framework.turn(&gateway).await;
        assert_eq!(said(&calls), json!([["lookup", r#"{"what":"x"}"#]]));
        framework.answer(&calls);
        assert!(framework.run(&gateway).await.ends_with("Done."));
        assert_eq!(gateway.server.calls(), 3);
        let asked = grows(&gateway.model.asked());
        let given = results(&asked[3]);
        assert_eq!(
            [&*given[1], &*given[2], &*given[4], &*given[5]],
            ["one", r#"lookup says {"what":"x"}"#, "two", "3"]
        );
        assert!(given[3].starts_with("s__add: "), "{given:?}");
        let turn = asked[3]
            .iter()
            .find(|message| message.contains("Both."))
            .unwrap();
        assert_eq!(turn.matches("mcp_call_tool").count(), 2, "{turn}");
    }
}

#[tokio::test]
async fn a_kept_turn_is_answered_also_where_nothing_is_searched_for_any_more() {
    let gateway = Gateway::new([
        calls(&[search("echo"), echo("one"), lookup("x")]),
        says("Done."),
    ])
    .await;
    let mut framework = framework(false);
    let calls = framework.turn(&gateway).await;
    framework.answer(&calls);
    framework.request["mcp"]["tool_search"] = false.into();
    assert_eq!(framework.run(&gateway).await, "Done.");
    let asked = grows(&gateway.model.asked());
    let given = results(&asked[1]);
    assert!(given[0].starts_with("s__echo: "), "{given:?}");
    assert_eq!(given[1], "one");
}

/// What a caller sends to approve of a turn that asks first.
fn approved(request: &Value, message: &Value) -> Value {
    let mut next = request.clone();
    let mut message = message.clone();
    message["role"] = "assistant".into();
    next["messages"].as_array_mut().unwrap().push(message);
    next["mcp"]["resume_tool_calls"] = true.into();
    next
}

/// The message that a reply ends with.
fn message(reply: &Reply, stream: bool) -> Value {
    match stream {
        false => reply.json()["choices"][0]["message"].clone(),
        true => {
            let told = assembled(&reply.body);
            assert_eq!(told.finish_reasons, ["tool_calls"]);
            json!({"content": null, "tool_calls": told.calls})
        }
    }
}

fn script(stream: bool) -> Vec<Answer> {
    let asks = [
        echo("x"),
        search("add"),
        through("s__add", json!({"a": 1, "b": 2})),
    ];
    vec![turn(stream, "", &asks), turn(stream, "done", &[])]
}

#[tokio::test]
async fn a_turn_that_asks_first_has_the_real_names_and_goes_on_once_it_is_approved() {
    for stream in [false, true] {
        for own_tools in ["split", "whole"] {
            let gateway = Gateway::with_server(script(stream), asks_first).await;
            let mut request =
                searching(json!({"mcp": {"own_tools": own_tools, "on_stream": "execute"}}));
            if stream {
                request["stream"] = true.into();
            }
            let reply = gateway.send(&request).await;
            let message = message(&reply, stream);
            let list = message["tool_calls"].as_array().unwrap();
            let expected = json!([
                ["s__echo", r#"{"text":"x"}"#],
                ["s__add", r#"{"a":1,"b":2}"#]
            ]);
            assert_eq!(said(list), expected, "{own_tools}");
            assert_eq!(gateway.server.calls(), 0);

            gateway.send(&approved(&request, &message)).await;
            assert_eq!(gateway.server.calls(), 2, "each once");
            let asked = gateway.model.asked().pop().unwrap().json();
            let messages = asked["messages"].as_array().unwrap();
            let given: Vec<_> = messages.iter().filter(|m| m["role"] == "tool").collect();
            let names: Vec<_> = given.iter().map(|m| m["name"].as_str().unwrap()).collect();
            match own_tools {
                // As the model said it.
                "split" => {
                    assert_eq!(
                        names,
                        ["mcp_call_tool", "mcp_search_tools", "mcp_call_tool"]
                    );
                    assert_eq!(
                        messages[1]["tool_calls"][0]["function"]["name"],
                        "mcp_call_tool"
                    );
                }
                _ => assert_eq!(names, ["s__echo", "s__add"]),
            }
            assert_eq!(given[0]["content"], "x");
        }
    }
}

#[tokio::test]
async fn a_turn_that_only_searches_leaves_nothing_to_run_where_the_rounds_are_over() {
    for stream in [false, true] {
        let answers = [
            turn(stream, "", &[echo("a")]),
            turn(stream, "", &[search("add")]),
        ];
        let gateway = Gateway::new(answers).await;
        let mcp = json!({"max_tool_rounds": 1, "on_max_rounds": "return", "on_stream": "execute"});
        let reply = gateway
            .send(&searching(json!({"mcp": mcp, "stream": stream})))
            .await;
        let (content, finish, calls) = match stream {
            true => {
                let told = assembled(&reply.body);
                (
                    told.content,
                    told.finish_reasons[0].clone(),
                    told.calls.len(),
                )
            }
            false => {
                let choice = &reply.json()["choices"][0];
                let content = choice["message"]["content"].as_str().unwrap().to_owned();
                assert!(choice["message"].get("tool_calls").is_none());
                (
                    content,
                    choice["finish_reason"].as_str().unwrap().to_owned(),
                    0,
                )
            }
        };
        assert!(content.contains("not finished"), "{content}");
        assert_eq!((&*finish, calls), ("length", 0));
    }
}

#[tokio::test]
async fn the_executed_turns_of_a_stateless_hand_back_are_what_the_model_said() {
    let gateway = Gateway::new([
        calls(&[search("echo")]),
        calls(&[echo("a")]),
        calls(&[echo("b"), lookup("x")]),
    ])
    .await;
    let own = json!([{"type": "function", "function": {"name": "lookup"}}]);
    let request = searching(json!({"mcp": {"own_tools": "whole"}, "tools": own}));
    let reply = gateway.send(&request).await;
    let executed = reply.receipt()["messages"].clone();
    let asked = gateway.model.asked()[2].json();
    assert_eq!(
        executed.as_array().unwrap()[..],
        asked["messages"].as_array().unwrap()[1..]
    );
    let message = &reply.json()["choices"][0]["message"];
    let list = message["tool_calls"].as_array().unwrap();
    assert_eq!(
        said(list),
        json!([
            ["s__echo", r#"{"text":"b"}"#],
            ["lookup", r#"{"what":"x"}"#]
        ])
    );
}

/// The function of the first call in the message at this place of a request to the model.
fn function(gateway: &Gateway, turn: usize, message: usize) -> Value {
    let asked = gateway.model.asked()[turn].json();
    asked["messages"][message]["tool_calls"][0]["function"].clone()
}

#[tokio::test]
async fn a_call_of_the_callers_tool_through_ours_is_one_of_that_for_the_caller_alone() {
    for (stream, changed) in [
        (false, None),
        (true, None),
        (false, Some(r#"{"what":"y"}"#)),
    ] {
        let own = through("lookup", json!({"what": "x"}));
        let arguments = own.1.to_string();
        let script = [
            turn(stream, "", &[own, echo("a")]),
            turn(stream, "Done.", &[]),
        ];
        let gateway = Gateway::new(script).await;
        let mut framework = framework(stream);
        let calls = framework.turn(&gateway).await;
        assert_eq!(said(&calls), json!([["lookup", r#"{"what":"x"}"#]]));
        if let Some(changed) = changed {
            let message = framework.messages.last_mut().unwrap();
            message["tool_calls"][0]["function"]["arguments"] = changed.into();
        }
        framework.answer(&calls);
        assert_eq!(framework.run(&gateway).await, "Done.");
        let kept = function(&gateway, 1, 1);
        assert_eq!(kept["name"], "mcp_call_tool");
        match changed {
            None => assert_eq!(kept["arguments"], arguments),
            Some(changed) => {
                let kept: Value =
                    serde_json::from_str(kept["arguments"].as_str().unwrap()).unwrap();
                assert_eq!(kept, json!({"name": "lookup", "arguments": changed}));
            }
        }
    }
}

#[tokio::test]
async fn a_last_turn_that_calls_the_callers_tool_through_ours_is_one_of_that_tool() {
    for stream in [false, true] {
        let gateway = Gateway::new([
            turn(stream, "", &[echo("a")]),
            turn(stream, "", &[echo("b")]),
            turn(
                stream,
                "",
                &[through("lookup", json!({"what": "x"})), echo("c")],
            ),
            turn(stream, "Done.", &[]),
        ])
        .await;
        let mut framework = framework(stream);
        framework.request["mcp"]["max_tool_rounds"] = 1.into();
        let calls = framework.turn(&gateway).await;
        assert_eq!(said(&calls), json!([["lookup", r#"{"what":"x"}"#]]));
        framework.answer(&calls);
        assert_eq!(framework.run(&gateway).await, "Done.");
        assert_eq!(gateway.server.calls(), 1);
        let given = results(&strict(&gateway.model.asked())[3]);
        assert_eq!(given.last().unwrap(), r#"lookup says {"what":"x"}"#);
        assert_eq!(
            function(&gateway, 3, 5),
            json!({"name": "lookup", "arguments": r#"{"what":"x"}"#})
        );
    }
}
