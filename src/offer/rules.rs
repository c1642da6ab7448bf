//! What is done to one subschema so that providers take it: the functions of the table in
//! [`portable`](super::portable), each of which returns true if it changed something.
//!
//! None makes a schema refuse what it took before, except where it says so.

use super::{pattern::is_portable, walk::LISTS};
use crate::{
    json::{Members, Node},
    schema::NAMED,
};

/// The kinds of values that a keyword has.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Number,
    Count,
    List,
    Object,
    Schema,
    SchemaOrList,
    TypeOrTypes,
}

/// Keywords and what their values are, in any draft. A value of another kind says nothing.
const KINDS: [(&str, Kind); 41] = [
    ("$anchor", Kind::Text),
    ("$defs", Kind::Object),
    ("$id", Kind::Text),
    ("$ref", Kind::Text),
    ("additionalItems", Kind::Schema),
    ("additionalProperties", Kind::Schema),
    ("allOf", Kind::List),
    ("anyOf", Kind::List),
    ("contains", Kind::Schema),
    ("definitions", Kind::Object),
    ("dependencies", Kind::Object),
    ("dependentRequired", Kind::Object),
    ("dependentSchemas", Kind::Object),
    ("description", Kind::Text),
    ("else", Kind::Schema),
    ("enum", Kind::List),
    ("examples", Kind::List),
    ("exclusiveMaximum", Kind::Number),
    ("exclusiveMinimum", Kind::Number),
    ("format", Kind::Text),
    ("if", Kind::Schema),
    ("items", Kind::SchemaOrList),
    ("maxItems", Kind::Count),
    ("maxLength", Kind::Count),
    ("maxProperties", Kind::Count),
    ("maximum", Kind::Number),
    ("minItems", Kind::Count),
    ("minLength", Kind::Count),
    ("minProperties", Kind::Count),
    ("minimum", Kind::Number),
    ("multipleOf", Kind::Number),
    ("not", Kind::Schema),
    ("oneOf", Kind::List),
    ("pattern", Kind::Text),
    ("patternProperties", Kind::Object),
    ("properties", Kind::Object),
    ("propertyNames", Kind::Schema),
    ("required", Kind::List),
    ("then", Kind::Schema),
    ("title", Kind::Text),
    ("type", Kind::TypeOrTypes),
];

/// The types of JSON Schema.
pub(super) const TYPES: [&str; 7] = [
    "array", "boolean", "integer", "null", "number", "object", "string",
];

impl Kind {
    fn is_of(self, value: &Node) -> bool {
        let plain = match value {
            Node::Plain(plain) => &**plain,
            Node::Object(_) => {
                return matches!(self, Self::Object | Self::Schema | Self::SchemaOrList);
            }
            Node::Array(_) => {
                return matches!(self, Self::List | Self::SchemaOrList | Self::TypeOrTypes);
            }
        };
        let is_flag = matches!(plain, "true" | "false");
        match self {
            Self::Text | Self::TypeOrTypes => plain.starts_with('"'),
            Self::Number => plain.starts_with(|sign: char| sign == '-' || sign.is_ascii_digit()),
            Self::Count => plain.bytes().all(|byte| byte.is_ascii_digit()),
            Self::Schema | Self::SchemaOrList => is_flag,
            Self::List | Self::Object => false,
        }
    }
}

/// Removes keywords with values of a kind that no draft gives them.
pub(super) fn kinds(schema: &mut Members) -> bool {
    schema.retain(|name, value| {
        let known = KINDS.iter().find(|(keyword, _)| *keyword == name);
        known.is_none_or(|(_, kind)| kind.is_of(value))
    })
}

/// Puts types in lower case, and removes those that there are not.
pub(super) fn types(schema: &mut Members) -> bool {
    let Some(given) = schema.get("type") else {
        return false;
    };
    let known = |node: &Node| {
        let word = node.text()?.to_ascii_lowercase();
        TYPES.into_iter().find(|known| *known == word)
    };
    let types = match given {
        Node::Array(list) => {
            let words: Vec<_> = list.iter().map(known).collect();
            // One word that is unknown may stand for anything.
            let mut types: Vec<_> = words
                .iter()
                .copied()
                .collect::<Option<_>>()
                .unwrap_or_default();
            let mut seen = Vec::new();
            types.retain(|word| {
                !seen.contains(word) && {
                    seen.push(*word);
                    true
                }
            });
            (!types.is_empty()).then(|| Node::Array(types.into_iter().map(Node::string).collect()))
        }
        one => known(one).map(Node::string),
    };
    if types.as_ref() == Some(given) {
        return false;
    }
    match types {
        Some(types) => schema.set("type", types),
        None => schema.remove("type"),
    };
    true
}

