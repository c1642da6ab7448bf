//! How well tools are found: 200 tasks in plain words (`tests/search/tasks.json`) among the tools of 54
//! published servers (`real_tools/`), and what that costs in tokens.
//!
//! ```text
//! cargo test --all-features --test it tool_search_quality -- --nocapture
//! ```
//!
//! Half of the tasks was looked at while the search was made; the other half is only for this.
//! A task is found if one of the tools that would do is among those that a search for its words gives.
//! Tokens are bytes of JSON by four.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mcp_layer::{
    Limits, McpLayer, ToolSearch,
    mcp::ServerLimits,
    registry::{MemoryRegistry, Server},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    real_tools::listed,
    support::{
        gateway::{Gateway, connections, with_mcp},
        mcp_server::{McpServer, Mode},
        model::{Model, calls, says},
        shelf::Shelf,
    },
    tool_search::search,
};

#[derive(Deserialize)]
struct Task {
    task: String,
    /// Package and name of the tools that would do.
    tools: Vec<String>,
    held_out: bool,
}

/// The name under which an operator registers a package: what it is about.
fn slug(package: &str) -> String {
    let package = package.to_lowercase();
    let words = package.split(|letter: char| !letter.is_ascii_alphanumeric());
    let telling = |word: &&str| !["", "mcp", "server", "modelcontextprotocol", "py"].contains(word);
    words.filter(telling).collect::<Vec<_>>().join("-")
}

/// All real tools behind one gateway.
struct Field {
    gateway: Gateway,
    /// Slug to package.
    servers: BTreeMap<String, String>,
    tools: usize,
    _shelves: Vec<Shelf>,
}

impl Field {
    async fn new() -> Self {
        let (mut servers, mut records, mut shelves) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut count = 0;
        for (package, tools) in listed() {
            let mut name = slug(&package);
            if servers.contains_key(&name) {
                name += "-2";
            }
            count += tools.len();
            let shelf = Shelf::start(&tools).await;
            records.push(Server::new(&name, &shelf.url()).unwrap());
            shelves.push(shelf);
            servers.insert(name, package);
        }
        let registry = MemoryRegistry::new(records).unwrap();
        // A megabyte of tools takes its time where nothing is optimized.
        let patience = Duration::from_secs(120);
        let (mut limits, mut of_servers) = (Limits::default(), ServerLimits::default());
        (limits.resolve, of_servers.list) = (patience, patience);
        let layer = McpLayer::new(registry.clone()).with_tool_search(ToolSearch::Auto);
        let layer = layer.with_limits(limits);
        let gateway = Gateway {
            layer: layer.with_connections(connections(of_servers)),
            model: Model::default(),
            server: McpServer::start(Mode::Stateless).await,
            registry,
        };
        Self {
            gateway,
            servers,
            tools: count,
            _shelves: shelves,
        }
    }

    /// Runs one request; returns what the model was asked last.
    async fn ask(&self, mcp: Value, members: Value) -> Value {
        let reply = self.gateway.send(&with_mcp(mcp, members)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        self.gateway.model.asked().pop().unwrap().json()
    }

    fn auto(&self) -> Value {
        let servers: Vec<_> = self.servers.keys().collect();
        json!({"enabled": true, "servers": servers, "auto_execute_tools": true})
    }

    /// What a search gives: package and offered name, best first, and its text.
    async fn found(&self, query: &str) -> (Vec<(String, String)>, String) {
        self.gateway
            .model
            .add([calls(&[search(query)]), says("done")]);
        let asked = self.ask(self.auto(), json!({})).await;
        let text = asked["messages"][2]["content"].as_str().unwrap().to_owned();
        let hits = text.lines().filter_map(|line| {
            let name = line.split(": ").next()?;
            let (server, _) = name.split_once("__")?;
            Some((self.servers[server].clone(), name.to_owned()))
        });
        (hits.collect(), text)
    }
}

fn tokens(value: &Value) -> usize {
    value.to_string().len() / 4
}

#[tokio::test]
async fn of_real_tools_the_right_one_is_found_for_most_tasks() {
    let tasks: Vec<Task> = serde_json::from_str(include_str!("../search/tasks.json")).unwrap();
    assert_eq!(tasks.len(), 200);
    let field = Field::new().await;
    assert!(field.tools >= 500, "{}", field.tools);

    let (mut at_5, mut at_10) = ([0, 0], [0, 0]);
    let (mut bytes, mut missed) = (0, Vec::new());
    for task in &tasks {
        let (hits, text) = field.found(&task.task).await;
        bytes += text.len();
        assert!(hits.len() <= 10, "{text}");
        // Offered names may be mapped; what they are made of is what the collection has.
        let right: BTreeSet<String> = task
            .tools
            .iter()
            .map(|tool| {
                let (package, tool) = tool.split_once(' ').unwrap();
                let server = field
                    .servers
                    .iter()
                    .find(|(_, known)| *known == package)
                    .unwrap()
                    .0;
                format!("{server}__{tool}")
            })
            .collect();
        let place = hits.iter().position(|(_, name)| right.contains(name));
        let part = usize::from(task.held_out);
        at_5[part] += usize::from(place.is_some_and(|place| place < 5));
        at_10[part] += usize::from(place.is_some());
        if place.is_none() && !task.held_out {
            missed.push(&*task.task);
        }
    }

    // What a request costs before the model has said anything.
    let searched = {
        field.gateway.model.add([says("hi")]);
        tokens(&field.ask(field.auto(), json!({})).await["tools"])
    };
    let mut all = 0;
    let mut of_tool: BTreeMap<String, usize> = BTreeMap::new();
    for server in field.servers.keys() {
        field.gateway.model.add([says("hi")]);
        let mcp = json!({"enabled": true, "servers": [server], "auto_execute_tools": true});
        let asked = field.ask(mcp, json!({})).await;
        for tool in asked["tools"].as_array().unwrap() {
            let size = tokens(tool);
            all += size;
            of_tool.insert(tool["function"]["name"].as_str().unwrap().to_owned(), size);
        }
    }
    let average = all / of_tool.len();
    let per_search = bytes / tasks.len() / 4;
    println!("{} tools of {} servers", of_tool.len(), field.servers.len());
    println!("| | recall at 5 | recall at 10 |");
    println!("|---|--:|--:|");
    println!(
        "| tasks that were looked at | {} % | {} % |",
        at_5[0], at_10[0]
    );
    println!("| tasks held out | {} % | {} % |", at_5[1], at_10[1]);
    println!(
        "tokens of `tools`, as bytes by four: {all} for all of them, {average} for the right one alone (on average), {searched} where they are searched for; a search gives {per_search}, a description about {average}"
    );
    println!(
        "a request that searches, reads and calls: {} tokens more than its tools",
        per_search + average
    );
    println!("not found among the first ten: {missed:#?}");

    // A little below what it is: a change that makes it worse is seen.
    for part in [0, 1] {
        assert!(at_5[part] >= 50 && at_10[part] >= 55, "{at_5:?} {at_10:?}");
    }
    assert!(searched < 500 && all > 50 * searched);
}
