//! A chat-completions request, as far as the layer reads it.

use std::ops::Range;

use bytes::Bytes;

use super::{
    Edit,
    object::{Malformed, Object, array},
};

/// A request as far as the layer reads it: where things stand in its bytes.
#[derive(Debug)]
pub(crate) struct ChatRequest {
    pub(super) body: Bytes,
    /// The member `mcp`, as text.
    pub(crate) mcp: String,
    pub(crate) model: Option<String>,
    /// The caller wants server-sent events.
    pub(crate) stream: bool,
    /// The caller asks for one choice; so does the default.
    pub(crate) one_choice: bool,
    /// The caller allows several calls at once; so does the default.
    pub(crate) parallel: bool,
    /// `tool_choice` is `"none"`.
    pub(crate) tools_forbidden: bool,
    /// The caller's own tools, in their order.
    pub(crate) tools: Vec<CallerTool>,
    /// Each message's place; `None` where `messages` is no array.
    pub(super) messages: Option<Vec<Range<usize>>>,
}

/// A tool that the caller sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallerTool {
    /// Where the name stands, such as `tools[0].function.name`.
    pub(crate) param: String,
    pub(crate) name: String,
}

/// The members that the layer reads; given twice, one of them would be a guess.
const READ: [&str; 8] = [
    "mcp",
    "messages",
    "model",
    "n",
    "parallel_tool_calls",
    "stream",
    "tool_choice",
    "tools",
];

/// Why a body is not a request for the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Valid JSON without a top-level `mcp`: not ours.
    NotOurs,
    /// `mcp` was seen in something that is not JSON.
    NotJson,
    /// A member that the layer reads is given twice.
    Doubled(String),
}

impl ChatRequest {
    /// Reads `body`, in which something spelt like `mcp` was seen.
    pub(crate) fn parse(body: Bytes) -> Result<Self, Unread> {
        let text = std::str::from_utf8(&body).map_err(|_| Unread::NotJson)?;
        let object = Object::parse(text).map_err(|malformed| match malformed {
            Malformed::NotJson => Unread::NotJson,
            Malformed::NotAnObject => Unread::NotOurs,
        })?;
        let mcp = object.get("mcp").ok_or(Unread::NotOurs)?.to_owned();
        if let Some(name) = READ.into_iter().find(|name| object.count(name) > 1) {
            return Err(Unread::Doubled(name.into()));
        }
        let messages = object.present("messages").and_then(array);
        Ok(Self {
            mcp,
            model: object.string("model").map(Into::into),
            stream: object.get("stream") == Some("true"),
            one_choice: object.present("n").is_none_or(|n| n.parse() == Ok(1.0)),
            parallel: object.get("parallel_tool_calls") != Some("false"),
            tools_forbidden: object
                .string("tool_choice")
                .is_some_and(|choice| choice == "none"),
            tools: object
                .present("tools")
                .map(caller_tools)
                .unwrap_or_default(),
            messages: messages.map(|all| {
                all.into_iter()
                    .map(|message| object.span(message))
                    .collect()
            }),
            body,
        })
    }

    /// The whole request, as it came.
    pub(crate) fn text(&self) -> &str {
        // `parse` has made sure of it.
        std::str::from_utf8(&self.body).unwrap_or_default()
    }

    /// Whether `messages` is an array.
    pub(crate) fn has_messages(&self) -> bool {
        self.messages.is_some()
    }

    /// The messages in their order; `None` where there is no list of them.
    pub(crate) fn messages(&self) -> Option<Vec<Bytes>> {
        let places = self.messages.as_ref()?;
        Some(
            places
                .iter()
                .map(|place| self.body.slice(place.clone()))
                .collect(),
        )
    }

    /// The body without `mcp` and otherwise untouched.
    pub(crate) fn without_mcp(&self) -> Vec<Bytes> {
        Edit::apply(&self.body, self.removal())
    }

    /// The edit that removes `mcp`.
    pub(super) fn removal(&self) -> Vec<Edit> {
        let object = Object::parse(self.text()).ok();
        object
            .and_then(|object| object.remove("mcp"))
            .into_iter()
            .collect()
    }
}

/// The caller's own tools, as far as they have names.
fn caller_tools(tools: &str) -> Vec<CallerTool> {
    let tools = array(tools).unwrap_or_default();
    let name = |(index, tool): (usize, &&str)| {
        let tool = Object::parse(tool).ok()?;
        // A tool is named in the member of its own type: `function`, `custom`.
        let kind = tool.string("type").unwrap_or("function".into());
        let name = tool
            .present(&kind)
            .and_then(|text| Object::parse(text).ok()?.string("name").map(Into::into));
        Some(CallerTool {
            param: format!("tools[{index}].{kind}.name"),
            name: name.unwrap_or_default(),
        })
    };
    tools.iter().enumerate().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn request(value: Value) -> ChatRequest {
        ChatRequest::parse(value.to_string().into()).unwrap()
    }

    #[test]
    fn what_is_read_may_not_be_given_twice() {
        let parse = |body: &'static str| ChatRequest::parse(body.into()).map(|_| ()).unwrap_err();
        assert_eq!(
            parse(r#"{"mcp":{},"stream":true,"stream":false}"#),
            Unread::Doubled("stream".into())
        );
        assert_eq!(
            parse(r#"{"mcp":{},"mcp":{}}"#),
            Unread::Doubled("mcp".into())
        );
        assert_eq!(parse(r#"{"a":{"mcp":{}}}"#), Unread::NotOurs);
        assert_eq!(parse(r#"["mcp"]"#), Unread::NotOurs);
        assert_eq!(parse(r#"{"mcp":"#), Unread::NotJson);
        assert!(ChatRequest::parse(r#"{"mcp":{},"x":1,"x":2}"#.into()).is_ok());
    }

    #[test]
    fn the_callers_tools_are_known_by_the_member_of_their_type() {
        let request = request(json!({"mcp": {}, "tools": [
            {"type": "function", "function": {"name": "a"}}, {"type": "custom", "custom": {"name": "b"}}, {"type": "web_search"}
        ]}));
        let names: Vec<_> = request
            .tools
            .iter()
            .map(|t| (&*t.param, &*t.name))
            .collect();
        assert_eq!(
            names,
            [
                ("tools[0].function.name", "a"),
                ("tools[1].custom.name", "b"),
                ("tools[2].web_search.name", "")
            ]
        );
    }
}
