//! A server's tools, in the form offered to models.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use serde_json::{Value, value::RawValue};

use crate::{
    apart,
    json::{Object, quoted},
    left_out::{LeftOut, cut},
    mcp::Tool,
    name::{ServerName, offered_name},
    registry::{Definition, Pins, Server, ToolPolicy, ToolState},
    schema::{self, Place, Schema},
    unseen::{self, Json, cleaned, is_unseen},
};

const HIDDEN_NAME: &str = "a name in its input schema has invisible characters";

/// The longest tool name that is mapped; MCP allows 128 characters.
const NAME_BYTES: usize = 1024;
/// The longest description that a model is given; a cut is announced.
const DESCRIPTION_BYTES: usize = 8 << 10;

/// The largest list of tools read on a serving thread: a few thousandths of a second.
const LISTED_HERE: usize = 256 << 10;
/// The largest schema read on a serving thread.
const READ_HERE: usize = 16 << 10;
/// The memory for compiled schemas of one server's tools; a hundred ordinary tools with five
/// patterns each keep about 40 MiB. Further schemas check nothing.
const COMPILED_BYTES: u64 = 64 << 20;

/// All tools of one server that can be offered, by offered name, and those that cannot.
#[derive(Debug)]
pub(crate) struct Offers {
    pub(crate) tools: Vec<Offer>,
    pub(crate) left_out: Vec<LeftOut>,
    /// The pins accepted when they were listed, for records that have none.
    pub(crate) pins: Option<Arc<Pins>>,
    /// The bytes that compiled schemas keep in memory.
    compiled: AtomicU64,
}

/// One tool, ready to be put into requests.
#[derive(Debug)]
pub(crate) struct Offer {
    /// The name that the model sees.
    pub(crate) name: String,
    /// The tool's own name at the server.
    pub(crate) tool: String,
    pub(crate) description: Option<String>,
    /// The element of a request's `tools`.
    pub(crate) definition: Bytes,
    pub(crate) input_schema: Box<RawValue>,
    /// `true` if invisible characters were removed from the texts for the model.
    pub(crate) is_cleaned: bool,
    /// The definition as the server listed it.
    pub(crate) listed: Definition,
    /// Parsed at the first call: most tools are listed far more often than called.
    schema: OnceLock<Schema>,
}

