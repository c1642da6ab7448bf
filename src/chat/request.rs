//! A chat-completions request, as far as the layer reads it.

use std::ops::Range;

use bytes::Bytes;

use super::{
    asks::{self, Asks},
    instructions::Instruction,
    tool_choice::{self, OfServer, ToolChoice},
    turn::Asked,
    unread::Unread,
};
use crate::json::{Edit, Malformed, Object, Places, Removable, array, concat, quoted};

/// A request as far as the layer reads it: the positions of its parts.
#[derive(Debug)]
pub(crate) struct ChatRequest {
    pub(super) body: Bytes,
    /// The member `mcp`, as text; `None` if there is none.
    pub(crate) mcp: Option<String>,
    /// What was taken out of the body, since the layer is asked by it.
    pub(crate) asks: Asks,
    pub(crate) model: Option<String>,
    /// The alias that its caller has for the model, where it names one.
    pub(crate) alias: Option<String>,
    /// The place of its value.
    model_place: Option<Range<usize>>,
    /// `true` if the caller wants server-sent events.
    pub(crate) stream: bool,
    /// `true` if the caller wants a chunk with the usage at the end of the stream.
    pub(crate) include_usage: bool,
    /// The edit that requests the usage from the upstream, once [`ChatRequest::ask_for_usage`] wants
    /// it.
    pub(super) usage: Option<Edit>,
    /// A message that is added, once [`ChatRequest::instruct`] wants it.
    pub(super) instruction: Option<Instruction>,
    /// The place of the member for that, and its value.
    usage_request: (Places<1>, &'static str),
    /// The number of levels that the request nests.
    depth: usize,
    /// `true` if the caller asks for one choice, as by default.
    pub(crate) one_choice: bool,
    /// `true` if the caller sends functions in the old form.
    has_functions: bool,
    /// `true` if the caller allows several calls at once, as by default.
    pub(crate) parallel: bool,
    /// The end user of the caller: `user` and `safety_identifier`, if they are sent.
    pub(crate) users: [Option<String>; 2],
    /// The caller's own tools, in their order, once they are [read](ChatRequest::read_tools).
    pub(crate) tools: Vec<CallerTool>,
    /// The position of the list `tools`.
    tools_list: Option<Range<usize>>,
    /// `tools` is neither a list nor `null`.
    pub(crate) has_odd_tools: bool,
    /// The position of the list `messages`; `None` if it is not a list.
    pub(super) messages: Option<Range<usize>>,
    /// The places of [`REMOVABLE`], to be removed.
    pub(super) removable: Removable<3>,
    pub(super) tools_place: ToolsPlace,
    pub(super) tool_choice: ToolChoice,
    /// The place of `tool_choice`'s value.
    choice_place: Option<Range<usize>>,
    /// The place of `tool_choice`, and the value that forbids tools.
    no_choice: (Places<1>, &'static str),
    /// No tool is left: what says how tools are called goes as well.
    pub(super) has_no_tools: bool,
}

/// The members that are, or may be, removed from the request.
const REMOVABLE: [&str; 3] = ["mcp", "parallel_tool_calls", "tool_choice"];

/// The position where tools are added, and the text that has to surround them there.
#[derive(Debug)]
pub(super) struct ToolsPlace {
    pub(super) place: Range<usize>,
    pub(super) before: &'static str,
    pub(super) behind: &'static str,
}

/// A tool that the caller sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallerTool {
    /// The path of the name, such as `tools[0].function.name`.
    pub(crate) param: String,
    pub(crate) name: String,
}

/// The members that the layer reads. A duplicate of one of them is refused, since the layer would
/// have to guess which one counts.
const READ: [&str; 12] = [
    "mcp",
    "messages",
    "metadata",
    "model",
    "n",
    "parallel_tool_calls",
    "safety_identifier",
    "stream",
    "stream_options",
    "tool_choice",
    "tools",
    "user",
];

/// The most messages before a turn that is resumed; a request of 20 MiB has room for millions of
/// empty ones.
const MESSAGES: usize = 100_000;

impl ChatRequest {
    /// Reads `body`, which seems to contain `mcp`.
    ///
    /// The whole body is only read this once: a conversation can be long. Only what the layer is asked
    /// by outside of `mcp` has to be taken out of it, and what is left is read again.
    pub(crate) fn parse(body: Bytes) -> Result<Self, Unread> {
        Self::read(body, false)
    }

