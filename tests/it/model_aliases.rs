//! A model that is an alias: another model with the tools of servers.

use http::Request;
use http_body_util::Full;
use mcp_layer::registry::{ModelAlias, Server, ServerStore};
use mcp_layer::{Project, Streaming};
use serde_json::{Value, json};

use crate::support::events::{assembled, call, chunk, finish, streams};
use crate::support::gateway::{Gateway, Reply, chat};
use crate::support::model::{Answer, calls, json_answer, says};

/// A gateway with the alias `gpt-5-tools` of everybody, and `web-tools` of the project `web`.
async fn gateway(answers: impl IntoIterator<Item = Answer>) -> Gateway {
    let gateway = Gateway::new(answers).await;
    let other = Server::new("other", &gateway.server.url()).unwrap();
    gateway.registry.insert(other).await.unwrap();
    let alias = |name: &str, servers: &[&str]| {
        let servers = servers.iter().map(|name| name.parse().unwrap());
        ModelAlias::new(name, "gpt-5", servers)
    };
    let of_web = alias("web-tools", &["s"]).with_projects(["web"]).unwrap();
    let gone = alias("gone-tools", &["s", "gone"]);
    let aliases = [alias("gpt-5-tools", &["s"]), of_web, gone];
    gateway.layered(|layer| layer.with_model_aliases(aliases).unwrap())
}

fn ask(model: &str, members: Value) -> Value {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    let members = members.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(members);
    body
}

fn one_round() -> [Answer; 2] {
    [
        calls(&[("s__echo", json!({"text": "42"}))]),
        says("It is 42."),
    ]
}

fn offered(turn: &Value) -> Vec<String> {
    let tools = turn["tools"].as_array().cloned().unwrap_or_default();
    let name = |tool: Value| tool["function"]["name"].as_str().unwrap().to_owned();
    tools.into_iter().map(name).collect()
}

#[tokio::test]
async fn an_alias_is_its_model_with_tools_and_a_receipt() {
    let gateway = gateway(one_round()).await;
    let reply = gateway.send(&ask("gpt-5-tools", json!({}))).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert_eq!(
        reply.json()["choices"][0]["message"]["content"],
        "It is 42."
    );
    assert_eq!(reply.receipt()["calls"][0]["server"], "s");
    assert_eq!(reply.receipt()["stopped_by"], "final");
    // What the upstream says its model is.
    assert_eq!(reply.json()["model"], "scripted");
    for turn in gateway.model.asked() {
        let turn = turn.json();
        assert_eq!(turn["model"], "gpt-5");
        assert!(offered(&turn).contains(&"s__echo".to_owned()));
        assert!(turn.get("mcp").is_none());
    }
}

