//! A chat-completions request, and the body of each turn that is made of it.

use std::ops::Range;

use bytes::Bytes;

use super::{
    Edit, ToolCall,
    object::{Malformed, Object, array},
};

/// A request as far as the layer reads it: where things stand in its bytes.
#[derive(Debug)]
pub(crate) struct ChatRequest {
    body: Bytes,
    /// The member `mcp`, as text.
    pub(crate) mcp: String,
    pub(crate) model: Option<String>,
    /// The caller wants server-sent events.
    pub(crate) stream: bool,
    /// How many choices the caller asks for.
    pub(crate) choices: u64,
    /// The caller allows several calls at once; so does the default.
    pub(crate) parallel: bool,
    /// `tool_choice` is `"none"`.
    pub(crate) tools_forbidden: bool,
    /// The caller's own tools, in their order.
    pub(crate) tools: Vec<CallerTool>,
    /// Each message's place; `None` where `messages` is no array.
    messages: Option<Vec<Range<usize>>>,
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
            choices: object.get("n").and_then(|n| n.parse().ok()).unwrap_or(1),
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

    /// The turns of this request, with `tools` behind the caller's own.
    ///
    /// `kept` messages stay where they are; what follows them is left out, so that it can be
    /// put in again in another order.
    pub(crate) fn conversation(&self, tools: &[Bytes], kept: usize) -> Conversation {
        let Ok(object) = Object::parse(self.text()) else {
            return Conversation::fixed(self.without_mcp());
        };
        let mut edits = self.removal();
        edits.extend(injection(&object, tools));
        let Some((hole, comma)) = self.hole(&object, kept, &mut edits) else {
            return Conversation::fixed(Edit::apply(&self.body, edits));
        };
        let first = Template::new(&self.body, edits.clone(), hole);
        let later = match relaxed_choice(&object) {
            Some(choice) => {
                edits.push(choice);
                Template::new(&self.body, edits, hole)
            }
            None => first.clone(),
        };
        Conversation {
            first,
            later,
            comma,
            appended: Vec::new(),
        }
    }

    fn removal(&self) -> Vec<Edit> {
        let object = Object::parse(self.text()).ok();
        object
            .and_then(|object| object.remove("mcp"))
            .into_iter()
            .collect()
    }

