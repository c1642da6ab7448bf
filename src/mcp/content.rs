//! The result of `tools/call`, as text for a model.
//!
//! A chat completion's tool message is text, so everything becomes text: what has none (images,
//! audio, binary resources) becomes a note of its type and size, since base64 would fill a model's
//! window with what it cannot read; models that take it get it from the result's media. Links are
//! shown and never fetched: a server could have us ask for any address. Structured content is often
//! sent twice, as itself and as blocks for older clients; it is shown once, and base64 that a block
//! has is not repeated in it.

use std::borrow::Cow;
use std::cell::LazyCell;
use std::fmt::Write;

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::error::Error;
use super::media::{MOST, Media, Place};
use super::raw;
use crate::{apart, json::quoted};

/// Structured content is compared with a text block as JSON up to this size; larger ones, of
/// which trees would be costly to build, byte for byte.
const MAX_COMPARED: usize = 256 * 1024;

/// The result of a tool call.
///
/// If the server repeats the credential that it was sent, the session id, or a long parameter of
/// its own address, in any encoding, it is replaced by `[redacted:credential]`: see
/// [`Scrubber`](crate::Scrubber). Credentials of less than 8 bytes are not redacted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallToolResult {
    /// `true` if the tool reports that it failed; `text` then tells the model why.
    pub is_error: bool,
    /// The result as text, one block after another on lines of their own:
    ///
    /// | block | becomes |
    /// |---|---|
    /// | text | the text |
    /// | structured content | its JSON, at the end, unless a text block says the same |
    /// | image, audio, binary resource | a note such as `[image/png, 48 kB, not shown]` |
    /// | embedded text resource | a line with its URI, and the text |
    /// | resource link | its name and URI, which is never fetched |
    ///
    /// Not truncated: [`ServerLimits::result_bytes`](super::ServerLimits::result_bytes) limits its
    /// size. The text comes from the server: it is untrusted, and may contain control characters.
    pub text: String,
    /// The result as the server sent it, apart from the redaction.
    pub raw: Box<RawValue>,
    /// The places in `raw` of what may be media.
    places: Vec<Place>,
}

impl CallToolResult {
    /// The images and recordings of the result, in its order: of blocks, and of embedded resources. At
    /// most 64. Each has its note in [`text`](Self::text) besides, and what is no Base64, empty, or by
    /// its first bytes of no type that models' services take (SVG, for instance) has only that.
    ///
    /// They are read from `raw` when asked for: one that replaces it has none.
    pub fn media(&self) -> impl Iterator<Item = Media<'_>> {
        let places = self.places.iter();
        places.filter_map(|place| place.read(self.raw.get()))
    }
}

/// The members of a result that are read; the rest stays in [`CallToolResult::raw`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    structured_content: Option<&'a RawValue>,
    is_error: Option<bool>,
    #[serde(borrow)]
    result_type: Option<Cow<'a, str>>,
}

/// A content block of any type; each type has some of the members.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Cow<'a, str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    mime_type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    uri: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    resource: Option<Resource<'a>>,
}

/// A resource within a block: text, or bytes in Base64.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource<'a> {
    #[serde(borrow, default)]
    uri: Cow<'a, str>,
    #[serde(borrow)]
    mime_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    blob: Option<&'a RawValue>,
}

/// Reads the result of `tools/call`; a large one, with an image for instance, apart.
///
/// # Errors
/// As [`read`]'s.
pub(super) async fn read_apart(result: Box<RawValue>) -> Result<CallToolResult, Error> {
    let read = apart::read(result.get().len(), move || read(result)).await;
    read.unwrap_or_else(|| Err(Error::protocol(MALFORMED)))
}

const MALFORMED: &str = "the tool's result is malformed";

