//! Tools of the caller's own beside ours, with a framework that knows nothing of the layer: every
//! tool runs once, and the model sees what it saw and said.

use mcp_layer::{
    McpLayer,
    registry::{MemoryExchanges, SelectedTool, ToolPolicy},
};
use serde_json::json;

use crate::support::{
    events::assembled,
    framework::{Framework, echo, grows, lookup, results, strict, turn},
    gateway::Gateway,
    model::{Answer, json_answer},
};

/// Ours, the caller's, ours; then one of each in one turn, and a text.
fn script(stream: bool) -> Vec<Answer> {
    vec![
        turn(stream, "First. ", &[echo("one")]),
        turn(stream, "Then. ", &[lookup("two")]),
        turn(stream, "", &[echo("three")]),
        turn(
            stream,
            "Both. ",
            &[echo("four"), lookup("five"), echo("six")],
        ),
        turn(stream, "Done.", &[]),
    ]
}

const ALL: [&str; 5] = [
    "one",
    "lookup says {\"what\":\"two\"}",
    "three",
    "four",
    "lookup says {\"what\":\"five\"}",
];

#[tokio::test]
async fn a_mixed_turn_comes_with_the_callers_calls_alone_and_ours_run_with_its_answers() {
    for stream in [false, true] {
        let mixed = [echo("first"), lookup("x"), echo("third")];
        let script = [turn(stream, "Look.", &mixed), turn(stream, "done", &[])];
        let gateway = Gateway::new(script).await;
        let mut framework = Framework::new(stream);
        let calls = framework.turn(&gateway).await;
        assert_eq!(gateway.server.calls(), 0, "ours wait");
        let [call] = &calls[..] else {
            panic!("{calls:?}")
        };
        assert_eq!(call["function"]["name"], "lookup");
        assert_eq!(call["function"]["arguments"], r#"{"what":"x"}"#);
        let id = call["id"].as_str().unwrap();
        let random = id.strip_prefix("mcp_").unwrap();
        assert!(
            random.len() == 22 && random.bytes().all(|b| b.is_ascii_alphanumeric()),
            "{id}"
        );
        assert_eq!(framework.messages[1]["content"], "Look.");

        framework.answer(&calls);
        assert_eq!(framework.run(&gateway).await, "done");
        assert_eq!(gateway.server.calls(), 2);
        let asked = grows(&gateway.model.asked());
        assert_eq!(
            results(&asked[1]),
            ["first", r#"lookup says {"what":"x"}"#, "third"]
        );
    }
}

#[tokio::test]
async fn the_receipt_of_a_split_turn_has_no_messages_and_says_whose_turn_it_is() {
    let script = [
        turn(false, "", &[echo("a")]),
        turn(false, "", &[lookup("x"), echo("b")]),
        turn(false, "done", &[]),
    ];
    let gateway = Gateway::new(script).await;
    let mut framework = Framework::new(false);
    let (reply, message) = framework.ask(&gateway).await;
    let receipt = reply.receipt();
    assert_eq!(receipt["stopped_by"], "caller_tools");
    assert_eq!(
        (&receipt["rounds"], receipt.get("messages")),
        (&json!(1), None)
    );
    assert_eq!(receipt.get("history"), None);
    let calls = framework.add(&message);
    framework.answer(&calls);
    let (reply, _) = framework.ask(&gateway).await;
    let receipt = reply.receipt();
    assert_eq!(
        (&receipt["stopped_by"], &receipt["rounds"]),
        (&json!("final"), &json!(1))
    );
    assert_eq!(receipt["calls"][0]["round"], 1);
    assert_eq!(receipt["calls"][0]["id"], "call_1");
    assert!(!reply.headers.contains_key("x-mcp-history"));
}

#[tokio::test]
async fn executed_turns_are_in_the_history_of_every_later_turn_byte_for_byte() {
    for stream in [false, true] {
        let gateway = Gateway::new(script(stream)).await;
        let mut framework = Framework::new(stream);
        let last = framework.run(&gateway).await;
        assert!(last.ends_with("Done."), "{last}");
        assert_eq!(gateway.server.calls(), 4, "each once");
        let asked = grows(&gateway.model.asked());
        assert_eq!(results(&asked[4])[..5], ALL);
    }
}

#[tokio::test]
async fn a_final_text_brings_back_the_turns_before_it() {
    for stream in [false, true] {
        let more = [
            turn(stream, "", &[lookup("x")]),
            turn(stream, "One. ", &[echo("late")]),
            turn(stream, "Done.", &[]),
            turn(stream, "Again.", &[]),
            turn(stream, "And again.", &[]),
        ];
        let before = [turn(stream, "", &[echo("early")])];
        let gateway = Gateway::new(before.into_iter().chain(more)).await;
        let mut framework = Framework::new(stream);
        framework.run(&gateway).await;
        for text in ["more", "even more"] {
            framework.user(text);
            framework.run(&gateway).await;
        }
        assert_eq!(gateway.server.calls(), 2);
        let asked = grows(&gateway.model.asked());
        assert_eq!(results(&asked[5]).last().unwrap(), "late");
    }
}

#[tokio::test]
async fn a_turn_with_nothing_to_keep_stays_byte_for_byte() {
    let body = json!({"id": "x", "choices": [{"index": 0, "finish_reason": "tool_calls", "message":
        {"role": "assistant", "content": null, "odd": 1.50,
            "tool_calls": [{"id": "mine", "type": "function", "function": {"name": "lookup", "arguments": "{}"}}]}}]});
    let gateway = Gateway::new([json_answer(200, &body)]).await;
    let mut request = Framework::new(false).request;
    request["mcp"]["receipt"] = json!(false);
    let reply = gateway.send(&request).await;
    let mut told = reply.json();
    told.as_object_mut().unwrap().remove("mcp");
    assert_eq!(told, body);
}

#[tokio::test]
async fn a_later_request_may_be_streamed_ask_another_model_or_have_no_mcp() {
    for (first, second) in [(false, true), (true, false), (false, false)] {
        let script = [
            turn(first, "Look. ", &[echo("a")]),
            turn(first, "Mixed. ", &[lookup("x"), echo("b")]),
            turn(second, "Mixed again. ", &[lookup("y"), echo("c")]),
            turn(second, "done", &[]),
        ];
        let gateway = Gateway::new(script).await;
        let mut framework = Framework::new(first);
        let calls = framework.turn(&gateway).await;
        framework.answer(&calls);
        framework.request = Framework::new(second).request;
        framework.request["model"] = "another".into();
        let calls = framework.turn(&gateway).await;
        framework.answer(&calls);
        framework.request.as_object_mut().unwrap().remove("mcp");
        let (reply, message) = framework.ask(&gateway).await;
        assert_eq!(message["content"], "done");
        assert!(!String::from_utf8_lossy(&reply.body).contains("\"mcp\""));
        assert_eq!(gateway.server.calls(), 3, "what was open has run");
        let asked = grows(&gateway.model.asked());
        assert_eq!(results(&asked[3]).len(), 5);
        let last = gateway.model.asked()[3].json();
        assert_eq!(last["tools"].as_array().unwrap().len(), 2, "none of ours");
    }
}

#[tokio::test]
async fn another_replica_goes_on() {
    for stream in [false, true] {
        let exchanges = MemoryExchanges::default();
        let shares = |layer: McpLayer| layer.with_exchanges(exchanges.clone());
        let mut script = script(stream);
        let rest = script.split_off(2);
        let here = Gateway::new(script).await.layered(shares);
        let there = Gateway::new(rest).await.layered(shares);
        let mut framework = Framework::new(stream);
        let calls = framework.turn(&here).await;
        framework.answer(&calls);
        framework.run(&there).await;
        let asked = [here.model.asked(), there.model.asked()].concat();
        let asked = grows(&asked);
        assert_eq!(results(&asked[4])[..5], ALL);
        assert_eq!((here.server.calls(), there.server.calls()), (1, 3));
    }
}

#[tokio::test]
async fn forks_of_a_conversation_share_what_has_run() {
    let mixed = [lookup("x"), echo("b")];
    let script = ["", "one", "two"].map(|text| match text {
        "" => turn(false, "", &mixed),
        text => turn(false, text, &[]),
    });
    let gateway = Gateway::new(script).await;
    let mut framework = Framework::new(false);
    let calls = framework.turn(&gateway).await;
    let mut fork = framework.clone();
    framework.answer(&calls);
    framework.run(&gateway).await;
    fork.messages
        .push(json!({"role": "tool", "tool_call_id": calls[0]["id"], "content": "otherwise"}));
    fork.run(&gateway).await;
    assert_eq!(gateway.server.calls(), 1);
    let asked = strict(&gateway.model.asked());
    assert_eq!(results(&asked[1]), [r#"lookup says {"what":"x"}"#, "b"]);
    assert_eq!(results(&asked[2]), ["otherwise", "b"]);
}

#[tokio::test]
async fn answers_may_come_in_part_and_a_turn_that_none_comes_to_does_not_run() {
    let mixed = [lookup("x"), ("ask", json!({})), echo("b")];
    let script = [
        turn(false, "", &mixed),
        turn(false, "stopped", &[]),
        turn(false, "done", &[]),
    ];
    let gateway = Gateway::new(script).await;
    let mut framework = Framework::new(false);
    let calls = framework.turn(&gateway).await;
    assert_eq!(calls.len(), 2);
    let mut stopped = framework.clone();
    stopped.user("never mind");
    stopped.run(&gateway).await;
    assert_eq!(gateway.server.calls(), 0, "no answer, no call");
    framework.answer(&calls[1..]);
    framework.run(&gateway).await;
    assert_eq!(gateway.server.calls(), 1);
    let asked = strict(&gateway.model.asked());
    assert_eq!(results(&asked[2])[1..], ["ask says {}", "b"]);
}

#[tokio::test]
async fn calls_of_ours_run_one_after_the_other_where_the_caller_wants_that() {
    // On a busy machine the second begins later.
    let slow = ("s__slow", json!({"ms": 500}));
    for parallel in [true, false] {
        let mixed = [lookup("x"), slow.clone(), slow.clone()];
        let gateway = Gateway::new([turn(false, "", &mixed), turn(false, "done", &[])]).await;
        let mut framework = Framework::new(false);
        framework.request["parallel_tool_calls"] = parallel.into();
        framework.run(&gateway).await;
        assert_eq!(gateway.server.calls(), 2);
        assert_eq!(gateway.server.most_at_once() > 1, parallel);
    }
}

async fn asks_first(script: impl IntoIterator<Item = Answer>) -> Gateway {
    Gateway::with_server(script, |server| {
        let tool = |name, policy| SelectedTool::new(name, policy);
        let tools = [
            tool("echo", ToolPolicy::AskFirst),
            tool("add", ToolPolicy::Auto),
        ];
        server.with_tools(tools).unwrap()
    })
    .await
}

#[tokio::test]
async fn a_turn_that_asks_first_goes_back_whole_and_a_message_of_the_callers_declines() {
    for stream in [false, true] {
        let add = |a| ("s__add", json!({"a": a, "b": 1}));
        let script = [
            turn(stream, "", &[add(1)]),
            turn(stream, "May I?", &[echo("x"), add(2), lookup("y")]),
            turn(stream, "done", &[]),
        ];
        let gateway = asks_first(script).await;
        let mut framework = Framework::new(stream);
        let (_, message) = framework.ask(&gateway).await;
        let calls = framework.add(&message);
        assert_eq!(calls.len(), 3, "{calls:?}");
        assert!(
            calls
                .iter()
                .all(|call| call["id"].as_str().unwrap().starts_with("mcp_"))
        );
        assert_eq!(gateway.server.calls(), 1);
        framework.answer(&calls[2..]);
        framework
            .messages
            .push(json!({"role": "tool", "tool_call_id": calls[0]["id"], "content": "declined"}));
        framework.request["mcp"]["resume_tool_calls"] = true.into();
        framework.run(&gateway).await;
        assert_eq!(gateway.server.calls(), 2, "the other one was approved");
        let asked = grows(&gateway.model.asked());
        let expected = ["2", "declined", "3", r#"lookup says {"what":"y"}"#];
        assert_eq!(results(&asked[2]), expected);
    }
}

#[tokio::test]
async fn without_an_approval_nothing_runs_of_a_turn_that_asks_first() {
    let script = [
        turn(false, "", &[echo("x"), lookup("y")]),
        turn(false, "done", &[]),
        turn(false, "done", &[]),
    ];
    let gateway = asks_first(script).await;
    let mut framework = Framework::new(false);
    let calls = framework.turn(&gateway).await;
    framework.answer(&calls[1..]);
    let mut later = framework.clone();
    framework.run(&gateway).await;
    assert_eq!(gateway.server.calls(), 0);
    let asked = strict(&gateway.model.asked());
    assert!(results(&asked[1])[0].contains("approval"), "{asked:?}");
    // It stays open.
    later.request["mcp"]["resume_tool_calls"] = true.into();
    later.run(&gateway).await;
    assert_eq!(gateway.server.calls(), 1);
    let asked = strict(&gateway.model.asked());
    assert_eq!(results(&asked[2])[0], "x");
}

#[tokio::test]
async fn whole_and_layers_that_keep_nothing_hand_back_as_ever() {
    for keeps in [true, false] {
        let mixed = [lookup("x"), echo("b")];
        let script = [turn(false, "", &[echo("a")]), turn(false, "", &mixed)];
        let gateway = Gateway::new(script).await;
        let gateway = match keeps {
            true => gateway,
            false => gateway.layered(McpLayer::without_exchanges),
        };
        let mut framework = Framework::new(false);
        if keeps {
            framework.request["mcp"]["own_tools"] = "whole".into();
        }
        let (reply, message) = framework.ask(&gateway).await;
        assert_eq!(message["tool_calls"][1]["id"], "call_1");
        assert_eq!(reply.receipt()["messages"].as_array().unwrap().len(), 2);
        assert_eq!(gateway.server.calls(), 1);
    }
}

#[tokio::test]
async fn a_split_turn_is_streamed_as_it_came_with_the_callers_calls_in_one_delta() {
    let mixed = [echo("a"), lookup("x"), ("ask", json!({}))];
    let script = [
        turn(true, "One. ", &[echo("b")]),
        turn(true, "Two.", &mixed),
    ];
    let gateway = Gateway::new(script).await;
    let (reply, _) = Framework::new(true).ask(&gateway).await;
    let told = assembled(&reply.body);
    assert_eq!(told.content, "One. Two.");
    assert_eq!(told.finish_reasons, ["tool_calls"]);
    assert!(told.is_done);
    let deltas = told.chunks.iter().filter_map(|chunk| {
        let delta = &chunk["choices"][0]["delta"];
        delta["tool_calls"].as_array()
    });
    let deltas: Vec<_> = deltas.collect();
    let [calls] = &deltas[..] else {
        panic!("{deltas:?}")
    };
    let named: Vec<_> = calls
        .iter()
        .map(|call| (&call["index"], &call["function"]["name"], &call["type"]))
        .collect();
    let function = &json!("function");
    assert_eq!(
        named,
        [
            (&json!(0), &json!("lookup"), function),
            (&json!(1), &json!("ask"), function)
        ]
    );
    let receipt = &told.receipts[0];
    assert_eq!(receipt["stopped_by"], "caller_tools");
    assert_eq!(receipt.get("messages"), None);
    assert!(!String::from_utf8_lossy(&reply.body).contains("s__echo"));
}

#[tokio::test]
async fn the_last_turn_after_all_rounds_may_call_the_callers_tools() {
    for stream in [false, true] {
        let script = [
            turn(stream, "", &[echo("a")]),
            turn(stream, "", &[echo("refused")]),
            turn(stream, "", &[echo("dropped"), lookup("x")]),
            turn(stream, "done", &[]),
        ];
        let gateway = Gateway::new(script).await;
        let mut framework = Framework::new(stream);
        framework.request["mcp"]["max_tool_rounds"] = 1.into();
        framework.run(&gateway).await;
        assert_eq!(gateway.server.calls(), 1);
        let asked = grows(&gateway.model.asked());
        let told = results(&asked[3]);
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!((&*told[0], &*told[2]), ("a", ALL_X));
    }
}

const ALL_X: &str = r#"lookup says {"what":"x"}"#;

#[tokio::test]
async fn a_turn_that_goes_back_whole_behind_a_kept_one_is_resumed() {
    let script = [
        turn(false, "", &[lookup("x"), echo("kept")]),
        turn(false, "", &[echo("more")]),
        turn(false, "done", &[]),
    ];
    let gateway = Gateway::new(script).await;
    let mut framework = Framework::new(false);
    framework.request["mcp"]["max_tool_rounds"] = 1.into();
    framework.request["mcp"]["on_max_rounds"] = "return".into();
    let calls = framework.turn(&gateway).await;
    framework.answer(&calls);
    let (reply, message) = framework.ask(&gateway).await;
    assert_eq!(reply.receipt()["stopped_by"], "max_rounds");
    assert_eq!(reply.receipt()["messages"], json!([]), "the rest is kept");
    framework.add(&message);
    framework.request["mcp"]["resume_tool_calls"] = true.into();
    framework.run(&gateway).await;
    assert_eq!(gateway.server.calls(), 2);
    let asked = grows(&gateway.model.asked());
    assert_eq!(results(&asked[2]), [ALL_X, "kept", "more"]);
}

#[tokio::test]
async fn a_long_conversation_runs_every_call_once_and_repeats_none_of_it() {
    let turns = (0..30).flat_map(|n| {
        let text = n.to_string();
        let mixed = [lookup(&text), echo(&text)];
        [
            turn(false, "", &mixed),
            turn(false, "", &[echo("between")]),
            turn(false, &format!("text {n}"), &[]),
        ]
    });
    let gateway = Gateway::new(turns).await;
    let mut framework = Framework::new(false);
    for n in 0..30 {
        framework.user(&format!("question {n}"));
        assert_eq!(framework.run(&gateway).await, format!("text {n}"));
    }
    assert_eq!(gateway.server.calls(), 60);
    let asked = grows(&gateway.model.asked());
    assert_eq!(results(asked.last().unwrap()).len(), 90);
}
