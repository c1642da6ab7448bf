//! The parameters that a tool call repeats in headers, so that a gateway can route it without
//! reading the body (2026-07-28, basic/transports/streamable-http, and server/tools,
//! "x-mcp-header").

use std::collections::HashMap;

use http::{HeaderMap, HeaderName};
use memchr::memmem;
use serde_json::Value;
use serde_json::value::RawValue;

use super::header_value::encoded;

const ANNOTATION: &str = "x-mcp-header";
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Integers beyond this are not exact in every language, and are not sent.
const MAX_INTEGER: u64 = (1 << 53) - 1;

/// The bytes of headers that a request has room for beside everything else.
const MAX_HEADERS: usize = 256;

/// The plans of a server's tools that are called in a way of their own, by the tools' names.
pub(super) type Plans = HashMap<String, Plan>;

/// How a tool is called.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Plan {
    /// The arguments that headers repeat.
    params: Vec<Param>,
    /// `true` if calls have to ask for a task.
    pub(super) is_task: bool,
}

/// A parameter, and the header that repeats it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Param {
    /// Names of properties, from the outermost to the annotated one.
    path: Vec<String>,
    header: HeaderName,
}

/// A tool call, as far as headers repeat it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ParamHeaders<'a> {
    pub(super) name: &'a str,
    pub(super) arguments: &'a RawValue,
    pub(super) plan: Option<&'a Plan>,
}

impl ParamHeaders<'_> {
    /// `Mcp-Name`, and `Mcp-Param-…` for annotated arguments that are there and not null.
    pub(super) fn insert_into(&self, headers: &mut HeaderMap) {
        headers.insert(NAME, encoded(self.name));
        let Some(plan) = self.plan else {
            return;
        };
        // What does not parse is not mirrored: the server is the judge of arguments.
        let arguments: Value = serde_json::from_str(self.arguments.get()).unwrap_or_default();
        for Param { path, header } in &plan.params {
            let argument = path
                .iter()
                .try_fold(&arguments, |value, key| value.get(key));
            if let Some(text) = argument.and_then(text) {
                headers.insert(header, encoded(&text));
            }
        }
    }
}