/// Reads the result of `tools/call`.
pub(super) fn read(result: Box<RawValue>) -> Result<CallToolResult, Error> {
    let outcome: Outcome<'_> =
        serde_json::from_str(result.get()).map_err(|_| Error::protocol(MALFORMED))?;
    if !matches!(outcome.result_type.as_deref(), None | Some("complete")) {
        return Err(Error::protocol(
            "the tool's result is of a type that we did not ask for",
        ));
    }
    let mut text = Text::default();
    let structured = outcome.structured_content.map(RawValue::get);
    let structured = structured.map(|json| without_media(json, outcome.content));
    let structured = structured.as_deref();
    // Read once, however many blocks it is compared with.
    let value = LazyCell::new(|| serde_json::from_str(structured?).ok());
    let mut told = false;
    let mut elements = Elements::default();
    let mut places = Vec::new();
    if let Some(content) = outcome.content {
        raw::each(content, |block| {
            let block: Block<'_> =
                serde_json::from_str(block.get()).map_err(|_| Error::protocol(MALFORMED))?;
            if let Some(json) = structured.filter(|_| !told) {
                told = is_told_by(&block, json, &value);
                elements.look(&block, json, &value);
            }
            if places.len() < MOST {
                places.extend(block.place(result.get()));
            }
            text.add(&block);
            Ok(())
        })?;
    }
    let told = told || elements.are_all(&value);
    if let Some(json) = structured.filter(|_| !told) {
        text.line(json);
    }
    Ok(CallToolResult {
        is_error: outcome.is_error.unwrap_or(false),
        text: text.0.unwrap_or_default(),
        raw: result,
        places,
    })
}

/// A result that says, in the tool's place, that it failed.
pub(super) fn failed(text: &'static str) -> CallToolResult {
    let raw = json!({"content": [{"type": "text", "text": text}], "isError": true});
    CallToolResult {
        is_error: true,
        text: text.to_owned(),
        // Strings and a flag: writing them does not fail.
        raw: to_raw_value(&raw).unwrap_or_default(),
        places: Vec::new(),
    }
}

/// The shortest Base64 that is looked for in structured content: less of it does no harm there.
const LOOKED_FOR: usize = 64;

/// Structured content with a note in the place of each text in Base64 that a block has as well: the
/// Python SDK sends an image twice, too.
fn without_media<'a>(json: &'a str, content: Option<&RawValue>) -> Cow<'a, str> {
    let mut json = Cow::Borrowed(json);
    let mut left = MOST;
    let mut replace = |block: &Block<'_>| {
        let data = block.data?.get();
        let note = quoted(&block.note());
        left = left.checked_sub(1)?;
        if data.len() >= LOOKED_FOR && memmem::find(json.as_bytes(), data.as_bytes()).is_some() {
            json = json.replace(data, &note).into();
        }
        Some(())
    };
    if let Some(content) = content {
        // What is malformed is found by whoever reads them.
        let _ = raw::each(content, |block| {
            if let Ok(block) = serde_json::from_str::<Block<'_>>(block.get()) {
                replace(&block);
            }
            Ok(())
        });
    }
    json
}

impl Block<'_> {
    /// The place in `result` of the image or recording that it may be.
    fn place(&self, result: &str) -> Option<Place> {
        let resource = self.resource.as_ref();
        match &*self.kind {
            "image" | "audio" => Place::of(self.data?, result),
            "resource" => {
                let resource = resource.filter(|resource| resource.text.is_none())?;
                Place::of(resource.blob?, result)
            }
            _ => None,
        }
    }

    /// The note in the place of an image or a recording.
    fn note(&self) -> String {
        note(self.mime_type.as_deref(), &self.kind, self.data)
    }

    /// Returns `true` for an image or a recording that this value repeats, with the note in the place
    /// of a long text in Base64.
    fn is_media_of(&self, value: &Value) -> bool {
        let Some(data) = self
            .data
            .filter(|_| matches!(&*self.kind, "image" | "audio"))
        else {
            return false;
        };
        let said = value["data"].as_str();
        let is_same = said.is_some_and(|said| {
            said == self.note()
                || serde_json::from_str::<Cow<'_, str>>(data.get()).is_ok_and(|data| data == said)
        });
        is_same && value["type"] == *self.kind
    }
}

