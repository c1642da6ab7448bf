//! Media of results in what is kept between requests: a model sees what it saw, and in its place.

use std::time::Duration;

use mcp_layer::{
    McpLayer,
    registry::{MemoryExchanges, SelectedTool, Server, ToolPolicy},
};
use serde_json::{Value, json};

use crate::support::{
    framework::{Framework, grows, lookup, strict, turn},
    gallery::{
        Form, PNG, gallery, gallery_with, image, image_part, large, of, roles, show, shown, text,
    },
    gateway::auto,
    model::{Answer, json_answer},
};

fn tools() -> [(&'static str, Value); 2] {
    [
        ("see", of([image(PNG)])),
        ("look", of([text("look"), image(PNG)])),
    ]
}

/// A framework whose model takes images.
fn framework(stream: bool) -> Framework {
    let mut framework = Framework::new(stream);
    framework.request["model"] = "gpt-4o".into();
    framework
}

fn failure() -> Answer {
    json_answer(401, &json!({"error": {"message": "not now"}}))
}

#[tokio::test]
async fn images_stand_behind_the_answers_of_the_callers_own_calls_and_stay_there() {
    for stream in [false, true] {
        let mixed = [show("s__see"), lookup("x"), show("s__look")];
        let script = [
            turn(stream, "First.", &[show("s__see")]),
            turn(stream, "Then.", &mixed),
            turn(stream, "And.", &[show("s__see")]),
            turn(stream, "", &[lookup("y")]),
            turn(stream, "done", &[]),
            turn(stream, "again", &[]),
        ];
        let (gateway, evil) = gallery(Form::Json, tools(), script).await;
        let mut framework = framework(stream);
        framework.run(&gateway).await;
        framework.user("more");
        framework.run(&gateway).await;
        assert_eq!(evil.count("tools/call"), 4);
        let asked = gateway.model.asked();
        grows(&asked);
        let roles: Vec<_> = asked.iter().map(|asked| roles(&asked.json())).collect();
        let expected = ["u", "uatu", "uatuatttu", "uatuatttuatu", "uatuatttuatuat"];
        assert_eq!(roles[..5], expected);
        assert_eq!(roles[5], "uatuatttuatuatau");
        let parts = shown(&asked[2].json()).remove(1);
        let line = parts[0]["text"].as_str().unwrap();
        assert!(
            line.contains("call call_0") && line.contains("call call_2"),
            "{line}"
        );
        let image = image_part("image/png", PNG);
        assert_eq!(parts[1..], [image.clone(), image]);
    }
}

#[tokio::test]
async fn turns_with_images_before_a_final_text_come_back_with_it() {
    for stream in [false, true] {
        let script = [
            turn(stream, "", &[show("s__look")]),
            turn(stream, "", &[lookup("x")]),
            turn(stream, "", &[show("s__see")]),
            turn(stream, "done", &[]),
            turn(stream, "again", &[]),
        ];
        let (gateway, _evil) = gallery(Form::Json, tools(), script).await;
        let mut framework = framework(stream);
        framework.run(&gateway).await;
        framework.user("more");
        framework.run(&gateway).await;
        let asked = gateway.model.asked();
        grows(&asked);
        assert_eq!(roles(&asked[4].json()), "uatuatatuau");
    }
}

#[tokio::test]
async fn another_model_of_the_conversation_that_takes_none_is_shown_none() {
    let script = [
        turn(false, "", &[show("s__see")]),
        turn(false, "", &[show("s__see"), lookup("x")]),
        turn(false, "", &[lookup("y")]),
        turn(false, "done", &[]),
    ];
    let (gateway, _evil) = gallery(Form::Json, tools(), script).await;
    let mut framework = framework(false);
    for model in ["gpt-4o", "gpt-4o", "m"] {
        framework.request["model"] = model.into();
        let calls = framework.turn(&gateway).await;
        framework.answer(&calls);
    }
    let asked = gateway.model.asked();
    strict(&asked);
    assert_eq!(roles(&asked[2].json()), "uatuattu");
    assert_eq!(roles(&asked[3].json()), "uatattat");
}

#[tokio::test]
async fn restored_images_that_are_refused_are_left_out() {
    let refused = json_answer(400, &json!({"error": {"message": "no images"}}));
    let script = [
        turn(false, "", &[show("s__see")]),
        turn(false, "", &[lookup("x")]),
        refused,
        turn(false, "done", &[]),
    ];
    let (gateway, _evil) = gallery(Form::Json, tools(), script).await;
    let mut framework = framework(false);
    let calls = framework.turn(&gateway).await;
    framework.answer(&calls);
    framework.request["model"] = "gpt-4o-mini".into();
    framework.turn(&gateway).await;
    let asked = gateway.model.asked();
    strict(&asked);
    assert_eq!(roles(&asked[2].json()), "uatuat");
    assert_eq!(roles(&asked[3].json()), "uatat");
}

#[tokio::test]
async fn a_repeat_of_a_failed_request_shows_what_the_first_showed() {
    let calls = [show("s__see"), show("s__look")];
    let script = [
        turn(false, "", &calls),
        turn(false, "", &calls),
        failure(),
        turn(false, "done", &[]),
    ];
    let (gateway, evil) = gallery(Form::Json, tools(), script).await;
    let request = auto(json!({"model": "gpt-4o"}));
    gateway.send(&request).await;
    let reply = gateway.send(&request).await;
    assert_eq!(reply.status, 200);
    assert_eq!(evil.count("tools/call"), 4);
    let asked = gateway.model.asked();
    assert_eq!(roles(&asked[3].json()), "uattuattu");
    assert_eq!(asked[2].body, asked[3].body);
}

#[tokio::test]
async fn a_repeat_of_a_request_that_lost_its_caller_shows_the_images_of_its_batch() {
    let script = [turn(false, "", &[show("s__see")]), turn(false, "done", &[])];
    let (gateway, evil) = gallery(Form::Slow, tools(), script).await;
    let request = auto(json!({"model": "gpt-4o"}));
    let patience = Duration::from_millis(250);
    let hung_up = tokio::time::timeout(patience, gateway.send(&request)).await;
    assert!(hung_up.is_err());
    let reply = gateway.send(&request).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    let asked = gateway.model.asked();
    assert_eq!((asked.len(), evil.count("tools/call")), (2, 1));
    assert_eq!(roles(&asked[1].json()), "uatu");
}

#[tokio::test]
async fn a_turn_that_goes_back_whole_has_the_images_before_it_and_a_resumed_one_its_own() {
    let script = [
        turn(false, "", &[show("s__see")]),
        turn(false, "", &[show("s__look"), lookup("x")]),
        turn(false, "done", &[]),
    ];
    let (gateway, evil) = gallery(Form::Json, tools(), script).await;
    let tool = json!([{"type": "function", "function": {"name": "lookup"}}]);
    let mut request =
        auto(json!({"model": "gpt-4o", "tools": tool, "mcp": {"own_tools": "whole"}}));
    let reply = gateway.send(&request).await;
    let executed = reply.receipt()["messages"].clone();
    assert_eq!(roles(&json!({"messages": executed})), "atu");
    let mut messages = request["messages"].as_array().unwrap().clone();
    messages.extend(executed.as_array().unwrap().clone());
    messages.push(reply.json()["choices"][0]["message"].clone());
    messages.push(json!({"role": "tool", "tool_call_id": "call_1", "content": "x"}));
    request["messages"] = messages.into();
    request["mcp"]["resume_tool_calls"] = json!(true);
    let reply = gateway.send(&request).await;
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "done");
    assert_eq!(evil.count("tools/call"), 2);
    let asked = gateway.model.asked();
    strict(&asked);
    assert_eq!(roles(&asked[2].json()), "uatuattu");
}

