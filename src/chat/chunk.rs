//! A chunk of a streamed completion.

use serde_json::{Map, Value};

use super::object::{Object, array, quoted};

/// What the layer reads of a chunk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chunk {
    /// `id`, `created` and `model`, each as JSON text.
    identity: [Option<String>; 3],
    /// The tool calls that begin or go on in it: each with the function's name, which only the
    /// first piece of a call has.
    pub(crate) calls: Vec<Option<String>>,
    pub(crate) usage: Option<Map<String, Value>>,
}

impl Chunk {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let object = Object::parse(text).ok()?;
        let choices = object
            .present("choices")
            .and_then(array)
            .unwrap_or_default();
        Some(Self {
            identity: ["id", "created", "model"].map(|name| object.present(name).map(Into::into)),
            calls: choices.into_iter().flat_map(calls).map(called).collect(),
            usage: object
                .present("usage")
                .and_then(|usage| serde_json::from_str(usage).ok()),
        })
    }

    /// A chunk of the same completion without choices, and with this member.
    pub(crate) fn with_member(&self, name: &str, value: &str) -> String {
        let [id, created, model] = self
            .identity
            .clone()
            .map(|value| value.unwrap_or("null".into()));
        let name = quoted(name);
        format!(
            r#"{{"id":{id},"object":"chat.completion.chunk","created":{created},"model":{model},"choices":[],{name}:{value}}}"#
        )
    }
}

/// The pieces of tool calls in a choice.
fn calls(choice: &str) -> Vec<&str> {
    let choice = Object::parse(choice).ok();
    let delta = choice.and_then(|choice| Object::parse(choice.present("delta")?).ok());
    let calls = delta.and_then(|delta| array(delta.present("tool_calls")?));
    calls.unwrap_or_default()
}

/// The function's name in a piece of a tool call.
fn called(call: &str) -> Option<String> {
    let call = Object::parse(call).ok()?;
    let function = Object::parse(call.present("function")?).ok()?;
    function.string("name").map(Into::into)
}