/// Writes `{}` where a schema is `true`, or is none at all, and removes properties and choices that
/// are `false`.
pub(super) fn flags(schema: &mut Members) -> bool {
    let mut changed = false;
    let mut plain = |value: &mut Node| {
        let is_none = !matches!(value, Node::Object(_)) && !value.is("false");
        if is_none {
            *value = Node::empty();
        }
        changed |= is_none;
    };
    for (name, value) in schema.iter_mut() {
        match value {
            Node::Object(named) if NAMED.contains(&name) && name != "dependencies" => {
                named.iter_mut().for_each(|(_, inner)| plain(inner));
            }
            Node::Array(elements) if LISTS.contains(&name) => {
                elements.iter_mut().for_each(&mut plain)
            }
            value if name == "items" || name == "contains" => plain(value),
            _ => {}
        }
    }
    for name in ["properties", "patternProperties", "$defs", "definitions"] {
        let named = schema.get_mut(name).and_then(Node::members_mut);
        let Some(named) = named else { continue };
        let is_property = name == "properties";
        changed |= named.retain(|_, value| !(is_property && is_never(value)));
        for (_, value) in named.iter_mut().filter(|(_, value)| value.is("false")) {
            *value = Node::object([("not", Node::empty())]);
            changed = true;
        }
    }
    changed
}

/// Returns true for a schema that nothing fits.
pub(super) fn is_never(schema: &Node) -> bool {
    let not = schema.members().and_then(|members| members.get("not"));
    schema.is("false") || not.is_some_and(|not| not.is_empty_object() || not.is("true"))
}

/// Removes choices that nothing fits; a choice that remains alone is no choice.
pub(super) fn choices(schema: &mut Members) -> bool {
    let mut changed = false;
    for name in ["anyOf", "oneOf"] {
        let Some(choices) = schema.get_mut(name).and_then(Node::elements_mut) else {
            continue;
        };
        let before = choices.len();
        choices.retain(|choice| !is_never(choice));
        if choices.len() == before && before > 0 {
            continue;
        }
        changed = true;
        match (before, &mut choices[..]) {
            (0, _) | (_, []) => {
                schema.remove(name);
            }
            (_, [only]) => {
                let only = std::mem::replace(only, Node::empty());
                alone(schema, name, only);
            }
            _ => {}
        }
    }
    changed
}

/// Puts the members of the only choice into `schema`, if none is there already.
fn alone(schema: &mut Members, name: &str, only: Node) {
    let Node::Object(members) = only else {
        return;
    };
    let is_free = |(name, _): (&str, &Node)| !schema.has(name);
    if members.iter().all(is_free) {
        schema.remove(name);
        for (name, value) in members.iter() {
            schema.set(name, value.clone());
        }
    } else {
        schema.set(name, Node::Array(vec![Node::Object(members)]));
    }
}

/// Writes bounds as draft-06 and later do: draft-04 has a flag beside the bound.
pub(super) fn bounds(schema: &mut Members) -> bool {
    let mut changed = false;
    for (exclusive, bound) in [
        ("exclusiveMinimum", "minimum"),
        ("exclusiveMaximum", "maximum"),
    ] {
        let Some(flag @ ("true" | "false")) = plain(schema, exclusive) else {
            continue;
        };
        let is_exclusive = flag == "true";
        changed = true;
        schema.remove(exclusive);
        if is_exclusive && schema.has(bound) {
            schema.rename(bound, exclusive);
        }
    }
    changed
}

fn plain<'a>(schema: &'a Members, name: &str) -> Option<&'a str> {
    match schema.get(name) {
        Some(Node::Plain(plain)) => Some(plain),
        _ => None,
    }
}

/// Writes lists of items as 2020-12 does, and gives arrays `items`.
pub(super) fn items(schema: &mut Members) -> bool {
    let mut changed = false;
    if matches!(schema.get("items"), Some(Node::Array(_))) {
        schema.rename("items", "prefixItems");
        if let Some(rest) = schema.remove("additionalItems") {
            schema.set("items", rest);
        }
        changed = true;
    }
    if schema.get("items").is_some_and(|items| items.is("false")) {
        if let Some(prefix) = schema.elements("prefixItems") {
            let most = prefix.len().to_string();
            if !schema.has("maxItems") {
                schema.set("maxItems", Node::Plain(most.into()));
            }
        }
        schema.remove("items");
        changed = true;
    }
    if schema.get("items").is_some_and(|items| items.is("true")) {
        schema.remove("items");
        changed = true;
    }
    if !schema.has("items") && !schema.has("$ref") && has_type(schema, "array") {
        schema.set("items", Node::empty());
        changed = true;
    }
    changed
}