#[tokio::test]
async fn nothing_but_the_model_changes_wherever_it_stands_and_however_it_is_spelt() {
    for body in [
        r#"{ "messages":[ {"role":"user","content":"é\u00e9"} ], "seed":1.0, "model" : "gpt\u002d5-tools" ,"x":[1e0]}"#,
        r#"{"model":"gpt-5-tools","messages":[{"role":"user","content":"\"model\":\"gpt-5-tools\""}],"top_p":1.50}"#,
    ] {
        let gateway = gateway([says("hi")]).await;
        let reply = gateway.send_bytes(body).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        let turn = gateway.model.asked()[0].body.clone();
        let turn = String::from_utf8(turn.to_vec()).unwrap();
        let place = turn.find(r#","tools":["#).unwrap();
        let rest = turn[..place].to_owned() + "}";
        let expected = body
            .replacen(r#" "gpt\u002d5-tools""#, r#" "gpt-5""#, 1)
            .replacen(r#"{"model":"gpt-5-tools""#, r#"{"model":"gpt-5""#, 1);
        assert_eq!(rest, expected);
    }
}

#[tokio::test]
async fn a_stream_is_the_stream_of_the_loop_whatever_the_operator_says_of_streams() {
    let name = "s__echo";
    for streaming in [
        Streaming::ReturnToolCalls,
        Streaming::Reject,
        Streaming::Execute,
    ] {
        let turns = [
            streams(&[
                chunk(call(0, "a", name, &json!({"text": "42"}))),
                finish("tool_calls"),
            ]),
            streams(&[chunk(json!({"content": "It is 42."})), finish("stop")]),
        ];
        let gateway = gateway(turns).await;
        let gateway = gateway.layered(|layer| layer.with_streaming(streaming));
        let reply = gateway
            .send(&ask("gpt-5-tools", json!({"stream": true})))
            .await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        let told = assembled(&reply.body);
        assert_eq!(told.content, "It is 42.");
        assert_eq!(told.receipts[0]["rounds"], 1);
        assert!(told.is_done);
        assert_eq!(gateway.model.asked()[1].json()["model"], "gpt-5");
    }
}

#[tokio::test]
async fn what_the_request_says_itself_goes_before_and_the_model_is_replaced_all_the_same() {
    let on = json!({"enabled": true, "servers": ["other"], "auto_execute_tools": true});
    let (entry, tools) = (
        json!({"type": "mcp", "server_label": "other", "require_approval": "never"}),
        "other__echo",
    );
    for (members, expected) in [
        (json!({"mcp": on}), Some(tools)),
        (json!({"metadata": {"mcp_servers": "other"}}), Some(tools)),
        (json!({"tools": [entry]}), Some(tools)),
        (json!({"mcp": {"receipt": true}}), Some("s__echo")),
        (json!({"mcp": {"enabled": false}}), None),
        (json!({"mcp": {"enabled": false, "servers": ["s"]}}), None),
    ] {
        let gateway = gateway([says("hi")]).await;
        let reply = gateway.send(&ask("gpt-5-tools", members.clone())).await;
        assert_eq!(reply.status, 200, "{members} {:?}", reply.body);
        let turn = gateway.model.asked()[0].json();
        assert_eq!(turn["model"], "gpt-5", "{members}");
        let offered = offered(&turn);
        match expected {
            Some(tool) => assert!(offered.contains(&tool.to_owned()), "{members} {offered:?}"),
            None => assert!(offered.is_empty(), "{members} {offered:?}"),
        }
        let is_of_one = offered
            .iter()
            .all(|tool| tool.split("__").next() == offered[0].split("__").next());
        assert!(is_of_one, "{offered:?}");
    }
    let gateway = gateway([says("hi")]).await;
    let gateway = gateway.layered(|layer| layer.with_header_opt_in(true));
    let mut request = chat(ask("gpt-5-tools", json!({})).to_string());
    request
        .headers_mut()
        .insert("x-mcp-servers", "other".parse().unwrap());
    assert_eq!(gateway.request(request).await.status, 200);
    let turn = gateway.model.asked()[0].json();
    assert_eq!(turn["model"], "gpt-5");
    assert!(
        offered(&turn)
            .iter()
            .all(|tool| tool.starts_with("other__"))
    );
}

#[tokio::test]
async fn an_alias_of_another_project_is_any_models_name() {
    let gateway = gateway([says("hi"), says("hi")]).await;
    let body = ask("web-tools", json!({}));
    gateway.send_as("web", &body).await;
    gateway.send_as("batch", &body).await;
    let asked = gateway.model.asked();
    assert_eq!(asked[0].json()["model"], "gpt-5");
    assert_eq!(asked[1].body, body.to_string());
}

#[tokio::test]
async fn what_is_wrong_with_its_servers_is_an_error_as_ever() {
    let gateway = gateway([]).await;
    let error = |reply: Reply| reply.error();
    let gone = gateway.send(&ask("gone-tools", json!({}))).await;
    assert_eq!(
        error(gone),
        (404, "mcp_server_not_found".into(), "model".into())
    );

    let inactive = Server::new("s", &gateway.server.url())
        .unwrap()
        .with_enabled(false);
    let mut stored = (*gateway
        .registry
        .get("default", &"s".parse().unwrap())
        .await
        .unwrap())
    .clone();
    stored.enabled = inactive.enabled;
    gateway.registry.replace(stored).await.unwrap();
    let inactive = gateway.send(&ask("gpt-5-tools", json!({}))).await;
    assert_eq!(
        error(inactive),
        (400, "mcp_server_inactive".into(), "model".into())
    );

    for (members, code, param) in [
        (json!({"n": 2}), "invalid_mcp_options", "n"),
        (
            json!({"mcp": {"auto_execute_tools": false}}),
            "invalid_mcp_options",
            "mcp.auto_execute_tools",
        ),
        (
            json!({"mcp": {"enabled": "yes"}}),
            "invalid_mcp_options",
            "mcp.enabled",
        ),
    ] {
        let reply = gateway.send(&ask("gpt-5-tools", members)).await;
        assert_eq!(error(reply), (400, code.into(), param.into()));
    }
    let doubled = gateway
        .send_bytes(r#"{"model":"gpt-5-tools","messages":[],"model":"m"}"#)
        .await;
    assert_eq!(
        error(doubled),
        (400, "invalid_mcp_options".into(), "model".into())
    );
    let broken = gateway
        .send_bytes(r#"{"model":"gpt-5-tools","messages":["#)
        .await;
    assert_eq!(error(broken).1, "invalid_json");
    assert!(gateway.model.asked().is_empty());
}

#[tokio::test]
async fn the_upstreams_own_error_goes_through_as_it_is() {
    let refused = json!({"error": {"message": "no tools here"}});
    let gateway = gateway([json_answer(400, &refused)]).await;
    let reply = gateway.send(&ask("gpt-5-tools", json!({}))).await;
    assert_eq!((reply.status.as_u16(), reply.json()), (400, refused));
    assert_eq!(gateway.model.asked().len(), 1);
}

#[tokio::test]
async fn other_apis_refuse_an_alias_and_say_what_to_ask_for() {
    let gateway = gateway([says("hi"), says("hi")]).await;
    let post = |path: &str, model: &str| {
        let body = json!({"prompt": "p", "model": model}).to_string();
        let request = Request::post(path.to_owned()).header("content-type", "application/json");
        request.body(Full::new(body.into())).unwrap()
    };
    for path in ["/v1/completions", "/v1/responses", "/v1/messages"] {
        let reply = gateway.request(post(path, "gpt-5-tools")).await;
        assert_eq!(
            reply.error(),
            (400, "invalid_mcp_options".into(), "model".into()),
            "{path}"
        );
        let message = reply.json()["error"]["message"].to_string();
        assert!(
            message.contains("gpt-5") && message.contains("/chat/completions"),
            "{message}"
        );
    }
    assert_eq!(
        gateway
            .request(post("/v1/completions", "web-tools"))
            .await
            .status,
        200
    );
    assert_eq!(
        gateway
            .request(post("/v1/embeddings", "gpt-5-tools"))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_repeat_of_an_alias_is_none_of_its_model() {
    // The same body but for the model, under one key: another request.
    let gateway = gateway([says("one")]).await;
    let send = async |body: &Value| {
        let mut request = chat(body.to_string());
        request
            .headers_mut()
            .insert("idempotency-key", "k".parse().unwrap());
        request.extensions_mut().insert(Project::new("web"));
        gateway.request(request).await
    };
    assert_eq!(send(&ask("gpt-5-tools", json!({}))).await.status, 200);
    assert_eq!(
        send(&ask("gpt-5-tools", json!({}))).await.json()["choices"][0]["message"]["content"],
        "one"
    );
    let other = send(&ask("web-tools", json!({}))).await;
    assert_eq!(other.error().1, "idempotency_key_reused");
}