/// The text of a string, a flag or an integer; other values are not repeated.
fn text(argument: &Value) -> Option<String> {
    match argument {
        Value::String(text) => Some(text.clone()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) => {
            // JSON has one kind of number: 3.0 and 3e0 are the integer 3.
            let number = number.as_f64().filter(|number| number.fract() == 0.0)?;
            (number.abs() <= MAX_INTEGER as f64).then(|| (number as i64).to_string())
        }
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

impl Plan {
    /// Reads the annotations of an input schema. The schema's depth has been checked.
    ///
    /// # Errors
    ///
    /// The rule that an annotation breaks: the tool must not be used then.
    pub(super) fn of(schema: &RawValue) -> Result<Self, &'static str> {
        let text = schema.get().as_bytes();
        // Most tools have none. An escape may spell the word differently.
        let may_be = |needle: &[u8]| memmem::find(text, needle).is_some();
        if !may_be(ANNOTATION.as_bytes()) && !may_be(b"\\u") {
            return Ok(Self::default());
        }
        let schema: Value =
            serde_json::from_str(schema.get()).map_err(|_| "the input schema is malformed")?;
        let mut plan = Self::default();
        plan.read(&schema, Some(&mut Vec::new()))?;
        Ok(plan)
    }

    /// The plan of a tool whose calls have to ask for a task, or not.
    pub(super) fn of_task(is_task: bool) -> Self {
        Self {
            is_task,
            ..Self::default()
        }
    }

    /// Returns `true` for a call like any other.
    pub(super) fn is_empty(&self) -> bool {
        self.params.is_empty() && !self.is_task
    }

    /// Walks a schema. `path` is how its value is reached from the arguments, if only properties
    /// lead there.
    fn read(
        &mut self,
        schema: &Value,
        mut path: Option<&mut Vec<String>>,
    ) -> Result<(), &'static str> {
        let schema = match schema {
            Value::Object(schema) => schema,
            Value::Array(schemas) => {
                return schemas
                    .iter()
                    .try_for_each(|schema| self.read(schema, None));
            }
            _ => return Ok(()),
        };
        if let Some(header) = schema.get(ANNOTATION) {
            let path = path.as_deref().filter(|path| !path.is_empty());
            let path = path.ok_or("an x-mcp-header is not on a property of the arguments")?;
            self.add(path, header, schema.get("type"))?;
        }
        for (keyword, value) in schema {
            match &**keyword {
                // Data and names, not schemas.
                ANNOTATION | "const" | "default" | "dependentRequired" | "enum" | "examples" => {}
                "properties" => {
                    for (name, property) in value.as_object().into_iter().flatten() {
                        if let Some(path) = &mut path {
                            path.push(name.clone());
                        }
                        self.read(property, path.as_deref_mut())?;
                        if let Some(path) = &mut path {
                            path.pop();
                        }
                    }
                }
                // Names lead to schemas here, and are not keywords themselves.
                "$defs" | "definitions" | "dependencies" | "dependentSchemas"
                | "patternProperties" => {
                    for schema in value.as_object().into_iter().flat_map(|map| map.values()) {
                        // A list in `dependencies` has names only.
                        self.read(schema, None)?;
                    }
                }
                _ => self.read(value, None)?,
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        path: &[String],
        header: &Value,
        kind: Option<&Value>,
    ) -> Result<(), &'static str> {
        let name = header.as_str().filter(|name| is_token(name));
        let name = name.ok_or("an x-mcp-header is not a token")?;
        let kind = kind.and_then(Value::as_str);
        if !matches!(kind, Some("string" | "integer" | "boolean")) {
            return Err("an x-mcp-header is on something else than a string, integer or boolean");
        }
        let header = HeaderName::from_bytes(format!("mcp-param-{name}").as_bytes())
            .map_err(|_| "an x-mcp-header is not a token")?;
        if self.params.len() == MAX_HEADERS {
            return Err("it has more x-mcp-headers than a request has room for");
        }
        // Header names compare without regard to case.
        if self.params.iter().any(|param| param.header == header) {
            return Err("an x-mcp-header is given twice");
        }
        let path = path.to_vec();
        self.params.push(Param { path, header });
        Ok(())
    }
}

/// A token of RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn raw(value: &Value) -> Box<RawValue> {
        serde_json::value::to_raw_value(value).expect("JSON")
    }

    fn plan(schema: &Value) -> Result<Plan, &'static str> {
        Plan::of(&raw(schema))
    }

    fn of_property(property: Value) -> Result<Plan, &'static str> {
        plan(&json!({"type": "object", "properties": {"a": property}}))
    }

    #[test]
    fn annotations_that_keep_the_rules_become_headers() {
        let schema = json!({"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "plain": {"type": "number"},
            "where": {"type": "object", "properties": {
                "floor": {"type": "integer", "x-mcp-header": "Floor"},
                "x-mcp-header": {"type": "boolean", "x-mcp-header": "Odd!"},
            }},
        }, "dependentRequired": {"x-mcp-header": ["region"]},
           "default": {"x-mcp-header": 1}});
        let plan = plan(&schema).expect("a plan");
        let headers = |arguments: Value| {
            let arguments = raw(&arguments);
            let call = ParamHeaders {
                name: "tool é",
                arguments: &arguments,
                plan: Some(&plan),
            };
            let mut headers = HeaderMap::new();
            call.insert_into(&mut headers);
            let mut all: Vec<_> = headers
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().expect("ASCII")))
                .collect();
            all.sort();
            all.remove(0)
                .strip_prefix("mcp-name: =?base64?")
                .expect("the name");
            all
        };
        let all = json!({"region": "eu\n", "where": {"floor": -3, "x-mcp-header": true}});
        assert_eq!(
            headers(all),
            [
                "mcp-param-floor: -3",
                "mcp-param-odd!: true",
                "mcp-param-region: =?base64?ZXUK?="
            ]
        );
        assert!(headers(json!({"region": null, "where": [], "plain": 1})).is_empty());
        assert!(headers(json!({"region": 1.5, "where": {"floor": {}}})).is_empty());
        assert!(headers(json!([])).is_empty());
        let floor = |n: Value| headers(json!({"where": {"floor": n}}));
        assert_eq!(floor(json!(3.0)), ["mcp-param-floor: 3"]);
        let largest = (1_i64 << 53) - 1;
        assert_eq!(
            floor(json!(-largest)),
            [format!("mcp-param-floor: -{largest}")]
        );
        assert!(floor(json!(largest + 1)).is_empty());
    }

    #[test]
    fn annotations_that_break_a_rule_spoil_the_tool() {
        let string = |header: Value| json!({"type": "string", "x-mcp-header": header});
        for header in [
            json!(""),
            json!("two words"),
            json!("a:b"),
            json!("é"),
            json!("a\r\nb"),
            json!("\"a\""),
            json!(1),
            json!(null),
        ] {
            let refused = of_property(string(header.clone()));
            assert_eq!(refused, Err("an x-mcp-header is not a token"), "{header}");
        }
        for kind in [
            json!("number"),
            json!("object"),
            json!("array"),
            json!("null"),
            json!(["string", "null"]),
            json!(null),
        ] {
            let refused = of_property(json!({"type": kind, "x-mcp-header": "A"}));
            assert!(
                refused.expect_err("refused").contains("something else"),
                "{kind}"
            );
        }
        let twice = json!({"properties": {"a": string(json!("A")), "b": string(json!("a"))}});
        assert_eq!(plan(&twice), Err("an x-mcp-header is given twice"));
        let many: serde_json::Map<_, _> = (0..300)
            .map(|i| (format!("a{i}"), string(json!(format!("A{i}")))))
            .collect();
        let refused = plan(&json!({"properties": many})).expect_err("too many");
        assert!(refused.contains("room"), "{refused}");
        let inner = || json!({"properties": {"b": string(json!("B"))}});
        for astray in [
            string(json!("Root")),
            json!({"items": inner()}),
            json!({"prefixItems": [inner()]}),
            json!({"oneOf": [inner()]}),
            json!({"anyOf": [string(json!("A"))]}),
            json!({"allOf": [inner()]}),
            json!({"not": inner()}),
            json!({"if": inner()}),
            json!({"then": inner()}),
            json!({"else": inner()}),
            json!({"additionalProperties": inner()}),
            json!({"patternProperties": {"x": string(json!("A"))}}),
            json!({"$ref": "#/$defs/d", "$defs": {"d": string(json!("A"))}}),
            json!({"definitions": {"const": inner()}}),
            json!({"properties": {"a": {"items": inner()}}}),
        ] {
            let refused = plan(&astray).expect_err("refused");
            assert!(refused.contains("not on a property"), "{astray}");
        }
    }

    #[test]
    fn an_escaped_annotation_is_seen() {
        let text = r#"{"properties":{"a":{"type":"object","x\u002dmcp-header":"A"}}}"#;
        let schema = RawValue::from_string(text.to_owned()).expect("JSON");
        assert!(Plan::of(&schema).is_err());
    }
}
