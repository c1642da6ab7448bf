//! Checks arguments against a tool's input schema.

use std::{
    fmt::{self, Write as _},
    sync::OnceLock,
};

use jsonschema::{PatternOptions, Retrieve, Uri, Validator};
use serde_json::{Value, value::RawValue};

use super::{
    cost::{Measure, Patterns, Shape},
    meant::as_meant,
    place::Place,
};

/// The most bytes that one pattern may compile to, so that a counted repetition is no bomb.
const PATTERN_BYTES: u64 = 1 << 20;
/// The most bytes that all patterns of a schema may compile to: some hundredths of a second.
const PATTERNS_BYTES: u64 = 2 << 20;
/// The most patterns of a schema; each may keep a few states of its automaton between calls.
const PATTERNS: u64 = 256;
/// The bytes that each may keep of them.
const KEPT_BYTES: u64 = 64 << 10;
/// The bytes that one byte of a schema compiles to, patterns excluded.
const NODE_BYTES: u64 = 32;
/// The most bytes compiled on a serving thread: less than a thousandth of a second.
const COMPILED_HERE: u64 = 64 << 10;

/// The most work for checking one call: a second or two, on a thread that nobody waits for.
const MOST: Budget = Budget {
    visits: 2_000_000,
    steps: 1 << 28,
};
/// The most work done on a serving thread: a few thousandths of a second at worst.
const HERE: Budget = Budget {
    visits: 100_000,
    steps: 1 << 20,
};
/// The most visits for which faults are listed one by one: each takes some hundred bytes.
const EXPLAINED: u64 = 100_000;
/// The most faults that a model is told at once, and the longest of them.
const FAULTS: usize = 5;
const FAULT_CHARS: usize = 300;

/// A bound on work.
#[derive(Clone, Copy)]
struct Budget {
    visits: u64,
    steps: u64,
}

/// A schema, compiled when it is first needed.
///
/// Patterns run on a linear-time engine. A schema checks nothing, and leaves that to the server, if
/// it does not compile, has patterns that need a backtracking engine, or would take more work than
/// arguments are worth.
#[derive(Debug)]
pub(crate) struct Schema {
    /// `None` if it checks nothing.
    shape: Option<Shape>,
    validator: OnceLock<Option<Validator>>,
}

impl Schema {
    /// Reads a schema, and estimates its cost.
    pub(crate) fn of(schema: &RawValue) -> Self {
        let shape = || {
            let mut schema: Value = serde_json::from_str(schema.get()).ok()?;
            as_meant(&mut schema);
            let shape = Shape::of(&schema)?;
            // Some cycles never end at any depth; the compiler must not see them.
            shape.work(0)?;
            let Patterns {
                count,
                bytes,
                largest,
            } = shape.patterns;
            let is_dear = count > PATTERNS || bytes > PATTERNS_BYTES || largest > PATTERN_BYTES;
            (!is_dear).then_some(shape)
        };
        Self {
            shape: shape(),
            validator: OnceLock::new(),
        }
    }

    /// Estimates the bytes that it keeps in memory once compiled; `schema` is the one that it was
    /// made of.
    pub(crate) fn weight(&self, schema: &RawValue) -> u64 {
        let patterns = self.shape.as_ref().map(|shape| shape.patterns);
        let patterns = patterns.unwrap_or_default();
        schema.get().len() as u64 * NODE_BYTES + patterns.bytes + patterns.count * KEPT_BYTES
    }

    /// Returns the place where `arguments` are checked.
    pub(crate) fn place(&self, arguments: &Value) -> Place {
        let Some((shape, budget)) = self.shape.as_ref().and_then(|shape| {
            let Measure {
                depth,
                elements,
                bytes,
            } = Measure::of(arguments);
            let work = shape.work(depth)?;
            let budget = Budget {
                visits: work.visits.saturating_mul(elements),
                steps: work.steps.saturating_mul(bytes),
            };
            Some((shape, budget))
        }) else {
            return Place::AtTheServer;
        };
        let is_compiled = self.validator.get().is_some();
        if !budget.is_within(MOST) {
            Place::AtTheServer
        } else if budget.is_within(HERE) && (is_compiled || shape.patterns.bytes <= COMPILED_HERE) {
            Place::Here
        } else {
            Place::Apart
        }
    }

