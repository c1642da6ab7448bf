//! The copy of a tool's input schema that models get, made so that every provider takes it.
//!
//! A provider that refuses one schema refuses the whole request, and the caller loses every server.
//! What is offered may allow more than the schema does, never less; arguments are checked by the
//! schema as the server wrote it. A schema to which no rule applies stays byte for byte.

use super::{
    merge::{self, NoObject},
    references::{DEFINITIONS, TooMany, lead_to_definitions},
    rules,
    walk::{TURNING, each_straight, look},
};
use crate::json::{Members, Node};

/// The largest schema that is offered, in bytes: more is made only of references and choices that
/// multiply.
pub(super) const LARGEST: usize = 256 << 10;
/// The longest name of a property.
const NAME: usize = 64;

/// A rule for each subschema.
struct Rule {
    /// What it does, for an operator.
    name: &'static str,
    /// Applies it; returns true if that changed something.
    apply: fn(&mut Members) -> bool,
}

const fn rule(name: &'static str, apply: fn(&mut Members) -> bool) -> Rule {
    Rule { name, apply }
}

/// The rules, in their order. Each has its reason and who reported it.
const RULES: [Rule; 15] = [
    // 2020-12 has numbers here, and Anthropic refuses what is not 2020-12 (Dokploy/mcp#74).
    rule("bounds as in 2020-12", rules::bounds),
    // OpenAI: "True is not of type 'array'" (CherryHQ/cherry-studio#4188, of a `required` in a property;
    // Automattic/wordpress-mcp#58, MarkusPfundstein/mcp-gsuite#48).
    rule("values of a wrong kind removed", rules::kinds),
    // Types that there are not are invalid in every draft; Gemini's are in capitals
    // (zereight/gitlab-mcp#166).
    rule("types that exist", rules::types),
    // OpenAI: "is not of type 'object', 'boolean'" (NousResearch/hermes-agent#110530); llama.cpp and
    // Gemini know no boolean schemas (ggml-org/llama.cpp common/json-schema-to-grammar.cpp).
    rule("no boolean schemas", rules::flags),
    // zod writes what is optional as a choice of nothing (TencentCloudBase/CloudBase-AI-Toolkit#626,
    // ggml-org/llama.cpp#17574: "not": {}).
    rule("choices that nothing fits removed", rules::choices),
    // OpenAI: "array schema missing items" (ogx-ai/ogx#3602); lists of items are no 2020-12
    // (open-webui/mcpo#300).
    rule("items for arrays", rules::items),
    // Gemini: "enum[0]: cannot be empty", and `enum` has at least one value (elastic/kibana#286302).
    rule("values without empty ones and doubles", rules::values),
    // Gemini: "required[0]: property is not defined" (probelabs/probe#569); 2020-12 wants names once.
    rule("required properties that exist", rules::required),
    // Moonshot and Vertex: "type is not defined" (MoonshotAI/kimi-cli#1595, directus/mcp#8).
    rule("a type for properties", rules::type_of_properties),
    // A default that does not fit is a fault to strict readers (github/copilot-cli#1876 has some).
    rule(
        "no default of null where null does not fit",
        rules::defaults,
    ),
    // See `pattern`.
    rule("patterns told in words", rules::patterns),
    // vLLM with guidance: "Unimplemented keys: propertyNames" (noonghunna/club-3090#45); zod writes
    // it for every record.
    rule("no propertyNames that says nothing", rules::property_names),
    // Gemini: "Unknown name $schema" (promptfoo/promptfoo#4200); Anthropic refused draft-07
    // (anthropics/claude-code#586).
    rule("no $schema", rules::dialects),
    // What stands below them cannot be made looser, so it is right as it is or goes.
    rule(CONDITIONS, conditions),
    // Anthropic counts an empty description as none; Bedrock refuses it (danny-avila/LibreChat#13209).
    rule("no empty descriptions", empty_description),
];

/// The rules for whole schemas.
const REFERENCES: &str = "references to definitions";
const CONDITIONS: &str = "no conditions that are not portable";
const EXACTLY_ONE: &str = "anyOf where oneOf would become stricter";
const DOUBLED: &str = "members that are given once";
const MERGED: &str = "choices at the root merged";
const OBJECT: &str = "an object with properties at the root";
const NAMES: &str = "no properties with names that providers refuse";

