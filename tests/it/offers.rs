//! Tools as providers take them: what models get of a tool, and what stays as the server wrote it.

use mcp_layer::{
    CallerTokens, McpLayer, SchemaDialect,
    mcp::ServerLimits,
    registry::{MemoryRegistry, Server},
};
use serde_json::{Value, json};

use crate::support::{
    admin::Operator,
    gateway::{Gateway, auto, connections, with_mcp},
    mcp_server::{McpServer, Mode},
    model::{Answer, Model, calls, says},
    shelf::Shelf,
};

/// A layer over one server with these tools.
async fn gateway(
    name: &str,
    tools: &[Value],
    answers: Vec<Answer>,
    change: impl FnOnce(McpLayer) -> McpLayer,
) -> (Gateway, Shelf) {
    let shelf = Shelf::start(tools).await;
    let registry = MemoryRegistry::new([Server::new(name, &shelf.url()).unwrap()]).unwrap();
    let layer = McpLayer::new(registry.clone());
    let layer = layer.with_connections(connections(ServerLimits::default()));
    let gateway = Gateway {
        layer: change(layer),
        model: Model::new(answers),
        server: McpServer::start(Mode::Stateless).await,
        registry,
    };
    (gateway, shelf)
}

fn tool(name: &str, schema: Value) -> Value {
    json!({"name": name, "description": "Does it.", "inputSchema": schema})
}

/// The functions that the model was offered at its last turn.
fn offered(gateway: &Gateway) -> Vec<Value> {
    let mut asked = gateway.model.asked().last().unwrap().json();
    let tools = asked["tools"].as_array_mut().unwrap().iter_mut();
    tools.map(|tool| tool["function"].take()).collect()
}

async fn ask(gateway: &Gateway) -> Vec<Value> {
    let mcp = json!({"enabled": true, "servers": ["s"]});
    let reply = gateway.send(&with_mcp(mcp, json!({}))).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    offered(gateway)
}

#[tokio::test]
async fn a_model_gets_a_copy_that_providers_take_and_calls_are_checked_by_the_original() {
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "properties": {"path": {"type": "string"}, "url": {"type": "string"}, "tags": {"type": "array"}},
        "anyOf": [{"required": ["path"]}, {"required": ["url"]}],
    });
    let answers = vec![
        calls(&[("s__open", json!({"tags": ["a"]}))]),
        calls(&[("s__open", json!({"url": "x"}))]),
        says("done"),
    ];
    let (gateway, shelf) = gateway("s", &[tool("open", schema)], answers, |layer| layer).await;
    let reply = gateway.send(&auto(json!({"servers": ["s"]}))).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let [function] = &offered(&gateway)[..] else {
        panic!("one function")
    };
    assert_eq!(
        function["parameters"],
        json!({"type": "object", "properties": {
            "path": {"type": "string"}, "url": {"type": "string"}, "tags": {"type": "array", "items": {}},
        }})
    );
    let told = function["description"].as_str().unwrap();
    assert_eq!(
        told,
        "Does it.\nAt least one of these sets of arguments is needed: path; url."
    );
    // The first call fits the copy, and not the original.
    assert_eq!(shelf.calls(), 1);
    let second = gateway.model.asked()[1].json();
    let refused = second["messages"].as_array().unwrap().last().unwrap();
    let text = refused["content"].as_str().unwrap();
    assert!(
        text.contains("do not fit the tool's input schema"),
        "{text}"
    );
}

#[tokio::test]
async fn one_tool_that_no_provider_takes_costs_none_of_the_others() {
    let tools = [
        tool("good", json!({"type": "object"})),
        tool("list", json!({"type": "array"})),
        tool(
            "name",
            json!({"type": "object", "properties": {"a b": {}}, "required": ["a b"]}),
        ),
        json!({"name": "large-output", "inputSchema": {"type": "object"},
            "outputSchema": {"type": "object", "description": "x".repeat(65 * 1024)}}),
        json!({"name": "silent", "description": "", "inputSchema": {}}),
    ];
    let (gateway, _shelf) = gateway("s", &tools, vec![says("done")], |layer| layer).await;
    let functions = ask(&gateway).await;
    let names: Vec<_> = functions
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["s__good", "s__large-output", "s__silent"]);
    assert!(functions[2].get("description").is_none(), "{functions:?}");
}

#[tokio::test]
async fn a_description_is_cut_where_the_operator_says() {
    let long = json!({"name": "long", "description": "é".repeat(3000), "inputSchema": {}});
    for (limit, length) in [(None, 1024), (Some(100), 100), (Some(9000), 6000)] {
        let change = |layer: McpLayer| match limit {
            Some(limit) => layer.with_description_limit(limit),
            None => layer,
        };
        let (gateway, _shelf) =
            gateway("s", std::slice::from_ref(&long), vec![says("done")], change).await;
        let text = ask(&gateway).await[0]["description"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(text.len(), length);
        assert_eq!(text.ends_with(" [cut]"), length < 6000, "{text}");
    }
}

#[tokio::test]
async fn two_layers_over_the_same_connections_offer_each_its_own_dialect() {
    let schema = json!({"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "additionalProperties": false});
    let shelf = Shelf::start(&[tool("a", schema.clone())]).await;
    let server = Server::new("s", &shelf.url()).unwrap();
    let registry = MemoryRegistry::new([server.clone()]).unwrap();
    let shared = connections(ServerLimits::default());
    for _ in 0..2 {
        for (dialect, wanted) in [
            (SchemaDialect::Standard, schema.clone()),
            (
                SchemaDialect::Gemini,
                json!({"type": "object", "properties": {"a": {"type": "string", "nullable": true}}}),
            ),
        ] {
            let gateway = Gateway {
                layer: McpLayer::new(registry.clone())
                    .with_connections(shared.clone())
                    .with_schema_dialect(dialect),
                model: Model::new([says("done")]),
                server: McpServer::start(Mode::Stateless).await,
                registry: registry.clone(),
            };
            assert_eq!(ask(&gateway).await[0]["parameters"], wanted);
        }
    }
    assert_eq!(shelf.lists(), 1);
    let shown = shared
        .tools(&server, &CallerTokens::default())
        .await
        .unwrap();
    assert_eq!(shown.offered[0].input_schema.get(), schema.to_string());
}

#[tokio::test]
async fn gemini_is_offered_nothing_of_a_server_whose_name_begins_with_a_digit() {
    let tools = [tool("a", json!({"type": "object"}))];
    let gemini = |layer: McpLayer| layer.with_schema_dialect(SchemaDialect::Gemini);
    let (gateway, _shelf) = gateway("1s", &tools, vec![], gemini).await;
    let mcp = json!({"enabled": true, "servers": ["1s"]});
    let reply = gateway.send(&with_mcp(mcp, json!({}))).await;
    assert_eq!(reply.error().1, "mcp_server_inactive");
}

#[tokio::test]
async fn a_server_with_a_name_that_gemini_refuses_is_not_created() {
    let store = MemoryRegistry::default();
    let gemini = connections(ServerLimits::default()).with_schema_dialect(SchemaDialect::Gemini);
    let operator = Operator::over(gemini, store, |admin| admin);
    let server = |name: &str| json!({"name": name, "url": "https://mcp.example.com/mcp", "projects": "all", "tools": "all"});
    let (code, param) = operator
        .post("/api/v1/servers", &server("1password"))
        .await
        .error(400);
    assert_eq!(
        (code.as_str(), param.as_deref()),
        ("invalid_server", Some("name"))
    );
    operator.create(&server("onepassword")).await;
}