    /// Compiles it unless that was done, if `has_room`; `schema` is the one that it was made of.
    fn compiled(&self, schema: &RawValue, has_room: impl FnOnce() -> bool) -> Option<&Validator> {
        let compile = || {
            let patterns = self.shape.as_ref()?.patterns;
            if !has_room() {
                return None;
            }
            let mut schema: Value = serde_json::from_str(schema.get()).ok()?;
            let draft = as_meant(&mut schema);
            let kept = (PATTERNS_BYTES / patterns.count.max(1)).min(KEPT_BYTES);
            let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
            // The engine is held to the estimate, so a wrong one makes a schema that checks
            // nothing.
            let patterns = PatternOptions::regex()
                .size_limit(size(patterns.largest))
                .dfa_size_limit(size(kept));
            // Formats and encodings tell a reader something: by 2020-12 for every draft.
            let options = jsonschema::options()
                .with_draft(draft)
                .should_validate_formats(false)
                .without_content_encoding_support("base64")
                .without_content_media_type_support("application/json")
                .with_retriever(Nowhere)
                .with_pattern_options(patterns);
            options.build(&schema).ok()
        };
        self.validator.get_or_init(compile).as_ref()
    }

    /// Checks `arguments`, for which there is a [`Place`]; `schema` is the one that it was made of.
    /// It compiles nothing unless `has_room`.
    ///
    /// # Errors
    /// The faults, in words that let a model repair its call.
    pub(crate) fn check(
        &self,
        schema: &RawValue,
        arguments: &Value,
        has_room: impl FnOnce() -> bool,
    ) -> Result<(), String> {
        let Some(validator) = self.compiled(schema, has_room) else {
            return Ok(());
        };
        if validator.is_valid(arguments) {
            return Ok(());
        }
        let mut text = String::from("the arguments do not fit the tool's input schema");
        let Measure {
            depth, elements, ..
        } = Measure::of(arguments);
        let work = self.shape.as_ref().and_then(|shape| shape.work(depth));
        // The library collects all faults before it returns the first.
        if work.is_none_or(|work| work.visits.saturating_mul(elements) > EXPLAINED) {
            return Err(text);
        }
        for fault in validator.iter_errors(arguments).take(FAULTS) {
            let mut brief = Brief::default();
            // It fails if the fault is longer.
            let _ = match fault.instance_path().as_str() {
                "" => write!(brief, "{fault}"),
                path => write!(brief, "{path}: {fault}"),
            };
            // Writing to a string does not fail.
            let _ = write!(text, "; {}", brief.text);
        }
        Err(text)
    }
}

impl Budget {
    fn is_within(self, other: Self) -> bool {
        self.visits <= other.visits && self.steps <= other.steps
    }
}

/// The beginning of a fault, which repeats the faulty value, however long it is.
#[derive(Default)]
struct Brief {
    text: String,
    chars: usize,
}

impl fmt::Write for Brief {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let left = FAULT_CHARS - self.chars;
        let end = more.char_indices().nth(left).map(|(end, _)| end);
        let more = &more[..end.unwrap_or(more.len())];
        self.chars += more.chars().count();
        self.text.push_str(more);
        if end.is_some() {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}

/// A retriever that fetches nothing.
struct Nowhere;

impl Retrieve for Nowhere {
    fn retrieve(&self, _: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err("schemas are not fetched".into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raw(value: Value) -> Box<RawValue> {
        serde_json::value::to_raw_value(&value).unwrap()
    }

    fn check(schema: Value, arguments: Value) -> Result<(), String> {
        let (text, schema) = (raw(schema.clone()), Schema::of(&raw(schema)));
        match schema.place(&arguments) {
            Place::AtTheServer => Ok(()),
            Place::Here | Place::Apart => schema.check(&text, &arguments, || true),
        }
    }

    fn place(schema: Value, arguments: Value) -> Place {
        Schema::of(&raw(schema)).place(&arguments)
    }

    #[test]
    fn a_schema_that_never_ends_checks_nothing_and_harms_nothing() {
        let mut doubling: serde_json::Map<_, _> = (0..40)
            .map(|i| {
                let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
                (
                    format!("d{i}"),
                    json!({"anyOf": [{"allOf": [next, next, {"minProperties": 9}]}, next]}),
                )
            })
            .collect();
        doubling.insert("d40".into(), json!({"minProperties": 9}));
        for schema in [
            json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}),
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
            json!({"$ref": "#/$defs/d0", "$defs": doubling}),
        ] {
            let _ = check(schema, json!({"a": 1}));
        }
    }

