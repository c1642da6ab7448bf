//! The tools of published servers (`real_tools/tools.jsonl`) as models are offered them: by the rules
//! of OpenAI's, Anthropic's and Gemini's documentation, written here once more.

mod anthropic;
mod gemini;
mod openai;
mod sample;

use std::collections::BTreeMap;

use mcp_layer::{
    CallerTokens, McpLayer, SchemaDialect,
    mcp::ServerLimits,
    registry::{MemoryRegistry, Server},
};
use serde_json::{Value, json};

use crate::support::{
    gateway::{Gateway, connections, with_mcp},
    mcp_server::{McpServer, Mode},
    model::{Model, says},
    shelf::Shelf,
};

/// A tool as its server lists it, and as a model is offered it.
struct Pair {
    listed: Value,
    /// The `function` of the request's `tools`.
    offered: Value,
    changes: Vec<&'static str>,
}

/// What became of all tools.
#[derive(Default)]
struct Offered {
    pairs: Vec<Pair>,
    /// Tool and reason.
    left_out: Vec<(String, String)>,
}

/// All tools by server, with descriptions as long as they were.
pub fn listed() -> BTreeMap<String, Vec<Value>> {
    let mut servers: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in include_str!("real_tools/tools.jsonl").lines() {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let mut tool = line["tool"].take();
        if let Some(bytes) = tool["description_bytes"].as_u64() {
            let text = tool["description"].as_str().unwrap_or_default().to_owned();
            let rest = ".".repeat((bytes as usize).saturating_sub(text.len()));
            tool["description"] = (text + &rest).into();
        }
        servers
            .entry(line["server"].as_str().unwrap().to_owned())
            .or_default()
            .push(tool);
    }
    servers
}

/// Lists `tools` at a server, and sends a request through the layer.
async fn offer(tools: &[Value], dialect: SchemaDialect) -> Offered {
    let shelf = Shelf::start(tools).await;
    let server = Server::new("s", &shelf.url()).unwrap();
    let registry = MemoryRegistry::new([server.clone()]).unwrap();
    let connections = connections(ServerLimits::default()).with_schema_dialect(dialect);
    let shown = connections.tools(&server, &CallerTokens::default()).await;
    let shown = shown.unwrap();
    let gateway = Gateway {
        layer: McpLayer::new(registry.clone()).with_connections(connections),
        model: Model::new([says("done")]),
        server: McpServer::start(Mode::Stateless).await,
        registry,
    };
    let mcp = json!({"enabled": true, "servers": ["s"]});
    let reply = gateway.send(&with_mcp(mcp, json!({}))).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let mut asked = gateway.model.asked()[0].json();
    let sent = asked["tools"].as_array_mut().unwrap();
    assert_eq!(sent.len(), shown.offered.len());
    let pairs = shown.offered.iter().zip(sent).map(|(shown, sent)| {
        let offered = sent["function"].take();
        assert_eq!(offered["name"], shown.offered_name);
        let listed = tools.iter().find(|tool| tool["name"] == shown.name);
        Pair {
            listed: listed.unwrap().clone(),
            offered,
            changes: shown.changes.clone(),
        }
    });
    let left_out = shown.left_out.iter();
    Offered {
        pairs: pairs.collect(),
        left_out: left_out
            .map(|tool| (tool.tool().to_owned(), tool.reason().to_owned()))
            .collect(),
    }
}

/// Offers the tools of every server.
async fn offer_all(dialect: SchemaDialect) -> Offered {
    let mut all = Offered::default();
    for tools in listed().values() {
        let offered = offer(tools, dialect).await;
        assert_eq!(offered.pairs.len() + offered.left_out.len(), tools.len());
        all.pairs.extend(offered.pairs);
        all.left_out.extend(offered.left_out);
    }
    all
}

/// How many tools each rule changed, the most frequent first.
fn figures(offered: &Offered) -> Vec<(&'static str, usize)> {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for change in offered.pairs.iter().flat_map(|pair| &pair.changes) {
        *counts.entry(change).or_default() += 1;
    }
    let unchanged = offered.pairs.iter().filter(|pair| pair.changes.is_empty());
    let mut figures: Vec<_> = counts.into_iter().collect();
    figures.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    figures.insert(0, ("as it is", unchanged.count()));
    figures.push(("left out", offered.left_out.len()));
    for (what, count) in &figures {
        println!("{count:5} {what}");
    }
    figures
}

#[tokio::test]
async fn what_is_offered_of_real_tools_keeps_the_rules_of_openai_and_anthropic() {
    let offered = offer_all(SchemaDialect::Standard).await;
    for Pair { offered, .. } in &offered.pairs {
        openai::check(offered);
        anthropic::check(offered);
    }
    for pair in offered.pairs.iter().filter(|pair| pair.changes.is_empty()) {
        assert_eq!(pair.offered["parameters"], pair.listed["inputSchema"]);
    }
    assert_eq!(
        figures(&offered),
        [
            ("as it is", 416),
            ("no $schema", 330),
            ("a description that is cut", 109),
            ("no default of null where null does not fit", 64),
            ("patterns told in words", 32),
            ("no propertyNames that says nothing", 18),
            ("an object with properties at the root", 9),
            ("anyOf where oneOf would become stricter", 3),
            ("values without empty ones and doubles", 1),
            ("left out", 0),
        ]
    );
    assert_eq!(offered.left_out, []);
}

#[tokio::test]
async fn what_is_offered_of_real_tools_keeps_the_rules_of_gemini() {
    let offered = offer_all(SchemaDialect::Gemini).await;
    for Pair { offered, .. } in &offered.pairs {
        openai::check_name_and_description(offered);
        gemini::check(offered);
    }
    assert_eq!(
        figures(&offered),
        [
            ("as it is", 173),
            ("Gemini's words only", 705),
            ("no $schema", 330),
            ("a description that is cut", 109),
            ("no default of null where null does not fit", 64),
            ("patterns told in words", 32),
            ("no propertyNames that says nothing", 18),
            ("an object with properties at the root", 9),
            ("anyOf where oneOf would become stricter", 3),
            ("values without empty ones and doubles", 1),
            ("left out", 0),
        ]
    );
    assert_eq!(offered.left_out, []);
}

#[tokio::test]
async fn what_fits_the_schema_of_a_real_tool_fits_what_is_offered() {
    let mut tried = 0;
    for dialect in [SchemaDialect::Standard, SchemaDialect::Gemini] {
        for Pair {
            listed, offered, ..
        } in offer_all(dialect).await.pairs
        {
            let original = &listed["inputSchema"];
            let Ok(validator) = jsonschema::options()
                .should_validate_formats(false)
                .build(original)
            else {
                continue;
            };
            let parameters = match dialect {
                SchemaDialect::Gemini => gemini::as_json_schema(&offered["parameters"]),
                _ => offered["parameters"].clone(),
            };
            let parameters = jsonschema::validator_for(&parameters).unwrap();
            for arguments in sample::of(original) {
                if !arguments.is_object() || !validator.is_valid(&arguments) {
                    continue;
                }
                tried += 1;
                if let Err(fault) = parameters.validate(&arguments) {
                    panic!("{dialect:?} {fault}\n{arguments}\n{listed}\n{offered}");
                }
            }
        }
    }
    println!("{tried} arguments");
    assert!(tried > 5_000, "{tried}");
}