    /// Where messages are appended, and whether a comma comes before the first.
    fn hole(
        &self,
        object: &Object<'_>,
        kept: usize,
        edits: &mut Vec<Edit>,
    ) -> Option<(usize, bool)> {
        let places = self.messages.as_ref()?;
        let list = object.span(object.get("messages")?);
        let kept = kept.min(places.len());
        let hole = match kept {
            0 => list.start + 1,
            _ => places[kept - 1].end,
        };
        if kept < places.len() {
            edits.push(Edit::remove(hole..list.end - 1));
        }
        Some((hole, kept > 0))
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

/// The edit that puts `tools` behind the caller's own.
fn injection(object: &Object<'_>, tools: &[Bytes]) -> Option<Edit> {
    if tools.is_empty() {
        return None;
    }
    let ours = tools.join(&b","[..]);
    match object
        .present("tools")
        .map(|list| (object.span(list), array(list)))
    {
        Some((place, Some(theirs))) => {
            let comma: &[u8] = if theirs.is_empty() { b"" } else { b"," };
            Some(Edit::insert(place.end - 1, [comma, &ours].concat()))
        }
        // Absent, null, or not a list, which the upstream would have refused.
        _ => {
            let list = ["[".as_bytes(), &ours, b"]"].concat();
            let list = String::from_utf8(list).ok()?;
            object.set(&[("tools", &list)]).pop()
        }
    }
}

/// What becomes of `tool_choice` once tools have run: a model that must call a tool never ends.
fn relaxed_choice(object: &Object<'_>) -> Option<Edit> {
    let choice = object.present("tool_choice")?;
    let place = object.span(choice);
    let Ok(named) = Object::parse(choice) else {
        return (choice == r#""required""#).then(|| Edit::replace(place, r#""auto""#));
    };
    // `allowed_tools` keeps its list and is only no longer required.
    let Some(allowed) = named.present("allowed_tools") else {
        return Some(Edit::replace(place, r#""auto""#));
    };
    let mode = Object::parse(allowed)
        .ok()?
        .present("mode")
        .filter(|mode| *mode == r#""required""#)?;
    Some(Edit::replace(object.span(mode), r#""auto""#))
}

/// The bodies of a request's turns: fixed text around a list of messages that grows.
///
/// A turn appends bytes and copies none; `tools` is the same text in every turn.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    first: Template,
    later: Template,
    /// Whether a comma comes before the next message.
    comma: bool,
    appended: Vec<Bytes>,
}

/// The text before and behind the place where messages are appended.
#[derive(Clone, Debug)]
struct Template {
    before: Vec<Bytes>,
    behind: Vec<Bytes>,
}

impl Template {
    fn new(body: &Bytes, edits: Vec<Edit>, hole: usize) -> Self {
        let (before, behind) = Edit::apply_around(body, edits, hole);
        Self { before, behind }
    }
}

impl Conversation {
    /// A conversation that cannot grow, because its messages are no list.
    fn fixed(before: Vec<Bytes>) -> Self {
        let first = Template {
            before,
            behind: Vec::new(),
        };
        Self {
            later: first.clone(),
            first,
            comma: false,
            appended: Vec::new(),
        }
    }

    /// Appends a message.
    pub(crate) fn push(&mut self, message: Bytes) {
        if self.comma {
            self.appended.push(Bytes::from_static(b","));
        }
        self.comma = true;
        self.appended.push(message);
    }

    /// Appends messages.
    pub(crate) fn extend(&mut self, messages: impl IntoIterator<Item = Bytes>) {
        messages.into_iter().for_each(|message| self.push(message));
    }

    /// The body of the next turn; `tools_ran` relaxes a `tool_choice` that would never end.
    pub(crate) fn turn(&self, tools_ran: bool) -> Vec<Bytes> {
        let template = if tools_ran { &self.later } else { &self.first };
        [&template.before[..], &self.appended, &template.behind].concat()
    }
}

/// An assistant turn at the end of a request, with what the caller has answered of it.
#[derive(Debug)]
pub(crate) struct OpenTurn {
    /// How many messages there are up to the assistant's, itself included.
    pub(crate) kept: usize,
    pub(crate) calls: Vec<ToolCall>,
    /// For each call the caller's own `tool` message, if there is one.
    pub(crate) answered: Vec<Option<Bytes>>,
}

/// Why a request's last assistant turn cannot be resumed, and where that is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotResumable {
    pub(crate) param: String,
    pub(crate) reason: &'static str,
}

impl ChatRequest {
    /// The last assistant turn, if only `tool` messages follow it.
    pub(crate) fn open_turn(&self) -> Result<OpenTurn, NotResumable> {
        let fault = |param: String, reason| NotResumable { param, reason };
        let messages = self.messages().unwrap_or_default();
        let objects: Vec<_> = messages
            .iter()
            .map(|m| {
                std::str::from_utf8(m)
                    .ok()
                    .and_then(|t| Object::parse(t).ok())
            })
            .collect();
        let role = |index: usize| {
            objects[index]
                .as_ref()
                .and_then(|m: &Object<'_>| m.string("role"))
                .unwrap_or_default()
        };

        let mut last = messages.len();
        let turn = loop {
            let Some(index) = last.checked_sub(1) else {
                return Err(fault(
                    "messages".into(),
                    "there is no assistant message with tool calls to resume",
                ));
            };
            match &*role(index) {
                "assistant" => break index,
                "tool" => last = index,
                _ => {
                    return Err(fault(
                        format!("messages[{index}]"),
                        "only tool messages may follow the assistant message that is resumed",
                    ));
                }
            }
        };
        let calls = objects[turn]
            .as_ref()
            .map(ToolCall::of_message)
            .unwrap_or_default();
        if calls.is_empty() {
            return Err(fault(
                format!("messages[{turn}]"),
                "the assistant message to resume has no tool calls",
            ));
        }
        let mut answered = vec![None; calls.len()];
        for index in turn + 1..messages.len() {
            let id = objects[index]
                .as_ref()
                .and_then(|m| m.string("tool_call_id"))
                .unwrap_or_default();
            let open = calls
                .iter()
                .zip(&answered)
                .position(|(call, answer)| call.id == *id && answer.is_none());
            let Some(call) = open else {
                return Err(fault(
                    format!("messages[{index}].tool_call_id"),
                    "answers no open call of the assistant message that is resumed",
                ));
            };
            answered[call] = Some(messages[index].clone());
        }
        Ok(OpenTurn {
            kept: turn + 1,
            calls,
            answered,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::chat::concat;

    fn request(value: Value) -> ChatRequest {
        ChatRequest::parse(value.to_string().into()).unwrap()
    }

    fn text(segments: &[Bytes]) -> String {
        String::from_utf8(concat(segments).to_vec()).unwrap()
    }

    fn tool(name: &str) -> Bytes {
        json!({"type": "function", "function": {"name": name}})
            .to_string()
            .into()
    }

    #[test]
    fn turns_append_messages_and_touch_nothing_else() {
        let body =
            r#"{ "messages" : [ {"role":"user"} ], "mcp":{}, "x" : 1.50 , "tools":[{"a":1}] }"#;
        let request = ChatRequest::parse(body.into()).unwrap();
        let mut conversation = request.conversation(&[tool("s__a"), tool("s__b")], 1);
        let tools = r#"[{"a":1},{"type":"function","function":{"name":"s__a"}},{"type":"function","function":{"name":"s__b"}}]"#;
        let tools = tools.replace(
            r#"{"type":"function","function":{"name":"s__a"}}"#,
            std::str::from_utf8(&tool("s__a")).unwrap(),
        );
        let tools = tools.replace(
            r#"{"type":"function","function":{"name":"s__b"}}"#,
            std::str::from_utf8(&tool("s__b")).unwrap(),
        );
        assert_eq!(
            text(&conversation.turn(false)),
            format!(r#"{{ "messages" : [ {{"role":"user"}} ], "x" : 1.50 , "tools":{tools} }}"#)
        );
        conversation.push("{}".into());
        conversation.push("[]".into());
        assert_eq!(
            text(&conversation.turn(true)),
            format!(
                r#"{{ "messages" : [ {{"role":"user"}},{{}},[] ], "x" : 1.50 , "tools":{tools} }}"#
            )
        );
    }

    #[test]
    fn tools_are_put_where_there_were_none() {
        for tools in [json!({}), json!({"tools": null}), json!({"tools": []})] {
            let mut body = json!({"mcp": {}, "messages": []});
            body.as_object_mut()
                .unwrap()
                .extend(tools.as_object().unwrap().clone());
            let mut conversation = request(body).conversation(&[tool("s__a")], 0);
            conversation.push("1".into());
            let turn: Value = serde_json::from_str(&text(&conversation.turn(false))).unwrap();
            assert_eq!(turn["tools"][0]["function"]["name"], "s__a");
            assert_eq!(turn["messages"], json!([1]));
            assert!(turn.get("mcp").is_none());
        }
    }

    #[test]
    fn a_choice_that_would_never_end_is_relaxed_once_tools_ran() {
        for (sent, later) in [
            (json!("required"), json!("auto")),
            (
                json!({"type": "function", "function": {"name": "f"}}),
                json!("auto"),
            ),
            (json!("none"), json!("none")),
            (json!("auto"), json!("auto")),
            (
                json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [1]}}),
                json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [1]}}),
            ),
        ] {
            let conversation = request(json!({"mcp": {}, "messages": [], "tool_choice": sent}))
                .conversation(&[], 0);
            let choice = |ran| {
                serde_json::from_str::<Value>(&text(&conversation.turn(ran))).unwrap()["tool_choice"].clone()
            };
            assert_eq!(choice(false), sent);
            assert_eq!(choice(true), later);
        }
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

    #[test]
    fn an_open_turn_is_the_last_assistant_message_with_only_answers_behind_it() {
        let calls =
            json!([{"id": "a", "function": {"name": "f"}}, {"id": "b", "function": {"name": "g"}}]);
        let assistant = json!({"role": "assistant", "tool_calls": calls});
        let answer = |id: &str| json!({"role": "tool", "tool_call_id": id});
        let open = |messages: Value| request(json!({"mcp": {}, "messages": messages})).open_turn();

        let turn = open(json!([{"role": "user"}, assistant, answer("b")])).unwrap();
        assert_eq!(turn.kept, 2);
        assert_eq!(
            turn.answered
                .iter()
                .map(Option::is_some)
                .collect::<Vec<_>>(),
            [false, true]
        );

        for (messages, param) in [
            (json!([]), "messages"),
            (json!([{"role": "user"}]), "messages[0]"),
            (json!([assistant, {"role": "user"}]), "messages[1]"),
            (
                json!([{"role": "assistant", "content": "hi"}]),
                "messages[0]",
            ),
            (json!([assistant, answer("c")]), "messages[1].tool_call_id"),
            (
                json!([assistant, answer("a"), answer("a")]),
                "messages[2].tool_call_id",
            ),
        ] {
            assert_eq!(open(messages).unwrap_err().param, param);
        }
    }
}
