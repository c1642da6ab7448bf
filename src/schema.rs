//! A tool's input schema: whether it is safe to use, and whether arguments fit it.

use std::fmt::Write as _;

use jsonschema::{PatternOptions, Retrieve, Uri, Validator};
use serde_json::{Value, value::RawValue};

use crate::schema_cost::{Shape, measure};

/// The most that one pattern may compile to, so that a counted repetition is no bomb.
const PATTERN_BYTES: usize = 1 << 20;
/// How many subschemas may be visited to check one call: a fraction of a second.
const WORK: u64 = 2_000_000;
/// Up to how many of them faults are told one by one: each takes some hundred bytes.
const EXPLAINED: u64 = 100_000;
/// How many faults a model is told at once, and how long each may be.
const FAULTS: usize = 5;
const FAULT_CHARS: usize = 300;

/// Says why a tool with this schema is not offered at all; `None` where it is.
pub(crate) fn fault(schema: &RawValue) -> Option<&'static str> {
    match serde_json::from_str::<Value>(schema.get()) {
        Ok(schema @ Value::Object(_)) => {
            leads_out(&schema).then_some("its input schema refers to another document")
        }
        _ => Some("its input schema is not an object"),
    }
}

/// Whether a `$ref` leads out of the document; it would never be followed.
fn leads_out(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => members.iter().any(|(name, value)| match (&**name, value) {
            ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(reference)) => {
                !reference.starts_with('#')
            }
            // By names that are the schema's own choice, such as "default".
            ("properties" | "patternProperties", Value::Object(named)) => {
                named.values().any(leads_out)
            }
            // Data, not schemas.
            ("const" | "default" | "enum" | "examples", _) => false,
            (_, value) => leads_out(value),
        }),
        Value::Array(elements) => elements.iter().any(leads_out),
        _ => false,
    }
}

/// A compiled schema.
///
/// Patterns run on a linear-time engine. A schema checks nothing, and leaves that to the server,
/// where it does not compile, has patterns that only a backtracking engine could run, or would
/// take more work than arguments are worth.
#[derive(Debug)]
pub(crate) struct Schema(Option<(Validator, Shape)>);

impl Schema {
    pub(crate) fn compile(schema: &RawValue) -> Self {
        let compile = || {
            let schema: Value = serde_json::from_str(schema.get()).ok()?;
            let shape = Shape::of(&schema)?;
            // Some circles never end at any depth; the compiler need not see them.
            shape.visits(0)?;
            let patterns = PatternOptions::regex()
                .size_limit(PATTERN_BYTES)
                .dfa_size_limit(PATTERN_BYTES);
            let options = jsonschema::options()
                .with_retriever(Nowhere)
                .with_pattern_options(patterns);
            Some((options.build(&schema).ok()?, shape))
        };
        Self(compile())
    }

    /// Checks `arguments`.
    ///
    /// # Errors
    /// What a model needs to repair its call.
    pub(crate) fn check(&self, arguments: &Value) -> Result<(), String> {
        let Some((validator, shape)) = &self.0 else {
            return Ok(());
        };
        let (depth, elements) = measure(arguments);
        let work = shape
            .visits(depth)
            .map(|visits| visits.saturating_mul(elements));
        if work.is_none_or(|work| work > WORK) {
            return Ok(());
        }
        if validator.is_valid(arguments) {
            return Ok(());
        }
        let mut text = String::from("the arguments do not fit the tool's input schema");
        // All faults are collected before the first is told.
        if work.is_none_or(|work| work > EXPLAINED) {
            return Err(text);
        }
        for fault in validator.iter_errors(arguments).take(FAULTS) {
            let fault = match fault.instance_path().as_str() {
                "" => fault.to_string(),
                path => format!("{path}: {fault}"),
            };
            let fault: String = fault.chars().take(FAULT_CHARS).collect();
            // Writing to a string does not fail.
            let _ = write!(text, "; {fault}");
        }
        Err(text)
    }
}

