//! Tools that the model finds by itself: what it is offered, what it may call, and what counts.

use std::ops::Deref;

use mcp_layer::{
    Connections, McpLayer, Streaming, ToolSearch,
    mcp::ServerLimits,
    registry::{Gate, MemoryRegistry, SelectedTool, Server, ToolPolicy},
};
use serde_json::{Value, json};

use crate::support::{
    events::assembled,
    framework::turn,
    gateway::{Gateway, auto, connections_builder, with_mcp},
    mcp_server::{McpServer, Mode},
    model::{Answer, Model, called, calls, json_answer, says},
    shelf::{Shelf, tool},
    traces::{Traces, outcomes},
};

pub const OURS: [&str; 3] = ["mcp_call_tool", "mcp_describe_tools", "mcp_search_tools"];

/// A search for `query`.
pub fn search(query: &str) -> (&'static str, Value) {
    ("mcp_search_tools", json!({"query": query}))
}

/// A call of `name` through the tool for that.
pub fn through(name: &str, arguments: Value) -> (&'static str, Value) {
    (
        "mcp_call_tool",
        json!({"name": name, "arguments": arguments}),
    )
}

fn echo(text: &str) -> (&'static str, Value) {
    through("s__echo", json!({"text": text}))
}

/// A request whose tools are searched for.
pub fn searching(members: Value) -> Value {
    let mut request = auto(members);
    request["mcp"]["tool_search"] = true.into();
    request
}

/// The names of the tools in a request to the model.
pub fn offered(asked: &Value) -> Vec<String> {
    let tools = asked["tools"].as_array().unwrap().iter();
    let name = |tool: &Value| tool["function"]["name"].as_str().unwrap().to_owned();
    tools.map(name).collect()
}