    /// Reads `body`; with `is_asked` the layer is asked for something by what is not in it.
    pub(crate) fn read(body: Bytes, is_asked: bool) -> Result<Self, Unread> {
        let text = std::str::from_utf8(&body).map_err(|_| Unread::NotJson)?;
        let object = Object::parse(text).map_err(|malformed| match malformed {
            Malformed::NotJson => Unread::NotJson,
            Malformed::NotAnObject => Unread::NotOurs,
            Malformed::TooLarge => Unread::TooLarge,
        })?;
        let mcp = object.get("mcp").map(str::to_owned);
        if let Some(name) = READ.into_iter().find(|name| object.count(name) > 1) {
            let is_asked = is_asked || mcp.is_some() || asks::is_asked(&object);
            let doubled = is_asked.then(|| Unread::Doubled(name.into()));
            return Err(doubled.unwrap_or(Unread::NotOurs));
        }
        let (asks, edits) = Asks::of(&object)?;
        if !edits.is_empty() {
            let rest = concat(&Edit::apply(&body, edits));
            let request = Self::read(rest, is_asked)?;
            return Ok(Self { asks, ..request });
        }
        let stream_options = stream_options(&object);
        Ok(Self {
            mcp,
            asks,
            model: object.string("model").map(Into::into),
            alias: None,
            model_place: object.get("model").map(|model| object.span(model)),
            stream: object.get("stream") == Some("true"),
            include_usage: stream_options
                .as_ref()
                .is_some_and(|options| options.get("include_usage") == Some("true")),
            usage: None,
            instruction: None,
            usage_request: usage_request(&object, stream_options.as_ref()),
            depth: object.depth(),
            one_choice: object.present("n").is_none_or(|n| n.parse() == Ok(1.0)),
            has_functions: object.present("functions").is_some(),
            parallel: object.get("parallel_tool_calls") != Some("false"),
            users: ["user", "safety_identifier"].map(|name| {
                let text = object.string(name).map(Into::into);
                text.or_else(|| object.present(name).map(str::to_owned))
            }),
            tools: Vec::new(),
            tools_list: object
                .get("tools")
                .filter(|tools| tools.starts_with('['))
                .map(|tools| object.span(tools)),
            has_odd_tools: object
                .present("tools")
                .is_some_and(|tools| !tools.starts_with('[')),
            messages: object
                .get("messages")
                .filter(|messages| messages.starts_with('['))
                .map(|messages| object.span(messages)),
            removable: object.removable(REMOVABLE),
            tools_place: ToolsPlace::of(&object),
            tool_choice: ToolChoice::of(&object),
            choice_place: object
                .present("tool_choice")
                .map(|choice| object.span(choice)),
            no_choice: (
                object.places(["tool_choice"]),
                ToolChoice::forbidding(&object),
            ),
            has_no_tools: false,
            body,
        })
    }

    /// The request for another model, read again, and otherwise the same byte for byte.
    ///
    /// # Errors
    /// None where there is a model.
    pub(crate) fn for_model(self, model: &str) -> Result<Self, Unread> {
        let place = self.model_place.ok_or(Unread::NotOurs)?;
        let edit = Edit::replace(place, quoted(model));
        let request = Self::read(concat(&Edit::apply(&self.body, vec![edit])), true)?;
        Ok(Self {
            asks: self.asks,
            alias: self.model,
            ..request
        })
    }

    /// Returns `true` if the caller leaves to the model whether it calls tools.
    pub(crate) fn may_choose(&self) -> bool {
        self.tool_choice.is_default
    }

    /// What the caller asked for.
    pub(crate) fn asked(&self) -> Asked {
        Asked {
            one_choice: self.one_choice,
            tools_only: !self.has_functions,
        }
    }