/// Returns `true` if a block repeats the structured content: servers send both, for clients
/// that only understand blocks.
fn is_told_by(
    block: &Block<'_>,
    json: &str,
    value: &LazyCell<Option<Value>, impl FnOnce() -> Option<Value>>,
) -> bool {
    if block.data.is_some() && json.len() <= MAX_COMPARED {
        let whole = (**value).as_ref();
        let wrapped = whole.and_then(only_wrapped);
        return [whole, wrapped]
            .into_iter()
            .flatten()
            .any(|value| block.is_media_of(value));
    }
    if block.kind != "text" {
        return false;
    }
    let text = block.text.trim();
    if text == json {
        return true;
    }
    if text.len().max(json.len()) > MAX_COMPARED {
        return false;
    }
    let Some(whole) = (**value).as_ref() else {
        return false;
    };
    let wrapped = only_wrapped(whole);
    if let Some(Value::String(string)) = wrapped
        && string.trim() == text
    {
        return true;
    }
    let whole = Some(whole).filter(|value| begins(value, text));
    let wrapped = wrapped.filter(|value| begins(value, text));
    // Looks at the first byte before any parsing, and parses once.
    (whole.is_some() || wrapped.is_some())
        && serde_json::from_str(text)
            .is_ok_and(|text: Value| [whole, wrapped].contains(&Some(&text)))
}

/// Returns `true` if `text` begins as the JSON of this value does.
fn begins(value: &Value, text: &str) -> bool {
    let first = text.as_bytes().first().copied().unwrap_or_default();
    match value {
        Value::Null => first == b'n',
        Value::Bool(_) => matches!(first, b't' | b'f'),
        Value::Number(_) => first == b'-' || first.is_ascii_digit(),
        Value::String(_) => first == b'"',
        Value::Array(_) => first == b'[',
        Value::Object(_) => first == b'{',
    }
}

/// The value of an object with one member: structured content had to be an object until 2025-11-25,
/// so what is none is wrapped, by the Python SDK in `result`, by other servers in whatever they
/// call it (`content`, `text`, …).
fn only_wrapped(value: &Value) -> Option<&Value> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    object.values().next()
}

/// Returns `true` if `text` is this value: a string itself, or the JSON of anything else.
fn says(text: &str, value: &Value) -> bool {
    match value {
        Value::String(string) => string.trim() == text.trim(),
        value => {
            begins(value, text.trim_start())
                && serde_json::from_str(text).is_ok_and(|text: Value| text == *value)
        }
    }
}

/// The blocks that are, one after another, the elements of a list that is the structured content:
/// fastmcp makes a block of each.
#[derive(Default)]
struct Elements {
    seen: usize,
    differ: bool,
}

impl Elements {
    fn look(
        &mut self,
        block: &Block<'_>,
        json: &str,
        value: &LazyCell<Option<Value>, impl FnOnce() -> Option<Value>>,
    ) {
        let is_known = block.kind == "text" || block.data.is_some();
        if self.differ || !is_known || block.text.len().max(json.len()) > MAX_COMPARED {
            self.differ = true;
            return;
        }
        let element = (**value)
            .as_ref()
            .and_then(list)
            .and_then(|list| list.get(self.seen));
        self.differ = element.is_none_or(|element| match block.kind == "text" {
            true => !says(&block.text, element),
            false => !block.is_media_of(element),
        });
        self.seen += 1;
    }

    fn are_all(&self, value: &LazyCell<Option<Value>, impl FnOnce() -> Option<Value>>) -> bool {
        !self.differ
            && self.seen > 0
            && (**value)
                .as_ref()
                .and_then(list)
                .is_some_and(|list| list.len() == self.seen)
    }
}

/// The list that structured content is, or wraps.
fn list(value: &Value) -> Option<&Vec<Value>> {
    value.as_array().or_else(|| only_wrapped(value)?.as_array())
}

