//! The body of each turn that is made of a request.

use bytes::Bytes;

use super::{
    ChatRequest, Edit,
    object::{Object, array, string},
};

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
    /// The turns of `request`, with `tools` behind the caller's own.
    ///
    /// `kept` messages stay where they are; what follows them is left out, so that it can be
    /// put in again in another order.
    pub(crate) fn new(request: &ChatRequest, tools: &[Bytes], kept: usize) -> Self {
        let Ok(object) = Object::parse(request.text()) else {
            return Self::fixed(request.without_mcp());
        };
        let mut edits = request.removal();
        edits.extend(injection(&object, tools));
        let Some((hole, comma)) = hole(request, &object, kept, &mut edits) else {
            return Self::fixed(Edit::apply(&request.body, edits));
        };
        let first = Template::new(&request.body, edits.clone(), hole);
        let later = match relaxed_choice(&object) {
            Some(choice) => {
                edits.push(choice);
                Template::new(&request.body, edits, hole)
            }
            None => first.clone(),
        };
        Self {
            first,
            later,
            comma,
            appended: Vec::new(),
        }
    }

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

/// Where messages are appended, and whether a comma comes before the first.
fn hole(
    request: &ChatRequest,
    object: &Object<'_>,
    kept: usize,
    edits: &mut Vec<Edit>,
) -> Option<(usize, bool)> {
    let places = request.messages.as_ref()?;
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
        return is_required(choice).then(|| Edit::replace(place, r#""auto""#));
    };
    // `allowed_tools` keeps its list and is only no longer required.
    let Some(allowed) = named.present("allowed_tools") else {
        return Some(Edit::replace(place, r#""auto""#));
    };
    let mode = Object::parse(allowed)
        .ok()?
        .present("mode")
        .filter(|mode| is_required(mode))?;
    Some(Edit::replace(object.span(mode), r#""auto""#))
}

fn is_required(choice: &str) -> bool {
    string(choice).is_some_and(|choice| choice == "required")
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
        let mut conversation = Conversation::new(&request, &[tool("s__a"), tool("s__b")], 1);
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
            let mut conversation = Conversation::new(&request(body), &[tool("s__a")], 0);
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
                0,
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
        let turn = text(&Conversation::new(&request, &[], 0).turn(true));
        assert!(turn.contains(r#""tool_choice":"auto""#), "{turn}");
    }
}