    #[test]
    fn a_model_is_told_what_to_repair() {
        let schema = json!({"type": "object", "required": ["repoName"], "properties": {"n": {"type": "integer"}}});
        let told = check(schema.clone(), json!({"n": "x"})).unwrap_err();
        assert!(told.contains("repoName") && told.contains("/n"), "{told}");
        assert_eq!(check(schema, json!({"repoName": "a/b", "n": 1})), Ok(()));
    }

    #[test]
    fn a_required_property_with_a_default_may_be_absent() {
        let schema = json!({
            "type": "object", "required": ["a", "b"],
            "properties": {"a": {"type": "string"}, "b": {"type": "integer", "default": 5}},
        });
        assert_eq!(check(schema.clone(), json!({"a": "x"})), Ok(()));
        assert!(check(schema.clone(), json!({"b": 1})).is_err());
        assert!(check(schema, json!({"a": "x", "b": "y"})).is_err());
        let inner = json!({"properties": {"o": {"$ref": "#/$defs/O"}}, "$defs": {"O": {"required": ["b"], "properties": {"b": {"default": null}}}}});
        assert_eq!(check(inner, json!({"o": {}})), Ok(()));
    }

    #[test]
    fn a_format_is_an_annotation_in_every_draft() {
        for draft in [
            "draft-04/schema#",
            "draft-07/schema#",
            "draft/2019-09/schema",
            "draft/2020-12/schema",
        ] {
            let schema = json!({
                "$schema": format!("http://json-schema.org/{draft}"),
                "properties": {"a": {"type": "string", "format": "date-time", "contentEncoding": "base64"}},
            });
            assert_eq!(
                check(schema.clone(), json!({"a": "tomorrow!"})),
                Ok(()),
                "{draft}"
            );
            assert!(check(schema, json!({"a": 1})).is_err(), "{draft}");
        }
    }

    #[test]
    fn a_schema_is_read_as_the_draft_that_it_names_and_an_unknown_one_is_no_fault() {
        for (draft, keyword) in [
            (
                "http://json-schema.org/draft-04/schema#",
                json!({"minimum": 0, "exclusiveMinimum": true}),
            ),
            (
                "http://json-schema.org/draft-04/schema#",
                json!({"exclusiveMinimum": 0}),
            ),
            (
                "https://json-schema.org/draft-07/schema",
                json!({"exclusiveMinimum": 0}),
            ),
            (
                "https://json-schema.org/draft/2020-12/schema",
                json!({"minimum": 0, "exclusiveMinimum": true}),
            ),
            (
                "https://example.com/our-own-dialect",
                json!({"exclusiveMinimum": 0}),
            ),
            (
                "http://json-schema.org/schema#",
                json!({"exclusiveMinimum": 0}),
            ),
        ] {
            let schema = json!({"$schema": draft, "properties": {"a": keyword}});
            assert_eq!(check(schema.clone(), json!({"a": 1})), Ok(()), "{draft}");
            assert!(check(schema, json!({"a": 0})).is_err(), "{draft}");
        }
        let tuple = |draft: &str, items: &str| json!({"$schema": draft, "properties": {"a": {items: [{"type": "string"}]}}});
        for (draft, items) in [
            ("http://json-schema.org/draft-07/schema#", "items"),
            ("https://json-schema.org/draft/2019-09/schema", "items"),
            (
                "https://json-schema.org/draft/2020-12/schema",
                "prefixItems",
            ),
        ] {
            assert!(
                check(tuple(draft, items), json!({"a": [1]})).is_err(),
                "{draft}"
            );
            assert_eq!(check(tuple(draft, items), json!({"a": ["x"]})), Ok(()));
        }
    }

    #[test]
    fn what_is_told_is_bounded() {
        let schema = json!({"type": "object", "additionalProperties": {"type": "integer"}});
        let many: serde_json::Map<_, _> = (0..1000)
            .map(|i| (format!("k{i}"), json!("x".repeat(10_000))))
            .collect();
        assert!(check(schema, many.into()).unwrap_err().len() < 10_000);
    }

    #[test]
    fn faults_without_number_are_told_as_one() {
        let schema = json!({"properties": {"a": {"items": {"type": "string"}}}});
        let told = check(schema, json!({"a": vec![1; 100_000]})).unwrap_err();
        assert_eq!(told, "the arguments do not fit the tool's input schema");
    }

