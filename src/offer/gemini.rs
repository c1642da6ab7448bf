//! Schemas in the words that Gemini's documentation lists.
//!
//! The API reads tools into a message of its own, `Schema`, and refuses every member that the message
//! does not have (<https://ai.google.dev/api/caching#Schema>, and the same for Vertex AI): one type
//! beside `nullable`, values that are strings, no references. Each choice of several types becomes
//! `anyOf`, beside which Vertex AI allows nothing else. What cannot be said is told in a
//! description or left out, which allows more; arguments are checked by the server's own schema.

use super::{
    merge,
    portable::LARGEST,
    references::definition,
    rules::{TYPES, has_type, tell, type_of},
};
use crate::json::{Members, Node};

/// The most subschemas of a tool once its references are resolved.
const MOST: usize = 2_000;
/// The most definitions within each other; a deeper one is cut.
const DEPTH: usize = 16;

/// Members that every type has.
const COMMON: [&str; 3] = ["title", "description", "default"];
/// The members of each type.
const OF_TYPE: [(&str, &[&str]); 6] = [
    ("array", &["minItems", "maxItems"]),
    ("boolean", &[]),
    ("integer", &["format", "minimum", "maximum"]),
    ("number", &["format", "minimum", "maximum"]),
    (
        "object",
        &["minProperties", "maxProperties", "propertyOrdering"],
    ),
    ("string", &["format", "minLength", "maxLength", "pattern"]),
];
/// The formats of each type: the Gemini API refuses others of strings.
const FORMATS: [(&str, &str); 6] = [
    ("integer", "int32"),
    ("integer", "int64"),
    ("number", "double"),
    ("number", "float"),
    ("string", "date-time"),
    ("string", "enum"),
];

/// The portable schema `root` as Gemini reads it; `None` if it takes no arguments, which Gemini wants
/// said by no schema at all ("properties: should be non-empty for OBJECT type", agno-agi/agno#2112).
///
/// # Errors
/// The reason why that cannot be done.
pub(super) fn gemini(root: &Node) -> Result<Option<Node>, &'static str> {
    const TOO_LARGE: &str = "its input schema is too large for Gemini, which wants no references";
    let members = root.members().ok_or("its input schema is not an object")?;
    let mut reader = Reader {
        root: members,
        path: Vec::new(),
        left: MOST,
        bytes: LARGEST,
    };
    let schema = reader.read(members).ok_or(TOO_LARGE)?;
    let is_empty = !schema.has("properties");
    let schema = Node::Object(schema);
    match schema.written().len() > LARGEST {
        true => Err(TOO_LARGE),
        false => Ok((!is_empty).then_some(schema)),
    }
}

struct Reader<'a> {
    root: &'a Members,
    /// The references that are being resolved.
    path: Vec<String>,
    /// The subschemas that may still be made.
    left: usize,
    /// The bytes of definitions that may still be put in the place of references.
    bytes: usize,
}

