//! The answer to `tools/list`.
//!
//! Two rules keep a bad listing from looking like a good one. A tool that cannot be used is left
//! out by itself, with its reason, so that one malformed entry hides no other tool. A listing
//! beyond the limits fails as a whole: cut short, it would look as if its last tools were removed.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::{Error, ErrorKind};
use super::handshake::TaskSupport;
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
    cursors: Vec<Box<RawValue>>,
    /// The tools of the page before, as they came.
    before: Option<Box<RawValue>>,
    bytes: usize,
}

/// A page of a listing; its tools stay text until each is read by itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    #[serde(borrow)]
    tools: &'a RawValue,
    /// The cursor, absent on the last page. It is sent back as it came, whatever it is.
    #[serde(borrow)]
    next_cursor: Option<&'a RawValue>,
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
    input_schema: Option<&'a RawValue>,
    #[serde(borrow)]
    output_schema: Option<&'a RawValue>,
    #[serde(borrow)]
    annotations: Option<&'a RawValue>,
    #[serde(borrow)]
    execution: Option<Execution<'a>>,
}

/// The task support of a tool.
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
            before: None,
            bytes: 0,
        }
    }

    /// Adds a page and returns the next one's cursor. Tasks by the server's choice are those of
    /// 2026-07-28, where calls repeat arguments in headers and an empty cursor is one like any other.
    pub(super) fn add(
        &mut self,
        result: &RawValue,
        tasks: TaskSupport,
    ) -> Result<Option<Box<RawValue>>, Error> {
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
        // A list without any in Go.
        if page.tools.get() != "null" {
            raw::each(page.tools, |tool| self.add_tool(tool, tasks))?;
        }
        if let Some(ttl) = page.ttl_ms {
            let ttl = Duration::from_millis(ttl.max(0.0) as u64);
            self.list.ttl = Some(self.list.ttl.map_or(ttl, |known| known.min(ttl)));
        }
        let cursor = page
            .next_cursor
            .filter(|cursor| is_cursor(cursor.get(), tasks == TaskSupport::ByChoice));
        self.next(page.tools, cursor)
    }

    /// The list, and how its tools are called.
    pub(super) fn finish(self) -> (ToolList, Plans) {
        (self.list, self.plans)
    }

    /// The next page's cursor.
    ///
    /// One that repeats leads in a circle, and so does one to the same tools again
    /// (codebase-memory-mcp#1247): what was read is the list, as far as anybody can know.
    fn next(
        &mut self,
        tools: &RawValue,
        cursor: Option<&RawValue>,
    ) -> Result<Option<Box<RawValue>>, Error> {
        let Some(cursor) = cursor else {
            return Ok(None);
        };
        let known = self.cursors.iter().map(|known| known.get());
        let before = self.before.as_deref().map(RawValue::get);
        let is_again = before == Some(tools.get()) && tools.get() != "[]";
        if is_again || known.into_iter().any(|known| known == cursor.get()) {
            self.end_circle();
            return Ok(None);
        }
        self.cursors.push(cursor.to_owned());
        self.before = Some(tools.to_owned());
        if self.cursors.len() >= self.limits.pages {
            return Err(too_large("pages", self.limits.pages));
        }
        Ok(Some(cursor.to_owned()))
    }

    /// Keeps each tool of a circle once, and says that there may be more.
    fn end_circle(&mut self) {
        let mut seen = HashSet::new();
        self.list
            .tools
            .retain(|tool| seen.insert(tool.definition()));
        if self.list.tools.len() + self.list.left_out.len() < self.limits.tools {
            let reason = "the list goes round in circles: it ends here, and tools may be missing";
            self.list.left_out.push(LeftOut::new("", reason));
        }
    }

    /// Reads one tool, or leaves it out with the reason.
    fn add_tool(&mut self, tool: &RawValue, tasks: TaskSupport) -> Result<(), Error> {
        if self.list.tools.len() + self.list.left_out.len() >= self.limits.tools {
            return Err(too_large("tools", self.limits.tools));
        }
        let read = read_tool(tool, self.limits).and_then(|(tool, needs_task)| {
            let plan = match tasks {
                TaskSupport::ByChoice => Plan::of(&tool.input_schema)?,
                TaskSupport::OnRequest { .. } => Plan::of_task(needs_task),
                // A task must not be asked for (2025-11-25, basic/utilities/tasks).
                TaskSupport::None if needs_task => return Err(NO_TASKS),
                TaskSupport::None => Plan::default(),
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

/// Returns `true` if this leads to another page. Servers of older revisions end their lists with an
/// empty one (java-sdk#575, csharp-sdk#1072); in 2026-07-28 that is a cursor
/// (server/utilities/pagination).
fn is_cursor(cursor: &str, is_stateless: bool) -> bool {
    match cursor {
        "\"\"" => is_stateless,
        cursor => cursor != "false",
    }
}

impl Tool {
    /// All that is read of it.
    fn definition(&self) -> [String; 5] {
        let raw = |value: &Option<Box<RawValue>>| {
            value
                .as_ref()
                .map_or_else(String::new, |raw| raw.get().to_owned())
        };
        [
            self.name.clone(),
            self.description.clone().unwrap_or_default(),
            self.input_schema.get().to_owned(),
            raw(&self.output_schema),
            raw(&self.annotations),
        ]
    }
}

/// The error of a listing beyond the limits.
fn too_large(what: &str, max: usize) -> Error {
    let text = format!("the server's tool list is too large: more than {max} {what}");
    Error::new(ErrorKind::TooLarge, text)
}

const NO_TASKS: &str =
    "it can only be called as a task, and its server does not say that it has tasks";

/// Reads and checks one tool, and whether it has to be called as a task; `Err` is the reason to
/// leave it out.
fn read_tool(tool: &RawValue, limits: &ServerLimits) -> Result<(Tool, bool), &'static str> {
    let entry: Entry<'_> =
        serde_json::from_str(tool.get()).map_err(|_| "the entry is malformed")?;
    if entry.name.is_empty() || entry.name.len() > MAX_NAME {
        return Err("the name is empty or too long");
    }
    if entry.name.chars().any(char::is_control) {
        return Err("the name has control characters");
    }
    let input_schema = entry.input_schema.ok_or("it has no input schema")?;
    let is_large = |schema: &RawValue| schema.get().len() > limits.schema_bytes;
    let is_deep = |schema: &RawValue| depth(schema.get().as_bytes()) > limits.schema_depth;
    for schema in [Some(input_schema), entry.annotations] {
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
    if !input_schema.get().starts_with('{') {
        return Err("the input schema is not an object");
    }
    let support = entry.execution.and_then(|e| e.task_support);
    let tool = Tool {
        name: entry.name,
        title: entry.title,
        description: entry.description,
        input_schema: input_schema.to_owned(),
        output_schema: output_schema.map(ToOwned::to_owned),
        annotations: entry.annotations.map(ToOwned::to_owned),
    };
    Ok((tool, support.as_deref() == Some("required")))
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
            listing.add(&raw(page), TaskSupport::None)?;
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
        assert!(
            listing
                .add(&page, TaskSupport::None)
                .expect("a page")
                .is_none()
        );
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
    fn a_tool_that_needs_a_task_is_offered_where_its_server_has_them() {
        let tool =
            json!({"name": "a", "inputSchema": {}, "execution": {"taskSupport": "required"}});
        let limits = ServerLimits::default();
        for (tasks, is_asked_for) in [
            (TaskSupport::OnRequest { can_cancel: false }, true),
            (TaskSupport::ByChoice, false),
        ] {
            let mut listing = Listing::new(&limits);
            let page = raw(&json!({"tools": [tool]}));
            assert!(listing.add(&page, tasks).expect("a page").is_none());
            let (list, plans) = listing.finish();
            assert_eq!(list.tools.len(), 1);
            assert_eq!(
                plans.get("a").is_some_and(|plan| plan.is_task),
                is_asked_for
            );
        }
        assert_eq!(one(tool).left_out[0].reason(), NO_TASKS);
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

    fn next(listing: &mut Listing<'_>, page: &Value, tasks: TaskSupport) -> Option<String> {
        let next = listing.add(&raw(page), tasks).expect("a page");
        next.map(|cursor| cursor.get().to_owned())
    }

    #[test]
    fn an_empty_cursor_ends_an_older_list_and_is_one_in_the_newest_revision() {
        let page = json!({"tools": [], "nextCursor": ""});
        let limits = ServerLimits::default();
        assert_eq!(
            next(&mut Listing::new(&limits), &page, TaskSupport::None),
            None
        );
        let mut listing = Listing::new(&limits);
        assert_eq!(
            next(&mut listing, &page, TaskSupport::ByChoice).as_deref(),
            Some("\"\"")
        );
        assert_eq!(
            next(&mut listing, &page, TaskSupport::ByChoice),
            None,
            "a circle"
        );
        assert_eq!(listing.finish().0.left_out.len(), 1);
    }

    #[test]
    fn a_circle_ends_with_what_was_read_each_tool_once_and_says_so() {
        let tool = |name: &str| json!({"name": name, "inputSchema": {}});
        let page = |names: &[&str], cursor: &str| {
            let tools: Vec<_> = names.iter().map(|name| tool(name)).collect();
            json!({"tools": tools, "nextCursor": cursor})
        };
        for pages in [
            vec![page(&["a", "b"], "x"), page(&["a", "b"], "x")],
            vec![page(&["a"], "x"), page(&["b"], "y"), page(&["a"], "x")],
            vec![page(&["a", "b"], "1"), page(&["a", "b"], "2")],
        ] {
            let limits = ServerLimits::default();
            let mut listing = Listing::new(&limits);
            let cursors = pages
                .iter()
                .map(|page| next(&mut listing, page, TaskSupport::None));
            assert_eq!(cursors.last(), Some(None));
            let (list, _) = listing.finish();
            let names: Vec<_> = list.tools.iter().map(|tool| &tool.name).collect();
            assert_eq!(names, ["a", "b"]);
            assert!(list.left_out[0].reason().contains("circles"));
        }
    }

    #[test]
    fn a_cursor_is_sent_back_as_it_came_and_none_ends_the_list() {
        let limits = ServerLimits::default();
        for (cursor, expected) in [
            (json!(2), Some("2")),
            (json!("a\"b"), Some(r#""a\"b""#)),
            (json!({"after": 1}), Some(r#"{"after":1}"#)),
            (json!(null), None),
            (json!(false), None),
        ] {
            let page = json!({"tools": [], "nextCursor": cursor});
            let found = next(&mut Listing::new(&limits), &page, TaskSupport::None);
            assert_eq!(found.as_deref(), expected);
        }
    }

    #[test]
    fn no_tools_in_go_are_no_tools() {
        let listed = list(&[json!({"tools": null})], &ServerLimits::default());
        assert!(listed.expect("a list").tools.is_empty());
        assert!(list(&[json!({})], &ServerLimits::default()).is_err());
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
        // Empty pages are no circle.
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
