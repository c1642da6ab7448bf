//! The request bodies of all turns, derived from one request.

use std::ops::Range;

use bytes::Bytes;

use super::{ChatRequest, request::ToolsPlace};
use crate::json::Edit;

/// The bodies of a request's turns: fixed text around a growing list of messages.
///
/// A turn appends bytes and copies none; `tools` is the same text in every turn.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    first: Template,
    /// What differs once tools have run: a `tool_choice` that is relaxed.
    later: Option<Template>,
    /// `true` if the next message needs a comma before it.
    comma: bool,
    appended: Vec<Bytes>,
}

/// The text before and after the place where messages are appended.
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
    /// Begins a conversation with `request`, and `tools` after the caller's own: pieces of one or
    /// more elements, with commas between them.
    pub(crate) fn new(request: &ChatRequest, tools: &[Bytes]) -> Self {
        let (hole, comma) = match request.messages.clone() {
            Some(list) => {
                let elements = request.body[list.start + 1..list.end - 1].trim_ascii_end();
                (list.start + 1 + elements.len(), !elements.is_empty())
            }
            // A conversation that cannot grow.
            None => (request.body.len(), false),
        };
        Self::around(request, tools, hole..hole, comma)
    }

    /// Begins a conversation with only the first `kept` messages. The rest are left out, so that
    /// they can be added again in another order.
    pub(crate) fn resumed(request: &ChatRequest, tools: &[Bytes], kept: usize) -> Self {
        let places = request.message_places().unwrap_or_default();
        let last = kept.checked_sub(1).and_then(|last| places.get(last));
        match (request.messages.clone(), last) {
            (Some(list), Some(last)) if kept < places.len() => {
                Self::around(request, tools, last.end..list.end - 1, true)
            }
            _ => Self::new(request, tools),
        }
    }

    /// Begins a conversation whose messages are appended in place of `hole`.
    fn around(request: &ChatRequest, tools: &[Bytes], hole: Range<usize>, comma: bool) -> Self {
        let mut edits = vec![request.removal.clone()];
        edits.extend(injection(request, tools));
        edits.extend(request.usage.clone());
        let place = hole.start;
        if !hole.is_empty() {
            edits.push(Edit::remove(hole));
        }
        let later = request.relaxed_choice.clone().map(|choice| {
            let edits = edits.iter().cloned().chain([choice]);
            Template::new(&request.body, edits.collect(), place)
        });
        let first = Template::new(&request.body, edits, place);
        Self {
            first,
            later,
            comma,
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

    /// The body of the next turn. `tools_ran` relaxes a `tool_choice` that would otherwise never
    /// end.
    pub(crate) fn turn(&self, tools_ran: bool) -> Vec<Bytes> {
        let later = self.later.as_ref().filter(|_| tools_ran);
        let template = later.unwrap_or(&self.first);
        [&template.before[..], &self.appended, &template.behind].concat()
    }
}

/// The edits that add `tools` after the caller's own. They are not copied: they are as long as all
/// else, and the same for all requests.
fn injection(request: &ChatRequest, tools: &[Bytes]) -> Vec<Edit> {
    if tools.is_empty() {
        return Vec::new();
    }
    let ToolsPlace {
        place,
        before,
        behind,
    } = &request.tools_place;
    let insert = |text: Bytes| Edit::insert(place.end, text);
    let comma = Bytes::from_static(b",");
    let mut edits = vec![Edit::replace(place.clone(), *before)];
    for (index, piece) in tools.iter().enumerate() {
        if index > 0 {
            edits.push(insert(comma.clone()));
        }
        edits.push(insert(piece.clone()));
    }
    edits.push(insert(Bytes::from_static(behind.as_bytes())));
    edits
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::json::concat;

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
        let mut conversation = Conversation::new(&request, &[tool("s__a"), tool("s__b")]);
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
    fn what_follows_the_messages_that_are_kept_makes_room() {
        let body = r#"{"messages":[ {"a":1} , {"b":"]"} , 3 ],"mcp":{}}"#;
        let request = ChatRequest::parse(body.into()).unwrap();
        for (kept, expected) in [
            (1, r#"{"messages":[ {"a":1},{}]}"#),
            (2, r#"{"messages":[ {"a":1} , {"b":"]"},{}]}"#),
            (3, r#"{"messages":[ {"a":1} , {"b":"]"} , 3,{} ]}"#),
        ] {
            let mut conversation = Conversation::resumed(&request, &[], kept);
            conversation.push("{}".into());
            assert_eq!(text(&conversation.turn(true)), expected);
        }
    }

    #[test]
    fn tools_are_put_where_there_were_none() {
        for tools in [json!({}), json!({"tools": null}), json!({"tools": []})] {
            let mut body = json!({"mcp": {}, "messages": []});
            body.as_object_mut()
                .unwrap()
                .extend(tools.as_object().unwrap().clone());
            let mut conversation = Conversation::new(&request(body), &[tool("s__a")]);
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
            let conversation = Conversation::new(
                &request(json!({"mcp": {}, "messages": [], "tool_choice": sent})),
                &[],
            );
            let choice = |ran| {
                serde_json::from_str::<Value>(&text(&conversation.turn(ran))).unwrap()["tool_choice"].clone()
            };
            assert_eq!(choice(false), sent);
            assert_eq!(choice(true), later);
        }
    }

    #[test]
    fn a_choice_is_relaxed_however_it_is_spelt() {
        let body = r#"{"mcp":{},"messages":[],"tool_choice":"requir\u0065d"}"#;
        let request = ChatRequest::parse(body.into()).unwrap();
        let turn = text(&Conversation::new(&request, &[]).turn(true));
        assert!(turn.contains(r#""tool_choice":"auto""#), "{turn}");
    }
}