    #[test]
    fn patterns_are_linear_or_not_followed() {
        let evil = "a".repeat(50_000) + "!";
        let schema =
            |pattern: &str| json!({"properties": {"a": {"type": "string", "pattern": pattern}}});
        assert!(check(schema("^(a+)+$"), json!({"a": evil})).is_err());
        // A backreference needs a backtracking engine: not followed.
        assert!(check(schema(r"^(a+)\1$"), json!({"a": evil})).is_ok());
    }

    #[test]
    fn patterns_by_the_thousand_are_not_compiled() {
        let patterns: serde_json::Map<_, _> = (0..3050)
            .map(|i| (format!(r"\p{{L}}{{22}}{i}"), json!({})))
            .collect();
        let schema = json!({"patternProperties": patterns});
        assert_eq!(place(schema, json!({"a": 1})), Place::AtTheServer);
        let few: Vec<_> = (0..3)
            .map(|i| json!({"pattern": format!(r"\p{{L}}{{20}}{i}")}))
            .collect();
        assert_eq!(place(json!({"allOf": few}), json!({})), Place::AtTheServer);
    }

    #[test]
    fn a_pattern_and_a_long_text_are_dear_together_and_cheap_alone() {
        let schema = json!({"properties": {"a": {"pattern": r"(\p{L}|\d){10}x(a|.){30}"}}});
        let at = |text: usize| place(schema.clone(), json!({"a": "é1".repeat(text)}));
        assert_eq!(at(66_000), Place::AtTheServer);
        assert_eq!(at(2_000), Place::Apart);
        let ordinary = json!({"properties": {
            "id": {"type": "string", "pattern": "^[a-z0-9-]{1,64}$", "maxLength": 64},
            "when": {"type": "string", "format": "date-time"},
            "text": {"type": "string", "minLength": 1},
        }});
        let arguments = |text: usize| json!({"id": "a-b", "text": "x".repeat(text)});
        assert_eq!(place(ordinary.clone(), arguments(1_000)), Place::Here);
        assert_eq!(place(ordinary, arguments(250_000)), Place::Apart);
    }

    #[test]
    fn lengths_by_the_thousand_are_dear_too() {
        let schema = json!({"properties": {"a": {"allOf": vec![json!({"minLength": 1}); 4_000]}}});
        assert_eq!(place(schema.clone(), json!({"a": "x"})), Place::Here);
        assert_eq!(
            place(schema, json!({"a": "é".repeat(120_000)})),
            Place::AtTheServer
        );
    }

    #[test]
    fn dear_patterns_are_compiled_apart_and_then_at_hand() {
        let schema = raw(json!({"properties": {"a": {"pattern": r"^\p{L}{1,5}$"}}}));
        let dear = Schema::of(&schema);
        let arguments = json!({"a": "ab1"});
        assert_eq!(dear.place(&arguments), Place::Apart);
        assert!(dear.check(&schema, &arguments, || true).is_err());
        assert_eq!(dear.place(&arguments), Place::Here);
    }

    #[test]
    fn a_schema_without_room_checks_nothing() {
        let schema = raw(json!({"required": ["a"]}));
        assert_eq!(
            Schema::of(&schema).check(&schema, &json!({}), || false),
            Ok(())
        );
        assert!(
            Schema::of(&schema)
                .check(&schema, &json!({}), || true)
                .is_err()
        );
    }

    #[test]
    fn groups_by_the_thousand_keep_no_place_for_each() {
        let schema =
            json!({"properties": {"a": {"pattern": format!("^{}a+$", "(b?)".repeat(2_000))}}});
        assert_eq!(place(schema, json!({"a": "bb"})), Place::AtTheServer);
    }

    #[test]
    fn unevaluated_members_do_not_double_at_each_step() {
        let keyword = "unevaluatedProperties";
        let next =
            |i: usize| json!({"anyOf": [{"$ref": format!("#/$defs/{}", i + 1)}], keyword: false});
        let mut defs: serde_json::Map<_, _> = (0..40).map(|i| (i.to_string(), next(i))).collect();
        defs.insert("40".into(), json!({"properties": {"a": true, "b": true}}));
        let schema = json!({"$ref": "#/$defs/0", "$defs": defs});
        assert_eq!(
            place(schema, json!({"a": "x", "b": ["x"]})),
            Place::AtTheServer
        );
    }
}
