//! The canonical definition of a tool, and its fingerprint.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::{
    hex::hex,
    json::{Object, quoted},
    mcp::Tool,
};

/// The annotation of a tool that changes nothing.
const READ_ONLY: &str = "readOnlyHint";

/// A tool as its server defines it, in a canonical form: name, title, description, schemas and
/// annotations, as JSON with sorted members and without whitespace.
///
/// Strings are escaped in one way, numbers stay as the server wrote them, and duplicate members are
/// kept. So every change of what a model reads changes the fingerprint, while the order of members
/// does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    fingerprint: Fingerprint,
    json: Arc<str>,
}

impl Definition {
    /// Creates the definition of a listed tool.
    pub fn of(tool: &Tool) -> Self {
        let mut json = String::with_capacity(tool.input_schema.get().len() + 256);
        let texts = [
            ("description", tool.description.as_deref().map(quoted)),
            ("name", Some(quoted(&tool.name))),
            ("title", tool.title.as_deref().map(quoted)),
        ];
        let values = [
            ("annotations", tool.annotations.as_deref()),
            ("inputSchema", Some(&*tool.input_schema)),
            ("outputSchema", tool.output_schema.as_deref()),
        ];
        let values = values.map(|(name, value)| (name, value.map(canonical)));
        let mut members: Vec<_> = texts.into_iter().chain(values).collect();
        members.sort_by_key(|(name, _)| *name);
        json.push('{');
        for (name, value) in members {
            let Some(value) = value else { continue };
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(&format!("\"{name}\":{value}"));
        }
        json.push('}');
        Self {
            fingerprint: Fingerprint(Sha256::digest(&json).into()),
            json: json.into(),
        }
    }

    /// Computes the SHA-256 of the definition, which stands for it in pins.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Returns `true` if its annotations have `readOnlyHint: true`, and nothing else beside it of
    /// that name.
    pub(crate) fn is_read_only(&self) -> bool {
        let annotations = self.annotations();
        let annotations = annotations.and_then(|text| Object::parse(text.get()).ok());
        annotations.is_some_and(|hints| {
            hints.get(READ_ONLY) == Some("true") && hints.count(READ_ONLY) == 1
        })
    }

    /// The tool's annotations.
    pub(crate) fn annotations(&self) -> Option<&RawValue> {
        let tool = Object::parse(&self.json).ok()?;
        serde_json::from_str(tool.present("annotations")?).ok()
    }

    /// The name for people: the tool's own, or, as until 2025-03-26, that of its annotations.
    pub(crate) fn title(&self) -> Option<String> {
        let tool = Object::parse(&self.json).ok()?;
        let annotations = || Object::parse(self.annotations()?.get()).ok();
        let title = tool.string("title");
        let title = title.or_else(|| annotations()?.string("title"));
        title.map(Into::into)
    }

    /// The canonical JSON, to show to an operator.
    pub fn json(&self) -> &Arc<str> {
        &self.json
    }
}

