//! Estimates of the work that a schema causes.
//!
//! A few hundred bytes of `$ref`s that double at each step keep a validator busy for years, and so
//! does one pattern run over a long text. Schemas come from untrusted servers, so the work is
//! estimated before it is done: the visits that a schema makes at the depth of the arguments, and
//! the steps that its patterns take over their texts. A schema that is too expensive, or cannot be
//! estimated, checks nothing and is left to the server.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::pattern_cost;

/// A schema as a graph of its parts and the references between them.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The parts, the root first.
    parts: Vec<Part>,
    pub(crate) patterns: Patterns,
}

#[derive(Debug, Default)]
struct Part {
    /// The work of the part itself.
    own: Work,
    /// References followed at the same place of the instance, and how often.
    here: Vec<(usize, u64)>,
    /// References followed one or more levels further down, and how often.
    below: Vec<(usize, u64)>,
}

/// The patterns of a schema, each counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Patterns {
    pub(crate) count: u64,
    /// The estimated bytes that all of them compile to.
    pub(crate) bytes: u64,
    /// The estimated bytes of the largest.
    pub(crate) largest: u64,
}

/// Work for one element of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// Subschemas visited.
    pub(crate) visits: u64,
    /// Steps for each byte of text: one to count it, and one for each state of a pattern.
    pub(crate) steps: u64,
}

impl Work {
    fn add(&mut self, other: Self, times: u64) {
        let sum = |own: u64, other: u64| own.saturating_add(other.saturating_mul(times));
        self.visits = sum(self.visits, other.visits);
        self.steps = sum(self.steps, other.steps);
    }
}

/// The estimated bytes of a state of an automaton.
const STATE: u64 = 64;

/// Keywords that ask of every part of an instance whether an adjacent keyword has seen it. To know
/// that, a validator visits all adjacent subschemas again, and their subschemas again for each of
/// these: they multiply.
const UNEVALUATED: [&str; 2] = ["unevaluatedItems", "unevaluatedProperties"];
/// The most repeated visits, found by trial.
const AGAIN: u64 = 4;

/// Keywords that read a whole text.
const READING: [&str; 5] = [
    "contentEncoding",
    "contentMediaType",
    "format",
    "maxLength",
    "minLength",
];
/// Keywords whose subschemas apply to the same place of the instance.
const IN_PLACE: [&str; 9] = [
    "allOf",
    "anyOf",
    "dependencies",
    "dependentSchemas",
    "else",
    "if",
    "not",
    "oneOf",
    "then",
];
/// Keywords that hold subschemas by name.
const NAMED: [&str; 4] = [
    "dependencies",
    "dependentSchemas",
    "patternProperties",
    "properties",
];
/// Subschemas that apply only where they are referred to, and data.
const NOT_APPLIED: [&str; 4] = ["$defs", "default", "definitions", "examples"];

impl Shape {
    /// Returns the shape of `schema`; `None` if its references cannot be resolved statically:
    /// anchors, dynamic references, and documents within the document.
    pub(crate) fn of(schema: &Value) -> Option<Self> {
        let mut known = HashMap::from([("", 0)]);
        let mut wanted = vec![("", schema)];
        let mut parts = Vec::new();
        let mut patterns = HashSet::new();
        while let Some((_, part)) = wanted.get(parts.len()).copied() {
            let mut found = Found::default();
            found.collect(part, parts.is_empty(), false, 1)?;
            let mut shape = Part {
                own: found.own,
                ..Part::default()
            };
            for (pointer, below, times) in found.references {
                let next = known.len();
                let index = *known.entry(pointer).or_insert(next);
                if index == next {
                    wanted.push((pointer, schema.pointer(pointer)?));
                }
                if below {
                    shape.below.push((index, times))
                } else {
                    shape.here.push((index, times))
                }
            }
            patterns.extend(found.patterns);
            parts.push(shape);
        }
        Some(Self {
            parts,
            patterns: Patterns::of(patterns),
        })
    }

    /// Returns the work for one element of an instance, `depth` levels deep; `None` if it never
    /// ends.
    pub(crate) fn work(&self, depth: usize) -> Option<Work> {
        let mut lower = vec![Work::default(); self.parts.len()];
        for _ in 0..=depth {
            let mut level = vec![Visit::Open; self.parts.len()];
            for part in 0..self.parts.len() {
                self.visit(part, &lower, &mut level)?;
            }
            let done = |visit: &Visit| match visit {
                Visit::Done(work) => *work,
                Visit::Open | Visit::Running => Work::default(),
            };
            lower = level.iter().map(done).collect();
        }
        lower.first().copied()
    }