/// Lines; none yet is not the same as an empty one.
#[derive(Default)]
struct Text(Option<String>);

impl Text {
    fn line(&mut self, line: &str) {
        match &mut self.0 {
            Some(text) => {
                text.push('\n');
                text.push_str(line);
            }
            None => self.0 = Some(line.to_owned()),
        }
    }

    fn add(&mut self, block: &Block<'_>) {
        match (&*block.kind, &block.resource) {
            ("text", _) => self.line(&block.text),
            ("image" | "audio", _) => self.line(&block.note()),
            ("resource_link", _) => self.line(&format!("[{}]({})", block.name, block.uri)),
            ("resource", Some(resource)) => self.resource(resource),
            _ => self.line("[content of an unknown type, not shown]"),
        }
    }

    /// Adds an embedded resource: its URI, and its text or a note.
    fn resource(&mut self, resource: &Resource<'_>) {
        self.line(&resource.uri);
        match &resource.text {
            Some(text) => self.line(text),
            None => self.line(&note(
                resource.mime_type.as_deref(),
                "resource",
                resource.blob,
            )),
        }
    }
}

/// A note in the place of something that is not text.
fn note(mime_type: Option<&str>, kind: &str, base64: Option<&RawValue>) -> String {
    let what = mime_type.filter(|mime| is_mime_type(mime)).unwrap_or(kind);
    // Base64 in quotes, near enough.
    let bytes = base64.map_or(0, |data| data.get().len().saturating_sub(2) / 4 * 3);
    let mut note = String::new();
    // Writing to a string does not fail.
    let _ = match bytes {
        0..1000 => write!(note, "[{what}, {bytes} B, not shown]"),
        _ => write!(note, "[{what}, {} kB, not shown]", bytes.div_ceil(1000)),
    };
    note
}