/// The text of the last message to the model.
fn last(gateway: &Gateway) -> String {
    let asked = gateway.model.asked().pop().unwrap().json();
    let last = asked["messages"].as_array().unwrap().last().unwrap();
    last["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_model_searches_reads_and_calls_what_it_was_not_offered() {
    for stream in [false, true] {
        let gateway = Gateway::new([
            turn(stream, "", &[search("echo a text")]),
            turn(
                stream,
                "",
                &[("mcp_describe_tools", json!({"names": ["s__echo"]}))],
            ),
            turn(stream, "", &[echo("hello")]),
            turn(stream, "done", &[]),
        ])
        .await;
        let (gateway, traces) = Traces::of(gateway);
        let stream = json!({"stream": stream, "mcp": {"on_stream": "execute"}});
        let reply = gateway.send(&searching(stream.clone())).await;
        let receipt = match stream["stream"] == true {
            true => assembled(&reply.body).receipts[0].clone(),
            false => {
                let count = |name: &str| reply.headers[name].to_str().unwrap().to_owned();
                assert_eq!([count("x-mcp-rounds"), count("x-mcp-calls")], ["1", "3"]);
                reply.receipt()
            }
        };
        assert_eq!(receipt["rounds"], 1);
        assert_eq!(receipt["usage_by_round"].as_array().unwrap().len(), 4);
        let done = receipt["calls"].as_array().unwrap().iter();
        let done: Vec<_> = done
            .map(|call| [&call["round"], &call["server"], &call["tool"]])
            .collect();
        assert_eq!(
            json!(done),
            json!([
                [1, null, "mcp_search_tools"],
                [1, null, "mcp_describe_tools"],
                [1, "s", "echo"]
            ])
        );
        assert_eq!(
            outcomes(&traces.one()),
            json!([
                ["mcp_search_tools", "ok", 1, null],
                ["mcp_describe_tools", "ok", 1, null],
                ["s__echo", "ok", 1, null]
            ])
        );
        assert_eq!(traces.one().rounds, 1);
        assert_eq!(gateway.server.calls(), 1);

        let asked: Vec<_> = gateway
            .model
            .asked()
            .iter()
            .map(|asked| asked.json())
            .collect();
        assert_eq!(offered(&asked[0]), OURS);
        assert!(
            asked
                .iter()
                .all(|later| later["tools"] == asked[0]["tools"])
        );
        let messages = asked[3]["messages"].as_array().unwrap();
        let found = messages[2]["content"].as_str().unwrap();
        assert_eq!(
            found.lines().next(),
            Some("s__echo: The tool echo."),
            "{found}"
        );
        let definition: Value =
            serde_json::from_str(messages[4]["content"].as_str().unwrap()).unwrap();
        assert_eq!(
            definition,
            json!({"name": "s__echo", "description": "The tool echo.", "parameters": {"type": "object", "properties": {"text": {"type": "string"}}}})
        );
        // What the model said is what it said.
        let said = called(&[echo("hello")]);
        assert_eq!(
            messages[5]["tool_calls"][0]["function"],
            said["choices"][0]["message"]["tool_calls"][0]["function"]
        );
        assert_eq!(
            messages[6],
            json!({"role": "tool", "tool_call_id": "call_0", "name": "mcp_call_tool", "content": "hello"})
        );
    }
}

#[tokio::test]
async fn the_model_may_call_what_it_found_by_its_name_and_quote_arguments_once_more() {
    for call in [
        ("s__echo", json!({"text": "hello"})),
        ("functions.s__echo", json!({"text": "hello"})),
        (
            "mcp_call_tool",
            json!({"name": "s__echo", "arguments": "{\"text\": \"hello\"}"}),
        ),
        (
            "functions.mcp_call_tool",
            json!({"name": "s__echo", "arguments": {"text": "hello"}}),
        ),
    ] {
        let gateway = Gateway::new([calls(&[call]), says("done")]).await;
        let reply = gateway.send(&searching(json!({}))).await;
        assert_eq!(reply.receipt()["calls"][0]["tool"], "echo");
        assert_eq!(last(&gateway), "hello");
    }
}

#[tokio::test]
async fn arguments_are_checked_as_those_of_the_tool_that_is_meant() {
    for (arguments, told) in [
        (json!({"a": "x", "b": 1}), "is not of type \"number\""),
        (json!({"name": "s__add"}), "0"),
        (json!([1]), "not a JSON object"),
        (json!("{\"a\": 1"), "not valid JSON"),
    ] {
        let gateway = Gateway::new([calls(&[through("s__add", arguments)]), says("done")]).await;
        gateway.send(&searching(json!({}))).await;
        assert!(last(&gateway).contains(told), "{}", last(&gateway));
    }
    let gateway = Gateway::new([
        calls(&[through("s__add", json!({"a": "5", "b": 1}))]),
        says("done"),
    ]);
    let gateway = gateway.await;
    gateway.send(&searching(json!({}))).await;
    assert_eq!(
        last(&gateway),
        "6",
        "what is only misspelt is read as it was meant"
    );
}

/// A gateway over a shelf with these tools, whose record is as after `change`.
async fn shelved(
    tools: &[Value],
    answers: impl IntoIterator<Item = Answer>,
    change: impl FnOnce(Server) -> Server,
) -> (Shelved, Shelf) {
    let shelf = Shelf::start(tools).await;
    let server = change(Server::new("s", &shelf.url()).unwrap());
    let registry = MemoryRegistry::new([server.clone()]).unwrap();
    let connections = connections_builder(ServerLimits::default());
    let connections = connections.observations(registry.clone()).build();
    let gateway = Gateway {
        layer: McpLayer::new(registry.clone()).with_connections(connections.clone()),
        model: Model::new(answers),
        server: McpServer::start(Mode::Stateless).await,
        registry,
    };
    let shelved = Shelved {
        gateway,
        connections,
        server,
    };
    (shelved, shelf)
}

struct Shelved {
    gateway: Gateway,
    connections: Connections,
    server: Server,
}

impl Shelved {
    /// Lists the tools as they are now.
    async fn probe(&self) {
        let _ = self.connections.probe(&self.server).await;
    }

    fn searching(mut self, search: ToolSearch) -> Self {
        self.gateway = self.gateway.layered(|layer| layer.with_tool_search(search));
        self
    }
}

impl Deref for Shelved {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.gateway
    }
}