/// The SHA-256 of a [`Definition`]. `Display`, `FromStr` and serde use 64 hex digits in lower case,
/// as the log, the dashboard and a file of servers do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The SHA-256 of a text, such as a server's instructions.
    pub(crate) fn of_text(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;

    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(InvalidFingerprint),
        };
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
            return Err(InvalidFingerprint);
        };
        let bytes = pairs
            .iter()
            .map(|&[high, low]| Ok(digit(high)? << 4 | digit(low)?))
            .collect::<Result<Vec<_>, _>>()?;
        bytes.try_into().map(Self).map_err(|_| InvalidFingerprint)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The error of parsing a text that is not a [`Fingerprint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidFingerprint;

impl fmt::Display for InvalidFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fingerprint is 64 hex digits in lower case")
    }
}

impl std::error::Error for InvalidFingerprint {}

/// Rewrites JSON in its canonical form.
fn canonical(value: &RawValue) -> String {
    let mut text = String::with_capacity(value.get().len());
    write(value, &mut text);
    text
}

// As deep as the value, whose depth the client has limited.
fn write(value: &RawValue, out: &mut String) {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'{') => match serde_json::from_str(text) {
            Ok(Members(mut members)) => {
                // Stable: of members given twice the order counts.
                members.sort_by(|(a, _), (b, _)| a.cmp(b));
                write_all(out, ['{', '}'], members, |(name, value), out| {
                    out.push_str(&quoted(&name));
                    out.push(':');
                    write(value, out);
                });
            }
            Err(_) => out.push_str(text),
        },
        Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(text) {
            Ok(items) => write_all(out, ['[', ']'], items, write),
            Err(_) => out.push_str(text),
        },
        Some(b'"') => match serde_json::from_str::<String>(text) {
            Ok(string) => out.push_str(&quoted(&string)),
            // Half of a surrogate pair; as it is.
            Err(_) => out.push_str(text),
        },
        _ => out.push_str(text),
    }
}

fn write_all<T>(
    out: &mut String,
    [open, close]: [char; 2],
    items: Vec<T>,
    write: impl Fn(T, &mut String),
) {
    out.push(open);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(close);
}

/// The members of an object, all of them.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;

        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(All)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;

    fn tool(schema: &str) -> Tool {
        Tool {
            name: "search".into(),
            title: None,
            description: Some("Finds\n\"things\"".into()),
            input_schema: RawValue::from_string(schema.into()).unwrap(),
            output_schema: None,
            annotations: Some(RawValue::from_string(r#"{"readOnlyHint": true}"#.into()).unwrap()),
        }
    }

    #[test]
    fn a_tool_is_read_only_where_it_says_so_and_nothing_else() {
        for (annotations, is_read_only) in [
            (None, false),
            (Some("{}"), false),
            (Some("[]"), false),
            (Some(r#"{"readOnlyHint":true}"#), true),
            (Some(r#"{"readOnlyHint":"true"}"#), false),
            (Some(r#"{"readOnlyHint":true,"readOnlyHint":false}"#), false),
            (Some(r#"{"destructiveHint":false}"#), false),
        ] {
            let raw = |text: &str| RawValue::from_string(text.into()).unwrap();
            let mut tool = tool("{}");
            tool.annotations = annotations.map(raw);
            let found = Definition::of(&tool).is_read_only();
            assert_eq!(found, is_read_only, "{annotations:?}");
        }
    }

    #[test]
    fn a_definition_has_one_spelling() {
        let schema =
            r#"{ "type":"object", "properties": {"é": {"type" : "string"}, "a":[1.0, 1e2]}}"#;
        let definition = Definition::of(&tool(schema));
        assert_eq!(
            &**definition.json(),
            r#"{"annotations":{"readOnlyHint":true},"description":"Finds\n\"things\"","inputSchema":{"properties":{"a":[1.0,1e2],"é":{"type":"string"}},"type":"object"},"name":"search"}"#
        );
        let text = definition.fingerprint().to_string();
        assert_eq!(text.parse(), Ok(definition.fingerprint()));
        let reordered =
            r#"{"properties":{"a":[1.0,1e2],"\u00e9":{"type":"str\u0069ng"}},"type":"object"}"#;
        let reordered = Definition::of(&tool(reordered));
        assert_eq!(reordered.fingerprint(), definition.fingerprint());
    }

    #[test]
    fn what_one_reader_takes_for_another_tool_is_another_one() {
        let fingerprint = |schema| Definition::of(&tool(schema)).fingerprint();
        let base = fingerprint(r#"{"a":1,"b":[1,2]}"#);
        for other in [
            r#"{"a":1.0,"b":[1,2]}"#,
            r#"{"a":1,"b":[2,1]}"#,
            r#"{"a":1,"a":1,"b":[1,2]}"#,
            r#"{"a":1,"b":[1,2],"c":null}"#,
            r#"{"a":"1","b":[1,2]}"#,
            r#"{"A":1,"b":[1,2]}"#,
            r#"{"a":1,"b":[[1,2]]}"#,
            r#"{}"#,
        ] {
            assert_ne!(fingerprint(other), base, "{other}");
        }
        assert_ne!(
            fingerprint(r#"{"a":1,"a":2}"#),
            fingerprint(r#"{"a":2,"a":1}"#)
        );
        assert_ne!(fingerprint(r#""\ud800""#), fingerprint(r#""\ud801""#));
    }

    #[test]
    fn only_64_hex_digits_are_a_fingerprint() {
        for text in [
            "",
            "0",
            &"0".repeat(63),
            &"0".repeat(65),
            &"A".repeat(64),
            &"é".repeat(32),
        ] {
            assert_eq!(
                text.parse::<Fingerprint>(),
                Err(InvalidFingerprint),
                "{text:?}"
            );
        }
    }

    /// Chance that can be had again.
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % limit
        }

        fn text(&mut self) -> String {
            const LETTERS: [char; 8] = ['a', 'B', '"', '\\', 'é', '\n', '\u{202e}', '1'];
            (0..self.below(4))
                .map(|_| LETTERS[self.below(LETTERS.len())])
                .collect()
        }

        fn value(&mut self, depth: usize) -> Value {
            match self.below(if depth == 0 { 5 } else { 7 }) {
                0 => Value::Null,
                1 => (self.below(2) == 0).into(),
                2 => self.below(100).into(),
                3 => (self.below(100) as f64 / 8.0).into(),
                4 => self.text().into(),
                5 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
                _ => (0..self.below(4))
                    .map(|_| (self.text(), self.value(depth - 1)))
                    .collect::<Map<_, _>>()
                    .into(),
            }
        }

        /// Changes one thing somewhere in `value`.
        fn change(&mut self, value: &mut Value) {
            match value {
                Value::Array(items) if !items.is_empty() && self.below(3) > 0 => {
                    let index = self.below(items.len());
                    self.change(&mut items[index]);
                }
                Value::Object(members) if !members.is_empty() && self.below(3) > 0 => {
                    let index = self.below(members.len());
                    if let Some(member) = members.values_mut().nth(index) {
                        self.change(member);
                    }
                }
                Value::Array(items) if self.below(2) == 0 => items.push(Value::Null),
                Value::Object(members) if self.below(2) == 0 => {
                    members.insert(format!("{} new", self.text()), Value::Null);
                }
                value => {
                    let before = value.clone();
                    while *value == before {
                        *value = self.value(2);
                    }
                }
            }
        }

        /// The JSON of `value`, with members in any order, blanks and escapes.
        fn spelling(&mut self, value: &Value) -> String {
            let blank = [" ", "", "\n\t", ""][self.below(4)];
            match value {
                Value::String(text) if self.below(2) == 0 => {
                    let units = text.encode_utf16().map(|unit| format!("\\u{unit:04X}"));
                    format!("\"{}\"", units.collect::<String>())
                }
                Value::Array(items) => {
                    let items: Vec<_> = items.iter().map(|item| self.spelling(item)).collect();
                    format!("[{blank}{}]", items.join(&format!("{blank},")))
                }
                Value::Object(members) => {
                    let mut members: Vec<_> = members.iter().collect();
                    for index in (1..members.len()).rev() {
                        members.swap(index, self.below(index + 1));
                    }
                    let members = members.into_iter().map(|(name, value)| {
                        let name = self.spelling(&Value::String(name.clone()));
                        format!("{name}{blank}:{}", self.spelling(value))
                    });
                    let members: Vec<_> = members.collect();
                    format!("{{{}{blank}}}", members.join(","))
                }
                value => value.to_string(),
            }
        }

        /// The definition of `tool`, however it is spelt.
        fn definition(&mut self, tool: &Value) -> Fingerprint {
            let mut raw = |name: &str| {
                let value = tool.get(name)?;
                RawValue::from_string(self.spelling(value)).ok()
            };
            let text = |name: &str| tool.get(name)?.as_str().map(str::to_owned);
            let tool = Tool {
                name: text("name").unwrap(),
                title: text("title"),
                description: text("description"),
                input_schema: raw("inputSchema").unwrap(),
                output_schema: raw("outputSchema"),
                annotations: raw("annotations"),
            };
            Definition::of(&tool).fingerprint()
        }
    }

    #[test]
    fn of_ten_thousand_changes_all_are_noticed_and_no_other_spelling_is_taken_for_one() {
        let mut chance = Chance(1);
        for _ in 0..10_000 {
            let mut tool =
                json!({"name": format!("t{}", chance.text()), "inputSchema": chance.value(3)});
            for (name, wanted) in [("outputSchema", 3), ("annotations", 2)] {
                if chance.below(2) == 0 {
                    tool[name] = chance.value(wanted);
                }
            }
            for name in ["title", "description"] {
                if chance.below(2) == 0 {
                    tool[name] = chance.text().into();
                }
            }
            let before = chance.definition(&tool);
            assert_eq!(chance.definition(&tool), before, "{tool}");
            let mut changed = tool.clone();
            let names = [
                "name",
                "title",
                "description",
                "inputSchema",
                "outputSchema",
                "annotations",
            ];
            match names[chance.below(names.len())] {
                name @ ("name" | "title" | "description") => {
                    let text = tool.get(name).and_then(Value::as_str).unwrap_or_default();
                    changed[name] = format!("{text}!{}", chance.text()).into();
                }
                name => match changed.get_mut(name) {
                    Some(value) => chance.change(value),
                    None => changed[name] = chance.value(2),
                },
            }
            assert_ne!(chance.definition(&changed), before, "{tool} {changed}");
        }
    }
}
