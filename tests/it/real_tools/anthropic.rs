//! Anthropic's rules for `input_schema`, by its reference and by what its API answers.

use serde_json::Value;

/// Checks a function, whose parameters become the `input_schema`.
pub fn check(function: &Value) {
    let root = &function["parameters"];
    assert_eq!(root["type"], "object", "input_schema.type: {function}");
    for keyword in ["oneOf", "allOf", "anyOf"] {
        assert!(
            root.get(keyword).is_none(),
            "{keyword} at the top level: {function}"
        );
    }
    // "It must match JSON Schema draft 2020-12", whatever `$schema` says.
    let draft = jsonschema::draft202012::meta::validate(root);
    assert!(
        draft.is_ok(),
        "no JSON Schema 2020-12: {:?} {function}",
        draft.err()
    );
    for name in root["properties"].as_object().unwrap().keys() {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let fits = (1..=64).contains(&name.len()) && name.bytes().all(is_letter);
        assert!(
            fits,
            "property keys should match the pattern: {name} {function}"
        );
    }
}
