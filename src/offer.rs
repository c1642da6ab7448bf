//! A server's tools as models get them.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::{
    chat::{Object, quoted},
    mcp::Tool,
    name::{ServerName, offered_name},
    registry::{Definition, Pins, Server, ToolPolicy, ToolState},
    schema::{self, Schema},
};

/// The longest tool name that is mapped; MCP allows 128 characters.
const NAME_BYTES: usize = 1024;
/// The longest description that a model is given; a cut is announced.
const DESCRIPTION_BYTES: usize = 8 << 10;

/// All tools of one server that can be offered, by offered name, and those that cannot.
#[derive(Debug)]
pub(crate) struct Offers {
    pub(crate) tools: Vec<Offer>,
    pub(crate) left_out: Vec<LeftOut>,
    /// What was accepted of them when they were listed, for servers that do not say it themselves.
    pub(crate) pins: Option<Arc<Pins>>,
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
    /// What the server says that the tool is.
    pub(crate) listed: Definition,
    /// Compiled at the first call: most tools are listed far more often than called.
    schema: OnceLock<Schema>,
}

/// A tool that cannot be offered, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    tool: String,
    reason: String,
}

impl LeftOut {
    pub(crate) fn new(tool: &str, reason: impl Into<String>) -> Self {
        Self {
            tool: clean(tool, NAME_BYTES),
            reason: reason.into(),
        }
    }

    /// The tool's own name, without characters that no terminal should see.
    pub fn tool(&self) -> &str {
        &self.tool
    }

    /// Why it is left out, in a few words.
    pub fn reason(&self) -> &str {
        &self.reason
    }
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
            match fault {
                Some(reason) => left_out.push(LeftOut::new(&tool.name, reason)),
                None if uses[&name] > 1 => {
                    left_out.push(LeftOut::new(
                        &tool.name,
                        format!("another tool of this server also becomes {name}"),
                    ));
                }
                None => tools.push(Offer::new(name, tool)),
            }
        }
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            tools,
            left_out,
            pins: None,
        }
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
    fn new(name: String, tool: Tool) -> Self {
        let listed = Definition::of(&tool);
        let description = tool
            .description
            .or(tool.title)
            .map(|text| clean(&text, DESCRIPTION_BYTES));
        Self {
            definition: definition(&name, description.as_deref(), &tool.input_schema),
            description,
            name,
            tool: tool.name,
            input_schema: tool.input_schema,
            listed,
            schema: OnceLock::new(),
        }
    }

    /// Why `server` withholds the tool; `pins` are what was accepted when it was listed.
    pub(crate) fn withheld(&self, server: &Server, pins: Option<&Pins>) -> Option<ToolState> {
        server.withheld(&self.tool, self.listed.fingerprint(), pins)
    }

    /// The tool's input schema, compiled once.
    pub(crate) fn schema(&self) -> &Schema {
        self.schema
            .get_or_init(|| Schema::compile(&self.input_schema))
    }
}

/// A function tool. The schema stays as the server wrote it, but for an absent `properties`,
/// which some providers insist on.
fn definition(name: &str, description: Option<&str>, schema: &RawValue) -> Bytes {
    let description = match description {
        Some(text) => format!(r#","description":{}"#, quoted(text)),
        None => String::new(),
    };
    let parameters = with_properties(schema.get());
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
        .any(is_unseen)
        .then_some("its name has control or invisible characters")
}

/// `text` without unseen characters, but for line breaks and tabs, and cut at `limit` bytes.
fn clean(text: &str, limit: usize) -> String {
    let mut kept = String::new();
    for character in text
        .chars()
        .filter(|c| matches!(c, '\n' | '\t') || !is_unseen(*c))
    {
        if kept.len() + character.len_utf8() > limit {
            kept.push_str(" [cut]");
            break;
        }
        kept.push(character);
    }
    kept
}

/// Control characters, and those that hide text or turn its direction.
fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
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
}
