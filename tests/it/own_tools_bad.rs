//! Histories that are not as they were, callers who send those of others, and stores that fail.

use mcp_layer::{
    Project,
    registry::{MemoryExchanges, Server, ServerRegistry, ServerStore},
};
use serde_json::{Value, json};

use crate::support::{
    failing_exchanges::{FailingExchanges, Fault},
    framework::{Framework, echo, lookup, results, strict, turn},
    gateway::{Gateway, auto},
    model::{Answer, says},
};

/// A gateway whose first answer is a mixed turn, and the conversation as far as it is answered.
async fn mixed(stream: bool) -> (Gateway, Framework) {
    let script = [
        turn(stream, "Look.", &[lookup("x"), echo("a")]),
        turn(stream, "done", &[]),
        turn(stream, "done again", &[]),
    ];
    let gateway = Gateway::new(script).await;
    let mut framework = Framework::new(stream);
    let calls = framework.turn(&gateway).await;
    framework.answer(&calls);
    (gateway, framework)
}

#[tokio::test]
async fn what_is_kept_for_one_caller_is_gone_for_every_other() {
    for (header, value) in [
        ("authorization", "Bearer another"),
        ("x-mcp-auth-s", "token"),
        ("x-mcp-anything", "else"),
    ] {
        let (gateway, mut framework) = mixed(false).await;
        framework.headers.push((header, value.to_owned()));
        let (reply, message) = framework.ask(&gateway).await;
        assert_eq!(message["content"], "done");
        assert_eq!(
            gateway.server.calls(),
            0,
            "nothing of another caller's runs"
        );
        assert_eq!(reply.headers["x-mcp-history"], "incomplete");
        assert_eq!(reply.receipt()["history"], "incomplete");
        let asked = strict(&gateway.model.asked());
        assert!(!asked[1].concat().contains("s__echo"), "{asked:?}");
    }
    for member in ["user", "safety_identifier"] {
        let (gateway, mut framework) = mixed(true).await;
        framework.request[member] = "another".into();
        let (reply, _) = framework.ask(&gateway).await;
        assert_eq!(reply.headers["x-mcp-history"], "incomplete");
        assert_eq!(gateway.server.calls(), 0);
    }
}

#[tokio::test]
async fn an_id_that_is_gone_becomes_the_same_other_one_each_time_and_the_model_is_told() {
    let (gateway, framework) = mixed(false).await;
    let exchanges = MemoryExchanges::default();
    // Another store: none of its ids either, so they stay.
    let other = Gateway::new([says("done")])
        .await
        .layered(|layer| layer.with_exchanges(exchanges));
    framework.ask(&other).await;
    let stays = other.model.asked()[0].json();
    assert_eq!(
        stays["messages"][1]["tool_calls"][0]["id"],
        framework.messages[1]["tool_calls"][0]["id"]
    );

    let mut stranger = framework.clone();
    stranger.request["user"] = "stranger".into();
    stranger.ask(&gateway).await;
    stranger.ask(&gateway).await;
    let asked = strict(&gateway.model.asked());
    assert_eq!(asked[1], asked[2], "the same each time");
    let call: Value = serde_json::from_str(&asked[1][1]).unwrap();
    let id = call["tool_calls"][0]["id"].as_str().unwrap();
    assert!(
        id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "{id}"
    );
    let told = &results(&asked[1])[0];
    assert!(told.starts_with("lookup says"), "{told}");
    assert!(told.len() > "lookup says {\"what\":\"x\"}".len(), "{told}");
}

#[tokio::test]
async fn what_the_caller_changed_stands() {
    let (gateway, mut framework) = mixed(false).await;
    framework.messages[1]["content"] = "Rewritten.".into();
    framework.messages[1]["tool_calls"][0]["function"]["arguments"] = r#"{"what":"y"}"#.into();
    framework.ask(&gateway).await;
    let asked = strict(&gateway.model.asked());
    let message: Value = serde_json::from_str(&asked[1][1]).unwrap();
    assert_eq!(message["content"], "Rewritten.");
    assert_eq!(
        message["tool_calls"][0]["function"]["arguments"],
        r#"{"what":"y"}"#
    );
    assert_eq!(message["tool_calls"][1]["function"]["name"], "s__echo");
}