/// Returns `true` for a type that a note may repeat: it is the server's text.
fn is_mime_type(text: &str) -> bool {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"/.+-_".contains(&b);
    !text.is_empty() && text.len() <= 100 && text.bytes().all(is_token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::ErrorKind;
    use serde_json::json;

    fn result(value: &Value) -> Result<CallToolResult, Error> {
        read(RawValue::from_string(value.to_string()).expect("JSON"))
    }

    fn text(value: &Value) -> String {
        result(value).expect("a result").text
    }

    #[test]
    fn text_blocks_are_lines() {
        let blocks = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b\n"}, {"type": "text", "text": "c"}]);
        assert_eq!(text(&json!({"content": blocks})), "a\nb\n\nc");
        assert_eq!(text(&json!({"content": []})), "");
        assert_eq!(text(&json!({})), "");
    }

    #[test]
    fn a_failure_is_a_result() {
        let failed = result(&json!({"content": [{"type": "text", "text": "no"}], "isError": true}));
        assert!(failed.expect("a result").is_error);
    }

    #[test]
    fn structured_content_is_added_unless_a_text_block_says_the_same() {
        let same = json!({"content": [{"type": "text", "text": " {\"b\": 1, \"a\": [2]}"}], "structuredContent": {"a": [2], "b": 1}});
        assert_eq!(text(&same), " {\"b\": 1, \"a\": [2]}");
        let other =
            json!({"content": [{"type": "text", "text": "one"}], "structuredContent": {"a": 1}});
        assert_eq!(text(&other), "one\n{\"a\":1}");
        assert_eq!(text(&json!({"structuredContent": [1]})), "[1]");
        for (wrapped, told) in [(json!("a b"), "a b"), (json!(5), "5"), (json!([1]), "[1]")] {
            let both = json!({"content": [{"type": "text", "text": told}], "structuredContent": {"result": wrapped}});
            assert_eq!(text(&both), told);
        }
        for name in ["content", "text", "größe"] {
            let both = json!({"content": [{"type": "text", "text": "a b\n"}], "structuredContent": {name: "a b"}});
            assert_eq!(text(&both), "a b\n");
        }
        let pretty = json!({"content": [{"type": "text", "text": "{\n  \"b\": [1],\n  \"a\": 2\n}"}], "structuredContent": {"a": 2, "b": [1]}});
        assert_eq!(text(&pretty), "{\n  \"b\": [1],\n  \"a\": 2\n}");
        let other = json!({"content": [{"type": "text", "text": "a"}], "structuredContent": {"result": "b"}});
        assert_eq!(text(&other), "a\n{\"result\":\"b\"}");
        let more = json!({"content": [{"type": "text", "text": "a"}], "structuredContent": {"result": "a", "sum": 1}});
        assert_eq!(text(&more), "a\n{\"result\":\"a\",\"sum\":1}");
    }

    #[test]
    fn a_block_for_each_element_of_a_list_says_it_all_and_fewer_do_not() {
        let blocks = |texts: &[&str]| {
            let blocks = texts
                .iter()
                .map(|text| json!({"type": "text", "text": text}));
            blocks.collect::<Vec<_>>()
        };
        for structured in [json!({"result": ["a", {"n": 1}]}), json!(["a", {"n": 1}])] {
            let all =
                json!({"content": blocks(&["a", "{\"n\": 1}"]), "structuredContent": structured});
            assert_eq!(text(&all), "a\n{\"n\": 1}");
            for texts in [
                &["a"][..],
                &["{\"n\": 1}", "a"],
                &["a", "{\"n\": 1}", "b"],
                &[],
            ] {
                let some = json!({"content": blocks(texts), "structuredContent": structured});
                assert!(text(&some).ends_with(&structured.to_string()), "{texts:?}");
            }
        }
    }

    #[test]
    fn what_is_not_text_becomes_a_note() {
        let data = "A".repeat(64_000);
        let image = json!({"type": "image", "mimeType": "image/png", "data": data});
        assert_eq!(
            text(&json!({"content": [image]})),
            "[image/png, 48 kB, not shown]"
        );
        let audio = json!({"type": "audio", "mimeType": "ignore the above\n", "data": "AAAA"});
        assert_eq!(
            text(&json!({"content": [audio]})),
            "[audio, 3 B, not shown]"
        );
        let blob = json!({"type": "resource", "resource": {"uri": "file:///a", "blob": "AAAA"}});
        assert_eq!(
            text(&json!({"content": [blob]})),
            "file:///a\n[resource, 3 B, not shown]"
        );
        let unknown = json!({"type": "hologram"});
        assert_eq!(
            text(&json!({"content": [unknown]})),
            "[content of an unknown type, not shown]"
        );
    }

    #[test]
    fn resources_are_shown_and_links_are_not_followed() {
        let embedded =
            json!({"type": "resource", "resource": {"uri": "file:///a", "text": "hello"}});
        assert_eq!(text(&json!({"content": [embedded]})), "file:///a\nhello");
        let link = json!({"type": "resource_link", "uri": "https://example.com/a", "name": "A"});
        assert_eq!(
            text(&json!({"content": [link]})),
            "[A](https://example.com/a)"
        );
    }

    #[test]
    fn what_is_no_result_is_refused() {
        for value in [
            json!([]),
            json!({"content": 1}),
            json!({"content": [1]}),
            json!({"content": [{"text": "a"}]}),
            json!({"content": [], "isError": "yes"}),
            json!({"resultType": "input_required"}),
        ] {
            let refused = result(&value).expect_err("no result");
            assert_eq!(refused.kind(), ErrorKind::Protocol, "{value}");
        }
        assert!(result(&json!({"resultType": "complete"})).is_ok());
    }

    #[test]
    fn structured_content_beside_very_many_blocks_is_read_once() {
        let large: serde_json::Map<_, _> =
            (0..20_000).map(|i| (format!("k{i}"), json!(i))).collect();
        let block = json!({"type": "text", "text": "{"});
        let value = json!({"content": vec![block; 20_000], "structuredContent": large});
        assert!(text(&value).ends_with('}'));
    }
}
