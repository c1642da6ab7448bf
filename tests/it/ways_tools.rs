//! `tools: [{"type": "mcp", …}]`: which servers are meant, which of their tools are offered, and which
//! ask first.

use std::net::TcpListener;

use http::Request;
use http_body_util::Full;
use mcp_layer::registry::{Auth, SelectedTool, Server, ToolPolicy};
use serde_json::{Value, json};

use crate::support::evil::{Evil, Step, json_reply, status};
use crate::support::framework::turn;
use crate::support::gateway::chat;
use crate::support::model::{calls, says};
use crate::support::ways::{Ask, House, entry, names};

fn label(label: &str) -> Value {
    entry(&json!({"server_label": label}))
}

fn url(url: &str) -> Value {
    entry(&json!({"server_label": "any", "server_url": url}))
}

fn error(status: u16, code: &str, param: &str) -> (u16, String, String) {
    (status, code.to_owned(), param.to_owned())
}

fn not_found() -> (u16, String, String) {
    error(404, "mcp_server_not_found", "tools[0].server_url")
}

#[tokio::test]
async fn an_address_chooses_the_registered_server_that_it_belongs_to() {
    let house = House::new().await;
    let a = house.a.url();
    let other_case = a.replace("http", "HTTP");
    for address in [
        &*a,
        &format!("{a}/"),
        &format!("{a}?api_key=guess"),
        &other_case,
    ] {
        let offered = house.offered(&Ask::entries(&[url(address)])).await;
        assert_eq!(offered, ["a__read", "a__write"], "{address}");
    }
    for address in ["litellm_proxy/mcp/b", "litellm_proxy/mcp/b/"] {
        assert_eq!(
            house.offered(&Ask::entries(&[url(address)])).await,
            ["b__look"],
            "{address}"
        );
    }
    let all = house.offered(&Ask::entries(&[url("litellm_proxy")])).await;
    assert_eq!(
        all,
        ["a__read", "a__write", "b__look"],
        "all of the project that are in use"
    );
}

#[tokio::test]
async fn a_path_names_a_server_on_the_host_that_the_request_came_to() {
    let house = House::new().await;
    let here = Ask::entries(&[url("http://gateway.example:8787/mcp/b")]);
    let host = here.clone().header("host", "Gateway.example:8787");
    assert_eq!(house.offered(&host).await, ["b__look"]);
    let elsewhere = here.clone().header("host", "gateway.example");
    assert_eq!(house.refused(&elsewhere).await, not_found());
    assert_eq!(house.refused(&here).await, not_found());
    // Where there is no such header, as in HTTP/2, the target has it.
    house.gateway.model.add([says("hi")]);
    let mut request: Request<Full<_>> = chat(here.body.to_string());
    *request.uri_mut() = "http://gateway.example:8787/v1/chat/completions"
        .parse()
        .unwrap();
    assert_eq!(house.gateway.request(request).await.status, 200);
}

#[tokio::test]
async fn no_address_that_is_not_registered_is_ever_called() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    let house = House::new().await;
    let theirs = format!("{}/theirs", house.b.url());
    for address in [
        &*format!("{own}/mcp"),
        &format!("{own}/mcp/a"),
        &own,
        &theirs,
        "litellm_proxy/mcp/",
        "https://mcp.example.com/mcp",
        "ftp://mcp.example.com",
        "a",
        "",
    ] {
        let ask = Ask::entries(&[url(address)]);
        if address == "litellm_proxy/mcp/" {
            assert_eq!(house.offered(&ask).await.len(), 3);
            continue;
        }
        assert_eq!(house.refused(&ask).await, not_found(), "{address}");
    }
    let reply = house
        .send(
            &Ask::entries(&[url(&format!("{own}/k3y-s3cret"))]),
            Vec::new(),
        )
        .await;
    assert!(!String::from_utf8_lossy(&reply.body).contains("s3cret"));
    let unknown = Ask::entries(&[url("litellm_proxy/mcp/theirs")]);
    assert_eq!(house.refused(&unknown).await, not_found());
    let accepted = listener.accept().map_err(|error| error.kind());
    assert_eq!(
        accepted.map(drop),
        Err(std::io::ErrorKind::WouldBlock),
        "somebody called"
    );
}