#[tokio::test]
async fn a_turn_that_comes_twice_and_answers_that_do_count_once() {
    let (gateway, mut framework) = mixed(false).await;
    let again = framework.messages[1..].to_vec();
    framework.messages.extend(again);
    framework.user("and?");
    framework.ask(&gateway).await;
    assert_eq!(gateway.server.calls(), 1);
    let asked = strict(&gateway.model.asked());
    assert_eq!(results(&asked[1]).len(), 2);
}

#[tokio::test]
async fn ids_in_texts_and_arguments_and_with_a_wrong_tag_are_what_they_say() {
    let (gateway, mut framework) = mixed(false).await;
    let id = framework.messages[1]["tool_calls"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut forged = id.clone();
    let last = if forged.pop() == Some('a') { 'b' } else { 'a' };
    forged.push(last);
    framework.user(&format!("what is \"{id}\"?"));
    framework.messages[0]["content"] = id.clone().into();
    let call = json!({"id": forged, "type": "function", "function": {"name": "lookup", "arguments": format!("{{\"id\":\"{id}\"}}")}});
    framework
        .messages
        .push(json!({"role": "assistant", "content": null, "tool_calls": [call]}));
    framework
        .messages
        .push(json!({"role": "tool", "tool_call_id": forged, "content": "x"}));
    framework.ask(&gateway).await;
    let asked = gateway.model.asked()[1].json();
    let messages = asked["messages"].as_array().unwrap();
    let sent = framework.messages.iter();
    let sent: Vec<_> = sent.rev().take(3).rev().collect();
    let told: Vec<_> = messages[messages.len() - 3..].iter().collect();
    assert_eq!(told, sent);
    assert_eq!(messages[0], framework.messages[0]);
}

#[tokio::test]
async fn a_request_with_neither_member_nor_id_passes_byte_for_byte() {
    for body in [
        r#"{ "messages":[{"role":"user","content":"\"mcp_0123456789012345678901\" mcp"}] , "x":"mcp_y" }"#,
        r#"{"messages":[{"role":"tool","tool_call_id":"mcp_0123456789012345678901"}],"messages":[]}"#,
        r#"{"messages":[{"role":"tool","tool_call_id":"mcp_0123456789012345678901"}]}"#,
        r#"{"mcp_servers":"#,
    ] {
        let gateway = Gateway::new([says("hi")]).await;
        let reply = gateway.send_bytes(body).await;
        assert_eq!(reply.status, 200, "{body}");
        assert_eq!(gateway.model.asked()[0].body, body);
    }
}

#[tokio::test]
async fn a_store_that_fails_before_a_call_makes_turns_go_back_whole_and_unexecuted() {
    tokio::time::pause();
    for fault in [Fault::Away, Fault::Full, Fault::Slow] {
        for calls in [vec![lookup("x"), echo("a")], vec![echo("a")]] {
            let exchanges = FailingExchanges::new(fault);
            let gateway = Gateway::new([turn(false, "", &calls)]).await;
            let gateway = gateway.layered(|layer| layer.with_exchanges(exchanges.clone()));
            exchanges.fail_after(0);
            let framework = Framework::new(false);
            let (reply, message) = framework.ask(&gateway).await;
            assert_eq!(gateway.server.calls(), 0, "{fault:?}");
            assert_eq!(message["tool_calls"].as_array().unwrap().len(), calls.len());
            assert_eq!(message["tool_calls"][0]["id"], "call_0");
            let receipt = reply.receipt();
            assert_eq!(receipt["stopped_by"], "caller_tools");
            assert_eq!(receipt["messages"], json!([]));
        }
    }
}

#[tokio::test]
async fn a_store_that_fails_after_a_call_loses_nothing_that_can_be_told() {
    for fault in [Fault::Away, Fault::Full] {
        let exchanges = FailingExchanges::new(fault);
        // When the model is asked again, the tool has run.
        let fails = exchanges.clone();
        let script = [
            turn(false, "", &[echo("a")]),
            Answer::Do(Box::new(move || fails.fail_after(0))),
            turn(false, "", &[lookup("x"), echo("b")]),
        ];
        let gateway = Gateway::new(script).await;
        let gateway = gateway.layered(|layer| layer.with_exchanges(exchanges.clone()));
        let (reply, message) = Framework::new(false).ask(&gateway).await;
        assert_eq!(gateway.server.calls(), 1);
        assert_eq!(message["tool_calls"].as_array().unwrap().len(), 2);
        let messages = reply.receipt()["messages"].clone();
        assert_eq!(messages[1]["content"], "a", "{messages}");
    }
}

#[tokio::test]
async fn a_history_that_cannot_be_read_at_the_moment_is_refused_and_nothing_is_lost() {
    let exchanges = FailingExchanges::new(Fault::Away);
    let script = [
        turn(false, "", &[lookup("x"), echo("a")]),
        turn(false, "done", &[]),
    ];
    let gateway = Gateway::new(script).await;
    let gateway = gateway.layered(|layer| layer.with_exchanges(exchanges.clone()));
    let mut framework = Framework::new(false);
    let calls = framework.turn(&gateway).await;
    framework.answer(&calls);
    exchanges.fail_after(0);
    let mut body = framework.request.clone();
    body["messages"] = framework.messages.clone().into();
    let reply = gateway.send(&body).await;
    assert_eq!(reply.error(), (503, "overloaded".to_owned(), Value::Null));
    assert_eq!(gateway.model.asked().len(), 1);
    exchanges.recover();
    assert_eq!(framework.run(&gateway).await, "done");
    assert_eq!(gateway.server.calls(), 1);
}

#[tokio::test]
async fn a_history_of_too_many_messages_stays_as_it_came_and_the_caller_is_told() {
    for with_mcp in [true, false] {
        let (gateway, framework) = mixed(false).await;
        let mut body = framework.request.clone();
        let mut messages = framework.messages.clone();
        messages.resize(100_001, json!({"role": "user", "content": ""}));
        body["messages"] = messages.into();
        if !with_mcp {
            body.as_object_mut().unwrap().remove("mcp");
        }
        let reply = gateway.send(&body).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.headers["x-mcp-history"], "incomplete");
        if with_mcp {
            assert_eq!(reply.receipt()["history"], "incomplete");
        }
        assert_eq!(gateway.server.calls(), 0);
        let asked = gateway.model.asked()[1].json();
        assert_eq!(asked["messages"], body["messages"]);
    }
    // One without ids of ours is nothing to tell of.
    let gateway = Gateway::new([says("done")]).await;
    let mut messages = vec![json!({"role": "user", "content": "mcp_0123456789012345678901"})];
    messages.resize(100_001, json!({"role": "user", "content": ""}));
    let mut body = auto(json!({}));
    body["messages"] = messages.into();
    let reply = gateway.send(&body).await;
    assert!(!reply.headers.contains_key("x-mcp-history"));
}