#[tokio::test]
async fn a_failure_after_images_tells_the_caller_of_them() {
    let script = [turn(false, "", &[show("s__see")]), failure()];
    let (gateway, _evil) = gallery(Form::Json, tools(), script).await;
    let reply = gateway.send(&auto(json!({"model": "gpt-4o"}))).await;
    assert_eq!(reply.status, 401);
    assert_eq!(roles(&reply.receipt()), "atu");
}

#[tokio::test]
async fn an_approved_call_shows_its_image_also_when_the_request_is_repeated() {
    let asks = |server: Server| {
        let see = SelectedTool::new("see", ToolPolicy::AskFirst);
        server.with_tools([see]).unwrap()
    };
    let script = [
        turn(false, "", &[show("s__see")]),
        failure(),
        turn(false, "done", &[]),
    ];
    let (gateway, evil) = gallery_with(Form::Json, tools(), script, asks).await;
    let mut framework = framework(false);
    framework.turn(&gateway).await;
    framework.request["mcp"]["resume_tool_calls"] = json!(true);
    let mut body = framework.request.clone();
    body["messages"] = framework.messages.clone().into();
    assert_eq!(gateway.send(&body).await.status, 401);
    let reply = gateway.send(&body).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert_eq!(evil.count("tools/call"), 1);
    let asked = gateway.model.asked();
    assert_eq!(roles(&asked[1].json()), "uatu");
    assert_eq!(asked[1].body, asked[2].body);
}