/// Fetches nothing.
struct Nowhere;

impl Retrieve for Nowhere {
    fn retrieve(&self, _: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err("schemas are not fetched".into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raw(value: Value) -> Box<RawValue> {
        serde_json::value::to_raw_value(&value).unwrap()
    }

    fn check(schema: Value, arguments: Value) -> Result<(), String> {
        Schema::compile(&raw(schema)).check(&arguments)
    }

    #[test]
    fn a_schema_that_leads_to_the_network_is_refused() {
        for reference in [
            "http://169.254.169.254/x",
            "file:///etc/passwd",
            "other.json",
            "//host/x",
        ] {
            let schema = raw(json!({"type": "object", "properties": {"a": {"$ref": reference}}}));
            assert!(fault(&schema).is_some(), "{reference}");
        }
        for name in ["const", "default", "enum", "examples"] {
            let schema = raw(json!({"properties": {name: {"$ref": "http://169.254.169.254/x"}}}));
            assert!(fault(&schema).is_some(), "{name}");
        }
        for schema in [
            json!({"$defs": {"a": {}}, "properties": {"a": {"$ref": "#/$defs/a"}}}),
            json!({"properties": {"$ref": {"type": "string"}}, "default": {"$ref": "http://x"}}),
        ] {
            assert_eq!(fault(&raw(schema)), None);
        }
    }

    #[test]
    fn a_schema_that_is_no_object_is_refused() {
        assert!(fault(&raw(json!([]))).is_some());
        assert!(fault(&raw(json!(true))).is_some());
    }

    #[test]
    fn a_schema_that_never_ends_checks_nothing_and_harms_nothing() {
        let mut doubling: serde_json::Map<_, _> = (0..40)
            .map(|i| {
                let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
                (
                    format!("d{i}"),
                    json!({"anyOf": [{"allOf": [next, next, {"minProperties": 9}]}, next]}),
                )
            })
            .collect();
        doubling.insert("d40".into(), json!({"minProperties": 9}));
        for schema in [
            json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}),
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
            json!({"$ref": "#/$defs/d0", "$defs": doubling}),
        ] {
            let _ = check(schema, json!({"a": 1}));
        }
    }

    #[test]
    fn a_model_is_told_what_to_repair() {
        let schema = json!({"type": "object", "required": ["repoName"], "properties": {"n": {"type": "integer"}}});
        let told = check(schema.clone(), json!({"n": "x"})).unwrap_err();
        assert!(told.contains("repoName") && told.contains("/n"), "{told}");
        assert_eq!(check(schema, json!({"repoName": "a/b", "n": 1})), Ok(()));
    }

    #[test]
    fn what_is_told_is_bounded() {
        let schema = json!({"type": "object", "additionalProperties": {"type": "integer"}});
        let many: serde_json::Map<_, _> = (0..1000)
            .map(|i| (format!("k{i}"), json!("x".repeat(10_000))))
            .collect();
        assert!(check(schema, many.into()).unwrap_err().len() < 10_000);
    }

    #[test]
    fn faults_without_number_are_told_as_one() {
        let schema = json!({"properties": {"a": {"items": {"type": "string"}}}});
        let told = check(schema, json!({"a": vec![1; 100_000]})).unwrap_err();
        assert_eq!(told, "the arguments do not fit the tool's input schema");
    }

    #[test]
    fn patterns_are_linear_or_not_followed() {
        let evil = "a".repeat(50_000) + "!";
        let schema =
            |pattern: &str| json!({"properties": {"a": {"type": "string", "pattern": pattern}}});
        assert!(check(schema("^(a+)+$"), json!({"a": evil})).is_err());
        // A backreference needs a backtracking engine: not followed.
        assert!(check(schema(r"^(a+)\1$"), json!({"a": evil})).is_ok());
    }
}