    fn visit(&self, index: usize, lower: &[Work], level: &mut [Visit]) -> Option<Work> {
        match level[index] {
            Visit::Done(work) => return Some(work),
            // It leads back to itself without going down.
            Visit::Running => return None,
            Visit::Open => level[index] = Visit::Running,
        }
        let part = &self.parts[index];
        let mut work = part.own;
        for (next, times) in &part.here {
            work.add(self.visit(*next, lower, level)?, *times);
        }
        for (next, times) in &part.below {
            work.add(lower[*next], *times);
        }
        level[index] = Visit::Done(work);
        Some(work)
    }
}

#[derive(Clone, Copy)]
enum Visit {
    Open,
    Running,
    Done(Work),
}

impl Patterns {
    fn of(patterns: HashSet<&str>) -> Self {
        let mut sum = Self::default();
        for bytes in patterns.into_iter().map(pattern_cost::bytes) {
            sum.count += 1;
            sum.bytes = sum.bytes.saturating_add(bytes);
            sum.largest = sum.largest.max(bytes);
        }
        sum
    }
}

/// The contents of a part of a schema.
#[derive(Default)]
struct Found<'a> {
    own: Work,
    references: Vec<(&'a str, bool, u64)>,
    patterns: Vec<&'a str>,
}

impl<'a> Found<'a> {
    /// Counts the subschemas of `schema`, each visited `times` times, and collects its references
    /// and patterns.
    fn collect(&mut self, schema: &'a Value, root: bool, below: bool, times: u64) -> Option<()> {
        self.own.add(
            Work {
                visits: 1,
                steps: 0,
            },
            times,
        );
        match schema {
            Value::Array(elements) => elements
                .iter()
                .try_for_each(|element| self.collect(element, false, below, times)),
            Value::Object(members) => {
                let again = UNEVALUATED.iter().any(|name| members.contains_key(*name));
                let times = times.saturating_mul(if again { AGAIN } else { 1 });
                members
                    .iter()
                    .try_for_each(|(name, value)| self.keyword(name, value, root, below, times))
            }
            _ => Some(()),
        }
    }

    fn keyword(
        &mut self,
        name: &'a str,
        value: &'a Value,
        root: bool,
        below: bool,
        times: u64,
    ) -> Option<()> {
        match (name, value) {
            ("$ref", Value::String(reference)) => {
                let pointer = reference.strip_prefix('#')?;
                let plain =
                    pointer.is_empty() || pointer.starts_with('/') && !pointer.contains('%');
                plain.then(|| self.references.push((pointer, below, times)))
            }
            ("$dynamicRef" | "$recursiveRef", Value::String(_)) => None,
            ("$id" | "id", Value::String(_)) => root.then_some(()),
            ("pattern", Value::String(pattern)) => {
                self.pattern(pattern, times);
                Some(())
            }
            // Keyed by names of the schema's own choice, such as "default".
            (name, Value::Object(named)) if NAMED.contains(&name) => {
                if name == "patternProperties" {
                    // They run once more to find what is left for `additionalProperties`.
                    let times = times.saturating_mul(2);
                    named
                        .keys()
                        .for_each(|pattern| self.pattern(pattern, times));
                }
                let below = below || !IN_PLACE.contains(&name);
                named
                    .values()
                    .try_for_each(|schema| self.collect(schema, false, below, times))
            }
            // Each value is compared.
            ("enum" | "const", data) => {
                let visits = Measure::of(data).elements;
                self.own.add(Work { visits, steps: 0 }, times);
                Some(())
            }
            (name, _) if NOT_APPLIED.contains(&name) => Some(()),
            (name, value) => {
                let steps = u64::from(READING.contains(&name));
                self.own.add(Work { visits: 0, steps }, times);
                self.collect(value, false, below || !IN_PLACE.contains(&name), times)
            }
        }
    }

    fn pattern(&mut self, pattern: &'a str, times: u64) {
        let steps = (pattern_cost::bytes(pattern) / STATE).max(1);
        self.own.add(Work { visits: 0, steps }, times);
        self.patterns.push(pattern);
    }
}

/// The size of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measure {
    pub(crate) depth: usize,
    pub(crate) elements: u64,
    /// The bytes of all its texts, names of members included.
    pub(crate) bytes: u64,
}