#[tokio::test]
async fn what_the_request_does_not_have_is_neither_found_nor_described_nor_called() {
    let tools = ["read page", "read note", "read mail"].map(|text| tool(&text[5..], text));
    let turns = || {
        [
            calls(&[
                search("read"),
                (
                    "mcp_describe_tools",
                    json!({"names": ["s__note", "s__page", "s__mail"]}),
                ),
                through("s__note", json!({})),
                through("s__none", json!({})),
                through("lookup", json!({})),
                through("mcp_call_tool", json!({"name": "s__page", "arguments": {}})),
                ("mcp_call_tool", json!({"arguments": {}})),
            ]),
            says("done"),
        ]
    };
    // Withheld, since nobody has accepted it.
    let (withheld, shelf) = shelved(&tools[..1], [], |mut server| {
        server.new_tools = Some(Gate::Block);
        server
    })
    .await;
    withheld.probe().await;
    shelf.put(&tools[..2]);
    withheld.probe().await;
    withheld.model.add(turns());
    let change = |server: Server| server.with_tools(["page"]).unwrap();
    let (unselected, _other) = shelved(&tools, turns(), change).await;
    let (unwanted, _another) = shelved(&tools, turns(), |server| server).await;
    for (gateway, tools) in [
        (withheld, None),
        (unselected, None),
        (unwanted, Some(json!(["s__page"]))),
    ] {
        let mut request = searching(json!({}));
        if let Some(tools) = tools {
            request["mcp"]["tools"] = tools;
        }
        let asked = gateway.send(&request).await;
        assert_eq!(asked.status, 200, "{asked:?}");
        let asked = gateway.model.asked().pop().unwrap().json();
        let told: Vec<_> = asked["messages"].as_array().unwrap()[2..]
            .iter()
            .map(|m| m["content"].as_str().unwrap())
            .collect();
        assert_eq!(told[0], "s__page: read page");
        assert!(
            told[1].contains("no tool named \"s__note\"")
                && told[1].contains("\"name\":\"s__page\""),
            "{}",
            told[1]
        );
        for told in &told[2..5] {
            assert!(told.starts_with("Error: there is no tool named"), "{told}");
            let instead = "; search for one with mcp_search_tools";
            assert!(told.ends_with(instead), "{told}");
        }
        for told in &told[5..] {
            assert!(told.starts_with("Error: name must be"), "{told}");
        }
    }
}

#[tokio::test]
async fn the_first_four_turns_that_only_search_are_no_rounds() {
    let turns = (0..6).map(|_| calls(&[search("echo")]));
    let gateway = Gateway::new(turns.chain([says("gave up")])).await;
    let (gateway, traces) = Traces::of(gateway);
    let request = searching(json!({"mcp": {"max_tool_rounds": 1}}));
    let reply = gateway.send(&request).await;
    let receipt = reply.receipt();
    assert_eq!(receipt["stopped_by"], "max_rounds");
    assert_eq!(receipt["rounds"], 1);
    assert_eq!(
        receipt["calls"].as_array().unwrap().len(),
        5,
        "the sixth did not run"
    );
    assert_eq!(
        gateway.model.asked().len(),
        7,
        "N + 1, one for the answer, and four"
    );
    assert_eq!(traces.one().rounds, 1);

    // One with a call beside a search is a round.
    let gateway = Gateway::new([calls(&[search("echo"), echo("a")]), says("done")]).await;
    let receipt = gateway.send(&searching(json!({}))).await.receipt();
    assert_eq!(
        (
            &receipt["rounds"],
            receipt["calls"].as_array().unwrap().len()
        ),
        (&json!(1), 2)
    );
}

#[tokio::test]
async fn searches_count_against_the_calls_of_a_request() {
    let many: Vec<_> = (0..33).map(|_| search("echo")).collect();
    let gateway = Gateway::new([calls(&many), says("done")]).await;
    let reply = gateway.send(&searching(json!({}))).await;
    let done = reply.receipt()["calls"].as_array().unwrap().clone();
    assert_eq!(
        done.iter().filter(|call| call["is_error"] == false).count(),
        32
    );
    assert!(
        last(&gateway).contains("32 tool calls"),
        "{}",
        last(&gateway)
    );
}

#[tokio::test]
async fn a_search_needs_no_server_and_nothing_has_run_after_it() {
    let error = json!({"error": {"message": "down"}});
    let gateway = Gateway::new([calls(&[search("echo")]), json_answer(503, &error)]).await;
    let reply = gateway.send(&searching(json!({}))).await;
    assert_eq!(
        (reply.status.as_u16(), reply.json()),
        (503, error),
        "as it came"
    );

    let required = json!({"tool_choice": "required"});
    let gateway = Gateway::new([calls(&[search("echo")]), calls(&[echo("a")]), says("done")]).await;
    gateway.send(&searching(required)).await;
    let asked = gateway.model.asked().into_iter();
    let choices = asked.map(|asked| asked.json()["tool_choice"].clone());
    assert_eq!(
        json!(choices.collect::<Vec<_>>()),
        json!(["required", "required", "auto"])
    );
}