#[tokio::test]
async fn an_address_of_several_servers_needs_the_name_of_one() {
    let keyed = |b: &str| {
        let at = |name, key| Server::new(name, &format!("{b}/keyed?key={key}")).unwrap();
        let theirs = at("b-3", "s3cret-3").with_projects(["batch"]).unwrap();
        vec![at("b-1", "s3cret-1"), at("b-2", "s3cret-2"), theirs]
    };
    let house = House::with(keyed).await;
    let address = format!("{}/keyed", house.b.url());
    let named = |label: &str| {
        Ask::entries(&[entry(
            &json!({"server_label": label, "server_url": address}),
        )])
    };
    assert_eq!(house.offered(&named("b-2")).await, ["b-2__look"]);
    for label in ["keyed", "b", "b-3"] {
        let ask = named(label);
        let expected = error(400, "invalid_mcp_options", "tools[0].server_url");
        assert_eq!(house.refused(&ask).await, expected, "{label}");
        let reply = house.send(&ask, Vec::new()).await;
        let message = reply.json()["error"]["message"].to_string();
        assert!(
            message.contains("b-1, b-2") && !message.contains("b-3"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn allowed_tools_are_named_as_the_server_names_them_or_as_they_are_offered() {
    let house = House::new().await;
    for (allowed, offered) in [
        (json!(["write"]), &["a__write"][..]),
        (json!(["a__read", "write"]), &["a__read", "a__write"]),
        (json!({"tool_names": ["read"]}), &["a__read"]),
        (json!({"read_only": true}), &["a__read"]),
        (json!({"read_only": false}), &["a__write"]),
        (
            json!({"tool_names": ["read", "write"], "read_only": true}),
            &["a__read"],
        ),
        (json!({}), &["a__read", "a__write"]),
        (json!(null), &["a__read", "a__write"]),
    ] {
        let ask = Ask::entries(&[entry(
            &json!({"server_label": "a", "allowed_tools": allowed}),
        )]);
        assert_eq!(house.offered(&ask).await, offered, "{allowed}");
    }
    for (allowed, place) in [
        (json!(["read", "nothing"]), "allowed_tools[1]"),
        (json!(["b__look"]), "allowed_tools[0]"),
        (
            json!({"tool_names": ["nothing"]}),
            "allowed_tools.tool_names[0]",
        ),
    ] {
        let ask = Ask::entries(&[entry(
            &json!({"server_label": "a", "allowed_tools": allowed}),
        )]);
        let expected = error(400, "invalid_mcp_options", &format!("tools[0].{place}"));
        assert_eq!(house.refused(&ask).await, expected, "{allowed}");
    }
    let of_all = json!({"server_label": "l", "server_url": "litellm_proxy", "allowed_tools": ["look", "read"]});
    assert_eq!(
        house.offered(&Ask::entries(&[entry(&of_all)])).await,
        ["a__read", "b__look"]
    );
}

#[tokio::test]
async fn a_tool_that_is_not_allowed_does_not_run() {
    let house = House::new().await;
    let allowed = entry(&json!({"server_label": "a", "allowed_tools": ["read"]}));
    let turns = house.turns(&Ask::entries(&[allowed]), &["a__write"]).await;
    assert!(turns[1].contains("there is no tool named"), "{}", turns[1]);
    assert_eq!(house.a.calls(), 0);
}

/// The tools that ask first under this approval, of `read` and `write`.
async fn ask_first(house: &House, approval: Option<Value>) -> Vec<&'static str> {
    let mut asking = Vec::new();
    for tool in ["read", "write"] {
        let mut entry = json!({"type": "mcp", "server_label": "a"});
        if let Some(approval) = &approval {
            entry["require_approval"] = approval.clone();
        }
        let ran = house.a.calls();
        let name = format!("a__{tool}");
        let answers = vec![calls(&[(&name, json!({}))]), says("done")];
        let reply = house.send(&Ask::entries(&[entry]), answers).await;
        match reply.receipt()["stopped_by"].as_str().unwrap() {
            "ask_first" => {
                assert_eq!(house.a.calls(), ran, "it has run unasked");
                asking.push(tool);
                house.gateway.model.clear();
            }
            "final" => assert_eq!(house.a.calls(), ran + 1),
            other => panic!("{other}"),
        }
    }
    asking
}

#[tokio::test]
async fn tools_ask_first_unless_the_request_says_otherwise() {
    let house = House::new().await;
    let both = ["read", "write"];
    for (approval, asking) in [
        (None, &both[..]),
        (Some(json!(null)), &both),
        (Some(json!("always")), &both),
        (Some(json!("never")), &[]),
        (
            Some(json!({"always": {"tool_names": ["write"]}})),
            &["write"],
        ),
        (
            Some(json!({"never": {"tool_names": ["a__read"]}})),
            &["write"],
        ),
        (Some(json!({"never": {"read_only": true}})), &["write"]),
        (Some(json!({"always": {"read_only": false}})), &["write"]),
        (Some(json!({"always": {}})), &both),
        (Some(json!({"never": {}, "always": null})), &[]),
        (
            Some(
                json!({"always": {"tool_names": ["read"]}, "never": {"tool_names": ["read", "write"]}}),
            ),
            &["read"],
        ),
        (
            Some(json!({"always": {"tool_names": ["read"]}, "never": {"tool_names": ["read"]}})),
            &both,
        ),
    ] {
        assert_eq!(
            ask_first(&house, approval.clone()).await,
            asking,
            "{approval:?}"
        );
    }
    for list in ["always", "never"] {
        let approval = json!({list: {"tool_names": ["nothing"]}});
        let ask = Ask::entries(&[
            json!({"type": "mcp", "server_label": "a", "require_approval": approval}),
        ]);
        let place = format!("tools[0].require_approval.{list}.tool_names[0]");
        assert_eq!(
            house.refused(&ask).await,
            error(400, "invalid_mcp_options", &place)
        );
    }
}

#[tokio::test]
async fn what_the_operator_wants_asked_first_is_asked_first() {
    let house = House::with(|b| {
        let look = SelectedTool::new("look", ToolPolicy::AskFirst);
        vec![
            Server::new("guarded", b)
                .unwrap()
                .with_tools([look])
                .unwrap(),
        ]
    })
    .await;
    let answers = vec![calls(&[("guarded__look", json!({}))])];
    let reply = house
        .send(&Ask::entries(&[label("guarded")]), answers)
        .await;
    assert_eq!(reply.receipt()["stopped_by"], "ask_first");
    assert_eq!(house.b.calls(), 0);
}

#[tokio::test]
async fn a_call_that_asked_first_runs_once_the_same_entry_comes_again_with_approval() {
    for stream in [false, true] {
        for by_header in [false, true] {
            let house = House::new().await;
            let mut ask = Ask::entries(&[json!({"type": "mcp", "server_label": "a"})]);
            ask.body["stream"] = stream.into();
            let reply = house
                .send(&ask, vec![turn(stream, "", &[("a__write", json!({}))])])
                .await;
            assert_eq!(house.a.calls(), 0);
            let message = match stream {
                true => {
                    let told = crate::support::events::assembled(&reply.body);
                    json!({"role": "assistant", "content": null, "tool_calls": told.calls})
                }
                false => reply.json()["choices"][0]["message"].clone(),
            };
            let mut calls = message["tool_calls"].clone();
            assert_eq!(calls[0]["function"]["name"], "a__write");
            calls[0]["type"] = "function".into();
            let mut messages = ask.body["messages"].as_array().unwrap().clone();
            messages.push(json!({"role": "assistant", "content": null, "tool_calls": calls}));
            ask.body["messages"] = messages.into();
            let ask = match by_header {
                true => ask.header("x-mcp-resume", "true"),
                false => ask.with("mcp", json!({"resume_tool_calls": true})),
            };
            let turns = house.turns(&ask, &[]).await;
            assert_eq!(house.a.calls(), 1, "stream {stream}, header {by_header}");
            assert!(turns[0].contains("ran"), "{}", turns[0]);
            let asked = house.gateway.model.asked();
            let headers = &asked.last().unwrap().headers;
            assert!(!headers.contains_key("x-mcp-resume"));
        }
    }
}

#[tokio::test]
async fn a_token_goes_to_a_server_that_takes_the_callers_own_and_nowhere_else() {
    let guarded = Evil::stateless(|request| {
        if request.header("x-token") != Some("Bearer mine") {
            return vec![Step::Send(status(401))];
        }
        let reply = match &*request.method() {
            "tools/list" => request.result(&json!({
                "resultType": "complete",
                "tools": [{"name": "t", "inputSchema": {"type": "object"}}],
            })),
            _ => request.text("done"),
        };
        vec![Step::Send(json_reply(&reply))]
    })
    .await;
    let address = guarded.url();
    let house = House::with(|_| {
        let auth = Auth::token_passthrough(Some("X-Token")).unwrap();
        vec![Server::new("mine", &address).unwrap().with_auth(auth)]
    })
    .await;
    let with = |label: &str, token: &str| {
        Ask::entries(&[entry(
            &json!({"server_label": label, "authorization": token}),
        )])
    };
    let turns = house
        .turns(&with("mine", "Bearer mine"), &["mine__t"])
        .await;
    assert_eq!(turns.len(), 2);
    assert!(!turns.concat().contains("Bearer mine"));
    for ask in [with("mine", "Bearer other"), Ask::entries(&[label("mine")])] {
        let (status, code, _) = house.refused(&ask).await;
        assert_eq!((status, &*code), (401, "mcp_credential_required"));
    }
    let at = error(400, "invalid_mcp_options", "tools[0].authorization");
    assert_eq!(house.refused(&with("a", "Bearer mine")).await, at);
    let twice = with("mine", "Bearer mine").header("x-mcp-auth-mine", "Bearer mine");
    assert_eq!(house.refused(&twice).await, at);
    let all =
        json!({"server_label": "l", "server_url": "litellm_proxy", "authorization": "Bearer mine"});
    assert_eq!(house.refused(&Ask::entries(&[entry(&all)])).await, at);
    let unknown = house.refused(&with("nobody", "Bearer mine")).await;
    assert_eq!(unknown.1, "mcp_server_not_found");
    // Without a token, all are those that need none.
    let all = Ask::entries(&[url("litellm_proxy")]);
    assert_eq!(
        house.offered(&all).await,
        ["a__read", "a__write", "b__look"]
    );
    assert_eq!(
        house
            .offered(&all.header("x-mcp-auth-mine", "Bearer mine"))
            .await
            .len(),
        4
    );
}

#[tokio::test]
async fn entries_may_share_a_label_but_say_one_thing_of_a_server() {
    let house = House::new().await;
    let proxied = |name: &str| {
        entry(
            &json!({"server_label": "litellm", "server_url": format!("litellm_proxy/mcp/{name}")}),
        )
    };
    let offered = house
        .offered(&Ask::entries(&[proxied("b"), proxied("a")]))
        .await;
    assert_eq!(offered, ["a__read", "a__write", "b__look"]);
    assert_eq!(
        house
            .offered(&Ask::entries(&[proxied("b"), label("b")]))
            .await,
        ["b__look"]
    );
    for other in [
        json!({"server_label": "b", "require_approval": "always"}),
        json!({"server_label": "b", "allowed_tools": ["look"]}),
        json!({"server_label": "b", "server_url": "litellm_proxy", "allowed_tools": ["look"]}),
    ] {
        let expected = error(400, "invalid_mcp_options", "tools[1]");
        let ask = Ask::entries(&[label("b"), entry(&other)]);
        assert_eq!(house.refused(&ask).await, expected, "{other}");
    }
    let each = [
        entry(&json!({"server_label": "b", "require_approval": "always"})),
        entry(&json!({"server_label": "a", "allowed_tools": ["read"]})),
    ];
    assert_eq!(
        house.offered(&Ask::entries(&each)).await,
        ["a__read", "b__look"]
    );
}

#[tokio::test]
async fn what_says_how_tools_are_called_goes_where_none_is_left() {
    let house = House::new().await;
    let none_reads = entry(&json!({"server_label": "b", "allowed_tools": {"read_only": true}}));
    let plain = r#"{"messages":[{"content":"hi","role":"user"}],"model":"m"}"#;
    for ask in [
        Ask::entries(&[label("a")]).with("mcp", json!({"enabled": false})),
        Ask::entries(&[none_reads]),
    ] {
        let ask = ask.with("tool_choice", json!("required"));
        let ask = ask.with("parallel_tool_calls", json!(false));
        assert_eq!(house.turns(&ask, &[]).await, [plain]);
    }
    let kept = Ask::entries(&[label("b")]).with("tool_choice", json!("required"));
    let turns = house.turns(&kept, &["b__look"]).await;
    assert!(
        turns[0].contains(r#""tool_choice":"required""#),
        "{}",
        turns[0]
    );
    assert!(turns[1].contains(r#""tool_choice":"auto""#), "{}", turns[1]);
    let own = json!({"type": "function", "function": {"name": "own"}});
    let beside = Ask::entries(&[own.clone(), label("b")]).with("mcp", json!({"enabled": false}));
    let beside = beside.with("tool_choice", json!("required"));
    let turns = house.turns(&beside, &[]).await;
    assert_eq!(names(&turns[0]), ["own"]);
    assert!(turns[0].contains("tool_choice"));
}

#[tokio::test]
async fn a_tool_of_the_callers_with_the_name_of_an_added_one_is_named_by_its_place() {
    let house = House::new().await;
    let own = json!({"type": "function", "function": {"name": "b__look"}});
    let ask = Ask::entries(&[label("a"), label("b"), own]);
    let expected = error(400, "mcp_tool_name_conflict", "tools[2].function.name");
    assert_eq!(house.refused(&ask).await, expected);
}

#[tokio::test]
async fn requests_that_differ_in_an_entry_alone_are_not_repeats_of_each_other() {
    let house = House::new().await;
    let keyed = |ask: Ask| ask.header("idempotency-key", "one");
    let first = keyed(Ask::entries(&[label("a")]));
    assert_eq!(house.turns(&first, &["a__read"]).await.len(), 2);
    let again = house.send(&first, Vec::new()).await;
    assert_eq!(again.status, 200, "the answer that there is");
    let other = keyed(Ask::entries(&[label("b")]));
    assert_eq!(house.refused(&other).await.1, "idempotency_key_reused");
}

#[tokio::test]
async fn a_history_is_restored_also_where_no_tool_is_left_to_be_chosen() {
    let house = House::new().await;
    let own = json!({"type": "function", "function": {"name": "own"}});
    let mut first = Ask::entries(&[label("a"), own]);
    let both = calls(&[("own", json!({})), ("a__write", json!({}))]);
    let answer = house.send(&first, vec![both]).await.json();
    let message = answer["choices"][0]["message"].clone();
    let id = message["tool_calls"][0]["id"].clone();
    assert!(id.as_str().unwrap().starts_with("mcp_"), "{message}");

    let mut messages = first.body["messages"].take();
    let result = json!({"role": "tool", "tool_call_id": id, "content": "ok"});
    messages.as_array_mut().unwrap().extend([message, result]);
    let none = entry(&json!({"server_label": "b", "allowed_tools": {"read_only": true}}));
    let last = Ask::entries(&[none])
        .with("messages", messages)
        .with("tool_choice", json!("auto"))
        .with("parallel_tool_calls", json!(false));
    let reply = house.send(&last, vec![says("done")]).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    let turn = house.gateway.model.asked().last().unwrap().json();
    for member in ["tools", "tool_choice", "parallel_tool_calls"] {
        assert!(turn.get(member).is_none(), "{turn}");
    }
    let calls = turn["messages"][1]["tool_calls"].as_array().unwrap();
    let names = calls.iter().map(|call| call["function"]["name"].as_str());
    assert_eq!(names.collect::<Vec<_>>(), [Some("own"), Some("a__write")]);
}