impl Measure {
    pub(crate) fn of(instance: &Value) -> Self {
        let mut whole = Self {
            elements: 1,
            ..Self::default()
        };
        match instance {
            Value::Array(elements) => elements.iter().for_each(|value| whole.add(Self::of(value))),
            Value::Object(members) => members.iter().for_each(|(name, value)| {
                whole.bytes += name.len() as u64;
                whole.add(Self::of(value));
            }),
            Value::String(text) => whole.bytes = text.len() as u64,
            _ => {}
        }
        whole
    }

    fn add(&mut self, inner: Self) {
        self.depth = self.depth.max(inner.depth + 1);
        self.elements += inner.elements;
        self.bytes += inner.bytes;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn visits(schema: Value, depth: usize) -> Option<u64> {
        Some(Shape::of(&schema)?.work(depth)?.visits)
    }

    #[test]
    fn references_that_double_are_counted_as_often_as_they_are_followed() {
        let mut defs: serde_json::Map<_, _> = (0..40)
            .map(|i| {
                let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
                (format!("d{i}"), json!({"allOf": [next, next]}))
            })
            .collect();
        defs.insert("d40".into(), json!({}));
        assert!(visits(json!({"$ref": "#/$defs/d0", "$defs": defs}), 0).unwrap() > 1 << 40);
    }

    #[test]
    fn what_leads_back_to_itself_without_going_down_never_ends() {
        assert_eq!(visits(json!({"allOf": [{"$ref": "#"}]}), 3), None);
        let circle = json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}});
        assert_eq!(visits(circle, 3), None);
    }

    #[test]
    fn what_asks_for_the_unevaluated_multiplies() {
        let nested = |depth: usize| {
            (0..depth).fold(
                json!({"properties": {"a": true}}),
                |inner, _| json!({"anyOf": [inner], "unevaluatedProperties": false}),
            )
        };
        assert!(visits(nested(1), 1).unwrap() < 100);
        assert!(visits(nested(12), 1).unwrap() > 1 << 24);
    }

    #[test]
    fn a_tree_is_cheap_and_a_tree_that_branches_grows_with_depth() {
        let tree = json!({"properties": {"children": {"type": "array", "items": {"$ref": "#"}}}});
        assert!(visits(tree, 100).unwrap() < 2_000);
        let branching = json!({"properties": {"a": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}});
        assert!(visits(branching.clone(), 4).unwrap() < 1_000);
        assert!(visits(branching, 60).unwrap() > 1 << 50);
    }

    #[test]
    fn a_property_with_the_name_of_a_keyword_is_a_property() {
        for name in NOT_APPLIED.into_iter().chain(["enum", "const", "$id"]) {
            let tree = json!({"properties": {name: {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}});
            assert!(visits(tree, 60).unwrap() > 1 << 50, "{name}");
        }
    }

    #[test]
    fn the_values_of_an_enumeration_count() {
        let values: Vec<_> = (0..10_000).collect();
        assert!(visits(json!({"items": {"enum": values}}), 1).unwrap() > 10_000);
    }

    #[test]
    fn patterns_are_counted_once_and_their_steps_wherever_they_are_run() {
        let shape = Shape::of(&json!({
            "properties": {"a": {"pattern": "^a$"}, "b": {"items": {"pattern": "^a$"}}},
            "patternProperties": {r"\p{L}{20}": {"minLength": 1}},
            "default": {"pattern": "^b$"},
        }))
        .unwrap();
        assert_eq!(shape.patterns.count, 2);
        assert!(shape.patterns.largest > 20 * 40_000, "{shape:?}");
        let steps = shape.work(1).unwrap().steps;
        assert!(steps > 2 * shape.patterns.largest / STATE, "{shape:?}");
        assert_eq!(
            Shape::of(&json!({"pattern": {"type": "string"}}))
                .unwrap()
                .patterns
                .count,
            0
        );
    }

    #[test]
    fn an_instance_is_measured_with_the_names_of_its_members() {
        let measured = Measure::of(&json!({"abc": ["de", 1, {"f": null}]}));
        let (depth, elements, bytes) = (3, 6, 6);
        assert_eq!(
            measured,
            Measure {
                depth,
                elements,
                bytes
            }
        );
    }

    #[test]
    fn what_cannot_be_told_is_not_guessed() {
        for schema in [
            json!({"$ref": "#anchor"}),
            json!({"$ref": "other"}),
            json!({"properties": {"a": {"$id": "x"}}}),
            json!({"$dynamicRef": "#x"}),
            json!({"$ref": "#/$defs/absent"}),
        ] {
            assert!(Shape::of(&schema).is_none(), "{schema}");
        }
    }
}