#[tokio::test]
async fn where_a_record_has_no_room_images_go_before_texts_do() {
    let small = |layer: McpLayer| {
        // A project has an eighth of it.
        layer.with_exchanges(MemoryExchanges::with_bytes(8 * (80 << 10)))
    };
    let tools = [("see", of([text("kept"), image(&large(100 << 10))]))];
    for stream in [false, true] {
        let script = [
            turn(stream, "", &[show("s__see"), lookup("x")]),
            turn(stream, "", &[lookup("y")]),
            turn(stream, "done", &[]),
        ];
        let (gateway, evil) = gallery(Form::Json, tools.clone(), script).await;
        let gateway = gateway.layered(small);
        framework(stream).run(&gateway).await;
        assert_eq!(evil.count("tools/call"), 1);
        let asked = gateway.model.asked();
        strict(&asked);
        let (first, later) = (asked[1].json(), asked[2].json());
        assert_eq!((&*roles(&first), &*roles(&later)), ("uattu", "uattuat"));
        assert_eq!(shown(&first)[0][1]["type"], "image_url");
        let note = &shown(&later)[0][1];
        assert!(
            note["text"].as_str().unwrap().contains("left out"),
            "{note}"
        );
        assert_eq!(later["messages"][2], first["messages"][2], "its text stays");
    }
}

#[tokio::test]
async fn images_beyond_the_room_of_an_exchange_stop_no_call() {
    const MIB: usize = 1 << 20;
    let tools = [("see", of([text("kept"), image(&large(3 * MIB))]))];
    let see = || turn(false, "", &[show("s__see")]);
    // Of 9 MiB a record has room for the two newest images. A project's share of the usual store is
    // as much, and the request's own journal holds that until the turn has gone back.
    for (share, left) in [(8 * MIB, 0), (32 * MIB, 2)] {
        let script = [
            see(),
            see(),
            see(),
            turn(false, "", &[lookup("x")]),
            turn(false, "done", &[]),
        ];
        let (gateway, evil) = gallery(Form::Json, tools.clone(), script).await;
        let store = MemoryExchanges::with_bytes(8 * share);
        let gateway = gateway.layered(|layer| layer.with_exchanges(store));
        framework(false).run(&gateway).await;
        assert_eq!(evil.count("tools/call"), 3);
        let asked = gateway.model.asked();
        let (before, after) = (asked[3].json(), asked[4].json());
        assert_eq!(roles(&after), roles(&before) + "at");
        let images = |request| {
            let parts = shown(request).into_iter();
            let has_image = |parts: Vec<Value>| parts[1]["type"] == "image_url";
            parts.map(has_image).collect::<Vec<_>>()
        };
        assert_eq!(images(&before), [true; 3]);
        let expected: Vec<_> = (0..3).map(|place| place >= 3 - left).collect();
        assert_eq!(images(&after), expected, "{share}");
        let results =
            |request: &[String]| crate::support::framework::results(request)[..3].to_vec();
        let asked = strict(&asked);
        assert_eq!(results(&asked[3]), results(&asked[4]), "no text is cut");
    }
}

#[tokio::test]
async fn a_journal_that_is_too_large_loses_images_first() {
    let tools = [("see", of([text("kept"), image(&large(3 << 20))]))];
    let see = || turn(false, "", &[show("s__see")]);
    let script = [see(), see(), see(), failure(), turn(false, "done", &[])];
    let (gateway, evil) = gallery(Form::Json, tools, script).await;
    let request = auto(json!({"model": "gpt-4o"}));
    gateway.send(&request).await;
    let reply = gateway.send(&request).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert_eq!(evil.count("tools/call"), 3);
    let last = gateway.model.asked().pop().unwrap().json();
    let texts = |request: &Value| {
        let messages = request["messages"].as_array().unwrap().iter();
        messages.filter(|message| message["role"] == "tool").count()
    };
    assert_eq!(texts(&last), 3);
    let results = crate::support::framework::results(&strict(&gateway.model.asked())[4]);
    assert!(
        results.iter().all(|text| text.starts_with("kept")),
        "{results:?}"
    );
    let images = shown(&last)
        .into_iter()
        .map(|parts| parts[1]["type"] == "image_url");
    assert_eq!(images.collect::<Vec<_>>(), [false, true, true]);
}
