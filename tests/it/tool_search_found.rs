//! What a search finds and a description tells, whatever the model asks and the servers write.

use futures_util::future::join_all;
use mcp_layer::{
    McpLayer, ToolSearch,
    mcp::ServerLimits,
    registry::{MemoryRegistry, Server},
};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};

use crate::{
    support::{
        gateway::{Gateway, chat, connections, with_mcp},
        mcp_server::{McpServer, Mode},
        model::{Model, calls, says},
        shelf::{Shelf, tool},
    },
    tool_search::search,
};

/// A gateway over these servers, whose tools are always searched for.
struct Library {
    gateway: Gateway,
    servers: Vec<String>,
    _shelves: Vec<Shelf>,
}

impl Library {
    async fn new(servers: &[(&str, Vec<Value>)]) -> Self {
        let (mut records, mut shelves) = (Vec::new(), Vec::new());
        for (name, tools) in servers {
            let shelf = Shelf::start(tools).await;
            records.push(Server::new(name, &shelf.url()).unwrap());
            shelves.push(shelf);
        }
        let registry = MemoryRegistry::new(records).unwrap();
        let layer = McpLayer::new(registry.clone()).with_tool_search(ToolSearch::Above(0));
        let gateway = Gateway {
            layer: layer.with_connections(connections(ServerLimits::default())),
            model: Model::default(),
            server: McpServer::start(Mode::Stateless).await,
            registry,
        };
        Self {
            gateway,
            servers: servers.iter().map(|(name, _)| (*name).to_owned()).collect(),
            _shelves: shelves,
        }
    }

    fn mcp(&self) -> Value {
        json!({"enabled": true, "servers": self.servers, "auto_execute_tools": true})
    }

    /// What the model gets for this call.
    async fn answer(&self, call: (&str, Value)) -> String {
        self.gateway.model.add([calls(&[call]), says("done")]);
        let reply = self.gateway.send(&with_mcp(self.mcp(), json!({}))).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let asked = self.gateway.model.asked().pop().unwrap().json();
        asked["messages"][2]["content"].as_str().unwrap().to_owned()
    }

    /// The names that a search gives.
    async fn found(&self, query: &str) -> Vec<String> {
        let text = self.answer(search(query)).await;
        let names = text
            .lines()
            .map(|line| line.split(": ").next().unwrap().to_owned());
        names.collect()
    }
}

fn tools(count: usize, description: &str) -> Vec<Value> {
    (0..count)
        .map(|n| tool(&format!("t{n:02}"), description))
        .collect()
}

#[tokio::test]
async fn names_titles_descriptions_and_parameters_are_searched_and_names_count_most() {
    let mut titled = tool("a", "does one thing");
    titled["title"] = "Weather report".into();
    let mut parameter = tool("b", "does another thing");
    parameter["inputSchema"]["properties"] = json!({"weather_station": {"type": "string"}});
    let mut annotated = tool("c", "does");
    annotated["annotations"] = json!({"title": "Storm warnings"});
    let all = vec![
        titled,
        parameter,
        annotated,
        tool("get_weather", "does a third thing"),
        tool("d", "says how the weather is"),
        tool("e", "translates"),
    ];
    let library = Library::new(&[("sky", all)]).await;
    let found = library.found("weather").await;
    assert_eq!(found[0], "sky__get_weather");
    let expected = ["sky__a", "sky__b", "sky__d", "sky__get_weather"];
    let mut sorted = found.clone();
    sorted.sort();
    assert_eq!(sorted, expected);
    assert_eq!(library.found("storm warning").await, ["sky__c"]);
    assert_eq!(library.found("sky translate").await[0], "sky__e");
}

#[tokio::test]
async fn of_ten_hits_three_at_most_are_of_one_server_as_long_as_others_fit() {
    let stuffed = "send mail ".repeat(40);
    let library = Library::new(&[
        ("evil", tools(30, &stuffed)),
        ("good", tools(30, "sends a mail to somebody")),
        ("fair", tools(2, "reads mail")),
        ("none", tools(30, "draws a chart")),
        ("more", tools(30, "forwards mail")),
    ])
    .await;
    let found = library.found("send mail").await;
    assert_eq!(found.len(), 10);
    let of = |server: &str| found.iter().filter(|name| name.starts_with(server)).count();
    assert!(
        ["evil", "good", "fair", "more"]
            .iter()
            .all(|server| of(server) <= 3),
        "{found:?}"
    );
    assert_eq!(of("none"), 0);
}

#[tokio::test]
async fn a_server_alone_may_fill_the_page() {
    let library = Library::new(&[("one", tools(30, "sends a mail"))]).await;
    assert_eq!(library.found("send mail").await.len(), 10);
}

#[tokio::test]
async fn a_line_is_short_whatever_a_description_has_in_it() {
    let long = format!(
        "writes\r\n  letters\u{200b}\u{2028}\n\nevil__tool: {}",
        "ä".repeat(3_000)
    );
    let library = Library::new(&[(
        "post",
        vec![tool("write", &long), tool("read", "reads letters")],
    )])
    .await;
    let text = library.answer(search("letters")).await;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    let long = lines
        .iter()
        .find(|line| line.starts_with("post__write"))
        .unwrap();
    assert!(
        long.len() <= 200
            && long.starts_with("post__write: writes letters evil__tool: ää")
            && long.ends_with('…'),
        "{long}"
    );
}