    /// Requests a chunk with the usage at the end of each turn.
    pub(crate) fn ask_for_usage(&mut self) {
        let (place, value) = &self.usage_request;
        self.usage = place.set([Some(value)]).into_iter().next();
    }

    /// Returns `true` if only the gateway asks for the usage: the caller gets no chunk with it.
    pub(crate) fn adds_usage(&self) -> bool {
        self.usage.is_some() && !self.include_usage
    }

    /// Adds a system message with this text to all turns, behind those with which the caller begins.
    /// A request without a list of messages has no place for it.
    pub(crate) fn instruct(&mut self, text: &str) {
        let list = self.messages.clone();
        self.instruction = list.map(|list| Instruction::new(&self.body, list, text));
    }

    /// Returns `true` if the request nests deeper than `limit` levels, which reading it has counted.
    pub(crate) fn is_deeper_than(&self, limit: usize) -> bool {
        self.depth > limit
    }

    /// Reads the caller's own tools; returns `false` if there are more than `most`.
    pub(crate) fn read_tools(&mut self, most: usize) -> bool {
        let Some(list) = self.tools_list.clone() else {
            return true;
        };
        let text = std::str::from_utf8(&self.body[list]).unwrap_or_default();
        let tools = array(text, most.saturating_add(1)).unwrap_or_default();
        if tools.len() > most {
            return false;
        }
        self.tools = caller_tools(&tools, &self.asks);
        true
    }

    /// The whole request, as it came.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.body
    }

    /// The list of messages, as text.
    pub(crate) fn messages_text(&self) -> &[u8] {
        let list = self.messages.clone();
        list.map_or(&[], |list| &self.body[list])
    }

    /// Returns `true` if `messages` is an array.
    pub(crate) fn has_messages(&self) -> bool {
        self.messages.is_some()
    }

    /// The messages in their order; `None` where there is no list of them, or too long a one.
    pub(crate) fn messages(&self) -> Option<Vec<Bytes>> {
        let places = self.message_places()?;
        Some(places.into_iter().map(|p| self.body.slice(p)).collect())
    }

    /// Each message's place; `None` where there is no list of them, or too long a one.
    pub(super) fn message_places(&self) -> Option<Vec<Range<usize>>> {
        let list = self.messages.clone()?;
        let text = std::str::from_utf8(&self.body[list.clone()]).ok()?;
        let place = |message: &str| {
            let start = list.start + (message.as_ptr() as usize - text.as_ptr() as usize);
            start..start + message.len()
        };
        let messages = array(text, MESSAGES + 1)?;
        let is_read = messages.len() <= MESSAGES;
        is_read.then(|| messages.into_iter().map(place).collect())
    }

    /// Returns `true` if the caller allows no tool to run, whatever the model says.
    pub(crate) fn forbids_tools(&self) -> bool {
        self.tool_choice.forbids
    }

