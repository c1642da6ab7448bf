//! Arguments of nearly the right type, read as they were meant.
//!
//! Models and the parsers behind them write `"5"` for 5, and a list as its JSON (PostHog/posthog#48923,
//! homeassistant-ai/ha-mcp#218, openclaw/openclaw#96916, anthropics/claude-code#59227). Where a schema
//! allows one type only, such a text has no other meaning: the canonical text of a whole number, a
//! number or a boolean, or the JSON of a list or an object. All else is for the model to repair:
//! `"05"`, `"yes"`, and `null` for a member that does not allow it, which may stand for "leave it" or
//! for "clear it".
//!
//! What changes is an edit of the text, so that everything beside it keeps its bytes.

use std::cell::Cell;

use serde_json::{Value, value::RawValue};

use crate::json::{Edit, Object, array, string};

/// The most places of arguments that are looked at.
const PLACES: usize = 10_000;
/// The most subschemas that are looked at for all of them: a server can write many for each place.
const STEPS: usize = 200_000;
/// The most subschemas that apply to one place.
const APPLIED: usize = 16;
/// The deepest nesting, also of texts within texts.
const LEVELS: usize = 64;
/// The largest whole number that every reader of JSON keeps.
const WHOLE: u64 = 1 << 53;

/// `arguments` as they were meant; `None` where there is nothing to read in another way.
///
/// The result may fit the schema as little as before.
pub(crate) fn reread(schema: &RawValue, arguments: &str) -> Option<String> {
    let root: Value = serde_json::from_str(schema.get()).ok()?;
    let mut reader = Reader {
        root: &root,
        places: PLACES,
        steps: Cell::new(STEPS),
    };
    let applied = reader.applied(&[&root]);
    reader.read(&applied, arguments, LEVELS)
}

/// Returns `true` if arguments that fit may still have a whole number written with a fraction, which
/// a schema takes and many servers do not (ml-explore/mlx-lm#1635).
pub(crate) fn has_whole_fraction(arguments: &str) -> bool {
    let mut rest = arguments;
    while let Some(at) = rest.find(".0") {
        rest = rest[at + 1..].trim_start_matches('0');
        if rest.starts_with([',', '}', ']', ' ', '\n', '\r', '\t']) {
            return true;
        }
    }
    false
}

struct Reader<'a> {
    root: &'a Value,
    /// The places that may still be looked at.
    places: usize,
    /// The subschemas that may still be looked at; without any, nothing more is read.
    steps: Cell<usize>,
}

