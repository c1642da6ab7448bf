//! A tool's input schema: whether it is safe to use, and whether arguments fit it.
//!
//! The feature `validate` brings the validator. Without it, `unchecked` stands in its place: it
//! has the same interface and leaves every check to the server.

#[cfg(feature = "validate")]
mod cost;
#[cfg(feature = "validate")]
mod meant;
mod named;
#[cfg(feature = "validate")]
mod pattern_cost;
mod place;
#[cfg(feature = "validate")]
mod reread;
#[cfg(feature = "validate")]
mod validator;

#[cfg(not(feature = "validate"))]
#[path = "unchecked.rs"]
mod validator;

use serde_json::{Value, value::RawValue};

#[cfg(feature = "validate")]
pub(crate) use self::reread::{has_whole_fraction, reread};
#[cfg(not(feature = "validate"))]
pub(crate) use self::validator::{has_whole_fraction, reread};
pub(crate) use self::{named::NAMED, place::Place, validator::Schema};

/// Returns the reason why a tool with this schema cannot be offered; `None` if it can.
pub(crate) fn fault(schema: &RawValue) -> Option<&'static str> {
    match serde_json::from_str::<Value>(schema.get()) {
        Ok(schema @ Value::Object(_)) => {
            leads_out(&schema).then_some("its input schema refers to another document")
        }
        _ => Some("its input schema is not an object"),
    }
}

/// Returns true if a `$ref` leads out of the document; it would never be followed.
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raw(value: Value) -> Box<RawValue> {
        serde_json::value::to_raw_value(&value).unwrap()
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
}
