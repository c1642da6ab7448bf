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

use super::form::{Form, Formed};
use crate::{
    apart,
    left_out::cut,
    mcp::Tool,
    registry::{Definition, Pins, Server, ToolState},
    schema::{Place, Schema},
    unseen::{self, Json, cleaned, is_unseen},
};

/// The longest tool name that is mapped; MCP allows 128 characters.
const NAME_BYTES: usize = 1024;
/// The longest description that is kept; a cut is announced. Models get less: see [`Form`].
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
    /// The server's description without invisible characters, longer than that of the model.
    pub(crate) description: Option<String>,
    /// The element of a request's `tools`.
    pub(crate) definition: Bytes,
    /// What was changed so that providers take it, in the words of [`portable`](super::portable).
    pub(crate) changes: Vec<&'static str>,
    /// `true` if invisible characters were removed from the texts for the model.
    pub(crate) is_cleaned: bool,
    /// The definition as the server listed it.
    pub(crate) listed: Definition,
    /// The JSON Schema of the arguments, as the server wrote it.
    pub(crate) input_schema: Arc<RawValue>,
    /// The same in every form in which the tool is offered.
    checks: Arc<Checks>,
}

/// The input schema as the server wrote it, and the check of arguments by it.
#[derive(Debug)]
struct Checks {
    input_schema: Arc<RawValue>,
    /// Parsed at the first call: most tools are listed far more often than called.
    schema: OnceLock<Schema>,
    /// The bytes that compiled schemas of the server's tools keep in memory, all together.
    compiled: Arc<AtomicU64>,
}

impl Offer {
    /// The offer of a listed tool, whose schema is `schema` for a model.
    ///
    /// # Errors
    /// The reason why no provider would take it.
    pub(super) fn new(
        name: String,
        tool: &Tool,
        schema: &Json,
        form: Form,
        compiled: &Arc<AtomicU64>,
    ) -> Result<Self, &'static str> {
        let text = tool.description.as_ref().or(tool.title.as_ref());
        let text = text.map(|text| cleaned(text));
        let is_cleaned = matches!(schema, Json::Cleaned(_)) || matches!(text, Some(Cow::Owned(_)));
        let description = text.map(|text| cut(text, DESCRIPTION_BYTES));
        let offered = seen(schema, &tool.input_schema);
        let Formed {
            definition,
            changes,
        } = form.define(&name, description.as_deref(), offered)?;
        let input_schema: Arc<RawValue> = tool.input_schema.clone().into();
        Ok(Self {
            definition: definition.into(),
            changes,
            is_cleaned,
            description,
            name,
            tool: tool.name.clone(),
            listed: Definition::of(tool),
            input_schema: input_schema.clone(),
            checks: Arc::new(Checks {
                input_schema,
                schema: OnceLock::new(),
                compiled: compiled.clone(),
            }),
        })
    }

    /// The same tool in another form.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub(super) fn in_form(&self, form: Form) -> Result<Self, &'static str> {
        let schema = unseen::json(self.input_schema.get());
        let offered = seen(&schema, &self.input_schema);
        let Formed {
            definition,
            changes,
        } = form.define(&self.name, self.description.as_deref(), offered)?;
        Ok(Self {
            name: self.name.clone(),
            tool: self.tool.clone(),
            description: self.description.clone(),
            definition: definition.into(),
            changes,
            is_cleaned: self.is_cleaned,
            listed: self.listed.clone(),
            input_schema: self.input_schema.clone(),
            checks: self.checks.clone(),
        })
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
    pub(crate) async fn check(&self, arguments: Value) -> Result<(), String> {
        let checks = &self.checks;
        let is_read = checks.schema.get().is_some();
        if is_read || checks.input_schema.get().len() <= READ_HERE {
            match checks.schema().place(&arguments) {
                Place::AtTheServer => return Ok(()),
                Place::Here => return checks.check(&arguments),
                Place::Apart => {}
            }
        }
        let checks = checks.clone();
        let checked = apart::run(move || match checks.schema().place(&arguments) {
            Place::AtTheServer => Ok(()),
            Place::Here | Place::Apart => checks.check(&arguments),
        });
        checked.await.unwrap_or_else(|| {
            tracing::debug!(
                tool = self.name,
                "arguments were not checked, which takes long"
            );
            Ok(())
        })
    }
}

impl Checks {
    fn check(&self, arguments: &Value) -> Result<(), String> {
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

/// The schema `listed` without what nobody sees.
fn seen<'a>(schema: &'a Json, listed: &'a RawValue) -> &'a str {
    match schema {
        Json::Cleaned(schema) => schema,
        Json::Clean | Json::InAName => listed.get(),
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
