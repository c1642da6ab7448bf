//! A form for the arguments of a tool, made from its input schema, and the JSON that it becomes.
//!
//! What a schema says beyond types, choices and descriptions is left to the check of the call itself:
//! a form that knew better could only be wrong.

use serde_json::{Map, Value};

use super::{form::Form, text::Shown};
use crate::json::quoted;

/// The most fields of a form; a tool with more arguments takes them as JSON.
const FIELDS: usize = 64;
/// The most choices of a field; one with more is typed, as JSON.
const CHOICES: usize = 200;
/// The most characters of a description.
const HINT: usize = 400;

/// The arguments of a tool, as they are entered.
pub(super) struct Arguments {
    pub(super) fields: Vec<Argument>,
    /// All of them as JSON, in the place of the fields where it is not empty.
    pub(super) json: String,
    /// What is wrong with that.
    pub(super) wrong: Option<String>,
}

/// An argument.
pub(super) struct Argument {
    name: String,
    /// The id of its field.
    pub(super) id: String,
    pub(super) label: Shown,
    pub(super) hint: Option<Shown>,
    kind: Kind,
    pub(super) is_required: bool,
    pub(super) value: String,
    pub(super) wrong: Option<String>,
}

/// What an argument is entered as.
enum Kind {
    Text,
    Integer,
    Number,
    /// One of these values, each as JSON, and as it is shown.
    Choice(Vec<(String, Shown)>),
    Json,
}

impl Arguments {
    /// The empty form for a tool with this input schema.
    pub(super) fn of(schema: Option<&str>) -> Self {
        let schema: Value = schema
            .and_then(|schema| serde_json::from_str(schema).ok())
            .unwrap_or_default();
        let none = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&none);
        let required: Vec<&str> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        // Too many make no form.
        let properties = Some(properties)
            .filter(|all| all.len() <= FIELDS)
            .unwrap_or(&none);
        let fields = properties
            .iter()
            .enumerate()
            .map(|(number, (name, schema))| {
                Argument::of(number, name, schema, required.contains(&&**name))
            });
        let mut fields: Vec<_> = fields.collect();
        // What has to be there comes first; the rest stays as its server has it.
        fields.sort_by_key(|field| !field.is_required);
        Self {
            fields,
            json: String::new(),
            wrong: None,
        }
    }

    /// Puts in what was entered.
    pub(super) fn entered(mut self, form: &Form) -> Self {
        form.text("json").clone_into(&mut self.json);
        for field in &mut self.fields {
            form.text(&field.field()).clone_into(&mut field.value);
        }
        self
    }

    /// The text of the JSON object; `None` if something is wrong, which the fields then say.
    pub(super) fn read(&mut self) -> Option<String> {
        if !self.json.trim().is_empty() {
            return match serde_json::from_str(&self.json) {
                Ok(Value::Object(_)) => Some(self.json.trim().to_owned()),
                Ok(_) => {
                    self.wrong = Some("Must be a JSON object.".to_owned());
                    None
                }
                Err(error) => {
                    self.wrong = Some(format!("Is no JSON: {error}."));
                    None
                }
            };
        }
        let mut members = Vec::with_capacity(self.fields.len());
        for field in &mut self.fields {
            match field.read() {
                Ok(value) => members.extend(value.map(|v| format!("{}: {v}", quoted(&field.name)))),
                Err(wrong) => field.wrong = Some(wrong),
            }
        }
        let is_right = self.fields.iter().all(|field| field.wrong.is_none());
        is_right.then(|| format!("{{{}}}", members.join(", ")))
    }
}

impl Argument {
    fn of(number: usize, name: &str, schema: &Value, is_required: bool) -> Self {
        let hint = schema["description"].as_str();
        let kind = Kind::of(schema);
        let value = match (&schema["default"], &kind) {
            (Value::Null, _) => String::new(),
            (Value::String(text), Kind::Text) => text.clone(),
            (value, _) => value.to_string(),
        };
        Self {
            name: name.to_owned(),
            id: format!("f-argument-{number}"),
            label: Shown::short(name, 100),
            hint: hint.map(|hint| Shown::short(hint, HINT)),
            kind,
            is_required,
            value,
            wrong: None,
        }
    }

    /// The name of its field.
    pub(super) fn field(&self) -> String {
        format!("argument.{}", self.name)
    }

    /// The values to choose from, each with what it is called and whether it is chosen.
    pub(super) fn choices(&self) -> Option<Vec<(&str, &Shown, bool)>> {
        let Kind::Choice(choices) = &self.kind else {
            return None;
        };
        let choices = choices.iter();
        Some(
            choices
                .map(|(value, shown)| (&**value, shown, *value == self.value))
                .collect(),
        )
    }

