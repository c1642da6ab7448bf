//! A schema as its server means it, of whichever draft.
//!
//! Servers name draft-04 to 2020-12, often not the one that they write in, or a dialect that nobody
//! knows. What is refused for that would have been accepted by the server.

use jsonschema::Draft;
use serde_json::{Map, Value};

use super::named::NAMED;

/// Data, and conditions, in which what is allowed decides about something else.
const UNTOUCHED: [&str; 6] = ["const", "default", "enum", "examples", "if", "not"];

/// Returns the draft that `schema` is read as, and changes what is meant otherwise than it is written:
///
/// - A required property with a default may be absent: pydantic's validators fill it in, and ten of
///   897 published tools have one.
/// - A flag `exclusiveMinimum` excludes the bound beside it (draft-04; the validator's draft-04 has
///   no numbers there, and some servers mix both: Dokploy/mcp#74).
pub(super) fn as_meant(schema: &mut Value) -> Draft {
    let named = schema.get("$schema").and_then(Value::as_str);
    let is = |part: &str| named.is_some_and(|named| named.contains(part));
    let draft = match () {
        // Without flags for bounds, draft-07 is what draft-04 means.
        () if is("draft-03") || is("draft-04") || is("draft-06") || is("draft-07") => Draft::Draft7,
        () if is("2019-09") => Draft::Draft201909,
        // MCP's own, and the best guess for a dialect of which nothing is known.
        () => Draft::Draft202012,
    };
    change(schema);
    draft
}

fn change(schema: &mut Value) {
    match schema {
        Value::Array(elements) => elements.iter_mut().for_each(change),
        Value::Object(members) => {
            members.remove("$schema");
            allow_defaults(members);
            exclude_bounds(members);
            for (name, value) in members.iter_mut() {
                match value {
                    Value::Object(named) if NAMED.contains(&name.as_str()) => {
                        named.values_mut().for_each(change);
                    }
                    _ if UNTOUCHED.contains(&name.as_str()) => {}
                    value => change(value),
                }
            }
        }
        _ => {}
    }
}

fn allow_defaults(schema: &mut Map<String, Value>) {
    let has_default = |properties: &Value, name: &Value| {
        let property = name.as_str().and_then(|name| properties.get(name));
        property.is_some_and(|property| property.get("default").is_some())
    };
    let Some(properties) = schema.get("properties") else {
        return;
    };
    let Some(Value::Array(required)) = schema.get("required") else {
        return;
    };
    if required.iter().any(|name| has_default(properties, name)) {
        let needed = required
            .iter()
            .filter(|name| !has_default(properties, name));
        let needed = needed.cloned().collect();
        schema.insert("required".into(), Value::Array(needed));
    }
}

fn exclude_bounds(schema: &mut Map<String, Value>) {
    for (exclusive, bound) in [
        ("exclusiveMinimum", "minimum"),
        ("exclusiveMaximum", "maximum"),
    ] {
        let Some(Value::Bool(is_exclusive)) = schema.get(exclusive) else {
            continue;
        };
        let is_exclusive = *is_exclusive;
        schema.remove(exclusive);
        if is_exclusive && let Some(value) = schema.remove(bound) {
            schema.insert(exclusive.into(), value);
        }
    }
}