#[tokio::test]
async fn tools_that_are_always_there_and_those_that_have_to_be_called_are_offered() {
    let always = |server: Server| {
        let tools = [
            SelectedTool::from("fail").always(),
            "echo".into(),
            "add".into(),
        ];
        server.with_tools(tools).unwrap()
    };
    let own = json!([{"type": "function", "function": {"name": "lookup"}}]);
    let named = |name: &str| json!({"type": "function", "function": {"name": name}});
    let allowed = json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [named("s__echo"), named("s__fail"), named("lookup")]}});
    for (choice, more) in [
        (json!("auto"), &[][..]),
        (named("s__add"), &["s__add"]),
        (named("lookup"), &[]),
        (allowed, &["s__echo"]),
        (
            json!({"type": "mcp", "server_label": "s", "name": "add"}),
            &["s__add"],
        ),
        // One of all tools of the server.
        (
            json!({"type": "mcp", "server_label": "s"}),
            &["s__add", "s__echo"],
        ),
    ] {
        let gateway = Gateway::with_server([says("hi")], always).await;
        let request = searching(json!({"tools": own, "tool_choice": choice}));
        let reply = gateway.send(&request).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let expected = [&["lookup", "s__fail"], more, &OURS].concat();
        assert_eq!(offered(&gateway.model.asked()[0].json()), expected);
    }
}