    /// The tool of a server that has to be called, if the caller says so in words that are none of chat
    /// completions.
    pub(crate) fn choice_of_server(&self) -> Option<OfServer<'_>> {
        let place = self.choice_place.clone()?;
        OfServer::of(std::str::from_utf8(&self.body[place]).ok()?)
    }

    /// Replaces the caller's `tool_choice` by `value`, until tools have run.
    pub(crate) fn choose(&mut self, value: String) {
        if let Some(place) = self.choice_place.clone() {
            self.tool_choice.choose(value, place);
        }
    }

    /// The tools that `tool_choice` names, as it is for the first turn: the model must see these.
    pub(crate) fn chosen_tools(&self) -> Vec<String> {
        let callers = || {
            let place = self.choice_place.clone()?;
            std::str::from_utf8(&self.body[place]).ok()
        };
        let choice = self.tool_choice.chosen().or_else(callers);
        choice.map(tool_choice::names).unwrap_or_default()
    }

    /// The edit that makes `tool_choice` what was chosen for it.
    pub(super) fn chosen(&self) -> Option<Edit> {
        let value = self.tool_choice.chosen()?.to_owned();
        let place = self.choice_place.clone()?;
        Some(Edit::replace(place, value))
    }

    /// The edit that relaxes `tool_choice` once tools have run.
    pub(super) fn relaxed_choice(&self) -> Option<&Edit> {
        if self.has_no_tools {
            return None;
        }
        let own = self.tools.iter().map(|tool| &*tool.name);
        self.tool_choice.relaxed(own)
    }

    /// The edit that forbids tools.
    pub(super) fn forbidding(&self) -> Option<Edit> {
        if self.has_no_tools {
            return None;
        }
        let (place, value) = &self.no_choice;
        place.set([Some(value)]).into_iter().next()
    }

    /// The body without `mcp` and otherwise untouched; where no tool is left, also without what says
    /// how tools are called, which is refused beside none.
    pub(crate) fn without_mcp(&self) -> Vec<Bytes> {
        let no_tools = self.asks.no_tools;
        let gone = self.removable.edits([true, no_tools, no_tools]);
        Edit::apply(&self.body, gone)
    }

    /// None was added: where there was no tool but those that asked the layer, turns do without what
    /// says how tools are called. The body stays as it is, and what was read of it.
    pub(crate) fn add_no_tools(&mut self) {
        self.has_no_tools = self.asks.no_tools;
    }
}

impl ToolsPlace {
    /// The place after the `tools` of `object`.
    fn of(object: &Object<'_>) -> Self {
        match object.get("tools") {
            Some(list) if list.starts_with('[') => {
                let end = object.span(list).end - 1;
                let is_empty = list[1..list.len() - 1].trim_ascii().is_empty();
                Self {
                    place: end..end,
                    before: if is_empty { "" } else { "," },
                    behind: "",
                }
            }
            // Null, or not a list, which the upstream would have refused.
            Some(other) => Self {
                place: object.span(other),
                before: "[",
                behind: "]",
            },
            None => Self {
                place: object.close()..object.close(),
                before: r#","tools":["#,
                behind: "]",
            },
        }
    }
}

fn stream_options<'a>(object: &Object<'a>) -> Option<Object<'a>> {
    Object::parse(object.present("stream_options")?).ok()
}

/// The place of the member that requests the usage from the upstream, and its value.
fn usage_request(object: &Object<'_>, options: Option<&Object<'_>>) -> (Places<1>, &'static str) {
    match options {
        Some(options) => {
            let place = options.places(["include_usage"]);
            (place.behind(object.span(options.text()).start), "true")
        }
        None => {
            let place = object.places(["stream_options"]);
            (place, r#"{"include_usage":true}"#)
        }
    }
}

/// The caller's own tools, as far as they have names.
fn caller_tools(tools: &[&str], asks: &Asks) -> Vec<CallerTool> {
    let name = |(index, tool): (usize, &&str)| {
        let tool = Object::parse(tool).ok()?;
        // A tool is named in the member of its own type: `function`, `custom`.
        let kind = tool.string("type").unwrap_or("function".into());
        let name = tool
            .present(&kind)
            .and_then(|text| Object::parse(text).ok()?.string("name").map(Into::into));
        Some(CallerTool {
            param: format!("tools[{}].{kind}.name", asks.place_before(index)),
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
        assert_eq!(parse(r#"{"stream":1,"stream":1}"#), Unread::NotOurs);
        let without = ChatRequest::parse(r#"{"a":{"mcp":{}}}"#.into()).unwrap();
        assert_eq!(without.mcp, None);
        assert_eq!(parse(r#"["mcp"]"#), Unread::NotOurs);
        assert_eq!(parse(r#"{"mcp":"#), Unread::NotJson);
        assert!(ChatRequest::parse(r#"{"mcp":{},"x":1,"x":2}"#.into()).is_ok());
    }

    #[test]
    fn the_callers_tools_are_known_by_the_member_of_their_type() {
        let mut request = request(json!({"mcp": {}, "tools": [
            {"type": "function", "function": {"name": "a"}}, {"type": "custom", "custom": {"name": "b"}}, {"type": "web_search"}
        ]}));
        assert!(!request.read_tools(2) && request.read_tools(3));
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