/// A schema as it is offered.
#[derive(Debug)]
pub(super) struct Portable {
    /// `None` if it is as it was.
    pub(super) schema: Option<Node>,
    /// What the description is to say besides.
    pub(super) told: String,
    /// The names of the rules that changed it.
    pub(super) changes: Vec<&'static str>,
}

/// Makes the object `schema` portable.
///
/// # Errors
/// The reason why that cannot be done.
pub(super) fn portable(schema: &str) -> Result<Portable, &'static str> {
    let (mut root, doubled) = Node::parse(schema).ok_or("its input schema is not an object")?;
    let mut changes = Changes::default();
    changes.note(DOUBLED, doubled);
    let led = lead_to_definitions(&mut root)
        .map_err(|TooMany| "its input schema refers to too many places of itself")?;
    changes.note(REFERENCES, led);
    changes.note(EXACTLY_ONE, any_of(&mut root, is_unportable));
    let defined = definitions(&root);
    apply(&mut root, &mut changes);
    if defined != definitions(&root) {
        changes.note(CONDITIONS, without_conditions(&mut root, refers));
        changes.note(EXACTLY_ONE, any_of(&mut root, refers));
    }
    let told = merge_root(&mut root, &mut changes)?;
    let is_changed = !changes.0.is_empty();
    let schema = is_changed.then_some(root);
    let size = schema.as_ref().map_or(0, |schema| schema.written().len());
    match size > LARGEST {
        true => Err("its input schema is too large once its references are resolved"),
        false => Ok(Portable {
            schema,
            told,
            changes: changes.0,
        }),
    }
}

/// The rules that changed something, in the order of their first time.
#[derive(Default)]
struct Changes(Vec<&'static str>);

impl Changes {
    fn note(&mut self, name: &'static str, is_changed: bool) {
        if is_changed && !self.0.contains(&name) {
            self.0.push(name);
        }
    }
}

/// Applies all rules to each subschema.
fn apply(schema: &mut Node, changes: &mut Changes) {
    each_straight(schema, &mut |schema| {
        for rule in &RULES {
            changes.note(rule.name, (rule.apply)(schema));
        }
    });
}

/// Makes the root an object with properties; returns what is to be told.
fn merge_root(root: &mut Node, changes: &mut Changes) -> Result<String, &'static str> {
    let members = root
        .members_mut()
        .ok_or("its input schema is not an object")?;
    const NO_OBJECT: &str = "no object fits its input schema";
    if members.has("type") && !rules::has_type(members, "object") {
        return Err(NO_OBJECT);
    }
    let told = merge::choices_at_root(members).map_err(|NoObject| NO_OBJECT)?;
    changes.note(MERGED, told.is_some());
    let shaped = shape(members);
    changes.note(OBJECT, shaped);
    let refused = refused_names(members)?;
    changes.note(NAMES, refused);
    if told.is_some() || shaped {
        // What was put together may need it once more.
        apply(root, changes);
    }
    Ok(told.unwrap_or_default())
}

/// OpenAI: "schema must be a JSON Schema of 'type: \"object\"'" (vercel/ai#7005), "object schema
/// missing properties" (mark3labs/mcphost#88, enechange/collmbo#384).
fn shape(root: &mut Members) -> bool {
    let is_object = root.text("type").as_deref() == Some("object");
    if !is_object {
        root.remove("type");
        root.set_first("type", Node::string("object"));
    }
    let has_properties = root.has("properties");
    if !has_properties {
        root.set("properties", Node::empty());
    }
    !is_object | !has_properties | rules::required(root)
}

/// Anthropic and Bedrock: "Property keys should match pattern" (freee/freee-mcp#15,
/// vantage-sh/vantage-mcp-server#43, twilio-labs/mcp#56), at the root. One that may be absent is not
/// offered; a tool that needs one cannot be.
fn refused_names(root: &mut Members) -> Result<bool, &'static str> {
    let is_allowed = |name: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        (1..=NAME).contains(&name.len()) && name.bytes().all(is_plain)
    };
    let required = root.elements("required").unwrap_or_default();
    let is_needed = required
        .iter()
        .filter_map(Node::text)
        .any(|name| !is_allowed(&name));
    if is_needed {
        return Err("it needs an argument with a name that providers refuse");
    }
    let properties = root.get_mut("properties").and_then(Node::members_mut);
    let is_less = properties.is_some_and(|all| all.retain(|name, _| is_allowed(name)));
    if is_less {
        root.remove("additionalProperties");
        root.remove("unevaluatedProperties");
    }
    Ok(is_less)
}

