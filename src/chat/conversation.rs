//! The request bodies of all turns, derived from one request.

use std::ops::Range;

use bytes::Bytes;

use super::{ChatRequest, Omitted, Place, is_media_message, parts_of, request::ToolsPlace};
use crate::json::Edit;

/// The bodies of a request's turns: fixed text around a growing list of messages.
///
/// A turn appends bytes and copies none; `tools` is the same text in every turn.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    first: Template,
    /// What differs once tools have run: a `tool_choice` that is relaxed.
    later: Option<Template>,
    /// The place of the messages to come, and of those that they replace.
    hole: Range<usize>,
    /// `true` if the next message needs a comma before it.
    comma: bool,
    appended: Vec<Bytes>,
    omitted: Omitted,
    /// A forced `tool_choice` is left out, too.
    omits_forced: bool,
    /// No tool may be called any more.
    forbids: bool,
}

/// The text before and after the place where messages are appended.
#[derive(Clone, Debug, Default)]
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

    /// Begins a conversation with only `untouched`, the request's first messages, even none; the rest
    /// are added as they are restored.
    pub(crate) fn restored(request: &ChatRequest, tools: &[Bytes], untouched: &[Bytes]) -> Self {
        let Some(list) = request.messages.clone() else {
            return Self::new(request, tools);
        };
        // They are parts of the body.
        let end =
            |last: &Bytes| last.as_ptr() as usize + last.len() - request.body.as_ptr() as usize;
        let start = untouched.last().map_or(list.start + 1, end);
        Self::around(request, tools, start..list.end - 1, !untouched.is_empty())
    }

    /// Begins a conversation whose messages are appended in place of `hole`.
    fn around(request: &ChatRequest, tools: &[Bytes], hole: Range<usize>, comma: bool) -> Self {
        let mut conversation = Self {
            first: Template::default(),
            later: None,
            hole,
            comma,
            appended: Vec::new(),
            omitted: Omitted::default(),
            omits_forced: false,
            forbids: false,
        };
        conversation.build(request, tools);
        let ours = request.instruction.as_ref();
        if let Some(message) = ours.and_then(|ours| ours.appended(conversation.hole.start)) {
            conversation.push(message.clone());
        }
        conversation
    }

    /// Makes the text around the messages.
    fn build(&mut self, request: &ChatRequest, tools: &[Bytes]) {
        let mut edits = injection(request, tools);
        let ours = request.instruction.as_ref();
        edits.extend(ours.and_then(|ours| ours.inserted(self.hole.start)));
        if !self.omitted.has(Omitted::STREAM_OPTIONS) {
            edits.extend(request.usage.clone());
        }
        if !self.hole.is_empty() {
            edits.push(Edit::remove(self.hole.clone()));
        }
        if self.forbids && !self.omitted.has(Omitted::TOOL_CHOICE) {
            edits.extend(request.forbidding());
            self.later = None;
            self.first = self.template(request, edits, false);
            return;
        }
        let relaxed = request.relaxed_choice();
        self.later = relaxed.map(|choice| {
            let omits_choice = self.omitted.has(Omitted::TOOL_CHOICE);
            let choice = (!omits_choice).then(|| choice.clone());
            let edits = edits.iter().cloned().chain(choice);
            self.template(request, edits.collect(), omits_choice)
        });
        let is_default = request.tool_choice.is_default;
        let omits_choice = self.omitted.has(Omitted::TOOL_CHOICE) && is_default;
        let omits_choice = omits_choice || self.omits_forced;
        edits.extend(request.chosen().filter(|_| !omits_choice));
        self.first = self.template(request, edits, omits_choice);
    }

    fn template(&self, request: &ChatRequest, mut edits: Vec<Edit>, no_choice: bool) -> Template {
        let no_parallel = self.omitted.has(Omitted::PARALLEL_TOOL_CALLS);
        let no_tools = request.has_no_tools;
        let gone = [true, no_parallel || no_tools, no_choice || no_tools];
        edits.extend(request.removable.edits(gone));
        Template::new(&request.body, edits, self.hole.start)
    }

    /// Forbids all tools in the turns to come.
    pub(crate) fn forbid_tools(&mut self, request: &ChatRequest, tools: &[Bytes]) {
        self.forbids = true;
        self.build(request, tools);
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

    /// The messages that were appended, to be replaced.
    pub(crate) fn appended_mut(&mut self) -> impl Iterator<Item = &mut Bytes> {
        let appended = self.appended.iter_mut();
        appended.filter(|text| !is_comma(text))
    }

    /// Returns `true` if a message shows media of results.
    pub(crate) fn has_media(&self) -> bool {
        self.media().next().is_some()
    }

    /// The media of results that messages show.
    pub(crate) fn media(&self) -> impl Iterator<Item = &[u8]> {
        let messages = self.appended.iter().filter(|text| is_media_message(text));
        messages.flat_map(|message| parts_of(message))
    }

    /// Leaves out the messages that show media of results; what the results say of them stays.
    pub(crate) fn drop_media(&mut self) {
        let appended = std::mem::take(&mut self.appended);
        self.comma = appended.first().is_some_and(is_comma);
        let is_kept = |text: &Bytes| !is_comma(text) && !is_media_message(text);
        self.extend(appended.into_iter().filter(is_kept));
    }

    /// The body of the next turn. `tools_ran` relaxes a `tool_choice` that would otherwise never
    /// end.
    pub(crate) fn turn(&self, tools_ran: bool) -> Vec<Bytes> {
        let later = self.later.as_ref().filter(|_| tools_ran);
        let template = later.unwrap_or(&self.first);
        if self.omitted.rows().any(|row| row.place != Place::Request) {
            let appended = self.appended.iter();
            let appended: Vec<_> = appended.map(|text| self.omitted.taken_from(text)).collect();
            return [&template.before[..], &appended, &template.behind].concat();
        }
        [&template.before[..], &self.appended, &template.behind].concat()
    }

    /// The members that turns leave out.
    pub(crate) fn omitted(&self) -> Omitted {
        self.omitted
    }

    /// Of these, what another request can leave out, too: a forced choice is asked for anew.
    pub(crate) fn omitted_for_long(&self) -> Omitted {
        match self.omits_forced {
            true => self.omitted.without(Omitted::TOOL_CHOICE),
            false => self.omitted,
        }
    }

    /// Those of `members` that the next turn has, and can do without.
    ///
    /// Before tools have run that is what was added here, and what the loop sees to itself: an error
    /// about anything else is the caller's. Afterwards it is also what the loop has appended, and a
    /// `tool_choice`, unless it forbids tools.
    pub(crate) fn has(&self, request: &ChatRequest, members: Omitted, tools_ran: bool) -> Omitted {
        // The loop runs its own calls one after the other in any case; a caller's are the caller's.
        let has_parallel = request.removable.has(1)
            && !request.has_no_tools
            && (tools_ran || request.tools.is_empty());
        // Where the caller asks for it as well, there is nothing of ours to leave out.
        let ours = [
            (Omitted::STREAM_OPTIONS, request.adds_usage()),
            (Omitted::PARALLEL_TOOL_CALLS, has_parallel),
        ];
        let ours = ours.into_iter().filter(|(_, is_there)| *is_there);
        let ours = ours.fold(Omitted::default(), |all, (member, _)| all.and(member));
        let appended = self.appended.iter().filter(|_| tools_ran);
        let appended = appended.map(|message| members.in_message(message));
        let found = appended.fold(members.common(ours), Omitted::and);
        let choice = match self.can_omit_choice(request, tools_ran) {
            true => members.common(Omitted::TOOL_CHOICE),
            false => Omitted::default(),
        };
        found.without(self.omitted).and(choice)
    }

    fn can_omit_choice(&self, request: &ChatRequest, tools_ran: bool) -> bool {
        if self.forbids {
            return !self.omitted.has(Omitted::TOOL_CHOICE);
        }
        let is_there = request.removable.has(2) && !request.has_no_tools;
        if !is_there || request.tool_choice.forbids {
            return false;
        }
        match self.choice_is_free(request, tools_ran) {
            true => !self.omitted.has(Omitted::TOOL_CHOICE),
            false => tools_ran && !self.omits_forced,
        }
    }

    /// Returns `true` if the next turn's `tool_choice` says what holds without it.
    fn choice_is_free(&self, request: &ChatRequest, tools_ran: bool) -> bool {
        let is_free = request.tool_choice.is_default || tools_ran && self.later.is_some();
        is_free && !self.forbids
    }

    /// Leaves these out of the turns to come, and nothing else.
    pub(crate) fn omit(
        &mut self,
        request: &ChatRequest,
        tools: &[Bytes],
        omitted: Omitted,
        tools_ran: bool,
    ) {
        let is_new = self
            .has(request, omitted, tools_ran)
            .has(Omitted::TOOL_CHOICE);
        let is_forced = is_new && !self.choice_is_free(request, tools_ran);
        let is_kept = omitted.has(Omitted::TOOL_CHOICE);
        self.omits_forced = is_kept && (is_forced || self.omits_forced);
        self.omitted = omitted;
        self.build(request, tools);
    }
}

