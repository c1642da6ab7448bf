//! Choices at the root of a schema, merged into properties.
//!
//! Providers want one object there: OpenAI and Anthropic refuse `anyOf`, `oneOf`, `allOf`, `enum`
//! and `not` at the root (aliargun/mcp-server-gemini#8), Moonshot a type beside them
//! (MoonshotAI/kimi-code#2661), llama.cpp reads a choice and forgets the properties beside it. So
//! the properties of all choices are offered, required is what all of them require, and the
//! description says what belongs together. The check of arguments knows the choices as they are.

use std::cell::Cell;

use serde_json::Value;

use super::{
    references::definition,
    rules::{has_type, is_never},
};
use crate::json::{Members, Node};

/// The keywords that are merged.
const MERGED: [&str; 7] = ["$ref", "allOf", "anyOf", "const", "enum", "not", "oneOf"];
/// The most levels of choices within choices; below, everything is allowed.
const DEPTH: usize = 8;
/// The most choices that are looked at: references to them may double at each step.
const MOST: usize = 512;
/// The most schemas between which a property has the choice; with more it may be anything.
const SCHEMAS: usize = 64;
/// The longest sentence about choices, in bytes.
const SENTENCE: usize = 400;

/// Returned where no object fits.
#[derive(Debug)]
pub(super) struct NoObject;

/// What a schema says of an object.
#[derive(Clone, Default)]
struct Flat {
    properties: Members,
    required: Vec<String>,
    /// Sentences about choices.
    told: Vec<String>,
}

/// Merges the choices at the root into its properties. Returns what is to be told of them, or
/// `None` if there are none.
pub(super) fn choices_at_root(root: &mut Members) -> Result<Option<String>, NoObject> {
    if !MERGED.iter().any(|name| root.has(name)) {
        return Ok(None);
    }
    let definitions = root.clone();
    choices(root, &definitions)
}

/// Merges the choices of `schema`, which describes an object, into its properties; `root` has the
/// definitions.
pub(super) fn choices(schema: &mut Members, root: &Members) -> Result<Option<String>, NoObject> {
    let source = Source {
        root,
        left: Cell::new(MOST),
    };
    let flat = source.flat(schema, 0).ok_or(NoObject)?;
    let own = schema.get("properties").and_then(Node::members);
    let is_more = flat
        .properties
        .names()
        .any(|name| !own.is_some_and(|own| own.has(name)));
    for name in MERGED {
        schema.remove(name);
    }
    if is_more {
        // It would refuse what a choice describes.
        schema.remove("additionalProperties");
    }
    schema.set("properties", Node::Object(flat.properties));
    schema.remove("required");
    if !flat.required.is_empty() {
        let names = flat.required.iter().map(|name| Node::string(name));
        schema.set("required", Node::Array(names.collect()));
    }
    let mut told = flat.told.join(" ");
    if told.len() > SENTENCE {
        told.truncate(told.floor_char_boundary(SENTENCE));
        told.push('…');
    }
    Ok(Some(told))
}

/// Where references lead, and how many choices may still be looked at.
struct Source<'a> {
    root: &'a Members,
    left: Cell<usize>,
}

impl Source<'_> {
    /// What `schema` says; `None` if no object fits.
    fn flat(&self, schema: &Members, depth: usize) -> Option<Flat> {
        if schema.has("type") && !has_type(schema, "object") {
            return None;
        }
        let list = |name: &str| schema.elements(name).unwrap_or_default();
        let properties = schema.get("properties").and_then(Node::members);
        let mut flat = Flat {
            properties: properties.cloned().unwrap_or_default(),
            required: list("required").iter().filter_map(Node::text).collect(),
            told: Vec::new(),
        };
        if depth == DEPTH {
            return Some(flat);
        }
        if let Some(reference) = schema.text("$ref")
            && let Some(target) = definition(self.root, &reference)
        {
            flat = flat.and(self.flat_of(target, depth + 1)?);
        }
        for part in list("allOf") {
            flat = flat.and(self.flat_of(part, depth + 1)?);
        }
        for (name, how) in [("anyOf", "At least one"), ("oneOf", "Exactly one")] {
            if schema.elements(name).is_some() {
                let flats = list(name).iter();
                let flats: Vec<_> = flats
                    .filter_map(|one| self.flat_of(one, depth + 1))
                    .collect();
                flat = flat.choose(&flats, how)?;
            }
        }
        if let Some(not) = schema.get("not").and_then(Node::members) {
            flat.tell_not(not);
        }
        Some(flat)
    }

    fn flat_of(&self, schema: &Node, depth: usize) -> Option<Flat> {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        match schema {
            // It may be anything.
            _ if left == 0 => Some(Flat::default()),
            Node::Object(_) if is_never(schema) => None,
            Node::Object(members) => self.flat(members, depth),
            schema => (!schema.is("false")).then(Flat::default),
        }
    }
}