impl Reader<'_> {
    /// `schema` in Gemini's words; `None` if it is too large.
    fn read(&mut self, schema: &Members) -> Option<Members> {
        self.left = self.left.checked_sub(1)?;
        if let Some(reference) = schema.text("$ref") {
            return self.read_reference(schema, &reference);
        }
        let mut schema = schema.clone();
        let is_object = schema.text("type").as_deref() == Some("object");
        let has_choices = ["allOf", "anyOf", "oneOf"]
            .iter()
            .any(|name| schema.has(name));
        if is_object && has_choices {
            // If no object fits, the check says so; here everything is allowed.
            if let Ok(Some(told)) = merge::choices(&mut schema, self.root)
                && !told.is_empty()
            {
                tell(&mut schema, &told);
            }
        }
        self.join_all(&mut schema);
        let choices = schema.remove("anyOf").or_else(|| schema.remove("oneOf"));
        match choices {
            Some(Node::Array(choices)) if !schema.has("type") => {
                self.read_choices(&schema, &choices)
            }
            _ => self.read_types(&schema),
        }
    }

    /// What a reference leads to, with what stands beside it. In a circle it is only its type.
    fn read_reference(&mut self, schema: &Members, reference: &str) -> Option<Members> {
        let target = definition(self.root, reference);
        let size = target.map_or(0, |target| target.written().len());
        let target = target.and_then(Node::members);
        self.bytes = self.bytes.checked_sub(size)?;
        let is_circle = self.path.iter().any(|known| known == reference);
        let mut whole = match target {
            Some(target) if is_circle || self.path.len() == DEPTH => cut(target),
            Some(target) => target.clone(),
            None => Members::default(),
        };
        for (name, value) in schema.iter().filter(|(name, _)| *name != "$ref") {
            whole.set(name, value.clone());
        }
        self.path.push(reference.to_owned());
        let read = self.read(&whole);
        self.path.pop();
        read
    }

    /// Puts what the parts of `allOf` say into `schema`, which has the last word.
    fn join_all(&mut self, schema: &mut Members) {
        let Some(Node::Array(parts)) = schema.remove("allOf") else {
            return;
        };
        for part in parts.iter().filter_map(Node::members) {
            let target = part
                .text("$ref")
                .filter(|reference| !self.path.contains(reference));
            let target = target.and_then(|reference| definition(self.root, &reference));
            let both = [Some(part), target.and_then(Node::members)];
            for (name, value) in both.into_iter().flatten().flat_map(Members::iter) {
                if name != "$ref" && !schema.has(name) {
                    schema.set(name, value.clone());
                }
            }
        }
        // A part may have had parts.
        schema.remove("allOf");
    }

    /// Choices; the words of `schema` go to the first, since nothing may stand beside them.
    fn read_choices(&mut self, schema: &Members, choices: &[Node]) -> Option<Members> {
        let mut read: Vec<Members> = Vec::new();
        let mut is_nullable = schema.get("nullable").is_some_and(|flag| flag.is("true"));
        for choice in choices.iter().filter_map(Node::members) {
            if choice.text("type").as_deref() == Some("null") {
                is_nullable = true;
                continue;
            }
            let mut one = self.read(choice)?;
            match one.remove("anyOf") {
                Some(Node::Array(inner)) => {
                    let inner = inner.into_iter().filter_map(|node| node.members().cloned());
                    read.extend(inner);
                }
                _ => read.push(one),
            }
        }
        Some(any_of(schema, read, is_nullable))
    }

    /// A schema that is not a choice, or one for each of its types.
    fn read_types(&mut self, schema: &Members) -> Option<Members> {
        let types = types_of(schema);
        let is_null = |value: &Node| value.is("null");
        let is_nullable = schema.get("nullable").is_some_and(|flag| flag.is("true"))
            || types.contains(&"null")
            || schema.get("const").is_some_and(is_null)
            || schema
                .elements("enum")
                .is_some_and(|values| values.iter().any(is_null));
        let types: Vec<_> = types.into_iter().filter(|kind| *kind != "null").collect();
        match &types[..] {
            [] => Some(any_of(schema, anything(), is_nullable)),
            [only] => {
                let mut one = self.read_one(schema, only)?;
                if is_nullable {
                    one.set("nullable", Node::Plain("true".into()));
                }
                Some(one)
            }
            several => {
                let mut bare = schema.clone();
                COMMON.iter().for_each(|name| drop(bare.remove(name)));
                let all = several.iter().map(|kind| self.read_one(&bare, kind));
                let all = all.collect::<Option<Vec<_>>>()?;
                Some(any_of(schema, all, is_nullable))
            }
        }
    }

    /// What `schema` says of the type `kind`.
    fn read_one(&mut self, schema: &Members, kind: &str) -> Option<Members> {
        let mut one = Members::default();
        one.set("type", Node::string(kind));
        let of_type = OF_TYPE.iter().find(|(known, _)| *known == kind);
        let names = COMMON
            .iter()
            .chain(of_type.map_or(&[][..], |(_, names)| names));
        for name in names {
            if let Some(value) = schema.get(name).filter(|value| !value.is("null")) {
                one.set(name, value.clone());
            }
        }
        let format = one.text("format");
        if !format.is_some_and(|format| FORMATS.contains(&(kind, &*format))) {
            one.remove("format");
        }
        match kind {
            "object" => self.read_properties(schema, &mut one)?,
            "array" => self.read_items(schema, &mut one)?,
            "integer" | "number" => bounds(schema, &mut one),
            _ => {}
        }
        values(schema, kind, &mut one);
        Some(one)
    }

    fn read_properties(&mut self, schema: &Members, one: &mut Members) -> Option<()> {
        let mut properties = Members::default();
        let given = schema.get("properties").and_then(Node::members);
        for (name, value) in given.iter().flat_map(|given| given.iter()) {
            let read = self.read(value.members().unwrap_or(&Members::default()))?;
            properties.set(name, Node::Object(read));
        }
        let required = schema.elements("required").unwrap_or_default().iter();
        let is_known = |name: &&Node| name.text().is_some_and(|name| properties.has(&name));
        let required: Vec<_> = required.filter(is_known).cloned().collect();
        // Neither may be empty.
        if !properties.is_empty() {
            one.set("properties", Node::Object(properties));
        }
        if !required.is_empty() {
            one.set("required", Node::Array(required));
        }
        Some(())
    }

    fn read_items(&mut self, schema: &Members, one: &mut Members) -> Option<()> {
        let most = schema.get("maxItems").map(Node::written);
        let most = most.and_then(|most| most.parse::<usize>().ok());
        let prefix = schema.elements("prefixItems");
        let closed = prefix.filter(|prefix| most.is_some_and(|most| most <= prefix.len()));
        let items = match closed {
            Some(prefix) => self.read_choices(&Members::default(), prefix)?,
            None if prefix.is_some() => any_of(&Members::default(), anything(), true),
            None => {
                let items = schema.get("items").and_then(Node::members);
                self.read(items.unwrap_or(&Members::default()))?
            }
        };
        one.set("items", Node::Object(items));
        Some(())
    }
}

