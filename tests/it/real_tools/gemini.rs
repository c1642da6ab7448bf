//! The `Schema` of the Gemini API and of Vertex AI, by their references and by what they answer.

use serde_json::{Map, Value, json};

/// The members of `Schema`.
const MEMBERS: [&str; 22] = [
    "type",
    "format",
    "title",
    "description",
    "nullable",
    "enum",
    "maxItems",
    "minItems",
    "properties",
    "required",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "example",
    "anyOf",
    "propertyOrdering",
    "default",
    "items",
    "minimum",
    "maximum",
];

/// Checks a function.
pub fn check(function: &Value) {
    let name = function["name"].as_str().unwrap();
    assert!(
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_'),
        "{name}"
    );
    if let Some(root) = function.get("parameters") {
        assert_eq!(root["type"], "object", "{function}");
        assert!(
            root.get("properties").is_some(),
            "nothing in it: {function}"
        );
        check_schema(root, function);
    }
}

fn check_schema(schema: &Value, function: &Value) {
    let members = schema
        .as_object()
        .unwrap_or_else(|| panic!("{schema}: {function}"));
    for name in members.keys() {
        assert!(
            MEMBERS.contains(&&**name),
            "unknown name {name}: {schema} {function}"
        );
    }
    if let Some(choices) = schema.get("anyOf") {
        assert_eq!(
            members.len(),
            1,
            "any_of must be the only field: {schema} {function}"
        );
        let choices = choices.as_array().unwrap();
        assert!(choices.len() > 1, "{schema}");
        choices
            .iter()
            .for_each(|choice| check_schema(choice, function));
        return;
    }
    let kind = schema["type"]
        .as_str()
        .unwrap_or_else(|| panic!("no type: {schema} {function}"));
    assert!(
        ["array", "boolean", "integer", "number", "object", "string"].contains(&kind),
        "{schema}"
    );
    let only = |names: &[&str], of: &[&str]| {
        for name in names {
            let fits = schema.get(name).is_none() || of.contains(&kind);
            assert!(fits, "{name}: only allowed for {of:?}: {schema} {function}");
        }
    };
    only(&["enum", "pattern", "minLength", "maxLength"], &["string"]);
    only(
        &["properties", "required", "minProperties", "maxProperties"],
        &["object"],
    );
    only(&["items", "minItems", "maxItems"], &["array"]);
    only(&["minimum", "maximum"], &["integer", "number"]);
    if let Some(values) = schema.get("enum") {
        let values = values.as_array().unwrap();
        let is_text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
        assert!(!values.is_empty() && values.iter().all(is_text), "{schema}");
    }
    if let Some(format) = schema.get("format") {
        let known = ["float", "double", "int32", "int64", "enum", "date-time"];
        assert!(known.contains(&format.as_str().unwrap()), "{schema}");
    }
    if kind == "array" {
        assert!(
            schema.get("items").is_some(),
            "items: missing field: {function}"
        );
        check_schema(&schema["items"], function);
    }
    if let Some(properties) = schema.get("properties") {
        let properties = properties.as_object().unwrap();
        assert!(
            !properties.is_empty(),
            "should be non-empty for OBJECT type: {function}"
        );
        properties
            .values()
            .for_each(|inner| check_schema(inner, function));
    }
    if let Some(required) = schema.get("required") {
        for name in required.as_array().unwrap() {
            let is_defined = schema["properties"].get(name.as_str().unwrap()).is_some();
            assert!(
                is_defined,
                "required: property is not defined: {name} {function}"
            );
        }
    }
}

/// The JSON Schema that says the same.
pub fn as_json_schema(schema: &Value) -> Value {
    let Some(members) = schema.as_object() else {
        return json!({"type": "object"});
    };
    let mut own: Map<String, Value> = members.clone();
    let is_nullable = own.remove("nullable") == Some(true.into());
    for name in ["format", "default", "example"] {
        own.remove(name);
    }
    if let Some(Value::Object(properties)) = own.get_mut("properties") {
        properties
            .values_mut()
            .for_each(|inner| *inner = as_json_schema(inner));
    }
    if let Some(items) = own.get_mut("items") {
        *items = as_json_schema(items);
    }
    if let Some(Value::Array(choices)) = own.get_mut("anyOf") {
        choices
            .iter_mut()
            .for_each(|inner| *inner = as_json_schema(inner));
    }
    match is_nullable {
        true => json!({"anyOf": [own, {"type": "null"}]}),
        false => own.into(),
    }
}