#[tokio::test]
async fn a_tool_or_server_that_is_gone_makes_a_tool_message() {
    for with_mcp in [true, false] {
        let (gateway, mut framework) = mixed(false).await;
        let (project, name) = (Project::default(), "s".parse().unwrap());
        let found = gateway.registry.find(&project, std::slice::from_ref(&name));
        let record = found.await.unwrap().remove(0);
        if with_mcp {
            framework.request["mcp"]["tools"] = json!(["s__add"]);
        } else {
            framework.request.as_object_mut().unwrap().remove("mcp");
            let disabled = Server::clone(&record).with_enabled(false);
            gateway.registry.replace(disabled).await.unwrap();
        }
        let (_, message) = framework.ask(&gateway).await;
        assert_eq!(message["content"], "done");
        assert_eq!(gateway.server.calls(), 0);
        let asked = strict(&gateway.model.asked());
        let told = &results(&asked[1])[1];
        assert!(told.contains("there is no tool"), "{told}");
    }
}

#[tokio::test]
async fn a_message_that_mixes_two_kept_turns_gives_both() {
    let script = [
        turn(false, "", &[lookup("x"), echo("a")]),
        turn(false, "", &[lookup("y"), echo("b")]),
        turn(false, "done", &[]),
    ];
    let gateway = Gateway::new(script).await;
    let mut framework = Framework::new(false);
    let mut calls = framework.turn(&gateway).await;
    framework.answer(&calls);
    calls.extend(framework.turn(&gateway).await);
    let mut mixed = framework.messages[1].clone();
    mixed["tool_calls"] = calls.clone().into();
    framework.messages.truncate(1);
    framework.messages.push(mixed);
    framework.answer(&calls);
    framework.run(&gateway).await;
    assert_eq!(gateway.server.calls(), 2);
    let asked = strict(&gateway.model.asked());
    let expected = [
        r#"lookup says {"what":"x"}"#,
        "a",
        r#"lookup says {"what":"y"}"#,
        "b",
    ];
    assert_eq!(results(&asked[2]), expected);
}
