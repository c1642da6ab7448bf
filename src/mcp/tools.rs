//! The answer to `tools/list`.
//!
//! Two rules keep a bad listing from looking like a good one. A tool that cannot be used is left
//! out by itself, with its reason, so that one malformed entry hides no other tool. A listing
//! beyond the limits fails as a whole: cut short, it would look as if its last tools were removed.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::{Error, ErrorKind};
use super::limits::ServerLimits;
use super::param_headers::{Plan, Plans};
use super::raw;
use crate::json::depth;
use crate::left_out::LeftOut;

/// The longest name, in bytes; the specification recommends at most 128 characters.
const MAX_NAME: usize = 1024;

/// The tools of a server, from one complete listing with all its pages.
///
/// Names may repeat; whoever offers the tools has to choose between two of the same name.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ToolList {
    /// The usable tools, in the server's order.
    pub tools: Vec<Tool>,
    /// The time for which the server allows the list to be cached, the shortest of all its pages;
    /// `None` if it does not say.
    pub ttl: Option<Duration>,
    /// The listed tools that cannot be used, each with the reason.
    pub left_out: Vec<LeftOut>,
}

/// A tool as its server describes it.
///
/// Texts are the server's own and are not cleaned; treat them as untrusted before they reach a
/// model or a page. Schemas are kept byte for byte.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Tool {
    /// The name by which it is called: not empty, at most 1 KiB, without control characters.
    pub name: String,
    /// The name for people.
    pub title: Option<String>,
    /// The description that the model reads.
    pub description: Option<String>,
    /// The JSON Schema of the arguments, an object within
    /// [`ServerLimits::schema_bytes`](super::ServerLimits::schema_bytes) and
    /// [`schema_depth`](super::ServerLimits::schema_depth).
    pub input_schema: Box<RawValue>,
    /// The JSON Schema of the structured result; `None` also if it is beyond the limits of
    /// `input_schema`, since no model gets it. What it says is then in no fingerprint.
    pub output_schema: Option<Box<RawValue>>,
    /// Hints on the tool's behaviour, such as `readOnlyHint`. Untrusted: a server can claim
    /// anything.
    pub annotations: Option<Box<RawValue>>,
}

/// Puts the pages of a listing together.
pub(super) struct Listing<'a> {
    limits: &'a ServerLimits,
    list: ToolList,
    plans: Plans,
    cursors: Vec<String>,
    bytes: usize,
}

/// A page of a listing; its tools stay text until each is read by itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    #[serde(borrow)]
    tools: &'a RawValue,
    /// The cursor, absent on the last page. An empty string is a cursor like any other.
    next_cursor: Option<String>,
    ttl_ms: Option<f64>,
    // `cacheScope` is not read: lists are never shared between credentials, be they public or not.
    #[serde(borrow)]
    result_type: Option<Cow<'a, str>>,
}

/// A listed tool, before it is checked.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    name: String,
    title: Option<String>,
    description: Option<String>,
    #[serde(borrow)]
    input_schema: &'a RawValue,
    #[serde(borrow)]
    output_schema: Option<&'a RawValue>,
    #[serde(borrow)]
    annotations: Option<&'a RawValue>,
    #[serde(borrow)]
    execution: Option<Execution<'a>>,
}

/// The task support of a tool; a tool that requires a task is left out.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Execution<'a> {
    #[serde(borrow)]
    task_support: Option<Cow<'a, str>>,
}