/// The types that `schema` names or implies; none if it may be anything.
fn types_of(schema: &Members) -> Vec<&'static str> {
    let values = match (schema.elements("enum"), schema.get("const")) {
        (Some(values), _) => values,
        (None, value) => value.map_or(&[][..], std::slice::from_ref),
    };
    let of_values = |kind: &&str| values.iter().any(|value| type_of(value) == *kind);
    let implied = [
        ("properties", "object"),
        ("items", "array"),
        ("pattern", "string"),
    ];
    let named: Vec<_> = TYPES
        .into_iter()
        .filter(|kind| has_type(schema, kind))
        .collect();
    if !named.is_empty() {
        named
    } else if !values.is_empty() {
        // "enum: only allowed for STRING type" (decolua/9router#380).
        TYPES.into_iter().filter(of_values).collect()
    } else {
        let implied = implied.into_iter().filter(|(name, _)| schema.has(name));
        implied.map(|(_, kind)| kind).collect()
    }
}

/// Choices with the words of `schema` in the first.
fn any_of(schema: &Members, choices: Vec<Members>, is_nullable: bool) -> Members {
    let mut distinct: Vec<Members> = Vec::new();
    for choice in choices {
        if !distinct.contains(&choice) {
            distinct.push(choice);
        }
    }
    if distinct.is_empty() {
        distinct = vec![Members::default()];
        distinct[0].set("type", Node::string("string"));
    }
    let first = &mut distinct[0];
    if let Some(text) = schema.text("description") {
        let own = first.remove("description").and_then(|own| own.text());
        first.set("description", Node::string(&text));
        if let Some(own) = own.filter(|own| *own != text) {
            tell(first, &own);
        }
    }
    if is_nullable {
        first.set("nullable", Node::Plain("true".into()));
    }
    if distinct.len() == 1 {
        return distinct.remove(0);
    }
    let mut any = Members::default();
    let choices = distinct.into_iter().map(Node::Object);
    any.set("anyOf", Node::Array(choices.collect()));
    any
}