impl Offers {
    /// The tools that `server` listed.
    pub(crate) fn new(server: &ServerName, listed: Vec<Tool>, mut left_out: Vec<LeftOut>) -> Self {
        let mut uses: HashMap<String, usize> = HashMap::new();
        for tool in &listed {
            *uses.entry(offered_name(server, &tool.name)).or_default() += 1;
        }
        let mut tools = Vec::with_capacity(listed.len());
        for tool in listed {
            let name = offered_name(server, &tool.name);
            let fault = name_fault(&tool.name).or_else(|| schema::fault(&tool.input_schema));
            let schema = unseen::json(tool.input_schema.get());
            let hides = matches!(schema, Json::InAName).then_some(HIDDEN_NAME);
            match fault.or(hides) {
                Some(reason) => left_out.push(LeftOut::new(&tool.name, reason)),
                None if uses[&name] > 1 => {
                    left_out.push(LeftOut::new(
                        &tool.name,
                        format!("another tool of this server also becomes {name}"),
                    ));
                }
                None => tools.push(Offer::new(name, tool, schema)),
            }
        }
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            tools,
            left_out,
            pins: None,
            compiled: AtomicU64::new(0),
        }
    }

    /// Builds the offers on another thread if the list is long; `None` if that failed.
    pub(crate) async fn listed(
        server: &ServerName,
        listed: Vec<Tool>,
        left_out: Vec<LeftOut>,
    ) -> Option<Self> {
        let size = |tool: &Tool| {
            let description = tool.description.as_ref().map_or(0, String::len);
            tool.input_schema.get().len() + description
        };
        if listed.iter().map(size).sum::<usize>() <= LISTED_HERE {
            return Some(Self::new(server, listed, left_out));
        }
        let server = server.clone();
        apart::finish(move || Self::new(&server, listed, left_out)).await
    }

    /// Checks arguments of the tool at `index` against its input schema. An expensive check runs on
    /// another thread; one that is too expensive, or finds no time, is left to the server.
    ///
    /// # Errors
    /// The faults, in words that let a model repair its call.
    ///
    /// # Cancellation
    /// A check that has begun on another thread ends there.
    pub(crate) async fn check(
        self: &Arc<Self>,
        index: usize,
        arguments: Value,
    ) -> Result<(), String> {
        let offer = &self.tools[index];
        let is_read = offer.schema.get().is_some();
        if is_read || offer.input_schema.get().len() <= READ_HERE {
            match offer.schema().place(&arguments) {
                Place::AtTheServer => return Ok(()),
                Place::Here => return self.check_now(index, &arguments),
                Place::Apart => {}
            }
        }
        let offers = self.clone();
        let checked = apart::run(
            move || match offers.tools[index].schema().place(&arguments) {
                Place::AtTheServer => Ok(()),
                Place::Here | Place::Apart => offers.check_now(index, &arguments),
            },
        );
        checked.await.unwrap_or_else(|| {
            tracing::debug!(
                tool = offer.name,
                "arguments were not checked, which takes long"
            );
            Ok(())
        })
    }

    fn check_now(&self, index: usize, arguments: &Value) -> Result<(), String> {
        let offer = &self.tools[index];
        let (schema, text) = (offer.schema(), &offer.input_schema);
        let has_room = || {
            let weight = schema.weight(text);
            let kept = |kept: u64| Some(kept + weight).filter(|kept| *kept <= COMPILED_BYTES);
            let kept = self
                .compiled
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, kept);
            kept.is_ok()
        };
        schema.check(text, arguments, has_room)
    }

    /// The tools that `server` offers, with their places among [`Offers::tools`].
    pub(crate) fn offered(
        &self,
        server: &Server,
    ) -> impl Iterator<Item = (usize, &Offer, ToolPolicy)> {
        let tools = self.tools.iter().enumerate();
        tools.filter_map(move |(index, offer)| {
            let policy = server.tools.policy(&offer.tool)?;
            let is_offered = offer.withheld(server, self.pins.as_deref()).is_none();
            is_offered.then_some((index, offer, policy))
        })
    }

    /// The tools that `server` would offer, if somebody accepted them.
    pub(crate) fn withheld(&self, server: &Server) -> impl Iterator<Item = LeftOut> {
        self.tools.iter().filter_map(move |offer| {
            server.tools.policy(&offer.tool)?;
            let state = offer.withheld(server, self.pins.as_deref())?;
            let reason = match state {
                ToolState::Changed => "it has changed since it was accepted",
                _ => "it is new and not accepted yet",
            };
            Some(LeftOut::new(&offer.tool, reason))
        })
    }
}

impl Offer {
    fn new(name: String, tool: Tool, schema: Json) -> Self {
        let listed = Definition::of(&tool);
        let text = tool.description.or(tool.title);
        let text = text.as_deref().map(cleaned);
        let schema = match schema {
            Json::Cleaned(schema) => Some(schema),
            Json::Clean | Json::InAName => None,
        };
        let is_cleaned = schema.is_some() || matches!(text, Some(Cow::Owned(_)));
        let description = text.map(|text| cut(text, DESCRIPTION_BYTES));
        let offered = schema.as_deref().unwrap_or(tool.input_schema.get());
        Self {
            definition: definition(&name, description.as_deref(), offered),
            is_cleaned,
            description,
            name,
            tool: tool.name,
            input_schema: tool.input_schema,
            listed,
            schema: OnceLock::new(),
        }
    }

    /// Returns the reason why `server` withholds the tool; `pins` were accepted when it was listed.
    pub(crate) fn withheld(&self, server: &Server, pins: Option<&Pins>) -> Option<ToolState> {
        server.withheld(&self.tool, self.listed.fingerprint(), pins)
    }

    fn schema(&self) -> &Schema {
        self.schema.get_or_init(|| Schema::of(&self.input_schema))
    }
}

