//! Default servers: for requests of a project that ask for none.

use mcp_layer::registry::{
    DefaultServers, MemoryModels, ModelRules, ModelStore, Server, ServerStore,
};
use serde_json::{Value, json};

use crate::support::events::{assembled, call, chunk, finish, streams};
use crate::support::gateway::Gateway;
use crate::support::model::{Answer, calls, says};

/// A gateway where requests of `web` for `gpt-5*` have the server `s` by default.
async fn gateway(answers: impl IntoIterator<Item = Answer>) -> Gateway {
    let gateway = Gateway::new(answers).await;
    let other = Server::new("other", &gateway.server.url()).unwrap();
    gateway.registry.insert(other).await.unwrap();
    let default = DefaultServers::new("web", ["s".parse().unwrap()]).with_models(["gpt-5*"]);
    gateway.layered(|layer| layer.with_defaults([default]).unwrap())
}

fn ask(model: &str, members: Value) -> Value {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    let members = members.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(members);
    body
}

fn offered(turn: &Value) -> Vec<String> {
    let tools = turn["tools"].as_array().cloned().unwrap_or_default();
    let name = |tool: Value| tool["function"]["name"].as_str().unwrap().to_owned();
    tools.into_iter().map(name).collect()
}

#[tokio::test]
async fn a_request_that_asks_for_nothing_gets_the_tools_of_its_project_and_model() {
    let answers = [
        calls(&[("s__echo", json!({"text": "42"}))]),
        says("It is 42."),
    ];
    let gateway = gateway(answers).await;
    let reply = gateway.send_as("web", &ask("gpt-5-mini", json!({}))).await;
    assert_eq!(
        reply.json()["choices"][0]["message"]["content"],
        "It is 42."
    );
    assert_eq!(reply.receipt()["calls"][0]["server"], "s");
    assert!(!reply.headers.contains_key("x-mcp-default"));
    assert!(reply.receipt().get("default").is_none());
    assert_eq!(gateway.model.asked()[0].json()["model"], "gpt-5-mini");
}

#[tokio::test]
async fn a_stream_is_the_stream_of_the_loop() {
    let turns = [
        streams(&[
            chunk(call(0, "a", "s__echo", &json!({"text": "42"}))),
            finish("tool_calls"),
        ]),
        streams(&[chunk(json!({"content": "It is 42."})), finish("stop")]),
    ];
    let gateway = gateway(turns).await;
    let reply = gateway
        .send_as("web", &ask("gpt-5", json!({"stream": true})))
        .await;
    let told = assembled(&reply.body);
    assert_eq!((&*told.content, told.is_done), ("It is 42.", true));
    assert_eq!(told.receipts[0]["rounds"], 1);
}

#[tokio::test]
async fn requests_of_other_models_and_projects_pass_byte_for_byte() {
    let answer = || crate::support::model::raw_answer(200, &[("x-a", "b")], [" {} ".to_owned()]);
    let gateway = gateway([answer(), answer(), answer()]).await;
    for (project, body) in [
        ("web", r#"{ "model":"gpt-4o", "messages":[]}"#),
        ("batch", r#"{"messages" :[],"model":"gpt-5"}"#),
        ("web", r#"{"messages":[],"metadata":{"model":"gpt-5"}}"#),
    ] {
        let mut request = crate::support::gateway::chat(body);
        request
            .extensions_mut()
            .insert(mcp_layer::Project::new(project));
        let reply = gateway.request(request).await;
        assert_eq!(reply.body, " {} ");
        assert!(!reply.headers.contains_key("x-mcp-default"));
        assert_eq!(gateway.model.asked().last().unwrap().body, body);
    }
}

#[tokio::test]
async fn a_request_that_asks_itself_gets_what_it_asks_for() {
    let on = json!({"enabled": true, "servers": ["other"], "auto_execute_tools": true});
    let entry = json!({"type": "mcp", "server_label": "other", "require_approval": "never"});
    for (members, expected) in [
        (json!({"mcp": on}), Some("other__echo")),
        (
            json!({"metadata": {"mcp_servers": "other"}}),
            Some("other__echo"),
        ),
        (json!({"tools": [entry]}), Some("other__echo")),
        (json!({"mcp": {"receipt": true}}), Some("s__echo")),
        (json!({"mcp": {"enabled": false}}), None),
    ] {
        let gateway = gateway([says("hi")]).await;
        let reply = gateway.send_as("web", &ask("gpt-5", members.clone())).await;
        assert_eq!(reply.status, 200, "{members} {:?}", reply.body);
        assert!(!reply.headers.contains_key("x-mcp-default"), "{members}");
        let offered = offered(&gateway.model.asked()[0].json());
        match expected {
            Some(tool) => assert!(offered.contains(&tool.to_owned()), "{members} {offered:?}"),
            None => assert!(offered.is_empty(), "{members} {offered:?}"),
        }
    }
    // Its faults are its own.
    let gateway = gateway([]).await;
    for (members, param) in [
        (
            json!({"mcp": {"enabled": true, "servers": []}}),
            "mcp.servers",
        ),
        (json!({"mcp": {"nonsense": 1}}), "mcp.nonsense"),
        (
            json!({"metadata": {"mcp_servers": 1}}),
            "metadata.mcp_servers",
        ),
    ] {
        let reply = gateway.send_as("web", &ask("gpt-5", members)).await;
        assert_eq!(
            (reply.status.as_u16(), reply.error().2),
            (400, param.into())
        );
    }
}

#[tokio::test]
async fn the_callers_own_tools_stand_beside_them_and_a_mixed_turn_goes_on() {
    let own =
        json!({"type": "function", "function": {"name": "mine", "parameters": {"type": "object"}}});
    let both = calls(&[("mine", json!({})), ("s__echo", json!({"text": "42"}))]);
    let gateway = gateway([both, says("done")]).await;
    let mut body = ask("gpt-5", json!({"tools": [own]}));
    let first = gateway.send_as("web", &body).await.json();
    let message = first["choices"][0]["message"].clone();
    let own_calls = message["tool_calls"].as_array().unwrap();
    assert_eq!(
        (own_calls.len(), &own_calls[0]["function"]["name"]),
        (1, &json!("mine"))
    );

    let messages = body["messages"].as_array_mut().unwrap();
    let answer = json!({"role": "tool", "tool_call_id": own_calls[0]["id"], "content": "ok"});
    messages.extend([message.clone(), answer]);
    let second = gateway.send_as("web", &body).await;
    assert_eq!(second.json()["choices"][0]["message"]["content"], "done");
    let turn = gateway.model.asked()[1].json();
    assert!(turn.to_string().contains("42"), "{turn}");
    assert_eq!(offered(&turn), offered(&gateway.model.asked()[0].json()));
}

#[tokio::test]
async fn a_registry_changes_them_while_requests_come() {
    let models = MemoryModels::default();
    let gateway = Gateway::new([says("a"), says("b"), says("c")]).await;
    let gateway = gateway.layered(|layer| layer.with_models(models.clone()));
    let tools = async || {
        gateway.send_as("web", &ask("m", json!({}))).await;
        offered(&gateway.model.asked().last().unwrap().json()).len()
    };
    assert_eq!(tools().await, 0);
    let default = DefaultServers::new("web", ["s".parse().unwrap()]);
    let rules = ModelRules::new([], [default]).unwrap();
    models.replace_rules("default", rules, 0).await.unwrap();
    assert!(tools().await > 0);
    models
        .replace_rules("default", ModelRules::default(), 1)
        .await
        .unwrap();
    assert_eq!(tools().await, 0);
}
