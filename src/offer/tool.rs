//! One tool as models get it, and the check of its arguments.

use std::{
    borrow::Cow,
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
    left_out::cut,
    mcp::Tool,
    registry::{Definition, Pins, Server, ToolState},
    schema::{Place, Schema},
    unseen::{Json, cleaned, is_unseen},
};

/// The longest tool name that is mapped; MCP allows 128 characters.
const NAME_BYTES: usize = 1024;
/// The longest description that a model is given; a cut is announced.
const DESCRIPTION_BYTES: usize = 8 << 10;

/// The largest schema read on a serving thread.
const READ_HERE: usize = 16 << 10;
/// The memory for compiled schemas of one server's tools; a hundred ordinary tools with five
/// patterns each keep about 40 MiB. Further schemas check nothing.
const COMPILED_BYTES: u64 = 64 << 20;

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
    /// The bytes that compiled schemas of the server's tools keep in memory, all together.
    compiled: Arc<AtomicU64>,
}

impl Offer {
    pub(super) fn new(name: String, tool: Tool, schema: Json, compiled: &Arc<AtomicU64>) -> Self {
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
            compiled: compiled.clone(),
        }
    }

    /// Returns the reason why `server` withholds the tool; `pins` were accepted when it was listed.
    pub(crate) fn withheld(&self, server: &Server, pins: Option<&Pins>) -> Option<ToolState> {
        server.withheld(&self.tool, self.listed.fingerprint(), pins)
    }

    /// Checks arguments against the tool's input schema. An expensive check runs on another thread;
    /// one that is too expensive, or finds no time, is left to the server.
    ///
    /// # Errors
    /// The faults, in words that let a model repair its call.
    ///
    /// # Cancellation
    /// A check that has begun on another thread ends there.
    pub(crate) async fn check(self: &Arc<Self>, arguments: Value) -> Result<(), String> {
        let is_read = self.schema.get().is_some();
        if is_read || self.input_schema.get().len() <= READ_HERE {
            match self.schema().place(&arguments) {
                Place::AtTheServer => return Ok(()),
                Place::Here => return self.check_now(&arguments),
                Place::Apart => {}
            }
        }
        let offer = self.clone();
        let checked = apart::run(move || match offer.schema().place(&arguments) {
            Place::AtTheServer => Ok(()),
            Place::Here | Place::Apart => offer.check_now(&arguments),
        });
        checked.await.unwrap_or_else(|| {
            tracing::debug!(
                tool = self.name,
                "arguments were not checked, which takes long"
            );
            Ok(())
        })
    }

    fn check_now(&self, arguments: &Value) -> Result<(), String> {
        let (schema, text) = (self.schema(), &self.input_schema);
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
pub(super) fn name_fault(name: &str) -> Option<&'static str> {
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