#[tokio::test]
async fn the_operator_decides_from_how_many_on_and_each_request_whether_at_all() {
    let tools: Vec<_> = (0..130)
        .map(|n| tool(&format!("t{n:03}"), "does"))
        .collect();
    let ours = |asked: &Value| offered(asked) == OURS;
    for (search, few, many) in [
        (ToolSearch::Off, false, None),
        (ToolSearch::Auto, false, Some(true)),
        (ToolSearch::Above(3), true, Some(true)),
        (ToolSearch::Above(4), false, Some(true)),
        // What does not fit is searched, whatever the number.
        (ToolSearch::Above(500), false, Some(true)),
    ] {
        for (tools, searches) in [(&tools[..4], Some(few)), (&tools[..], many)] {
            for said in [None, Some(true), Some(false)] {
                let (gateway, _shelf) = shelved(tools, [says("hi")], |server| server).await;
                let gateway = gateway.searching(search);
                let mut request = auto(json!({}));
                if let Some(said) = said {
                    request["mcp"]["tool_search"] = said.into();
                }
                let reply = gateway.send(&request).await;
                let fits = (tools.len() == 4).then_some(false);
                let expected = match said {
                    None => searches,
                    Some(true) => Some(true),
                    Some(false) => fits,
                };
                match expected {
                    Some(searches) => {
                        assert_eq!(reply.status, 200, "{search:?} {said:?} {reply:?}");
                        assert_eq!(ours(&gateway.model.asked()[0].json()), searches);
                    }
                    None => {
                        assert_eq!(reply.error().1, "mcp_too_many_tools");
                        let message = reply.json()["error"]["message"].to_string();
                        assert!(message.contains("tool_search"), "{message}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn who_runs_the_calls_itself_is_offered_each_tool() {
    let tools: Vec<_> = (0..130)
        .map(|n| tool(&format!("t{n:03}"), "does"))
        .collect();
    let auto =
        json!({"enabled": true, "servers": ["s"], "auto_execute_tools": true, "tool_search": true});
    let mut without = auto.clone();
    without["auto_execute_tools"] = false.into();
    for (mcp, members) in [(without, json!({})), (auto, json!({"stream": true}))] {
        let (gateway, _shelf) = shelved(&tools, [], |server| server).await;
        let gateway = gateway.searching(ToolSearch::Auto);
        let request = with_mcp(mcp, members);
        assert_eq!(gateway.send(&request).await.error().1, "mcp_too_many_tools");
    }
}

#[tokio::test]
async fn a_request_with_too_many_tools_is_told_what_it_lacks_for_a_search_and_nothing_that_it_has()
{
    let tools: Vec<_> = (0..130)
        .map(|n| tool(&format!("t{n:03}"), "does"))
        .collect();
    let [auto, streams, searches, whole] = [
        "mcp.auto_execute_tools: true",
        "mcp.on_stream: \"execute\"",
        "mcp.tool_search: true",
        "stream: false",
    ];
    let runs = json!({"auto_execute_tools": true});
    let on = ToolSearch::Auto;
    for (search, rejects, stream, mcp, expected) in [
        (
            ToolSearch::Off,
            false,
            false,
            json!({}),
            &[auto, searches][..],
        ),
        (ToolSearch::Off, false, false, runs.clone(), &[searches]),
        (on, false, false, json!({}), &[auto]),
        (on, false, true, runs.clone(), &[streams]),
        (on, false, true, json!({}), &[auto, streams]),
        (on, true, true, json!({}), &[auto, whole]),
        (
            on,
            false,
            false,
            json!({"auto_execute_tools": true, "tool_search": false}),
            &[searches],
        ),
        (
            ToolSearch::Above(500),
            false,
            true,
            json!({"tool_search": true}),
            &[auto, streams],
        ),
    ] {
        let (gateway, _shelf) = shelved(&tools, [], |server| server).await;
        let mut gateway = gateway.searching(search);
        if rejects {
            gateway.gateway = gateway
                .gateway
                .layered(|layer| layer.with_streaming(Streaming::Reject));
        }
        let mut asked = json!({"enabled": true, "servers": ["s"]});
        let members = mcp.as_object().unwrap().clone();
        asked.as_object_mut().unwrap().extend(members);
        let reply = gateway
            .send(&with_mcp(asked, json!({"stream": stream})))
            .await;
        assert_eq!(reply.error().1, "mcp_too_many_tools");
        let message = reply.json()["error"]["message"].clone();
        let expected = format!("search for them, with {}", expected.join(" and "));
        assert!(message.as_str().unwrap().ends_with(&expected), "{message}");
    }
}

#[tokio::test]
async fn what_is_always_there_still_has_to_fit() {
    let tools: Vec<_> = (0..130)
        .map(|n| tool(&format!("t{n:03}"), "does"))
        .collect();
    for (always, own, fits) in [
        (125, 0, true),
        (126, 0, false),
        (120, 5, true),
        (120, 6, false),
    ] {
        let (gateway, _shelf) = shelved(&tools, [says("hi")], |server| {
            let name = |n| SelectedTool::from(format!("t{n:03}"));
            let tools = (0..130).map(|n| {
                if n < always {
                    name(n).always()
                } else {
                    name(n)
                }
            });
            server.with_tools(tools).unwrap()
        })
        .await;
        let own =
            (0..own).map(|n| json!({"type": "function", "function": {"name": format!("own{n}")}}));
        let reply = gateway
            .send(&searching(json!({"tools": own.collect::<Vec<_>>()})))
            .await;
        match fits {
            true => assert_eq!(offered(&gateway.model.asked()[0].json()).len(), 128),
            false => {
                let error = (400, "mcp_too_many_tools".into(), "mcp.servers".into());
                assert_eq!(reply.error(), error);
                let message = reply.json()["error"]["message"].to_string();
                let counts =
                    format!("always offered or named by tool_choice: {always}, to search with: 3");
                assert!(message.contains(&counts), "{message}");
            }
        }
    }
}

#[tokio::test]
async fn nobody_elses_tool_is_taken_for_one_of_the_three() {
    for name in OURS {
        let gateway = Gateway::new([]).await;
        let own = json!([{"type": "function", "function": {"name": name}}]);
        let reply = gateway.send(&searching(json!({"tools": own}))).await;
        let expected = (
            400,
            "mcp_tool_name_conflict".into(),
            "tools[0].function.name".into(),
        );
        assert_eq!(reply.error(), expected);

        // Where nothing is searched for, it is the caller's.
        let gateway = Gateway::new([calls(&[(name, json!({}))])]).await;
        let reply = gateway.send(&auto(json!({"tools": own}))).await;
        assert_eq!(reply.receipt()["stopped_by"], "caller_tools");

        // A server's has the server before its name.
        let offered_name = format!("s__{name}");
        let (gateway, shelf) = shelved(
            &[tool(name, "of a server")],
            [
                calls(&[
                    search("server"),
                    (&offered_name, json!({})),
                    through(&offered_name, json!({})),
                ]),
                says("done"),
            ],
            |server| server,
        )
        .await;
        let receipt = gateway.send(&searching(json!({}))).await.receipt();
        assert_eq!(shelf.calls(), 2);
        assert_eq!(
            (
                &receipt["calls"][0]["server"],
                &receipt["calls"][1]["server"]
            ),
            (&Value::Null, &json!("s"))
        );
        assert_eq!(last(&gateway), format!("\"{name}\" ran"));
    }
    // Nobody's, where nothing is searched for.
    let gateway = Gateway::new([calls(&[search("echo"), echo("a")]), says("done")]).await;
    gateway.send(&auto(json!({}))).await;
    assert_eq!(gateway.server.calls(), 0);
    assert!(
        last(&gateway).contains("no tool named"),
        "{}",
        last(&gateway)
    );
}

#[tokio::test]
async fn a_tool_that_asks_first_does_so_however_it_is_called() {
    let ask = |server: Server| {
        let ask = SelectedTool::new("echo", ToolPolicy::AskFirst);
        server.with_tools([ask]).unwrap()
    };
    for call in [echo("x"), ("s__echo", json!({"text": "x"}))] {
        let gateway = Gateway::with_server([calls(&[call])], ask).await;
        let reply = gateway.send(&searching(json!({}))).await;
        assert_eq!(reply.receipt()["stopped_by"], "ask_first");
        assert_eq!(gateway.server.calls(), 0);
        let calls = &reply.json()["choices"][0]["message"]["tool_calls"];
        assert_eq!(
            calls[0]["function"],
            json!({"name": "s__echo", "arguments": r#"{"text":"x"}"#})
        );
    }
}

#[tokio::test]
async fn a_server_that_changes_is_searched_as_it_is_now() {
    let (gateway, shelf) = shelved(&[], [], |server| server).await;
    for (name, found) in [
        ("old", "s__old: writes letters"),
        ("new", "s__new: writes letters"),
    ] {
        shelf.put(&[tool(name, "writes letters")]);
        gateway.probe().await;
        gateway
            .model
            .add([calls(&[search("letters")]), says("done")]);
        gateway.send(&searching(json!({}))).await;
        assert_eq!(last(&gateway), found);
    }
}

#[tokio::test]
async fn a_repeat_goes_on_behind_what_was_found_and_counts_on() {
    let found = || calls(&[search("echo")]);
    let down = json_answer(500, &json!({"error": {"message": "down"}}));
    let gateway = Gateway::new([found(), calls(&[echo("a")]), down]).await;
    let gateway = gateway.layered(|layer| layer.with_turn_retries(0));
    let request = searching(json!({}));
    assert_eq!(gateway.send(&request).await.error().1, "upstream_error");

    gateway
        .model
        .add((0..4).map(|_| found()).chain([says("done")]));
    let receipt = gateway.send(&request).await.receipt();
    assert_eq!(gateway.server.calls(), 1, "nothing ran twice");
    let asked = gateway.model.asked();
    assert_eq!(asked[3].json()["messages"].as_array().unwrap().len(), 5);
    // Of the four searches that are no rounds one was made before.
    assert_eq!(receipt["rounds"], 2);
    assert_eq!(receipt["calls"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn a_stream_tells_of_searches_as_of_any_call() {
    let gateway = Gateway::new([
        turn(true, "", &[search("echo")]),
        turn(true, "", &[echo("a")]),
        turn(true, "done", &[]),
    ])
    .await;
    let mcp = json!({"on_stream": "execute", "events": true});
    let reply = gateway
        .send(&searching(json!({"stream": true, "mcp": mcp})))
        .await;
    let told = assembled(&reply.body).events.into_iter();
    let told: Vec<_> = told
        .map(|event| json!([event["event"], event["server"], event["tool"]]))
        .collect();
    assert_eq!(
        json!(told),
        json!([
            ["call_started", null, "mcp_search_tools"],
            ["call_finished", null, "mcp_search_tools"],
            ["call_started", "s", "echo"],
            ["call_finished", "s", "echo"],
        ])
    );
}
