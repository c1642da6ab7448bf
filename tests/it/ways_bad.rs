//! Ways that contradict each other, entries that say what they may not, and bodies made to be dear.

use serde_json::{Value, json};

use crate::support::gateway::chat;
use crate::support::ways::{Ask, House, Way, entry};

fn plain() -> Ask {
    Way::Header.asks(&["a"], &json!({}))
}

fn label(label: &str) -> Value {
    entry(&json!({"server_label": label}))
}

#[tokio::test]
async fn an_entry_beside_another_way_is_refused_with_the_names_of_both() {
    let house = House::new().await;
    let asks = || Way::Tools.asks(&["a"], &json!({}));
    for (ask, other) in [
        (asks().header("x-mcp-servers", "a"), "x-mcp-servers"),
        (asks().header("x-mcp-tools", "a__read"), "x-mcp-tools"),
        (
            asks().with("metadata", json!({"mcp_servers": "a"})),
            "metadata.mcp_servers",
        ),
    ] {
        let (status, code, param) = house.refused(&ask).await;
        assert_eq!(
            (status, &*code, &*param),
            (400, "invalid_mcp_options", "tools[0]")
        );
        let reply = house.send(&ask, Vec::new()).await;
        let message = reply.json()["error"]["message"].to_string();
        assert!(
            message.contains("tools[0]") && message.contains(other),
            "{message}"
        );
    }
}

#[tokio::test]
async fn tools_are_not_chosen_in_two_places() {
    let house = House::new().await;
    let ask = plain()
        .header("x-mcp-tools", "a__read")
        .with("mcp", json!({"tools": ["a__read"]}));
    let (status, _, param) = house.refused(&ask).await;
    assert_eq!((status, &*param), (400, "mcp.tools"));
}

#[tokio::test]
async fn the_header_and_the_member_agree_on_whether_calls_are_resumed() {
    let house = House::new().await;
    for (said, other) in [("true", false), ("false", true)] {
        let ask = plain()
            .header("x-mcp-resume", said)
            .with("mcp", json!({"resume_tool_calls": other}));
        let (status, _, param) = house.refused(&ask).await;
        assert_eq!((status, &*param), (400, "mcp.resume_tool_calls"));
    }
}

#[tokio::test]
async fn tools_that_are_no_list_are_refused_and_not_replaced() {
    let house = House::new().await;
    for tools in [json!({"a": 1}), json!("x"), json!(5), json!(true)] {
        let (status, code, param) = house.refused(&plain().with("tools", tools)).await;
        assert_eq!(
            (status, &*code, &*param),
            (400, "invalid_mcp_options", "tools")
        );
    }
}

#[tokio::test]
async fn an_entry_says_only_what_it_may() {
    let house = House::new().await;
    for (members, place) in [
        (json!({"headers": {"authorization": "x"}}), "headers"),
        (json!({"connector_id": "connector_dropbox"}), "connector_id"),
        (json!({"allowed_tool": ["read"]}), "allowed_tool"),
        (json!({"authorization": "t"}), "authorization"),
        (json!({"require_approval": "sometimes"}), "require_approval"),
        (
            json!({"require_approval": {"never": ["read"]}}),
            "require_approval.never",
        ),
        (json!({"require_approval": ["never"]}), "require_approval"),
        (json!({"allowed_tools": []}), "allowed_tools"),
        (json!({"server_label": 7}), "server_label"),
    ] {
        let mut entry = label("a");
        for (name, value) in members.as_object().unwrap() {
            entry[name] = value.clone();
        }
        let own = json!({"type": "function", "function": {"name": "own"}});
        let ask = Ask::entries(&[own, entry]);
        let (status, code, param) = house.refused(&ask).await;
        assert_eq!((status, &*code), (400, "invalid_mcp_options"), "{members}");
        assert_eq!(param, format!("tools[1].{place}"));
    }
}

#[tokio::test]
async fn what_is_given_twice_is_refused_and_not_guessed() {
    let house = House::new().await;
    let entry = label("a");
    for (members, place) in [
        (format!(r#""tools":[],"tools":[{entry}]"#), "tools"),
        (
            r#""metadata":{"mcp_servers":"a"},"metadata":{}"#.to_owned(),
            "metadata",
        ),
        (
            r#""metadata":{"mcp_servers":"a","mcp_servers":"b"}"#.to_owned(),
            "metadata.mcp_servers",
        ),
        (
            format!(r#""tools":[{entry}],"model":"m","model":"n""#),
            "model",
        ),
    ] {
        let body = format!(r#"{{"messages":[],{members}}}"#);
        let (status, code, param) = house.gateway.send_bytes(body).await.error();
        assert_eq!(
            (status, &*code, param),
            (400, "invalid_mcp_options", json!(place))
        );
    }
    assert!(house.gateway.model.asked().is_empty());
}

#[tokio::test]
async fn lists_without_end_are_refused() {
    let house = House::new().await;
    let many = |count: usize| Ask::entries(&vec![label("a"); count]);
    let (status, code, param) = house.refused(&many(2_000)).await;
    assert_eq!(
        (status, &*code, &*param),
        (400, "invalid_mcp_options", "tools")
    );
    assert_eq!(
        house.offered(&many(1_000)).await.len(),
        2,
        "one server, however often"
    );
    let names: Vec<String> = (0..1_000).map(|n| format!("s{n}")).collect();
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    for way in Way::OTHERS {
        let (status, code, _) = house.refused(&way.asks(&names, &json!({}))).await;
        assert_eq!((status, &*code), (400, "mcp_too_many_tools"), "{way:?}");
    }
    let names = vec!["a"; 2_000];
    for way in [Way::Metadata, Way::Header] {
        let (status, _, param) = house.refused(&way.asks(&names, &json!({}))).await;
        assert_eq!((status, &*param), (400, way.place()));
    }
}

#[tokio::test]
async fn what_seems_to_ask_and_is_no_json_is_refused() {
    let house = House::new().await;
    let (status, code, _) = house
        .gateway
        .send_bytes(r#"{"tools":[{"type":"mcp"}"#)
        .await
        .error();
    assert_eq!((status, &*code), (400, "invalid_json"));
}

#[tokio::test]
async fn a_request_that_only_looks_like_one_of_ours_passes_byte_for_byte() {
    let house = House::new().await;
    for body in [
        r#"{"messages":[{"content":"\"mcp"}],"tools":[{"type":"mcp2"},{"function":{"type":"mcp"}}]}"#,
        r#"{"messages":[],"tools":{"type":"mcp"}}"#,
        r#"{"messages":[],"tools":[["mcp"],"mcp",{"mcp":1}],"metadata":["mcp_servers"]}"#,
        r#"[{"tools":[{"type":"mcp"}]}]"#,
    ] {
        house.gateway.model.add([crate::support::model::says("hi")]);
        house.gateway.request(chat(body)).await;
        let asked = house.gateway.model.asked();
        assert_eq!(asked.last().unwrap().body, body);
    }
}
