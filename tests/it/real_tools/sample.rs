//! Arguments that a schema describes, as a model would make them up.

use serde_json::{Map, Value, json};

/// The deepest level that is filled.
const DEPTH: usize = 5;

/// Some arguments: with all members and with the required ones alone, and each with other choices and
/// values. Not all of them fit: patterns, for instance, are not followed.
pub fn of(schema: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    for whole in [true, false] {
        for turn in 0..4 {
            let sampler = Sampler {
                root: schema,
                whole,
                turn,
            };
            let sample = sampler.value(schema, 0);
            if let Value::Object(members) = &sample {
                // And without each of its members.
                all.extend(members.keys().take(6).map(|name| {
                    let mut less = members.clone();
                    less.remove(name);
                    Value::Object(less)
                }));
            }
            all.push(sample);
        }
    }
    all
}

struct Sampler<'a> {
    root: &'a Value,
    whole: bool,
    turn: usize,
}

impl Sampler<'_> {
    fn value(&self, schema: &Value, depth: usize) -> Value {
        if let Some(reference) = schema["$ref"].as_str() {
            let target = reference
                .strip_prefix('#')
                .and_then(|pointer| self.root.pointer(pointer));
            return self.value(target.unwrap_or(&Value::Null), depth + 1);
        }
        if let Some(value) = schema.get("const") {
            return value.clone();
        }
        if let Some(values) = schema["enum"].as_array() {
            // An empty one is not offered.
            let values: Vec<_> = values.iter().filter(|value| *value != "").collect();
            let value = values.get(self.turn % values.len().max(1));
            return value.map_or(Value::Null, |value| (*value).clone());
        }
        let mut value = self.plain(schema, depth);
        for name in ["anyOf", "oneOf"] {
            if let Some(choices) = schema[name]
                .as_array()
                .filter(|choices| !choices.is_empty())
            {
                let choice = self.value(&choices[self.turn % choices.len()], depth + 1);
                value = joined(value, choice);
            }
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            value = joined(value, self.value(part, depth + 1));
        }
        value
    }

    fn plain(&self, schema: &Value, depth: usize) -> Value {
        let kind = match &schema["type"] {
            Value::Array(types) => types[self.turn % types.len()].clone(),
            kind => kind.clone(),
        };
        let has = |name: &str| schema.get(name).is_some();
        match kind.as_str() {
            Some("string") => self.text(schema),
            Some("integer") => json!(self.number(schema) as i64),
            Some("number") => json!(self.number(schema)),
            Some("boolean") => json!(self.turn.is_multiple_of(2)),
            Some("array") => self.list(schema, depth),
            Some("object") => self.object(schema, depth),
            None if has("properties") => self.object(schema, depth),
            None if ["anyOf", "oneOf", "allOf"].iter().any(|name| has(name)) => Value::Null,
            None => json!("anything"),
            Some(_) => Value::Null,
        }
    }

    fn text(&self, schema: &Value) -> Value {
        let length = schema["minLength"]
            .as_u64()
            .unwrap_or(3)
            .max(self.turn as u64) as usize;
        let length = length.min(schema["maxLength"].as_u64().unwrap_or(100) as usize);
        json!("x".repeat(length))
    }

    fn number(&self, schema: &Value) -> f64 {
        let bound = |name: &str| schema[name].as_f64();
        let least = bound("minimum").or(bound("exclusiveMinimum").map(|bound| bound + 1.0));
        let most = bound("maximum").or(bound("exclusiveMaximum").map(|bound| bound - 1.0));
        match (least, most) {
            (Some(least), _) if self.turn == 0 => least,
            (_, Some(most)) if self.turn == 1 => most,
            (least, most) => least.unwrap_or(most.unwrap_or(7.0)),
        }
    }

    fn list(&self, schema: &Value, depth: usize) -> Value {
        let least = schema["minItems"].as_u64().unwrap_or(1).min(3) as usize;
        if depth >= DEPTH {
            return json!([]);
        }
        if let Some(prefix) = schema["items"]
            .as_array()
            .or(schema["prefixItems"].as_array())
        {
            return prefix
                .iter()
                .map(|item| self.value(item, depth + 1))
                .collect();
        }
        (0..least)
            .map(|_| self.value(&schema["items"], depth + 1))
            .collect()
    }

    fn object(&self, schema: &Value, depth: usize) -> Value {
        let required: Vec<_> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .collect();
        let mut members = Map::new();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let is_required = required.iter().any(|required| *required == name);
            let is_wanted = self.whole && depth < DEPTH && property.get("pattern").is_none();
            if is_required || is_wanted {
                members.insert(name.clone(), self.value(property, depth + 1));
            }
        }
        members.into()
    }
}

fn joined(value: Value, other: Value) -> Value {
    match (value, other) {
        (Value::Object(mut own), Value::Object(other)) => {
            own.extend(other);
            own.into()
        }
        (Value::Null, other) => other,
        (value, _) => value,
    }
}