impl Flat {
    /// What both say.
    fn and(mut self, other: Self) -> Self {
        for (name, schema) in other.properties.iter() {
            match self.properties.get_mut(name) {
                None => {
                    self.properties.set(name, schema.clone());
                }
                Some(own) if own.is_empty_object() => *own = schema.clone(),
                Some(own) if schema.is_empty_object() || own.is_same(schema) => {}
                Some(own) => {
                    let parts = vec![std::mem::replace(own, Node::empty()), schema.clone()];
                    *own = Node::object([("allOf", Node::Array(parts))]);
                }
            }
        }
        for name in other.required {
            if !self.required.contains(&name) {
                self.required.push(name);
            }
        }
        self.told.extend(other.told);
        self
    }

    /// What it says together with at least one of `flats`; `None` if there are none. Its own word
    /// on a property counts, since not every choice has one.
    fn choose(mut self, flats: &[Self], how: &str) -> Option<Self> {
        let first = flats.first()?;
        for name in flats.iter().flat_map(|flat| flat.properties.names()) {
            let own = self.properties.get(name);
            if own.is_some_and(|own| !own.is_empty_object()) {
                continue;
            }
            let schemas = flats.iter().filter_map(|flat| flat.properties.get(name));
            let one = either(schemas);
            self.properties.set(name, one);
        }
        self.tell(flats, how);
        for name in &first.required {
            let by_all = flats.iter().all(|flat| flat.required.contains(name));
            if by_all && !self.required.contains(name) {
                self.required.push(name.clone());
            }
        }
        self.told
            .extend(flats.iter().flat_map(|flat| flat.told.clone()));
        Some(self)
    }

    /// Says which arguments belong together, if the choices differ in that.
    fn tell(&mut self, flats: &[Self], how: &str) {
        let set = |flat: &Self| -> Vec<String> {
            let names = flat.required.iter();
            let names: Vec<_> = names
                .filter(|name| !self.required.contains(name))
                .cloned()
                .collect();
            match names.is_empty() {
                true => flat.properties.names().map(str::to_owned).collect(),
                false => names,
            }
        };
        let mut sets: Vec<String> = Vec::new();
        for names in flats.iter().map(set) {
            let names = names.join(", ");
            if !sets.contains(&names) {
                sets.push(names);
            }
        }
        if sets.len() > 1 && sets.iter().all(|names| !names.is_empty()) {
            let sets = sets.join("; ");
            self.told.push(format!(
                "{how} of these sets of arguments is needed: {sets}."
            ));
        }
    }

    fn tell_not(&mut self, not: &Members) {
        let names = not.elements("required").unwrap_or_default();
        let names: Vec<_> = names.iter().filter_map(Node::text).collect();
        match &names[..] {
            [] => {}
            [one] => self.told.push(format!("Do not give {one}.")),
            names => self
                .told
                .push(format!("Not together: {}.", names.join(", "))),
        }
    }
}

/// A schema that fits whatever one of `schemas` does.
fn either<'a>(schemas: impl Iterator<Item = &'a Node>) -> Node {
    let mut known: Vec<Value> = Vec::new();
    let mut distinct: Vec<Node> = Vec::new();
    for schema in schemas {
        let value = serde_json::from_str(&schema.written()).unwrap_or_default();
        if !known.contains(&value) {
            known.push(value);
            distinct.push(schema.clone());
        }
        if schema.is_empty_object() || distinct.len() > SCHEMAS {
            return Node::empty();
        }
    }
    if let Some(values) = joined_values(&distinct) {
        return values;
    }
    match &mut distinct[..] {
        [only] => std::mem::replace(only, Node::empty()),
        _ => Node::object([("anyOf", Node::Array(distinct))]),
    }
}

/// One list of values for schemas that are alike but for their own: what tells the choices apart.
fn joined_values(schemas: &[Node]) -> Option<Node> {
    let mut values: Vec<Node> = Vec::new();
    let mut rest: Option<Members> = None;
    for schema in schemas {
        let mut members = schema.members()?.clone();
        let own = match (members.remove("const"), members.remove("enum")) {
            (Some(value), None) => vec![value],
            (None, Some(Node::Array(values))) => values,
            _ => return None,
        };
        for text in ["description", "title", "default"] {
            members.remove(text);
        }
        values.extend(
            own.into_iter()
                .filter(|value| !values.contains(value))
                .collect::<Vec<_>>(),
        );
        if rest.get_or_insert_with(|| members.clone()) != &members {
            return None;
        }
    }
    let mut joined = rest.filter(|_| schemas.len() > 1)?;
    joined.set("enum", Node::Array(values));
    Some(Node::Object(joined))
}
