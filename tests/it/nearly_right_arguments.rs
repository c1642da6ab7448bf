//! Arguments of nearly the right type: read as they were meant, or told to the model.

use mcp_layer::registry::{MemoryRegistry, Server};
use mcp_layer::{McpLayer, mcp::ServerLimits};
use serde_json::{Value, json, value::RawValue};

use crate::support::{
    evil::{Evil, Received, Step, json_reply},
    gateway::{Gateway, auto, connections},
    model::{called, calls, json_answer, says},
    traces::{Traces, tools},
};

/// A gateway to a server whose tool `t` has this schema, and a model that calls it with `arguments`.
async fn gateway(schema: Value, arguments: &str) -> (Gateway, Evil) {
    let server = Evil::stateless(move |request| {
        let result = match &*request.method() {
            "tools/list" => {
                json!({"resultType": "complete", "tools": [{"name": "t", "inputSchema": schema}]})
            }
            _ => json!({"resultType": "complete", "content": [{"type": "text", "text": "ran"}]}),
        };
        vec![Step::Send(json_reply(&request.result(&result)))]
    })
    .await;
    let mut turn = called(&[("s__t", json!({}))]);
    turn["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] = arguments.into();
    let mut gateway = Gateway::new([json_answer(200, &turn), says("done")]).await;
    let record = Server::new("s", &server.url()).unwrap();
    gateway.registry = MemoryRegistry::new([record]).unwrap();
    let layer = McpLayer::new(gateway.registry.clone());
    gateway.layer = layer.with_connections(connections(ServerLimits::default()));
    (gateway, server)
}

/// What the server gets, or else what the model is told.
async fn sent(schema: Value, arguments: &str) -> Result<String, String> {
    let (gateway, server) = gateway(schema, arguments).await;
    gateway.send(&auto(json!({}))).await;
    let call = server
        .received()
        .into_iter()
        .find(|request| request.method() == "tools/call");
    match call {
        Some(call) => Ok(arguments_of(&call)),
        None => Err(gateway.model.asked()[1].json()["messages"][2]["content"]
            .as_str()
            .unwrap()
            .to_owned()),
    }
}

/// The bytes of a call's arguments.
fn arguments_of(call: &Received) -> String {
    let (_, arguments) = call.body.split_once("\"arguments\":").unwrap();
    let mut values = serde_json::Deserializer::from_str(arguments).into_iter::<&RawValue>();
    values.next().unwrap().unwrap().get().to_owned()
}

fn schema() -> Value {
    json!({"type": "object", "required": ["n"], "properties": {
        "id": {"type": "integer"},
        "n": {"type": "integer"},
        "on": {"anyOf": [{"type": "boolean"}, {"type": "null"}], "default": null},
        "tags": {"type": "array", "items": {"type": "string"}},
        "to": {"$ref": "#/$defs/place"},
        "text": {"type": "string"},
        "either": {"type": ["string", "integer"]},
    }, "$defs": {"place": {"type": "object", "properties": {"x": {"type": "number"}}}}})
}

#[tokio::test]
async fn a_text_of_the_one_type_that_is_allowed_is_read_as_that_and_the_rest_keeps_its_bytes() {
    for (arguments, expected) in [
        (r#"{"n":"5"}"#, r#"{"n":5}"#),
        (r#"{"n":1.0}"#, r#"{"n":1}"#),
        (
            r#"{ "id" : 12345678901234567890, "n":"5","text":"5" }"#,
            r#"{ "id" : 12345678901234567890, "n":5,"text":"5" }"#,
        ),
        (r#"{"n":1,"on":"true"}"#, r#"{"n":1,"on":true}"#),
        (r#"{"n":1,"tags":"[\"a\"]"}"#, r#"{"n":1,"tags":["a"]}"#),
        (
            r#"{"n":1,"to":"{\"x\": \"1.5\"}"}"#,
            r#"{"n":1,"to":{"x": 1.5}}"#,
        ),
        (
            r#"{"n":1,"to":{"x":"-2"},"either":"7"}"#,
            r#"{"n":1,"to":{"x":-2},"either":"7"}"#,
        ),
    ] {
        assert_eq!(
            sent(schema(), arguments).await.as_deref(),
            Ok(expected),
            "{arguments}"
        );
    }
}

#[tokio::test]
async fn arguments_that_fit_go_on_byte_for_byte() {
    for arguments in [
        r#"{"n": 5}"#,
        r#"{"n":5,"text":"5","either":"5","on":null}"#,
        r#"{"id":12345678901234567890,"n":1,"text":"v1.0, as ever"}"#,
        r#"{"n":1,"to":{"x":1.0}}"#,
    ] {
        assert_eq!(sent(schema(), arguments).await.as_deref(), Ok(arguments));
    }
}

#[tokio::test]
async fn what_has_another_reading_or_none_is_for_the_model_to_repair() {
    for (arguments, about) in [
        (r#"{"n":"05"}"#, "/n"),
        (r#"{"n":"five"}"#, "/n"),
        (r#"{"n":"9007199254740993"}"#, "/n"),
        (r#"{"n":1,"on":"yes"}"#, "/on"),
        (r#"{"n":1,"tags":"a"}"#, "/tags"),
        (r#"{"n":1,"tags":"[1]"}"#, "/tags"),
        (r#"{"n":1,"to":"{\"x\":1,\"x\":2}"}"#, "/to"),
        // One of them fits, and the call does not.
        (r#"{"n":"5","on":"yes"}"#, "/on"),
        (r#"{"id":"5"}"#, "\"n\""),
    ] {
        let told = sent(schema(), arguments).await.unwrap_err();
        assert!(
            told.starts_with("Error: the arguments do not fit"),
            "{told}"
        );
        assert!(told.contains(about), "{told}");
    }
}

#[tokio::test]
async fn null_for_a_member_that_does_not_take_it_is_told_with_what_to_do() {
    let told = sent(schema(), r#"{"n":1,"text":null}"#).await.unwrap_err();
    assert!(
        told.contains("/text") && told.contains("leave out a member"),
        "{told}"
    );
    assert!(
        !sent(schema(), r#"{"n":"x"}"#)
            .await
            .unwrap_err()
            .contains("leave out")
    );
}

#[tokio::test]
async fn records_have_the_arguments_as_they_were_read() {
    let (gateway, _server) = gateway(schema(), r#"{"n":"5"}"#).await;
    let (gateway, traces) = Traces::of(gateway);
    gateway.send(&auto(json!({}))).await;
    let trace = traces.one();
    assert_eq!(
        tools(&trace)[0].attributes["gen_ai.tool.call.arguments"],
        r#"{"n":5}"#
    );
    // The model finds its own words.
    let turn = &gateway.model.asked()[1].json()["messages"][1];
    assert_eq!(
        turn["tool_calls"][0]["function"]["arguments"],
        r#"{"n":"5"}"#
    );
}

#[tokio::test]
async fn a_call_that_is_read_anew_runs_through_the_sdks_own_server() {
    let add = calls(&[("s__add", json!({"a": "1", "b": "2.5"}))]);
    let gateway = Gateway::new([add, says("done")]).await;
    gateway.send(&auto(json!({}))).await;
    assert_eq!(
        gateway.model.asked()[1].json()["messages"][2]["content"],
        "3.5"
    );
}