impl<'a> Reader<'a> {
    /// The value `text` as it was meant, by all these schemas; `None` if that is how it stands.
    fn read(&mut self, schemas: &[&'a Value], text: &str, levels: usize) -> Option<String> {
        let mut edits = Vec::new();
        self.look(schemas, text, text.trim(), levels, &mut edits);
        (!edits.is_empty()).then(|| Edit::apply_to_text(text, edits))
    }

    /// Looks at `value`, a part of `whole`.
    fn look(
        &mut self,
        schemas: &[&'a Value],
        whole: &str,
        value: &str,
        levels: usize,
        edits: &mut Vec<Edit>,
    ) {
        let has_room = self.places > 0 && self.steps.get() > 0;
        let Some(levels) = levels.checked_sub(1).filter(|_| has_room) else {
            return;
        };
        self.places -= 1;
        match value.as_bytes().first() {
            Some(b'{') => {
                let Ok(object) = Object::parse(value) else {
                    return;
                };
                for (name, value) in object.iter() {
                    let below = self.applied(&members(schemas, name));
                    self.look(&below, whole, value, levels, edits);
                }
            }
            Some(b'[') => {
                let items = array(value, self.places).unwrap_or_default();
                for (index, item) in items.into_iter().enumerate() {
                    let below = self.applied(&items_of(schemas, index));
                    self.look(&below, whole, item, levels, edits);
                }
            }
            _ => {
                let kind = self.kind(schemas).filter(|_| self.steps.get() > 0);
                let read = kind.and_then(|kind| match string(value) {
                    Some(text) => self.text(kind, schemas, &text, levels),
                    None => whole_number(kind, value),
                });
                if let Some(read) = read {
                    let start = value.as_ptr() as usize - whole.as_ptr() as usize;
                    edits.push(Edit::replace(start..start + value.len(), read));
                }
            }
        }
    }

    /// The value of this type that `text` writes.
    fn text(
        &mut self,
        kind: &str,
        schemas: &[&'a Value],
        text: &str,
        levels: usize,
    ) -> Option<String> {
        let is_written = match kind {
            "integer" => is_whole(text),
            "number" => is_decimal(text),
            "boolean" => matches!(text, "true" | "false"),
            "array" => text.trim_start().starts_with('[') && is_json(text),
            "object" => Object::parse(text).is_ok_and(|object| object.doubled().is_none()),
            _ => false,
        };
        is_written.then(|| {
            let read = self.read(schemas, text, levels);
            read.unwrap_or_else(|| text.trim().to_owned())
        })
    }

    /// The one type that these schemas allow besides `null`; no text is read as that.
    fn kind(&self, schemas: &[&'a Value]) -> Option<&'a str> {
        let mut kinds = schemas.iter().filter_map(|schema| self.kind_of(schema));
        let kind = kinds.next()?;
        kinds.all(|other| other == kind).then_some(kind)
    }

    fn kind_of(&self, schema: &'a Value) -> Option<&'a str> {
        match schema.get("type") {
            Some(Value::String(kind)) => Some(kind),
            Some(Value::Array(kinds)) => {
                let mut kinds = kinds.iter().filter_map(Value::as_str);
                let kind = kinds.by_ref().find(|kind| *kind != "null")?;
                kinds.all(|other| other == "null").then_some(kind)
            }
            _ => self.kind_of_branches(schema),
        }
    }

    /// The type that all branches of a choice have.
    fn kind_of_branches(&self, schema: &'a Value) -> Option<&'a str> {
        let branches = self.branches(schema)?;
        let mut kinds = branches.iter().map(|branch| {
            let applied = self.applied(&[branch]);
            let direct = applied.iter().find_map(|schema| schema.get("type"));
            direct.and_then(Value::as_str)
        });
        let kind = kinds.next()??;
        kinds.all(|other| other == Some(kind)).then_some(kind)
    }

    /// All schemas that hold where these do: behind references, in `allOf`, and the only branch of a
    /// choice that is not `null`.
    fn applied(&self, schemas: &[&'a Value]) -> Vec<&'a Value> {
        let mut applied = schemas.to_vec();
        let mut next = 0;
        while let Some(schema) = applied.get(next).copied() {
            next += 1;
            if !self.takes(1) {
                break;
            }
            applied.extend(self.referred(schema));
            let parts = schema.get("allOf").and_then(Value::as_array);
            applied.extend(parts.into_iter().flatten().take(APPLIED));
            if let Some([only]) = self.branches(schema).as_deref() {
                applied.push(only);
            }
            // More is a circle, or nobody's tool.
            applied.truncate(APPLIED);
        }
        applied
    }

    /// The branches of a choice, `null` excepted; `None` if there are too many for what is left.
    fn branches(&self, schema: &'a Value) -> Option<Vec<&'a Value>> {
        let choice = schema.get("anyOf").or_else(|| schema.get("oneOf"))?;
        let is_null = |branch: &&Value| branch.get("type").is_some_and(|kind| kind == "null");
        let branches = choice.as_array()?;
        self.takes(branches.len())
            .then(|| branches.iter().filter(|branch| !is_null(branch)).collect())
    }

    /// Takes this many steps, or all that are left, which are too few.
    fn takes(&self, steps: usize) -> bool {
        let left = self.steps.get().checked_sub(steps);
        self.steps.set(left.unwrap_or(0));
        left.is_some()
    }

    fn referred(&self, schema: &Value) -> Option<&'a Value> {
        let reference = schema.get("$ref")?.as_str()?;
        self.root.pointer(reference.strip_prefix('#')?)
    }
}

/// The schemas of an object's member.
fn members<'a>(schemas: &[&'a Value], name: &str) -> Vec<&'a Value> {
    let member = |schema: &&'a Value| {
        let named = schema.get("properties").and_then(|named| named.get(name));
        // Which patterns fit is not found out here.
        let has_patterns = schema.get("patternProperties").is_some();
        named.or_else(|| schema.get("additionalProperties").filter(|_| !has_patterns))
    };
    schemas.iter().filter_map(member).collect()
}

/// The schemas of a list's item.
fn items_of<'a>(schemas: &[&'a Value], index: usize) -> Vec<&'a Value> {
    let item = |schema: &&'a Value| {
        let items = schema.get("items");
        let first = schema
            .get("prefixItems")
            .or(items.filter(|items| items.is_array()));
        match first.and_then(Value::as_array) {
            Some(first) => first.get(index).or(items.filter(|items| items.is_object())),
            None => items,
        }
    };
    schemas.iter().filter_map(item).collect()
}

/// A number that is whole, without its fraction.
fn whole_number(kind: &str, number: &str) -> Option<String> {
    let (whole, fraction) = number.split_once('.').filter(|_| kind == "integer")?;
    let is_zero = !fraction.is_empty() && fraction.bytes().all(|digit| digit == b'0');
    (is_zero && is_whole(whole)).then(|| whole.to_owned())
}

/// Returns `true` for the canonical text of a whole number that every reader of JSON keeps.
fn is_whole(text: &str) -> bool {
    let number = text.parse::<i64>();
    number.is_ok_and(|number| number.unsigned_abs() <= WHOLE && number.to_string() == text)
}

/// Returns `true` for a number as JSON writes it, without an exponent, which an `f64` holds.
fn is_decimal(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    match text.split_once('.') {
        None => is_whole(text),
        Some((whole, fraction)) => {
            let whole = whole.strip_prefix('-').unwrap_or(whole);
            let is_fraction = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
            is_fraction && !whole.starts_with('-') && is_whole(whole) && digits <= 15
        }
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The member `a` of arguments as it is read where `schema` holds.
    fn read(schema: &Value, a: &str) -> String {
        let defs = json!({"whole": {"type": "integer"}, "loop": {"$ref": "#/$defs/loop"}});
        let schema = json!({"type": "object", "properties": {"a": schema}, "$defs": defs});
        let schema = serde_json::value::to_raw_value(&schema).unwrap();
        let arguments = format!(r#"{{ "id":12345678901234567890, "a" : {a} ,"z":[ 1.50 ]}}"#);
        let Some(read) = reread(&schema, &arguments) else {
            return a.to_owned();
        };
        let (before, behind) = arguments.split_once(a).unwrap();
        let read = read.strip_prefix(before).expect("the rest keeps its bytes");
        read.strip_suffix(behind)
            .expect("the rest keeps its bytes")
            .to_owned()
    }

    #[test]
    fn a_text_is_read_as_the_one_type_that_is_allowed() {
        for (schema, sent, expected) in [
            (json!({"type": "integer"}), r#""5""#, "5"),
            (
                json!({"type": "integer"}),
                r#""-9007199254740992""#,
                "-9007199254740992",
            ),
            (json!({"type": "integer"}), "1.0", "1"),
            (json!({"type": "number"}), r#""1.50""#, "1.50"),
            (json!({"type": "number"}), r#""-3""#, "-3"),
            (json!({"type": "boolean"}), r#""true""#, "true"),
            (json!({"type": "array"}), r#""[\"a\"]""#, r#"["a"]"#),
            (
                json!({"type": "object"}),
                r#""{\"b\": 1.0}""#,
                r#"{"b": 1.0}"#,
            ),
            (json!({"type": ["integer", "null"]}), r#""5""#, "5"),
            (
                json!({"anyOf": [{"type": "boolean"}, {"type": "null"}]}),
                r#""false""#,
                "false",
            ),
            (
                json!({"oneOf": [{"type": "null"}, {"$ref": "#/$defs/whole"}]}),
                r#""5""#,
                "5",
            ),
            (
                json!({"allOf": [{"$ref": "#/$defs/whole"}], "default": 1}),
                r#""5""#,
                "5",
            ),
            (
                json!({"anyOf": [{"type": "integer", "minimum": 9}, {"type": "integer"}]}),
                r#""5""#,
                "5",
            ),
            (
                json!({"type": "array", "items": {"type": "integer"}}),
                r#"["1", 2]"#,
                "[1, 2]",
            ),
            (
                json!({"type": "array", "items": {"type": "integer"}}),
                r#""[\"1\", 2]""#,
                "[1, 2]",
            ),
            (
                json!({"prefixItems": [{"type": "string"}, {"type": "integer"}]}),
                r#"["1","2"]"#,
                r#"["1",2]"#,
            ),
            (
                json!({"additionalProperties": {"type": "boolean"}}),
                r#"{"x":"true"}"#,
                r#"{"x":true}"#,
            ),
        ] {
            assert_eq!(read(&schema, sent), expected, "{schema}");
        }
    }

    #[test]
    fn what_has_another_reading_or_none_stays_as_it_is() {
        let integer = json!({"type": "integer"});
        for sent in [
            r#""05""#,
            r#""+5""#,
            r#""-0""#,
            r#"" 5""#,
            r#""5 ""#,
            r#""""#,
            r#""5.0""#,
            r#""1e3""#,
            r#""9007199254740993""#,
            r#""12345678901234567890""#,
            r#""five""#,
            "1.5",
            "null",
            "-0.0",
        ] {
            assert_eq!(read(&integer, sent), sent);
        }
        for (schema, sent) in [
            (json!({"type": "boolean"}), r#""yes""#),
            (json!({"type": "boolean"}), r#""True""#),
            (json!({"type": "boolean"}), r#""1""#),
            (json!({"type": "boolean"}), "1"),
            (json!({"type": "number"}), r#"".5""#),
            (json!({"type": "number"}), r#""1.""#),
            (json!({"type": "number"}), r#""--1.5""#),
            (json!({"type": "number"}), r#""1.00000000000000000001""#),
            (json!({"type": "array"}), r#""a, b""#),
            (json!({"type": "array"}), r#""[1""#),
            (json!({"type": "array"}), r#""{}""#),
            (json!({"type": "object"}), r#""{\"a\":1,\"a\":2}""#),
            (json!({"type": "string"}), "5"),
            (json!({"type": ["integer", "string"]}), r#""5""#),
            (json!({"type": ["integer", "boolean"]}), r#""5""#),
            (
                json!({"anyOf": [{"type": "integer"}, {"type": "string"}]}),
                r#""5""#,
            ),
            (json!({"anyOf": [{"type": "integer"}, {}]}), r#""5""#),
            (json!({"type": ["integer", "null"]}), r#""null""#),
            (json!({"enum": [5]}), r#""5""#),
            (json!({"$ref": "#/$defs/loop"}), r#""5""#),
            (
                json!({"patternProperties": {"x": {}}, "additionalProperties": {"type": "integer"}}),
                r#"{"x":"5"}"#,
            ),
            (json!(true), r#""5""#),
            (json!({}), r#""5""#),
        ] {
            assert_eq!(read(&schema, sent), sent, "{schema}");
        }
    }

    #[test]
    fn texts_within_texts_and_lists_without_end_are_read_no_further_than_is_worth_it() {
        let mut text = "[]".to_owned();
        for _ in 0..12 {
            text = serde_json::to_string(&[text]).unwrap();
        }
        let schema = json!({"$ref": "#/$defs/list"});
        let root = json!({"properties": {"a": schema}, "$defs": {"list": {"type": "array", "items": schema}}});
        let root = serde_json::value::to_raw_value(&root).unwrap();
        let read = reread(&root, &format!(r#"{{"a":{text}}}"#)).unwrap();
        assert_eq!(
            read,
            format!(r#"{{"a":{}{}}}"#, "[".repeat(13), "]".repeat(13))
        );
        let many = vec!["\"1\""; 100_000].join(",");
        let root = json!({"properties": {"a": {"items": {"type": "integer"}}}});
        let root = serde_json::value::to_raw_value(&root).unwrap();
        let read = reread(&root, &format!(r#"{{"a":[{many}]}}"#)).unwrap();
        assert!(read.contains("\"1\""));
    }

    #[test]
    fn a_whole_number_with_a_fraction_is_noticed() {
        for text in [r#"{"a":1.0}"#, r#"{"a":[2.000 ,3]}"#, "{\"a\":1.0\n}"] {
            assert!(has_whole_fraction(text), "{text}");
        }
        for text in [r#"{"a":1.05}"#, r#"{"a":10}"#, r#"{"a":"v1.0"}"#, "{}"] {
            assert!(!has_whole_fraction(text), "{text}");
        }
    }

    #[test]
    fn hostile_schemas_take_no_longer_than_ordinary_ones() {
        let big = vec!["{}"; 2500].join(",");
        let branches = vec![r##"{"$ref":"#/$defs/b"}"##; 350].join(",");
        let schema = format!(
            r##"{{"properties":{{"a":{{"items":{{"anyOf":[{branches}]}}}}}},"$defs":{{"b":{{"type":"integer","anyOf":[{big}]}}}}}}"##
        );
        let arguments = format!(r#"{{"a":[{}]}}"#, vec![r#""x""#; 3500].join(","));
        assert!(schema.len() + arguments.len() < 32 << 10);
        let schema = RawValue::from_string(schema).unwrap();
        let began = std::time::Instant::now();
        assert_eq!(reread(&schema, &arguments), None);
        assert!(began.elapsed().as_millis() < 5_000, "{:?}", began.elapsed());
    }
}