fn is_comma(text: &Bytes) -> bool {
    &text[..] == b","
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
    use crate::{
        chat::{MediaPart, media_message},
        json::concat,
    };

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
    fn messages_with_media_are_left_out_with_their_commas() {
        let media = || {
            let part = MediaPart::new("an image".into(), "image/png", "AAAA");
            media_message(&[part]).unwrap()
        };
        for (messages, first) in [("[]", ""), ("[0]", "0,")] {
            let body = format!(r#"{{"messages":{messages},"mcp":{{}}}}"#);
            let request = ChatRequest::parse(body.into()).unwrap();
            let mut conversation = Conversation::new(&request, &[]);
            for message in ["1".into(), media(), "2".into(), media()] {
                conversation.push(message);
            }
            assert!(conversation.has_media());
            conversation.drop_media();
            assert!(!conversation.has_media());
            conversation.push("3".into());
            let expected = format!(r#"{{"messages":[{first}1,2,3]}}"#);
            assert_eq!(text(&conversation.turn(true)), expected);
        }
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
    fn a_turn_leaves_out_what_is_rejected_and_keeps_the_rest_byte_for_byte() {
        let body = r#"{"tool_choice":"auto","parallel_tool_calls":false , "messages":[1],"mcp":{},"n": 1.0}"#;
        let request = ChatRequest::parse(body.into()).unwrap();
        let mut conversation = Conversation::new(&request, &[]);
        conversation.push(r#"{"role":"assistant","reasoning":"x","content":null}"#.into());
        conversation.push(r#"{"role":"tool","name":"f"}"#.into());
        let all = Omitted::of(|_| true);
        let early = conversation.has(&request, all, false);
        assert_eq!(
            early,
            Omitted::PARALLEL_TOOL_CALLS.and(Omitted::TOOL_CHOICE)
        );
        let found = conversation.has(&request, all, true);
        conversation.omit(&request, &[], found, true);
        assert!(conversation.has(&request, all, true).is_empty());
        assert_eq!(conversation.omitted_for_long(), found);
        assert_eq!(
            text(&conversation.turn(true)),
            r#"{ "messages":[1,{"role":"assistant","content":null},{"role":"tool"}],"n": 1.0}"#
        );
    }

    #[test]
    fn a_forced_choice_is_left_out_once_tools_ran_and_only_in_this_request() {
        let body = json!({"mcp": {}, "messages": [], "tool_choice": "required",
            "tools": [{"type": "function", "function": {"name": "own"}}]});
        let mut request = request(body);
        assert!(request.read_tools(1));
        let mut conversation = Conversation::new(&request, &[]);
        let choice = Omitted::TOOL_CHOICE;
        assert!(conversation.has(&request, choice, false).is_empty());
        // Remembered of another request, whose choice was free.
        conversation.omit(&request, &[], choice, false);
        assert!(text(&conversation.turn(true)).contains("required"));
        assert_eq!(conversation.has(&request, choice, true), choice);
        conversation.omit(&request, &[], choice, true);
        assert!(!text(&conversation.turn(true)).contains("tool_choice"));
        assert!(conversation.omitted_for_long().is_empty());
    }

    #[test]
    fn a_choice_that_forbids_tools_is_never_left_out() {
        let choice = Omitted::TOOL_CHOICE;
        for sent in [json!("none"), json!({"type": "none"})] {
            let body = json!({"mcp": {}, "messages": [], "tool_choice": sent});
            let request = request(body);
            let mut conversation = Conversation::new(&request, &[]);
            assert!(conversation.has(&request, choice, true).is_empty());
            conversation.omit(&request, &[], choice, true);
            assert!(text(&conversation.turn(true)).contains("none"));
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
