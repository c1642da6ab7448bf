//! Tools that the model's own service searches for.

use mcp_layer::{
    NativeToolSearch, ToolSearch,
    registry::{SelectedTool, Server, ToolPolicy},
};
use serde_json::{Value, json};

use crate::support::{
    gateway::{Gateway, auto},
    model::{Answer, calls, says},
};

async fn gateway(
    answers: impl IntoIterator<Item = Answer>,
    service: NativeToolSearch,
    change: impl FnOnce(Server) -> Server,
) -> Gateway {
    let gateway = Gateway::with_server(answers, change).await;
    gateway.layered(|layer| {
        let layer = layer.with_tool_search(ToolSearch::Above(4));
        layer.with_native_tool_search(service)
    })
}

fn same(server: Server) -> Server {
    server
}

#[tokio::test]
async fn a_service_that_searches_itself_gets_all_tools_and_is_told_which_to_load() {
    for (service, search) in [
        (NativeToolSearch::OpenAi, json!({"type": "tool_search"})),
        (
            NativeToolSearch::Anthropic,
            json!({"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}),
        ),
    ] {
        let plain = Gateway::new([says("hi")]).await;
        plain.send(&auto(json!({}))).await;
        let each = plain.model.asked()[0].json()["tools"].clone();

        let always = |server: Server| {
            let names = [
                "add",
                "big",
                "echo",
                "fail",
                "image",
                "refuse",
                "slow",
                "structured",
            ];
            let select = |name: &'static str| match name {
                "echo" => SelectedTool::from(name).always(),
                name => name.into(),
            };
            server.with_tools(names.map(select)).unwrap()
        };
        let gateway = gateway([says("hi")], service, always).await;
        let own = json!([{"type": "function", "function": {"name": "lookup"}}]);
        gateway.send(&auto(json!({"tools": own}))).await;
        let sent = gateway.model.asked()[0].json()["tools"].clone();
        let mut expected = own.as_array().unwrap().clone();
        for tool in each.as_array().unwrap() {
            let mut tool = tool.clone();
            if tool["function"]["name"] != "s__echo" {
                tool["defer_loading"] = true.into();
            }
            expected.push(tool);
        }
        expected.push(search);
        assert_eq!(sent, Value::Array(expected));
    }
}

#[tokio::test]
async fn calls_of_tools_that_a_service_has_found_are_like_any_others() {
    let echo = ("s__echo", json!({"text": "hello"}));
    let gateway = gateway(
        [calls(&[echo]), says("done")],
        NativeToolSearch::OpenAi,
        same,
    )
    .await;
    let receipt = gateway.send(&auto(json!({}))).await.receipt();
    assert_eq!(
        (&receipt["rounds"], &receipt["calls"][0]["tool"]),
        (&json!(1), &json!("echo"))
    );
    let asked = gateway.model.asked();
    assert_eq!(asked[0].json()["tools"], asked[1].json()["tools"]);

    // Ours are nobody's here.
    let search = ("mcp_search_tools", json!({"query": "echo"}));
    let gateway = self::gateway(
        [calls(&[search]), says("done")],
        NativeToolSearch::OpenAi,
        same,
    )
    .await;
    gateway.send(&auto(json!({}))).await;
    let last = gateway.model.asked()[1].json()["messages"][2]["content"].clone();
    assert!(last.as_str().unwrap().contains("no tool named"), "{last}");

    let asks = |server: Server| {
        let ask = SelectedTool::new("echo", ToolPolicy::AskFirst);
        server.with_tools([ask]).unwrap()
    };
    let echo = ("s__echo", json!({"text": "hello"}));
    let gateway = self::gateway([calls(&[echo])], NativeToolSearch::Anthropic, asks).await;
    let gateway = gateway.layered(|layer| layer.with_tool_search(ToolSearch::Above(0)));
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.receipt()["stopped_by"], "ask_first");
}

#[tokio::test]
async fn a_tool_that_has_to_be_called_is_loaded_at_once() {
    let gateway = gateway([says("hi")], NativeToolSearch::Anthropic, same).await;
    let choice = json!({"type": "function", "function": {"name": "s__add"}});
    gateway.send(&auto(json!({"tool_choice": choice}))).await;
    let sent = gateway.model.asked()[0].json()["tools"].clone();
    let tools = sent.as_array().unwrap().iter();
    let loaded = tools.filter(|tool| tool.get("defer_loading").is_none());
    let loaded: Vec<_> = loaded
        .map(|tool| tool["function"]["name"].clone())
        .collect();
    assert_eq!(loaded, [json!("s__add"), Value::Null]);
}

#[tokio::test]
async fn a_service_that_searches_itself_may_get_more_tools_than_fit() {
    let gateway = gateway([says("hi"), says("hi")], NativeToolSearch::OpenAi, same).await;
    let mut limits = mcp_layer::Limits::default();
    limits.tools = 4;
    let gateway = gateway.layered(|layer| layer.with_limits(limits));
    assert_eq!(gateway.send(&auto(json!({}))).await.status, 200);
    let mut without = auto(json!({}));
    without["mcp"]["tool_search"] = false.into();
    assert_eq!(gateway.send(&without).await.error().1, "mcp_too_many_tools");
}

#[tokio::test]
async fn the_setting_alone_has_the_service_search_where_more_tools_than_fit() {
    for (most, search, deferred) in [
        (128, None, Some(false)),
        (4, None, Some(true)),
        (4, Some(ToolSearch::Off), None),
        (128, Some(ToolSearch::Above(4)), Some(true)),
    ] {
        let mut limits = mcp_layer::Limits::default();
        limits.tools = most;
        let gateway = Gateway::new([says("hi")]).await.layered(|layer| {
            let layer = layer.with_native_tool_search(NativeToolSearch::Anthropic);
            let layer = layer.with_limits(limits);
            match search {
                Some(search) => layer.with_tool_search(search),
                None => layer,
            }
        });
        let reply = gateway.send(&auto(json!({}))).await;
        match deferred {
            Some(is_deferred) => {
                let tools = gateway.model.asked()[0].json()["tools"].clone();
                assert_eq!(tools[0].get("defer_loading").is_some(), is_deferred);
            }
            None => assert_eq!(reply.error().1, "mcp_too_many_tools"),
        }
    }
}