/// Every type, since one has to be named.
fn anything() -> Vec<Members> {
    let kind = |kind: &str| Node::object([("type", Node::string(kind))]);
    let plain = ["string", "number", "boolean", "object"].map(kind);
    let items = Node::object([("anyOf", Node::Array(plain.to_vec()))]);
    let array = Node::object([("type", Node::string("array")), ("items", items)]);
    let all = plain.into_iter().chain([array]);
    all.filter_map(|node| node.members().cloned()).collect()
}

/// What stands for a definition within itself: its type and its words.
fn cut(target: &Members) -> Members {
    let mut cut = Members::default();
    for name in ["type", "title", "description"] {
        if let Some(value) = target.get(name) {
            cut.set(name, value.clone());
        }
    }
    cut
}

/// Bounds that exclude become bounds, which allow one value more.
fn bounds(schema: &Members, one: &mut Members) {
    for (exclusive, bound) in [
        ("exclusiveMinimum", "minimum"),
        ("exclusiveMaximum", "maximum"),
    ] {
        if let Some(value) = schema.get(exclusive)
            && !one.has(bound)
        {
            one.set(bound, value.clone());
        }
    }
}

/// Values: of strings they are listed, of others told.
fn values(schema: &Members, kind: &str, one: &mut Members) {
    let values = match (schema.elements("enum"), schema.get("const")) {
        (Some(values), _) => values,
        (None, Some(value)) => std::slice::from_ref(value),
        (None, None) => return,
    };
    let texts: Vec<_> = values
        .iter()
        .filter(|value| value.text().is_some())
        .cloned()
        .collect();
    if kind == "string" {
        if !texts.is_empty() {
            one.set("enum", Node::Array(texts));
        }
        return;
    }
    let others = values.iter().filter(|value| value.text().is_none());
    let others: Vec<_> = others.map(Node::written).collect();
    if kind != "object" && kind != "array" && !others.is_empty() {
        tell(one, &format!("One of: {}.", others.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::portable::portable, *};

    fn read(schema: &Value) -> Option<Value> {
        let text = schema.to_string();
        let made = portable(&text).unwrap().schema;
        let root = made.unwrap_or_else(|| Node::parse(&text).unwrap().0);
        let read = gemini(&root).unwrap()?;
        Some(serde_json::from_str(&read.written()).unwrap())
    }

    #[test]
    fn references_do_not_multiply_a_schema() {
        let part = json!({"type": "string", "description": "x".repeat(20_000)});
        let names = (0..1_000).map(|i| (format!("p{i}"), json!({"$ref": "#/$defs/A"})));
        let properties: serde_json::Map<_, _> = names.collect();
        let schema = json!({"type": "object", "properties": properties, "$defs": {"A": part}});
        let root = Node::parse(&schema.to_string()).unwrap().0;
        assert!(gemini(&root).is_err());
        // Each is merged anew.
        let all = vec![json!({"$ref": "#/$defs/A"}); 500];
        let names = (0..600).map(|i| (format!("p{i}"), json!({"$ref": "#/$defs/S"})));
        let properties: serde_json::Map<_, _> = names.collect();
        let schema = json!({"type": "object", "properties": properties, "$defs": {
            "A": {"type": "object", "properties": {"a": part}},
            "S": {"type": "object", "allOf": all},
        }});
        assert!(schema.to_string().len() < 64 << 10);
        let root = Node::parse(&schema.to_string()).unwrap().0;
        let began = std::time::Instant::now();
        assert!(gemini(&root).is_err());
        let took = began.elapsed();
        assert!(took.as_secs() < 5, "{took:?}");
    }

    /// What becomes of a property.
    fn property(schema: Value) -> Value {
        let root = json!({"type": "object", "properties": {"a": schema}});
        read(&root).unwrap()["properties"]["a"].clone()
    }

    #[test]
    fn each_word_that_gemini_does_not_have_is_said_otherwise_or_gone() {
        for (schema, wanted) in [
            (
                json!({"type": ["string", "null"], "description": "x"}),
                json!({"type": "string", "description": "x", "nullable": true}),
            ),
            (
                json!({"anyOf": [{"type": "string"}, {"type": "null"}], "default": null, "title": "A"}),
                json!({"type": "string", "nullable": true}),
            ),
            (
                json!({"anyOf": [{"type": "string"}, {"type": "integer"}], "description": "x"}),
                json!({"anyOf": [{"type": "string", "description": "x"}, {"type": "integer"}]}),
            ),
            (
                json!({"type": ["string", "integer"], "minLength": 2}),
                json!({"anyOf": [{"type": "integer"}, {"type": "string", "minLength": 2}]}),
            ),
            (
                json!({"const": "a"}),
                json!({"type": "string", "enum": ["a"]}),
            ),
            (
                json!({"type": "integer", "enum": [1, 2]}),
                json!({"type": "integer", "description": "One of: 1, 2."}),
            ),
            (
                json!({"enum": ["a", null]}),
                json!({"type": "string", "enum": ["a"], "nullable": true}),
            ),
            (
                json!({"type": "string", "format": "uri"}),
                json!({"type": "string"}),
            ),
            (
                json!({"type": "string", "format": "date-time"}),
                json!({"type": "string", "format": "date-time"}),
            ),
            (
                json!({"type": "integer", "exclusiveMinimum": 0, "multipleOf": 5}),
                json!({"type": "integer", "minimum": 0}),
            ),
            (
                json!({"type": "object", "additionalProperties": {"type": "string"}, "properties": {}}),
                json!({"type": "object"}),
            ),
            (
                json!({"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"], "additionalProperties": false}),
                json!({"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]}),
            ),
            (
                json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true}),
                json!({"type": "array", "items": {"type": "string"}}),
            ),
            (
                json!({"type": "array", "items": [{"type": "string"}, {"type": "string"}], "maxItems": 2}),
                json!({"type": "array", "items": {"type": "string"}, "maxItems": 2}),
            ),
            (
                json!({"type": "string", "properties": {"b": {}}, "required": ["b"]}),
                json!({"type": "string"}),
            ),
            (
                json!({"allOf": [{"type": "string", "minLength": 1}], "description": "x"}),
                json!({"type": "string", "description": "x", "minLength": 1}),
            ),
        ] {
            assert_eq!(property(schema.clone()), wanted, "{schema}");
        }
        let anything = property(json!({"description": "x"}));
        assert_eq!(anything["anyOf"].as_array().unwrap().len(), 5, "{anything}");
        assert_eq!(anything["anyOf"][0]["description"], "x");
    }

    #[test]
    fn references_are_resolved_and_circles_are_cut() {
        let schema = json!({
            "type": "object",
            "properties": {"tree": {"$ref": "#/$defs/Tree", "description": "The whole."}},
            "$defs": {"Tree": {"type": "object", "description": "A node.", "properties": {
                "name": {"type": "string"}, "next": {"$ref": "#/$defs/Tree"},
            }}},
        });
        let read = read(&schema).unwrap();
        assert_eq!(
            read,
            json!({"type": "object", "properties": {"tree": {"type": "object", "description": "The whole.", "properties": {
                "name": {"type": "string"}, "next": {"type": "object", "description": "A node."},
            }}}})
        );
    }

    #[test]
    fn references_that_double_leave_the_tool_out() {
        let mut definitions: serde_json::Map<_, _> = (0..30)
            .map(|i| {
                let next = json!({"$ref": format!("#/$defs/d{}", (i + 1) % 14)});
                (
                    format!("d{i}"),
                    json!({"type": "object", "properties": {"a": next, "b": next}}),
                )
            })
            .collect();
        definitions.insert("d13".into(), json!({"type": "string"}));
        let schema = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": definitions});
        let made = portable(&schema.to_string()).unwrap().schema;
        let root = made.unwrap_or_else(|| Node::parse(&schema.to_string()).unwrap().0);
        assert!(gemini(&root).unwrap_err().contains("too large"));
    }

    #[test]
    fn a_tool_without_arguments_has_no_parameters() {
        assert_eq!(
            read(&json!({"type": "object", "additionalProperties": false})),
            None
        );
    }
}