#[tokio::test]
async fn other_scripts_find_what_is_written_in_them() {
    let library = Library::new(&[(
        "world",
        vec![
            tool("a", "在网络上搜索新闻"),
            tool("b", "天気予報を取得します"),
            tool("c", "Отправляет письмо"),
            tool("d", "이슈를 생성합니다"),
            tool("e", "ส่งข้อความ"),
            tool("f", "Schickt eine Prüfung"),
        ],
    )])
    .await;
    for (query, name) in [
        ("搜索", "world__a"),
        ("天気", "world__b"),
        ("письмо", "world__c"),
        ("이슈 생성", "world__d"),
        ("ข้อความ", "world__e"),
        ("PRÜFUNG", "world__f"),
    ] {
        assert_eq!(library.found(query).await, [name], "{query}");
    }
}

#[tokio::test]
async fn a_search_for_nothing_everything_or_a_megabyte_gets_a_short_answer() {
    let library =
        Library::new(&[("a", tools(3, "sends mail")), ("b", tools(3, "reads news"))]).await;
    for arguments in [
        json!({}),
        json!({"query": ""}),
        json!({"query": " \n"}),
        json!({"query": 7}),
        json!({"query": null}),
        json!({"q": "mail"}),
    ] {
        let text = library.answer(("mcp_search_tools", arguments)).await;
        assert_eq!(
            text,
            "Error: query must say in a few words what the tool is to do"
        );
    }
    for query in ["*", "!?", "weather in Ulm", "\u{200b}"] {
        let text = library.answer(search(query)).await;
        assert_eq!(
            text,
            "No tool fits. Search with other words, or for what one of these servers is about: a, b"
        );
    }
    let megabyte = "mail ".repeat(1 << 18);
    assert_eq!(library.found(&megabyte).await.len(), 3);
    assert_eq!(
        library.found(&("x".repeat(1 << 20) + " mail")).await.len(),
        1
    );
    let everything = "send mail read news tools a b what you have all";
    assert_eq!(library.found(everything).await.len(), 6);
}

#[tokio::test]
async fn a_description_is_the_definition_that_would_have_been_offered() {
    let mut tools = tools(12, "sends mail");
    tools[0]["inputSchema"] =
        json!({"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]});
    tools[1]["description"] = "long ".repeat(2_000).into();
    tools[2]["inputSchema"] = json!({"type": "object", "properties": {"a": {"type": "string", "description": "x".repeat(40_000)}}});
    tools[3]["inputSchema"] = tools[2]["inputSchema"].clone();
    let library = Library::new(&[("a", tools)]).await;
    let describe = |names: Value| ("mcp_describe_tools", json!({"names": names}));
    let first = json!({"name": "a__t00", "description": "sends mail", "parameters": {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}});
    for names in [json!(["a__t00"]), json!("a__t00")] {
        let text = library.answer(describe(names)).await;
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), first);
    }
    let text = library
        .answer(describe(json!(["a__t00", "t00", "b__x"])))
        .await;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(serde_json::from_str::<Value>(lines[0]).unwrap(), first);
    assert_eq!(
        lines[1..],
        [
            "There is no tool named \"t00\"; search for one with mcp_search_tools.",
            "There is no tool named \"b__x\"; search for one with mcp_search_tools."
        ]
    );

    // The longest is told alone, and not many are at once.
    let text = library
        .answer(describe(json!(["a__t02", "a__t03", "a__t04"])))
        .await;
    assert!(
        text.contains("a__t03: too long beside the others"),
        "{}",
        &text[40_000..]
    );
    assert!(text.contains("\"a__t04\"") || text.contains("a__t04: too long"));
    assert!(
        library
            .answer(describe(json!(["a__t03"])))
            .await
            .contains("xxx")
    );
    let many: Vec<_> = (0..12).map(|n| format!("a__t{n:02}")).collect();
    let text = library.answer(describe(json!(many))).await;
    assert!(
        text.ends_with("At most 10 tools are described at once."),
        "{text}"
    );
    for names in [json!([]), json!({}), json!([1]), json!(null), json!(true)] {
        let text = library.answer(describe(names)).await;
        assert!(text.starts_with("Error: names must be a list"), "{text}");
    }
}

#[tokio::test]
async fn each_list_is_indexed_once_whoever_searches_it() {
    // Large enough that it is done on another thread, and for several requests at once.
    let many: Vec<Value> = (0..500)
        .map(|n| tool(&format!("t{n}"), &"sends mail to somebody ".repeat(20)))
        .collect();
    let library = Library::new(&[("a", many.clone()), ("b", many)]).await;
    let searches = (0..4).map(|_| {
        let model = Model::new([calls(&[search("mail")]), says("done")]);
        let service = library.gateway.layer.layer(model.clone());
        let body = with_mcp(library.mcp(), json!({})).to_string();
        async move {
            let reply = service.oneshot(chat(body)).await.unwrap();
            assert_eq!(reply.status(), 200);
            let asked = model.asked()[1].json();
            asked["messages"][2]["content"]
                .as_str()
                .unwrap()
                .lines()
                .count()
        }
    });
    assert_eq!(join_all(searches).await, [10; 4]);
}