impl<'a> Listing<'a> {
    pub(super) fn new(limits: &'a ServerLimits) -> Self {
        Self {
            limits,
            list: ToolList::default(),
            plans: Plans::new(),
            cursors: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds a page and returns the next one's cursor. `has_param_headers` says whether calls will
    /// repeat arguments in headers, as 2026-07-28 has it; older revisions know no such annotations.
    pub(super) fn add(
        &mut self,
        result: &RawValue,
        has_param_headers: bool,
    ) -> Result<Option<String>, Error> {
        self.bytes += result.get().len();
        if self.bytes > self.limits.stream_bytes {
            return Err(too_large("bytes", self.limits.stream_bytes));
        }
        let page: Page<'_> = serde_json::from_str(result.get())
            .map_err(|_| Error::protocol("the server's tool list is malformed"))?;
        if !matches!(page.result_type.as_deref(), None | Some("complete")) {
            return Err(Error::protocol(
                "the server's tool list is of a type that we did not ask for",
            ));
        }
        raw::each(page.tools, |tool| self.add_tool(tool, has_param_headers))?;
        if let Some(ttl) = page.ttl_ms {
            let ttl = Duration::from_millis(ttl.max(0.0) as u64);
            self.list.ttl = Some(self.list.ttl.map_or(ttl, |known| known.min(ttl)));
        }
        self.next(page.next_cursor)
    }

    /// The list, and which arguments its tools want in headers.
    pub(super) fn finish(self) -> (ToolList, Plans) {
        (self.list, self.plans)
    }

    /// The next page's cursor. One that repeats would lead in a circle.
    fn next(&mut self, cursor: Option<String>) -> Result<Option<String>, Error> {
        let Some(cursor) = cursor else {
            return Ok(None);
        };
        if self.cursors.contains(&cursor) {
            return Err(Error::protocol(
                "the server's tool list goes round in circles",
            ));
        }
        self.cursors.push(cursor.clone());
        if self.cursors.len() >= self.limits.pages {
            return Err(too_large("pages", self.limits.pages));
        }
        Ok(Some(cursor))
    }

    /// Reads one tool, or leaves it out with the reason.
    fn add_tool(&mut self, tool: &RawValue, has_param_headers: bool) -> Result<(), Error> {
        if self.list.tools.len() + self.list.left_out.len() >= self.limits.tools {
            return Err(too_large("tools", self.limits.tools));
        }
        let read = read_tool(tool, self.limits).and_then(|tool| {
            let plan = match has_param_headers {
                true => Plan::of(&tool.input_schema)?,
                false => Plan::default(),
            };
            Ok((tool, plan))
        });
        match read {
            Ok((tool, plan)) => {
                if !plan.is_empty() {
                    self.plans.entry(tool.name.clone()).or_insert(plan);
                }
                self.list.tools.push(tool);
            }
            Err(reason) => {
                let tool = LeftOut::new(&name_of(tool), reason);
                self.list.left_out.push(tool);
            }
        }
        Ok(())
    }
}

/// The error of a listing beyond the limits.
fn too_large(what: &str, max: usize) -> Error {
    let text = format!("the server's tool list is too large: more than {max} {what}");
    Error::new(ErrorKind::TooLarge, text)
}

/// Reads and checks one tool; `Err` is the reason to leave it out.
fn read_tool(tool: &RawValue, limits: &ServerLimits) -> Result<Tool, &'static str> {
    let entry: Entry<'_> =
        serde_json::from_str(tool.get()).map_err(|_| "the entry is malformed")?;
    if entry.name.is_empty() || entry.name.len() > MAX_NAME {
        return Err("the name is empty or too long");
    }
    if entry.name.chars().any(char::is_control) {
        return Err("the name has control characters");
    }
    let is_large = |schema: &RawValue| schema.get().len() > limits.schema_bytes;
    let is_deep = |schema: &RawValue| depth(schema.get().as_bytes()) > limits.schema_depth;
    for schema in [Some(entry.input_schema), entry.annotations] {
        if schema.is_some_and(is_large) {
            return Err("a schema is too large");
        }
        if schema.is_some_and(is_deep) {
            return Err("a schema nests too deep");
        }
    }
    // No model gets it, so the tool is as good without.
    let output_schema = entry
        .output_schema
        .filter(|schema| !is_large(schema) && !is_deep(schema));
    if !entry.input_schema.get().starts_with('{') {
        return Err("the input schema is not an object");
    }
    if entry.execution.and_then(|e| e.task_support).as_deref() == Some("required") {
        return Err("it can only be called as a task, which is not supported");
    }
    Ok(Tool {
        name: entry.name,
        title: entry.title,
        description: entry.description,
        input_schema: entry.input_schema.to_owned(),
        output_schema: output_schema.map(ToOwned::to_owned),
        annotations: entry.annotations.map(ToOwned::to_owned),
    })
}

/// The name of an entry that is otherwise unusable, fit to be shown.
fn name_of(tool: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
    }
    match serde_json::from_str::<Named<'_>>(tool.get()) {
        Ok(Named { name }) => name.chars().filter(|c| !c.is_control()).take(64).collect(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn raw(value: &Value) -> Box<RawValue> {
        RawValue::from_string(value.to_string()).expect("JSON")
    }

    fn list(pages: &[Value], limits: &ServerLimits) -> Result<ToolList, Error> {
        let mut listing = Listing::new(limits);
        for page in pages {
            listing.add(&raw(page), false)?;
        }
        Ok(listing.finish().0)
    }

    fn one(tool: Value) -> ToolList {
        list(&[json!({"tools": [tool]})], &ServerLimits::default()).expect("a list")
    }

    #[test]
    fn a_schema_is_kept_byte_for_byte() {
        let schema = r#"{ "type":"object","x": 1.50, "$ref":"http://169.254.169.254/" }"#;
        let page = format!(r#"{{"tools":[{{"name":"a","inputSchema":{schema}}}]}}"#);
        let limits = ServerLimits::default();
        let mut listing = Listing::new(&limits);
        let page = RawValue::from_string(page).expect("JSON");
        assert_eq!(listing.add(&page, false).expect("a page"), None);
        assert_eq!(listing.finish().0.tools[0].input_schema.get(), schema);
    }

    #[test]
    fn a_tool_that_cannot_be_used_is_left_out_and_the_others_stay() {
        let deep = (0..40).fold(json!({}), |inner, _| json!({"not": inner}));
        let good =
            json!({"name": "good", "inputSchema": {}, "execution": {"taskSupport": "optional"}});
        let page = json!({"tools": [
            7,
            {"name": "no-schema"},
            {"name": "", "inputSchema": {}},
            {"name": "esc\u{1b}[31m", "inputSchema": {}},
            {"name": "list", "inputSchema": []},
            {"name": "big", "inputSchema": {"description": "x".repeat(65 * 1024)}},
            {"name": "deep", "inputSchema": deep},
            {"name": "task", "inputSchema": {}, "execution": {"taskSupport": "required"}},
            good,
        ]});
        let list = list(&[page], &ServerLimits::default()).expect("a list");
        let names: Vec<_> = list.tools.iter().map(|tool| &tool.name).collect();
        assert_eq!(names, ["good"]);
        let left_out: Vec<_> = list.left_out.iter().map(|tool| tool.tool()).collect();
        assert_eq!(
            left_out,
            [
                "",
                "no-schema",
                "",
                "esc[31m",
                "list",
                "big",
                "deep",
                "task"
            ]
        );
    }

    #[test]
    fn optional_members_are_read() {
        let list = one(json!({
            "name": "a", "title": "A", "description": "does a", "inputSchema": {},
            "outputSchema": {"type": "object"}, "annotations": {"readOnlyHint": true}, "icons": [],
        }));
        let tool = &list.tools[0];
        assert_eq!(tool.title.as_deref(), Some("A"));
        assert_eq!(tool.description.as_deref(), Some("does a"));
        assert!(tool.output_schema.is_some() && tool.annotations.is_some());
    }

    #[test]
    fn the_shortest_ttl_counts_and_a_negative_one_is_none() {
        let page = |ttl: f64| json!({"tools": [], "ttlMs": ttl});
        let ttl = |pages: &[Value]| list(pages, &ServerLimits::default()).expect("a list").ttl;
        assert_eq!(
            ttl(&[page(5000.0), page(3000.0)]),
            Some(Duration::from_secs(3))
        );
        assert_eq!(ttl(&[page(-1.0)]), Some(Duration::ZERO));
        assert_eq!(ttl(&[json!({"tools": []})]), None);
    }

    #[test]
    fn an_empty_cursor_is_a_cursor_and_a_repeated_one_a_circle() {
        let page = json!({"tools": [], "nextCursor": ""});
        let limits = ServerLimits::default();
        let mut listing = Listing::new(&limits);
        assert_eq!(
            listing.add(&raw(&page), false).expect("a page").as_deref(),
            Some("")
        );
        let circle = listing.add(&raw(&page), false).expect_err("a circle");
        assert_eq!(circle.kind(), ErrorKind::Protocol);
    }

    #[test]
    fn pages_tools_and_bytes_are_counted() {
        let limits = ServerLimits {
            pages: 3,
            tools: 5,
            stream_bytes: 1000,
            ..ServerLimits::default()
        };
        let page = |n: usize| json!({"tools": [], "nextCursor": n.to_string()});
        assert!(list(&[page(1), page(2)], &limits).is_ok());
        let tool = json!({"name": "a", "inputSchema": {}});
        let many = json!({"tools": vec![tool; 6]});
        let large = json!({"tools": [], "x": "x".repeat(1000)});
        for pages in [vec![page(1), page(2), page(3)], vec![many], vec![large]] {
            let refused = list(&pages, &limits).expect_err("too large");
            assert_eq!(refused.kind(), ErrorKind::TooLarge);
        }
    }
}
