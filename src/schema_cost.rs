//! How much work a schema can make.
//!
//! A few hundred bytes of `$ref`s that double at each step keep a validator busy for years, and
//! a schema comes from a server that nobody trusts. So the work is estimated before it is done.

use std::collections::HashMap;

use serde_json::Value;

/// A schema as a graph: parts that are referred to, and who refers to whom.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The root comes first.
    parts: Vec<Part>,
}

#[derive(Debug, Default)]
struct Part {
    /// Its own subschemas.
    size: u64,
    /// References that are followed at the same place of the instance.
    here: Vec<usize>,
    /// References that are followed one level further down, or more.
    below: Vec<usize>,
}

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
    /// The shape of `schema`; `None` where its references cannot be told from outside: anchors,
    /// dynamic references, and documents within the document.
    pub(crate) fn of(schema: &Value) -> Option<Self> {
        let mut known = HashMap::from([("", 0)]);
        let mut wanted = vec![("", schema)];
        let mut parts = Vec::new();
        while let Some((_, part)) = wanted.get(parts.len()).copied() {
            let mut shape = Part::default();
            let mut references = Vec::new();
            collect(
                part,
                parts.is_empty(),
                false,
                &mut shape.size,
                &mut references,
            )?;
            for (pointer, below) in references {
                let next = known.len();
                let index = *known.entry(pointer).or_insert(next);
                if index == next {
                    wanted.push((pointer, schema.pointer(pointer)?));
                }
                if below {
                    shape.below.push(index)
                } else {
                    shape.here.push(index)
                }
            }
            parts.push(shape);
        }
        Some(Self { parts })
    }

    /// How many subschemas are visited for one element, `depth` levels deep, of an instance;
    /// `None` if the visit never ends.
    pub(crate) fn visits(&self, depth: usize) -> Option<u64> {
        let mut lower = vec![0; self.parts.len()];
        for _ in 0..=depth {
            let mut level = vec![Visit::Open; self.parts.len()];
            for part in 0..self.parts.len() {
                self.visit(part, &lower, &mut level)?;
            }
            let done = |visit: &Visit| {
                if let Visit::Done(visits) = visit {
                    *visits
                } else {
                    0
                }
            };
            lower = level.iter().map(done).collect();
        }
        lower.first().copied()
    }

    fn visit(&self, index: usize, lower: &[u64], level: &mut [Visit]) -> Option<u64> {
        match level[index] {
            Visit::Done(visits) => return Some(visits),
            // It leads back to itself without going down.
            Visit::Running => return None,
            Visit::Open => level[index] = Visit::Running,
        }
        let part = &self.parts[index];
        let mut visits = part.size;
        for next in &part.here {
            visits = visits.saturating_add(self.visit(*next, lower, level)?);
        }
        for next in &part.below {
            visits = visits.saturating_add(lower[*next]);
        }
        level[index] = Visit::Done(visits);
        Some(visits)
    }
}

#[derive(Clone, Copy)]
enum Visit {
    Open,
    Running,
    Done(u64),
}

/// Counts the subschemas of `schema` and collects its references.
fn collect<'a>(
    schema: &'a Value,
    root: bool,
    below: bool,
    size: &mut u64,
    references: &mut Vec<(&'a str, bool)>,
) -> Option<()> {
    *size += 1;
    match schema {
        Value::Array(elements) => elements
            .iter()
            .try_for_each(|e| collect(e, false, below, size, references)),
        Value::Object(members) => {
            members
                .iter()
                .try_for_each(|(name, value)| match (&**name, value) {
                    ("$ref", Value::String(reference)) => {
                        let pointer = reference.strip_prefix('#')?;
                        let plain = pointer.is_empty()
                            || pointer.starts_with('/') && !pointer.contains('%');
                        plain.then(|| references.push((pointer, below)))
                    }
                    ("$dynamicRef" | "$recursiveRef", Value::String(_)) => None,
                    ("$id" | "id", Value::String(_)) => root.then_some(()),
                    // By names that are the schema's own choice, such as "default".
                    (name, Value::Object(named)) if NAMED.contains(&name) => {
                        let below = below || !IN_PLACE.contains(&name);
                        named
                            .values()
                            .try_for_each(|s| collect(s, false, below, size, references))
                    }
                    // Each value is compared with.
                    ("enum" | "const", data) => {
                        *size += measure(data).1;
                        Some(())
                    }
                    (name, _) if NOT_APPLIED.contains(&name) => Some(()),
                    (name, value) => collect(
                        value,
                        false,
                        below || !IN_PLACE.contains(&name),
                        size,
                        references,
                    ),
                })
        }
        _ => Some(()),
    }
}

/// The depth and the number of elements of an instance.
pub(crate) fn measure(instance: &Value) -> (usize, u64) {
    let inner: Vec<_> = match instance {
        Value::Array(elements) => elements.iter().map(measure).collect(),
        Value::Object(members) => members.values().map(measure).collect(),
        _ => Vec::new(),
    };
    let depth = inner.iter().map(|(depth, _)| depth + 1).max().unwrap_or(0);
    (
        depth,
        1 + inner.iter().map(|(_, elements)| elements).sum::<u64>(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn visits(schema: Value, depth: usize) -> Option<u64> {
        Shape::of(&schema)?.visits(depth)
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