/// Removes the conditions whose own subschemas are not portable.
fn conditions(schema: &mut Members) -> bool {
    remove_conditions(schema, is_unportable)
}

/// Returns true if a rule would change `schema`.
fn is_unportable(schema: &Node) -> bool {
    let (mut copy, mut changes) = (schema.clone(), Changes::default());
    apply(&mut copy, &mut changes);
    !changes.0.is_empty()
}

fn refers(schema: &Node) -> bool {
    let mut refers = false;
    look(schema, &mut |schema| refers |= schema.has("$ref"));
    refers
}

fn definitions(root: &Node) -> [Option<Node>; 2] {
    DEFINITIONS.map(|place| root.members().and_then(|root| root.get(place)).cloned())
}

/// Makes every `oneOf` with a choice that `is_loose` an `anyOf`: two choices that became looser may
/// both fit.
fn any_of(root: &mut Node, is_loose: fn(&Node) -> bool) -> bool {
    let mut changed = false;
    each_straight(root, &mut |schema| {
        let choices = schema.elements("oneOf").unwrap_or_default();
        if choices.iter().any(is_loose) {
            match schema.has("anyOf") {
                true => drop(schema.remove("oneOf")),
                false => schema.rename("oneOf", "anyOf"),
            }
            changed = true;
        }
    });
    changed
}

fn without_conditions(root: &mut Node, is_gone: fn(&Node) -> bool) -> bool {
    let mut changed = false;
    each_straight(root, &mut |schema| {
        changed |= remove_conditions(schema, is_gone)
    });
    changed
}

fn remove_conditions(schema: &mut Members, is_gone: fn(&Node) -> bool) -> bool {
    let mut changed = false;
    for keyword in TURNING {
        if schema.get(keyword).is_some_and(is_gone) {
            schema.remove(keyword);
            changed = true;
        }
    }
    if changed && !schema.has("if") {
        schema.remove("then");
        schema.remove("else");
    }
    changed
}

