//! Each way to opt in gets what the member `mcp` gets: the same turns, byte for byte, and the same
//! refusals.

use mcp_layer::{McpLayer, Streaming};
use serde_json::{Value, json};

use crate::support::dice::Dice;
use crate::support::ways::{House, Way, entry};

fn streamed(stream: bool) -> Value {
    match stream {
        true => json!({"stream": true}),
        false => json!({}),
    }
}

#[tokio::test]
async fn every_way_gets_the_same_turns_and_the_same_refusals() {
    let house = House::new().await;
    for stream in [false, true] {
        let members = streamed(stream);
        for (servers, call) in [(&["a"][..], "a__write"), (&["b", "a"], "b__look")] {
            let expected = house
                .turns(&Way::Mcp.asks(servers, &members), &[call])
                .await;
            assert_eq!(expected.len(), 2, "the call has run");
            for way in Way::OTHERS {
                let ask = way.asks(servers, &members);
                assert_eq!(
                    house.turns(&ask, &[call]).await,
                    expected,
                    "{way:?} {servers:?}"
                );
            }
        }
        for way in Way::ALL {
            for (server, status, code) in [
                ("nothing", 404, "mcp_server_not_found"),
                ("theirs", 404, "mcp_server_not_found"),
                ("off", 400, "mcp_server_inactive"),
            ] {
                let refused = house.refused(&way.asks(&["a", server], &members)).await;
                let expected = (status, code.to_owned(), way.second().to_owned());
                assert_eq!(refused, expected, "{way:?}");
            }
        }
        for way in Way::OTHERS {
            // Another that opts in as well is one too many; what says that it is off is off.
            let mut ask = way.asks(&["a"], &members);
            ask.body["mcp"] = json!({"enabled": true, "servers": ["b"]});
            let expected = (
                400,
                "invalid_mcp_options".to_owned(),
                "mcp.enabled".to_owned(),
            );
            assert_eq!(house.refused(&ask).await, expected, "{way:?}");
            let reply = house.send(&ask, Vec::new()).await;
            let message = reply.json()["error"]["message"].to_string();
            assert!(
                message.contains(way.place()) && message.contains("mcp.enabled"),
                "{message}"
            );
            for off in [
                json!({"enabled": false}),
                json!({"enabled": false, "servers": ["b"]}),
            ] {
                ask.body["mcp"] = off;
                let turns = house.turns(&ask, &[]).await;
                let mut plain =
                    json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
                if stream {
                    plain["stream"] = true.into();
                }
                assert_eq!(turns, [plain.to_string()], "{way:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_unknown_and_what_is_somebody_elses_are_answered_alike() {
    let house = House::new().await;
    for way in Way::ALL {
        let mut answers = Vec::new();
        for server in ["theirs", "nobody"] {
            let reply = house
                .send(&way.asks(&[server], &json!({})), Vec::new())
                .await;
            answers.push(String::from_utf8_lossy(&reply.body).replace(server, "X"));
        }
        assert_eq!(answers[0], answers[1], "{way:?}");
    }
}

#[tokio::test]
async fn a_stream_is_one_of_the_loop_whatever_the_operator_says() {
    for streaming in [
        Streaming::ReturnToolCalls,
        Streaming::Reject,
        Streaming::Execute,
    ] {
        let house = House::new().await;
        let house = house.layered(|layer: McpLayer| layer.with_streaming(streaming));
        for way in Way::OTHERS {
            let turns = house
                .turns(&way.asks(&["b"], &streamed(true)), &["b__look"])
                .await;
            assert_eq!(turns.len(), 2, "{way:?} {streaming:?}");
        }
    }
}

#[tokio::test]
async fn an_object_that_does_not_opt_in_goes_with_every_way() {
    let house = House::new().await;
    for way in Way::OTHERS {
        let ask = way.asks(
            &["a"],
            &json!({"mcp": {"tools": ["a__read"], "receipt": false}}),
        );
        assert_eq!(house.offered(&ask).await, ["a__read"], "{way:?}");
        let with_receipt = way.asks(&["a"], &json!({"mcp": {"max_tool_rounds": 2}}));
        let answers = vec![crate::support::model::says("hi")];
        let reply = house.send(&with_receipt, answers).await;
        assert_eq!(reply.receipt()["max_tool_rounds"], 2, "{way:?}");
        for (member, value) in [
            ("auto_execute_tools", json!(false)),
            ("on_stream", json!("return")),
        ] {
            let against = way.asks(&["a"], &json!({"mcp": {member: value}}));
            let (status, code, param) = house.refused(&against).await;
            let expected = (400, "invalid_mcp_options", format!("mcp.{member}"));
            assert_eq!((status, &*code, param), expected, "{way:?}");
        }
    }
}

#[tokio::test]
async fn several_choices_are_refused_with_every_way() {
    let house = House::new().await;
    for way in Way::ALL {
        let refused = house.refused(&way.asks(&["a"], &json!({"n": 2}))).await;
        let expected = (400, "invalid_mcp_options".to_owned(), "n".to_owned());
        assert_eq!(refused, expected, "{way:?}");
    }
}

/// A body with members in any order and any spacing, and the same with `mcp` in place of the way.
fn thrown(dice: &mut Dice, way: Way) -> (String, String, Vec<(&'static str, String)>) {
    const OWN: &str = r#"{"type": "function" ,"function":{"name":"own","x":1.50}}"#;
    let lists: [&[&str]; 4] = [&["a"], &["b"], &["a", "b"], &["b", "a"]];
    let servers = *dice.of(&lists);
    let comma = *dice.of(&[",", " , ", ",\n"]);
    let mut members = vec![
        r#""model" : "m""#.to_owned(),
        r#""messages":[ {"role":"user","content":"\"mcp\" \u0063"} ]"#.to_owned(),
    ];
    for more in [
        r#""temperature": 1.0"#,
        r#""x":{"mcp":[]}"#,
        r#""parallel_tool_calls":false"#,
        r#""tool_choice": "auto""#,
    ] {
        if dice.roll(2) == 0 {
            members.push(more.to_owned());
        }
    }
    let mut own: Vec<String> = (0..dice.roll(3))
        .map(|n| OWN.replace("own", &format!("own{n}")))
        .collect();
    let mut metadata: Vec<String> = (0..dice.roll(3))
        .map(|n| format!(r#""k{n}" : "v""#))
        .collect();
    let list = |name: &str, [open, close]: [&str; 2], of: &[String]| {
        format!("\"{name}\": {open}{}{close}", of.join(","))
    };
    // As it is without the way, with the member `mcp` at the end.
    let mut plain = members.clone();
    let mut asking = members;
    let mut headers = Vec::new();
    let plain_own = own.clone();
    let plain_metadata = metadata.clone();
    match way {
        Way::Mcp => {}
        Way::Tools => {
            for name in servers.iter().rev() {
                let at = usize::try_from(dice.roll(own.len() as u64 + 1)).unwrap();
                // Those that are named first stand first.
                let at = at.min(
                    own.iter()
                        .position(|tool| tool.contains("mcp"))
                        .unwrap_or(at),
                );
                own.insert(at, entry(&json!({"server_label": name})).to_string());
            }
        }
        Way::Metadata => {
            let at = usize::try_from(dice.roll(metadata.len() as u64 + 1)).unwrap();
            metadata.insert(at, format!(r#""mcp_servers":"{}""#, servers.join(", ")));
        }
        Way::Header => headers.push(("x-mcp-servers", servers.join(", "))),
    }
    if !own.is_empty() {
        asking.push(list("tools", ["[", "]"], &own));
    }
    if !plain_own.is_empty() {
        plain.push(list("tools", ["[", "]"], &plain_own));
    }
    if !metadata.is_empty() {
        asking.push(list("metadata", ["{", "}"], &metadata));
    }
    if !plain_metadata.is_empty() {
        plain.push(list("metadata", ["{", "}"], &plain_metadata));
    }
    let mcp = json!({"enabled": true, "servers": servers, "auto_execute_tools": true, "on_stream": "execute"});
    plain.push(format!("\"mcp\":{mcp}"));
    let body = |members: &[String]| format!("{{{}}}", members.join(comma));
    (body(&asking), body(&plain), headers)
}

#[tokio::test]
async fn whatever_a_request_has_its_way_changes_nothing_in_its_turns() {
    let house = House::new().await;
    let cases: u64 = std::env::var("MCP_LAYER_CASES").map_or(40, |cases| cases.parse().unwrap());
    for case in 0..cases {
        let mut dice = Dice(case);
        for way in Way::OTHERS {
            let (asking, plain, headers) = thrown(&mut dice, way);
            let before = house.gateway.model.asked().len();
            for (body, headers) in [(&asking, &headers[..]), (&plain, &[])] {
                let mut request = crate::support::gateway::chat(body.clone());
                for (name, value) in headers {
                    request.headers_mut().insert(*name, value.parse().unwrap());
                }
                house.gateway.model.add([crate::support::model::says("hi")]);
                let reply = house.gateway.request(request).await;
                assert_eq!(reply.status, 200, "{body} {:?}", reply.body);
            }
            let asked = house.gateway.model.asked();
            let [by_way, by_mcp] = &asked[before..] else {
                panic!("two turns");
            };
            let text = |asked: &crate::support::model::Asked| {
                String::from_utf8(asked.body.to_vec()).unwrap()
            };
            assert_eq!(text(by_way), text(by_mcp), "case {case}: {way:?} {asking}");
        }
    }
}