    pub(super) fn is_json(&self) -> bool {
        matches!(self.kind, Kind::Json)
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self.kind, Kind::Integer | Kind::Number)
    }

    /// The value as JSON; `None` for one that is left out.
    fn read(&self) -> Result<Option<String>, String> {
        let value = self.value.trim();
        if let (Kind::Text, false) = (&self.kind, self.value.is_empty() && !self.is_required) {
            return Ok(Some(quoted(&self.value)));
        }
        if value.is_empty() {
            return match self.is_required {
                true => Err("Is required.".to_owned()),
                false => Ok(None),
            };
        }
        let read: Option<Value> = serde_json::from_str(value).ok();
        let is_right = match (&self.kind, &read) {
            (Kind::Text, _) | (Kind::Json, Some(_)) => true,
            (Kind::Number, Some(Value::Number(_))) => true,
            (Kind::Integer, Some(Value::Number(_))) => !value.contains(['.', 'e', 'E']),
            (Kind::Choice(choices), _) => choices.iter().any(|(choice, _)| choice == value),
            _ => false,
        };
        match (is_right, &self.kind) {
            // As it was entered: a number keeps all of its digits.
            (true, _) => Ok(Some(value.to_owned())),
            (false, Kind::Integer) => Err("Must be a whole number.".to_owned()),
            (false, Kind::Number) => Err("Must be a number.".to_owned()),
            (false, Kind::Choice(_)) => Err("Must be one of the choices.".to_owned()),
            (false, _) => Err("Must be JSON, such as [\"a\", \"b\"].".to_owned()),
        }
    }
}

impl Kind {
    fn of(schema: &Value) -> Self {
        if let Some(values) = schema["enum"].as_array().filter(|all| all.len() <= CHOICES) {
            let shown = |value: &Value| match value {
                Value::String(text) => Shown::short(text, 200),
                other => Shown::short(&other.to_string(), 200),
            };
            return Self::Choice(values.iter().map(|v| (v.to_string(), shown(v))).collect());
        }
        match only_type(&schema["type"]) {
            Some("string") => Self::Text,
            Some("integer") => Self::Integer,
            Some("number") => Self::Number,
            Some("boolean") => {
                let choice = |word: &str| (word.to_owned(), Shown::of(word));
                Self::Choice(vec![choice("true"), choice("false")])
            }
            _ => Self::Json,
        }
    }
}

/// The type that a value has, unless it is null.
fn only_type(types: &Value) -> Option<&str> {
    match types {
        Value::Array(types) => {
            let mut others = types
                .iter()
                .filter_map(Value::as_str)
                .filter(|t| *t != "null");
            others.next().filter(|_| others.next().is_none())
        }
        one => one.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arguments(entered: &[(&str, &str)]) -> Arguments {
        let schema = json!({
            "type": "object",
            "required": ["text", "count"],
            "properties": {
                "deep": {"type": "object"},
                "text": {"type": "string", "description": "What <b>to</b> say"},
                "count": {"type": "integer"},
                "share": {"type": ["number", "null"]},
                "loud": {"type": "boolean", "default": true},
                "unit": {"enum": ["C", "F", 7]},
                "more": {"anyOf": [{"type": "string"}, {"type": "array"}]},
            },
        });
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        let form = form.extend_pairs(entered).finish();
        Arguments::of(Some(&schema.to_string())).entered(&Form::parse(form.as_bytes()).unwrap())
    }

    #[test]
    fn what_is_entered_becomes_json_of_its_type() {
        let mut given = arguments(&[
            ("argument.text", " a \"b\" "),
            ("argument.count", "12345678901234567890"),
            ("argument.share", "0.10"),
            ("argument.loud", "false"),
            ("argument.unit", "\"F\""),
            ("argument.deep", "{\"a\": [1]}"),
        ]);
        let read = given.read().unwrap();
        assert!(read.contains("\"count\": 12345678901234567890"), "{read}");
        assert!(read.contains("\"share\": 0.10"), "{read}");
        let read: Value = serde_json::from_str(&read).unwrap();
        assert_eq!(read["text"], " a \"b\" ");
        assert_eq!((&read["loud"], &read["unit"]), (&json!(false), &json!("F")));
        assert_eq!(read["deep"], json!({"a": [1]}));
        assert!(read.get("more").is_none());
    }

    #[test]
    fn what_does_not_fit_is_said_beside_its_field() {
        let mut given = arguments(&[
            ("argument.count", "1.5"),
            ("argument.share", "much"),
            ("argument.unit", "K"),
            ("argument.deep", "{a}"),
        ]);
        assert_eq!(given.read(), None);
        let wrong: Vec<_> = given
            .fields
            .iter()
            .map(|field| field.wrong.is_some())
            .collect();
        assert_eq!(wrong.iter().filter(|is| **is).count(), 4);
        assert!(arguments(&[]).read().is_none(), "the count is required");
    }

    #[test]
    fn json_stands_for_all_of_the_fields() {
        let mut given = arguments(&[("json", " {\"x\": 1} "), ("argument.count", "?")]);
        assert_eq!(given.read().as_deref(), Some("{\"x\": 1}"));
        for json in ["[1]", "{", "7"] {
            let mut given = arguments(&[("json", json)]);
            assert!(given.read().is_none() && given.wrong.is_some(), "{json}");
        }
    }

    #[test]
    fn a_form_begins_with_what_is_required_and_has_defaults() {
        let given = Arguments::of(Some(
            r#"{"properties": {"a": {"type": "string", "default": "x"}, "b": {}}, "required": ["b"]}"#,
        ));
        assert!(given.fields[0].is_required && given.fields[0].is_json());
        assert_eq!(given.fields[1].value, "x");
        for schema in [
            None,
            Some("7"),
            Some("{\"properties\": 1, \"required\": {}}"),
        ] {
            assert!(Arguments::of(schema).fields.is_empty());
        }
    }
}