/// Returns true if `schema` names the type.
pub(super) fn has_type(schema: &Members, wanted: &str) -> bool {
    let is_it = |node: &Node| node.text().as_deref() == Some(wanted);
    match schema.get("type") {
        Some(Node::Array(types)) => types.iter().any(is_it),
        given => given.is_some_and(is_it),
    }
}

/// Removes empty strings and doubles from `enum`: here alone something that fitted does not any
/// more, the empty string.
pub(super) fn values(schema: &mut Members) -> bool {
    let Some(values) = schema.get_mut("enum").and_then(Node::elements_mut) else {
        return false;
    };
    let before = values.len();
    let mut kept: Vec<Node> = Vec::with_capacity(before);
    for value in values.drain(..) {
        let is_empty = value.text().is_some_and(|text| text.is_empty());
        if !is_empty && !kept.contains(&value) {
            kept.push(value);
        }
    }
    *values = kept;
    let after = values.len();
    if after == 0 {
        schema.remove("enum");
    }
    after < before || before == 0
}

/// The type of a value.
pub(super) fn type_of(value: &Node) -> &'static str {
    match value {
        Node::Object(_) => "object",
        Node::Array(_) => "array",
        Node::Plain(plain) => match plain.as_bytes().first() {
            Some(b'"') => "string",
            Some(b't' | b'f') => "boolean",
            Some(b'n') => "null",
            _ => "number",
        },
    }
}

/// Removes from `required` what is no name, and what is named twice; a name that `properties` lacks
/// becomes a property.
pub(super) fn required(schema: &mut Members) -> bool {
    let Some(names) = schema.get_mut("required").and_then(Node::elements_mut) else {
        return false;
    };
    let before = names.len();
    let mut kept: Vec<String> = Vec::new();
    for name in names.iter().filter_map(Node::text) {
        if !kept.contains(&name) {
            kept.push(name);
        }
    }
    let mut changed = kept.len() < before;
    if changed {
        *names = kept.iter().map(|name| Node::string(name)).collect();
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Node::members_mut) {
        for name in kept
            .iter()
            .filter(|name| !properties.has(name))
            .collect::<Vec<_>>()
        {
            properties.set(name, Node::empty());
            changed = true;
        }
    }
    changed
}

/// Says `object` where properties are described and no type is given.
pub(super) fn type_of_properties(schema: &mut Members) -> bool {
    let is_object = schema.has("properties") && !schema.has("type") && !schema.has("$ref");
    if is_object {
        schema.set_first("type", Node::string("object"));
    }
    is_object
}

/// Removes `default: null` where `null` is no value.
pub(super) fn defaults(schema: &mut Members) -> bool {
    let is_null = schema.get("default").is_some_and(|value| value.is("null"));
    let is_fault = is_null && schema.has("type") && !has_type(schema, "null");
    is_fault && schema.remove("default").is_some()
}

/// Tells a pattern in the description, unless all engines read it alike.
pub(super) fn patterns(schema: &mut Members) -> bool {
    let mut changed = false;
    if let Some(pattern) = schema.text("pattern")
        && !is_portable(&pattern)
    {
        schema.remove("pattern");
        tell(schema, &format!("Pattern: {pattern}"));
        changed = true;
    }
    let named = schema.get_mut("patternProperties");
    let named = named.and_then(Node::members_mut);
    let is_less = named.is_some_and(|named| named.retain(|pattern, _| is_portable(pattern)));
    if is_less {
        schema.remove("additionalProperties");
        schema.remove("unevaluatedProperties");
    }
    changed | is_less
}

/// Adds a sentence to a description.
pub(super) fn tell(schema: &mut Members, sentence: &str) {
    let text = match schema.text("description") {
        Some(text) if !text.trim().is_empty() => format!("{} ({sentence})", text.trim_end()),
        _ => sentence.to_owned(),
    };
    schema.set("description", Node::string(&text));
}

/// Removes `propertyNames` that says what holds anyway: names are strings.
pub(super) fn property_names(schema: &mut Members) -> bool {
    let says_nothing = |names: &Node| {
        let Some(names) = names.members() else {
            return names.is("true");
        };
        names
            .iter()
            .all(|(name, value)| name == "type" && value.text().as_deref() == Some("string"))
    };
    let is_idle = schema.get("propertyNames").is_some_and(says_nothing);
    is_idle && schema.remove("propertyNames").is_some()
}

/// Removes `$schema`, wherever it stands.
pub(super) fn dialects(schema: &mut Members) -> bool {
    schema.remove("$schema").is_some()
}