fn empty_description(schema: &mut Members) -> bool {
    let is_empty = schema
        .text("description")
        .is_some_and(|text| text.is_empty());
    is_empty && schema.remove("description").is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn made(schema: &Value) -> Value {
        let made =
            portable(&schema.to_string()).unwrap_or_else(|fault| panic!("{fault}: {schema}"));
        match made.schema {
            Some(made) => serde_json::from_str(&made.written()).unwrap(),
            None => schema.clone(),
        }
    }

    /// What becomes of a property.
    fn property(schema: Value) -> Value {
        let root = json!({"type": "object", "properties": {"a": schema}});
        made(&root)["properties"]["a"].clone()
    }

    #[test]
    fn what_every_provider_takes_stays_byte_for_byte() {
        for schema in [
            r#"{"type":"object","properties":{}}"#,
            r#"{ "type" : "object", "properties" : {"a":{"type":"string","enum":["x"]}}, "required":["a"] }"#,
            r##"{"type":"object","properties":{"a":{"$ref":"#/$defs/A"}},"$defs":{"A":{"type":"object","properties":{"again":{"$ref":"#/$defs/A"}}}}}"##,
            r#"{"type":"object","properties":{"a":{"anyOf":[{"type":"string"},{"type":"null"}],"default":null}},"additionalProperties":false}"#,
            r#"{"type":"object","properties":{"a":{"type":["array","null"],"items":{"type":"integer","minimum":1.0}},"b":{"const":1,"type":"number"}}}"#,
            r#"{"type":"object","properties":{"a":{"type":"object","additionalProperties":{"type":"string"}},"b":{"not":{"type":"string"}},"c":{},"d":{"enum":["x",1]}}}"#,
            r#"{"type":"object","properties":{"type":{"type":"string"},"properties":{"type":"object"},"enum":{"type":"string"}}}"#,
            r#"{"type":"object","properties":{"a":{"type":"string","pattern":"^[a-z]+$","format":"uri"}},"dependentRequired":{"a":["b"]}}"#,
        ] {
            let made = portable(schema).unwrap();
            assert!(made.schema.is_none(), "{schema}: {:?}", made.changes);
            assert!(made.told.is_empty() && made.changes.is_empty());
        }
    }

    #[test]
    fn the_root_is_an_object_with_properties() {
        for schema in [
            json!({}),
            json!({"$schema": "https://json-schema.org/draft/2020-12/schema"}),
            json!({"type": "object"}),
            json!({"type": ["object", "null"]}),
            json!({"type": "OBJECT", "properties": []}),
            json!({"type": "object", "properties": null, "required": null}),
            json!({"type": "object", "properties": {}, "enum": [{}], "not": {"type": "string"}}),
        ] {
            let made = made(&schema);
            assert_eq!(
                made,
                json!({"type": "object", "properties": {}}),
                "{schema}"
            );
        }
    }

    #[test]
    fn what_no_object_fits_is_left_out() {
        for schema in [
            json!({"type": "array", "items": {}}),
            json!({"type": "string"}),
            json!({"anyOf": [{"type": "string"}, {"type": "null"}]}),
            json!({"allOf": [{"type": "array"}]}),
        ] {
            let fault = portable(&schema.to_string()).unwrap_err();
            assert_eq!(fault, "no object fits its input schema", "{schema}");
        }
    }

    #[test]
    fn choices_at_the_root_become_properties_and_are_told() {
        let schema = json!({
            "type": "object",
            "properties": {"path": {"type": "string"}, "url": {"type": "string"}, "n": {"type": "integer"}},
            "required": ["n"],
            "anyOf": [{"required": ["path"]}, {"required": ["url"]}],
        });
        let whole = portable(&schema.to_string()).unwrap();
        assert_eq!(
            whole.told,
            "At least one of these sets of arguments is needed: path; url."
        );
        let mut wanted = schema.clone();
        wanted.as_object_mut().unwrap().remove("anyOf");
        assert_eq!(made(&schema), wanted);
        let kinds = json!({"oneOf": [
            {"type": "object", "properties": {"kind": {"const": "a"}, "x": {"type": "string"}}, "required": ["kind", "x"], "additionalProperties": false},
            {"$ref": "#/$defs/B"},
        ], "$defs": {"B": {"properties": {"kind": {"const": "b"}, "x": {"type": "integer"}}, "required": ["kind"]}}});
        let whole = made(&kinds);
        assert_eq!(
            whole["properties"],
            json!({"kind": {"enum": ["a", "b"]}, "x": {"anyOf": [{"type": "string"}, {"type": "integer"}]}})
        );
        assert_eq!(whole["required"], json!(["kind"]));
        assert_eq!(whole["type"], "object");
        let all = json!({"allOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"properties": {"a": {"minLength": 2}, "b": {}}}]});
        assert_eq!(
            made(&all)["properties"],
            json!({"a": {"allOf": [{"type": "string"}, {"minLength": 2}]}, "b": {}})
        );
    }

    #[test]
    fn a_root_that_is_only_a_reference_is_what_it_leads_to() {
        for place in ["$defs", "definitions"] {
            let schema = json!({"$ref": format!("#/{place}/A"), place: {"A": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}}});
            let made = made(&schema);
            assert_eq!(made["properties"], json!({"a": {"type": "string"}}));
            assert_eq!(
                (&made["required"], &made["type"]),
                (&json!(["a"]), &json!("object"))
            );
            assert!(made.get("$ref").is_none());
        }
    }

    #[test]
    fn references_lead_to_definitions_or_are_gone() {
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "string", "minLength": 1},
            "b": {"$ref": "#/properties/a"},
            "c": {"$ref": "#/nowhere", "description": "c"},
            "tree": {"type": "object", "properties": {"next": {"$ref": "#/properties/tree"}}},
            "self": {"$ref": "#"},
            "lost": {"type": "object", "$defs": {"L": {"type": "integer"}}, "properties": {"l": {"$ref": "#/$defs/L"}}},
            "named": {"$ref": "#far"}, "far": {"$anchor": "far", "type": "boolean"},
        }});
        let made = made(&schema);
        let at = |name: &str| {
            let reference = made["properties"][name]["$ref"]
                .as_str()
                .unwrap_or_else(|| panic!("{name}"));
            assert!(reference.starts_with("#/$defs/"), "{reference}");
            made.pointer(&reference[1..])
                .unwrap_or_else(|| panic!("{reference}"))
                .clone()
        };
        assert_eq!(at("b"), json!({"type": "string", "minLength": 1}));
        assert_eq!(made["properties"]["c"], json!({"description": "c"}));
        assert_eq!(at("self")["type"], "object");
        assert_eq!(at("named")["type"], "boolean");
        assert_eq!(
            made["properties"]["tree"]["properties"]["next"],
            json!({"$ref": "#/$defs/tree"})
        );
        assert_eq!(
            made["$defs"]["tree"]["properties"]["next"],
            json!({"$ref": "#/$defs/tree"})
        );
        assert_eq!(
            made["properties"]["lost"]["properties"]["l"],
            json!({"$ref": "#/$defs/L"})
        );
        assert_eq!(made["$defs"]["L"], json!({"type": "integer"}));
        let circle = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}});
        assert!(
            portable(&circle.to_string())
                .unwrap()
                .changes
                .contains(&REFERENCES)
        );
    }

    #[test]
    fn each_fault_of_a_property_has_its_rule() {
        for (schema, wanted) in [
            (
                json!({"type": "array"}),
                json!({"type": "array", "items": {}}),
            ),
            (
                json!({"type": ["array", "null"]}),
                json!({"type": ["array", "null"], "items": {}}),
            ),
            (
                json!({"anyOf": [{"type": "array"}, {"type": "null"}]}),
                json!({"anyOf": [{"type": "array", "items": {}}, {"type": "null"}]}),
            ),
            (
                json!({"type": "array", "items": [{"type": "string"}, {"type": "integer"}], "additionalItems": false}),
                json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "maxItems": 2, "items": {}}),
            ),
            (
                json!({"type": "array", "items": true}),
                json!({"type": "array", "items": {}}),
            ),
            (
                json!({"type": "string", "enum": ["", "a", "a"]}),
                json!({"type": "string", "enum": ["a"]}),
            ),
            (
                json!({"type": "string", "enum": [""]}),
                json!({"type": "string"}),
            ),
            (
                json!({"type": "number", "minimum": 0, "exclusiveMinimum": true}),
                json!({"type": "number", "exclusiveMinimum": 0}),
            ),
            (
                json!({"type": "number", "maximum": 5, "exclusiveMaximum": false}),
                json!({"type": "number", "maximum": 5}),
            ),
            (
                json!({"type": "string", "required": true}),
                json!({"type": "string"}),
            ),
            (
                json!({"type": "any", "description": "x"}),
                json!({"description": "x"}),
            ),
            (json!({"type": "STRING"}), json!({"type": "string"})),
            (
                json!({"properties": {"b": true, "c": false, "d": 1}}),
                json!({"type": "object", "properties": {"b": {}, "d": {}}}),
            ),
            (
                json!({"type": "object", "properties": {}, "required": ["b", "b", 1]}),
                json!({"type": "object", "properties": {"b": {}}, "required": ["b"]}),
            ),
            (
                json!({"type": "object", "properties": []}),
                json!({"type": "object"}),
            ),
            (
                json!({"anyOf": [{"not": {}}, {"type": "string"}]}),
                json!({"type": "string"}),
            ),
            (
                json!({"type": "string", "default": null}),
                json!({"type": "string"}),
            ),
            (
                json!({"type": "string", "pattern": "\\d+"}),
                json!({"type": "string", "description": "Pattern: \\d+"}),
            ),
            (
                json!({"type": "string", "description": "An id.", "pattern": "^\\p{L}$"}),
                json!({"type": "string", "description": "An id. (Pattern: ^\\p{L}$)"}),
            ),
            (
                json!({"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {}}),
                json!({"type": "object", "additionalProperties": {}}),
            ),
            (
                json!({"type": "string", "description": ""}),
                json!({"type": "string"}),
            ),
            (
                json!({"$schema": "x", "type": "string"}),
                json!({"type": "string"}),
            ),
            (
                json!({"type": "string", "minLength": "1", "maxLength": null}),
                json!({"type": "string"}),
            ),
            (
                json!({"oneOf": [{"type": "array"}, {"type": "string"}]}),
                json!({"anyOf": [{"type": "array", "items": {}}, {"type": "string"}]}),
            ),
            (
                json!({"type": "object", "not": {"type": "array"}}),
                json!({"type": "object"}),
            ),
            (
                json!({"if": {"type": "array"}, "then": {"minItems": 1}}),
                json!({}),
            ),
        ] {
            assert_eq!(property(schema.clone()), wanted, "{schema}");
        }
    }

    #[test]
    fn a_property_with_a_refused_name_is_not_offered_and_a_needed_one_leaves_the_tool_out() {
        let schema = json!({"type": "object", "properties": {"a[]": {"type": "string"}, "b.c": {}}, "additionalProperties": false});
        assert_eq!(
            made(&schema),
            json!({"type": "object", "properties": {"b.c": {}}})
        );
        let needed = json!({"type": "object", "properties": {"a b": {}}, "required": ["a b"]});
        let fault = portable(&needed.to_string()).unwrap_err();
        assert!(fault.contains("a name that providers refuse"), "{fault}");
    }

    #[test]
    fn references_that_multiply_are_left_out_and_harm_nothing() {
        let many: serde_json::Map<_, _> = (0..200)
            .map(|i| {
                (
                    format!("p{i}"),
                    json!({"$ref": format!("#/properties/p{}/x", i + 1), "x": {"$ref": "#"}}),
                )
            })
            .collect();
        let fault =
            portable(&json!({"type": "object", "properties": many}).to_string()).unwrap_err();
        assert!(fault.contains("too many places"), "{fault}");
    }

    #[test]
    fn what_was_made_portable_stays_as_it_is() {
        for schema in [
            json!({"anyOf": [{"required": ["a"]}, {"properties": {"b": {"type": "array"}}}], "properties": {"a": true}}),
            json!({"$ref": "#/definitions/A", "definitions": {"A": {"properties": {"x": {"$ref": "#/definitions/A/properties/y"}, "y": {"enum": ["", 1]}}}}}),
        ] {
            let once = made(&schema);
            let again = portable(&once.to_string()).unwrap();
            assert!(again.schema.is_none(), "{once}: {:?}", again.changes);
        }
    }

    /// Schemas to which no rule applies.
    fn sound() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::prelude::*;
        let text = "[a-zA-Zé ]{1,8}";
        let plain = prop_oneof![
            (text, 0..9_u32).prop_map(
                |(text, least)| json!({"description": text, "type": "string", "minLength": least})
            ),
            (-9..9_i32).prop_map(
                |least| json!({"type": "integer", "exclusiveMinimum": least, "default": 5})
            ),
            proptest::collection::btree_set("[a-z]{1,5}", 1..4)
                .prop_map(|values| json!({"enum": values, "type": "string"})),
            Just(json!({"type": ["number", "null"], "default": null})),
            Just(json!({"type": "string", "pattern": "^[a-z]{2,5}$", "format": "uri"})),
            Just(json!({"$ref": "#/$defs/One"})),
            Just(json!({"const": true})),
            Just(json!({})),
        ];
        let nested = plain.prop_recursive(4, 24, 4, |inner| {
            let named = proptest::collection::btree_map("[a-zA-Z_.-]{1,6}", inner.clone(), 0..4);
            prop_oneof![
                inner.clone().prop_map(|items| json!({"items": items, "type": "array"})),
                proptest::collection::vec(inner.clone(), 2..4).prop_map(|any| json!({"anyOf": any})),
                proptest::collection::vec(inner.clone(), 2..4).prop_map(|one| json!({"oneOf": one, "title": "é"})),
                inner.prop_map(|values| json!({"type": "object", "additionalProperties": values})),
                named.prop_map(|named| {
                    let first: Vec<_> = named.keys().take(1).cloned().collect();
                    json!({"type": "object", "properties": named, "required": first, "additionalProperties": false})
                }),
            ]
        });
        proptest::collection::btree_map("[a-zA-Z_.-]{1,6}", nested, 0..5).prop_map(|named| {
            json!({"properties": named, "type": "object", "$defs": {"One": {"type": "boolean"}}, "additionalProperties": false})
        })
    }

    proptest::proptest! {
        #[test]
        fn whatever_no_rule_applies_to_stays_as_it_is(schema in sound()) {
            let made = portable(&schema.to_string()).unwrap();
            proptest::prop_assert!(made.schema.is_none(), "{} {:?}", schema, made.changes);
        }
    }

    /// Whatever a server may write, with the words of schemas in all the wrong places.
    fn hostile() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::prelude::*;
        const WORDS: [&str; 34] = [
            "$ref",
            "$defs",
            "definitions",
            "$schema",
            "$id",
            "$anchor",
            "type",
            "properties",
            "required",
            "items",
            "prefixItems",
            "additionalItems",
            "additionalProperties",
            "patternProperties",
            "propertyNames",
            "anyOf",
            "oneOf",
            "allOf",
            "not",
            "if",
            "then",
            "else",
            "enum",
            "const",
            "default",
            "pattern",
            "description",
            "exclusiveMinimum",
            "minimum",
            "dependencies",
            "nullable",
            "a",
            "a b",
            "maxItems",
        ];
        const TEXTS: [&str; 16] = [
            "",
            "object",
            "array",
            "string",
            "STRING",
            "any",
            "a",
            "#",
            "#/$defs/a",
            "#/definitions/a",
            "#/properties/a",
            "#/nowhere",
            "#a",
            "^[a",
            "^a$",
            "null",
        ];
        let plain = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(|flag| json!(flag)),
            (-2..5_i32).prop_map(|number| json!(number)),
            prop::sample::select(&TEXTS[..]).prop_map(|text| json!(text)),
        ];
        plain.prop_recursive(6, 48, 5, |inner| {
            let word = prop::sample::select(&WORDS[..]).prop_map(str::to_owned);
            prop_oneof![
                1 => prop::collection::vec(inner.clone(), 0..4).prop_map(|list| json!(list)),
                4 => prop::collection::btree_map(word, inner, 0..5).prop_map(|all| json!(all)),
            ]
        })
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]
        #[test]
        fn whatever_a_server_writes_becomes_an_object_that_providers_read(schema in hostile()) {
            let schema = json!({"properties": schema, "anyOf": [schema], "$defs": {"a": schema}, "not": schema});
            for schema in [schema["not"].clone(), schema] {
                if !schema.is_object() {
                    continue;
                }
                let text = schema.to_string();
                let Ok(Portable { schema: made, .. }) = portable(&text) else {
                    continue;
                };
                let made = made.unwrap_or_else(|| Node::parse(&text).unwrap().0);
                let value: Value = serde_json::from_str(&made.written()).unwrap();
                proptest::prop_assert_eq!(&value["type"], "object");
                proptest::prop_assert!(value["properties"].is_object());
                proptest::prop_assert!(["anyOf", "oneOf", "allOf", "not", "enum", "$ref", "$schema"].iter().all(|word| value.get(word).is_none()), "{} {}", text, value);
                let mut seen = 0;
                look(&made, &mut |schema| {
                    seen += 1;
                    let is_array = rules::has_type(schema, "array") && !schema.has("$ref");
                    assert!(!is_array || schema.has("items"), "{text} {value}");
                    if let Some(reference) = schema.text("$ref") {
                        let root = made.members().unwrap();
                        assert!(crate::offer::references::definition(root, &reference).is_some(), "{text} {value}");
                    }
                });
                if let Ok(Some(gemini)) = crate::offer::gemini::gemini(&made) {
                    assert_eq!(gemini.members().unwrap().text("type").as_deref(), Some("object"));
                }
                // Made once, it stays.
                let again = portable(&value.to_string()).unwrap();
                proptest::prop_assert!(again.changes.is_empty(), "{} {} {:?} {}", text, value, again.changes, again.schema.map(|s| s.written()).unwrap_or_default());
            }
        }
    }
}
