//! A chunk of a streamed completion.

use serde_json::{Map, Value};

use super::object::{Object, array, quoted};

/// What the layer reads of a chunk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chunk {
    /// `id`, `created` and `model`, each as JSON text.
    identity: [Option<String>; 3],
    /// A choice of it has `tool_calls`.
    pub(crate) calls_tools: bool,
    pub(crate) usage: Option<Map<String, Value>>,
}

impl Chunk {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let object = Object::parse(text).ok()?;
        let choices = object
            .present("choices")
            .and_then(array)
            .unwrap_or_default();
        let calls_tools = |choice: &&str| {
            let choice = Object::parse(choice).ok();
            let delta = choice.and_then(|choice| Object::parse(choice.present("delta")?).ok());
            delta.is_some_and(|delta| delta.present("tool_calls").is_some())
        };
        Some(Self {
            identity: ["id", "created", "model"].map(|name| object.present(name).map(Into::into)),
            calls_tools: choices.iter().any(calls_tools),
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
