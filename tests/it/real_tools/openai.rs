//! OpenAI's rules for functions that are not strict, by its reference and by what its API answers.

use serde_json::Value;

/// Checks a function.
pub fn check(function: &Value) {
    check_name_and_description(function);
    let root = &function["parameters"];
    assert_eq!(root["type"], "object", "the root: {function}");
    assert!(root["properties"].is_object(), "no properties: {function}");
    for keyword in [
        "oneOf", "anyOf", "allOf", "enum", "not", "const", "$ref", "$schema",
    ] {
        assert!(
            root.get(keyword).is_none(),
            "{keyword} at the root: {function}"
        );
    }
    check_schema(root, root, function);
}

/// `name`: `a-z`, `A-Z`, `0-9`, `_`, `-`, at most 64; `description`: at most 1,024.
pub fn check_name_and_description(function: &Value) {
    let name = function["name"].as_str().unwrap();
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    assert!(
        (1..=64).contains(&name.len()) && name.bytes().all(is_letter),
        "{name}"
    );
    if let Some(description) = function.get("description") {
        let length = description.as_str().unwrap().len();
        assert!((1..=1024).contains(&length), "{length}: {name}");
    }
}

fn check_schema(schema: &Value, root: &Value, function: &Value) {
    let Some(members) = schema.as_object() else {
        panic!("{schema} is no schema: {function}");
    };
    let names = |what: &str| match &schema[what] {
        Value::Null => Vec::new(),
        types => types
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![types.clone()]),
    };
    if names("type").contains(&"array".into()) {
        assert!(
            schema.get("items").is_some(),
            "array schema missing items: {schema}"
        );
    }
    if let Some(values) = schema.get("enum") {
        let values = values.as_array().unwrap();
        assert!(
            !values.is_empty() && !values.contains(&"".into()),
            "{schema}"
        );
    }
    if let Some(reference) = schema.get("$ref") {
        let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
        let place = pointer.split('/').nth(1).unwrap_or_default();
        assert!(
            ["$defs", "definitions"].contains(&place),
            "{reference}: {function}"
        );
        assert!(root.pointer(pointer).is_some(), "{reference}: {function}");
    }
    for (name, value) in members {
        match (&**name, value) {
            (
                "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas",
                named,
            ) => {
                let named = named
                    .as_object()
                    .unwrap_or_else(|| panic!("{name}: {function}"));
                named
                    .values()
                    .for_each(|inner| check_schema(inner, root, function));
            }
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", list) => {
                let list = list
                    .as_array()
                    .unwrap_or_else(|| panic!("{name}: {function}"));
                list.iter()
                    .for_each(|inner| check_schema(inner, root, function));
            }
            ("items" | "contains" | "not" | "if" | "then" | "else" | "propertyNames", inner) => {
                check_schema(inner, root, function);
            }
            ("additionalProperties" | "unevaluatedProperties", inner) if !inner.is_boolean() => {
                check_schema(inner, root, function);
            }
            ("required", names) => {
                let names = names
                    .as_array()
                    .unwrap_or_else(|| panic!("{name}: {function}"));
                assert!(names.iter().all(Value::is_string), "{function}");
            }
            ("pattern", pattern) => assert!(is_plain(pattern.as_str().unwrap()), "{pattern}"),
            ("$schema", _) => panic!("$schema: {function}"),
            _ => {}
        }
    }
}

/// Neither Python nor llama.cpp's grammars stumble over it.
fn is_plain(pattern: &str) -> bool {
    let escaped = pattern.match_indices('\\').all(|(at, _)| {
        let next = pattern[at + 1..].chars().next();
        next.is_some_and(|next| !next.is_alphanumeric())
    });
    pattern.starts_with('^')
        && pattern.ends_with('$')
        && escaped
        && !pattern.replace("(?:", "").contains("(?")
}
