//! `tool_choice: {"type": "mcp", …}`: OpenAI's Responses API says so that the model has to call a tool of
//! a server. Chat completions have other words for it, which the model's service gets.

use serde_json::{Value, json};

use crate::support::framework::turn;
use crate::support::ways::{Ask, House, Way, entry};

fn label(label: &str) -> Value {
    entry(&json!({"server_label": label}))
}

fn choice(members: Value) -> Value {
    let mut choice = json!({"type": "mcp"});
    for (name, value) in members.as_object().unwrap() {
        choice[name] = value.clone();
    }
    choice
}

fn function(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name}})
}

fn one_of(names: &[&str]) -> Value {
    let tools: Vec<_> = names.iter().map(|name| function(name)).collect();
    json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools}})
}

/// The choices that the model gets in its turns, of which the first calls this tool.
async fn choices(house: &House, ask: &Ask, call: &str) -> Vec<Value> {
    let turns = house.turns(ask, &[call]).await;
    let turns = turns.iter().map(|turn| serde_json::from_str::<Value>(turn));
    turns
        .map(|turn| turn.unwrap()["tool_choice"].clone())
        .collect()
}

#[tokio::test]
async fn a_tool_of_a_server_is_chosen_in_the_words_of_chat_completions_until_one_has_run() {
    let house = House::new().await;
    let own = function("own");
    let all = entry(&json!({"server_label": "all", "server_url": "litellm_proxy"}));
    let only = entry(&json!({"server_label": "a", "allowed_tools": ["write"]}));
    for (entries, sent, first, call) in [
        // A name is the server's own, or the offered one.
        (
            vec![label("a")],
            json!({"server_label": "a", "name": "read"}),
            function("a__read"),
            "a__read",
        ),
        (
            vec![label("a"), label("b")],
            json!({"server_label": "a", "name": "a__read"}),
            function("a__read"),
            "a__read",
        ),
        (
            vec![own.clone(), label("a")],
            json!({"server_label": "a", "name": "read"}),
            function("a__read"),
            "a__read",
        ),
        // Any of one is that one; any of all is whichever.
        (
            vec![label("a"), label("b")],
            json!({"server_label": "b"}),
            function("b__look"),
            "b__look",
        ),
        (
            vec![only],
            json!({"server_label": "a"}),
            function("a__write"),
            "a__write",
        ),
        (
            vec![label("a")],
            json!({"server_label": "a", "name": null}),
            json!("required"),
            "a__read",
        ),
        (
            vec![all.clone()],
            json!({"server_label": "all"}),
            json!("required"),
            "b__look",
        ),
        // Any of some.
        (
            vec![label("a"), label("b")],
            json!({"server_label": "a"}),
            one_of(&["a__read", "a__write"]),
            "a__read",
        ),
        (
            vec![own.clone(), label("a")],
            json!({"server_label": "a"}),
            one_of(&["a__read", "a__write"]),
            "a__read",
        ),
    ] {
        let ask = Ask::entries(&entries).with("tool_choice", choice(sent));
        // A tool of ours that has run is not asked for again, whatever the caller has besides.
        assert_eq!(
            choices(&house, &ask, call).await,
            [first, json!("auto")],
            "{ask:?}"
        );
    }
}

#[tokio::test]
async fn with_the_other_ways_a_label_is_the_name_of_a_server() {
    let house = House::new().await;
    for way in [Way::Mcp, Way::Metadata, Way::Header] {
        let chosen = choice(json!({"server_label": "b", "name": "look"}));
        let ask = way.asks(&["a", "b"], &json!({"tool_choice": chosen}));
        assert_eq!(
            choices(&house, &ask, "b__look").await,
            [function("b__look"), json!("auto")],
            "{way:?}"
        );
    }
}

#[tokio::test]
async fn a_choice_of_what_is_not_there_is_refused() {
    let house = House::new().await;
    for (sent, place) in [
        (json!({}), "server_label"),
        (json!({"server_label": 1}), "server_label"),
        (json!({"server_label": "b"}), "server_label"),
        (json!({"server_label": "theirs"}), "server_label"),
        (json!({"server_label": "a", "name": "look"}), "name"),
        (json!({"server_label": "a", "name": "b__look"}), "name"),
    ] {
        let ask = Ask::entries(&[label("a")]).with("tool_choice", choice(sent));
        let expected = (
            400,
            "invalid_mcp_options".to_owned(),
            format!("tool_choice.{place}"),
        );
        assert_eq!(house.refused(&ask).await, expected, "{ask:?}");
    }
}

#[tokio::test]
async fn nothing_else_of_the_request_changes_and_a_request_that_asks_for_nothing_keeps_it() {
    let house = House::new().await;
    let sent = r#"{ "type":"mcp", "server_label":"b" }"#;
    let body = |choice: &str, tools: &str| {
        format!(
            r#"{{ "messages":[{{"role":"user","content":"é\u00e9"}}],"tool_choice" : {choice} ,"top_p":1.50{tools}}}"#
        )
    };
    house.gateway.model.add([turn(false, "done", &[])]);
    let entry = format!(r#","tools":[{}]"#, label("b"));
    let reply = house.gateway.send_bytes(body(sent, &entry)).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    let got = String::from_utf8(house.gateway.model.asked()[0].body.to_vec()).unwrap();
    let before = body(&function("b__look").to_string(), "");
    assert!(got.starts_with(&before[..before.len() - 1]), "{got}");

    house.gateway.model.add([turn(false, "done", &[])]);
    let plain = body(sent, "");
    house.gateway.send_bytes(plain.clone()).await;
    assert_eq!(house.gateway.model.asked()[1].body, plain);
}

#[tokio::test]
async fn what_the_model_gets_at_the_end_of_the_rounds_forbids_tools_all_the_same() {
    let house = House::new().await;
    let chosen = choice(json!({"server_label": "b"}));
    let ask = Ask::entries(&[label("b")])
        .with("tool_choice", chosen)
        .with("mcp", json!({"max_tool_rounds": 1}));
    let call = || turn(false, "", &[("b__look", json!({}))]);
    let reply = house
        .send(&ask, vec![call(), call(), turn(false, "done", &[])])
        .await;
    assert_eq!(reply.receipt()["stopped_by"], "max_rounds");
    let asked = house.gateway.model.asked();
    let choices: Vec<_> = asked
        .iter()
        .map(|turn| turn.json()["tool_choice"].clone())
        .collect();
    assert_eq!(choices, [function("b__look"), json!("auto"), json!("none")]);
}