/// A function tool. The schema stays as it is, but for an absent `properties`, which some providers
/// insist on.
fn definition(name: &str, description: Option<&str>, schema: &str) -> Bytes {
    let description = match description {
        Some(text) => format!(r#","description":{}"#, quoted(text)),
        None => String::new(),
    };
    let parameters = with_properties(schema);
    format!(r#"{{"type":"function","function":{{"name":"{name}"{description},"parameters":{parameters}}}}}"#).into()
}

fn with_properties(schema: &str) -> String {
    match Object::parse(schema) {
        Ok(object) if object.get("properties").is_none() => {
            let edits = object.set(&[("properties", "{}")]);
            object.edited(edits)
        }
        _ => schema.to_owned(),
    }
}

/// Names are shown in terminals, logs and pages, and are what a model must repeat exactly.
fn name_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("its name is empty");
    }
    if name.len() > NAME_BYTES {
        return Some("its name is over 1 KiB");
    }
    name.chars()
        .any(|letter| letter.is_control() || is_unseen(letter))
        .then_some("its name has control or invisible characters")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn tool(name: &str, schema: Value) -> Tool {
        raw_tool(name, serde_json::value::to_raw_value(&schema).unwrap())
    }

    fn raw_tool(name: &str, input_schema: Box<RawValue>) -> Tool {
        Tool {
            name: name.into(),
            input_schema,
            title: None,
            description: None,
            output_schema: None,
            annotations: None,
        }
    }

    fn offers(tools: Vec<Tool>) -> Offers {
        Offers::new(&"s".parse().unwrap(), tools, Vec::new())
    }

    #[test]
    fn tools_are_sorted_and_keep_their_schema_byte_for_byte() {
        let schema =
            RawValue::from_string(r#"{"properties":{ "a" : 1.0 },"x-unknown":[ ]}"#.into())
                .unwrap();
        let offers = offers(vec![tool("b", json!({})), raw_tool("a", schema)]);
        let names: Vec<_> = offers.tools.iter().map(|t| &*t.name).collect();
        assert_eq!(names, ["s__a", "s__b"]);
        assert_eq!(
            offers.tools[0].definition,
            r#"{"type":"function","function":{"name":"s__a","parameters":{"properties":{ "a" : 1.0 },"x-unknown":[ ]}}}"#
        );
        let b: Value = serde_json::from_slice(&offers.tools[1].definition).unwrap();
        assert_eq!(b["function"]["parameters"], json!({"properties": {}}));
    }

    #[test]
    fn two_tools_that_end_at_one_name_are_both_left_out() {
        let offers = offers(vec![
            tool("a", json!({})),
            tool("twice", json!({})),
            tool("twice", json!({})),
        ]);
        assert_eq!(offers.tools.len(), 1);
        assert_eq!(offers.left_out.len(), 2);
        assert!(offers.left_out[0].reason().contains("s__twice"));
    }

    #[test]
    fn evil_names_are_left_out_and_shown_without_their_evil() {
        for name in [
            "",
            "a\u{1b}[31m",
            "a\0",
            "a\u{202e}b",
            "a\u{200b}",
            "\u{e0041}",
            &"x".repeat(10_000),
        ] {
            let offers = offers(vec![tool(name, json!({}))]);
            assert!(offers.tools.is_empty(), "{name:?}");
            assert!(offers.left_out[0].tool().chars().all(|c| !is_unseen(c)));
            assert!(offers.left_out[0].tool().len() < 1100);
        }
        assert_eq!(offers(vec![tool("search.v2 🔍", json!({}))]).tools.len(), 1);
    }

    #[test]
    fn a_description_is_cleaned_and_cut() {
        let mut tool = tool("a", json!({}));
        tool.description = Some(format!("see\u{202e}n\n{}", "x".repeat(20_000)));
        let offers = offers(vec![tool]);
        let description = offers.tools[0].description.as_deref().unwrap();
        assert!(description.starts_with("seen\nxxx") && description.ends_with("x [cut]"));
        assert!(description.len() < 9000);
    }

    #[test]
    fn what_cannot_be_seen_reaches_no_model_and_fingerprints_are_made_of_all() {
        let schema = r#"{"properties":{"a":{"title":"A\udb40\udc41","enum":["x\u200b"]}}}"#;
        let schema = RawValue::from_string(schema.into()).unwrap();
        let mut hiding = raw_tool("a", schema.clone());
        hiding.description = Some("reads\u{e0041}\u{202e} files".into());
        let original = Definition::of(&hiding);
        let offers = offers(vec![hiding, tool("b", json!({"title": "plain é"}))]);
        let [a, b] = &offers.tools[..] else {
            panic!("two tools")
        };
        let offered: Value = serde_json::from_slice(&a.definition).unwrap();
        assert_eq!(offered["function"]["description"], "reads files");
        let property = &offered["function"]["parameters"]["properties"]["a"];
        assert_eq!(*property, json!({"title": "A", "enum": ["x"]}));
        assert_eq!(a.listed, original);
        assert_eq!(a.input_schema.get(), schema.get());
        assert!(a.is_cleaned && !b.is_cleaned);
    }

    #[test]
    fn a_tool_whose_schema_hides_something_in_a_name_is_left_out() {
        let schema = json!({"properties": {"a\u{200b}": {"type": "string"}}});
        let offers = offers(vec![tool("a", schema)]);
        assert!(offers.tools.is_empty());
        assert!(offers.left_out[0].reason().contains("invisible"));
    }
}
