//! The description of the operator's side, to which every answer in these tests is held, and every
//! body that was taken.

use std::collections::{HashMap, HashSet};

use http::Method;
use jsonschema::Validator;
use serde_json::{Value, json};

/// The document, with its schemas ready to be used.
pub struct Described {
    pub document: Value,
    /// By method, path and status, or `body` in the place of a status.
    validators: HashMap<(Method, String, String), Validator>,
    error: Validator,
    /// Those by method and path whose answer is no JSON.
    texts: HashSet<(Method, String)>,
}

impl Described {
    pub fn new(document: Value) -> Self {
        let (mut validators, mut texts) = (HashMap::new(), HashSet::new());
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let method: Method = method.to_ascii_uppercase().parse().unwrap();
                let content = &operation["responses"]["200"]["content"];
                if content.is_object() && content["application/json"].is_null() {
                    texts.insert((method.clone(), path.clone()));
                }
                let responses = operation["responses"].as_object().unwrap().iter();
                let mut parts: Vec<_> = responses.map(|(status, part)| (&**status, part)).collect();
                parts.push(("body", &operation["requestBody"]));
                for (name, part) in parts {
                    let schema = &part["content"]["application/json"]["schema"];
                    if !schema.is_null() {
                        let key = (method.clone(), path.clone(), name.to_owned());
                        validators.insert(key, validator(&document, schema));
                    }
                }
            }
        }
        let error = json!({"$ref": "#/components/schemas/Error"});
        Self {
            error: validator(&document, &error),
            document,
            validators,
            texts,
        }
    }

    /// Holds an answer to what is said of it; what differs is the error. What is answered to a
    /// path that is not described is an error, too.
    pub fn check_answer(
        &self,
        method: &Method,
        path: &str,
        status: u16,
        body: &str,
    ) -> Result<(), String> {
        if body.is_empty() {
            return Ok(());
        }
        if (200..300).contains(&status)
            && let Some(path) = self.path(path)
            && self.texts.contains(&(method.clone(), path.to_owned()))
        {
            return Ok(());
        }
        let body: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
        let described = self.path(path).and_then(|path| {
            let of = |status: &str| {
                let key = (method.clone(), path.to_owned(), status.to_owned());
                self.validators.get(&key)
            };
            of(&status.to_string()).or_else(|| of("default"))
        });
        let is_error = !(200..300).contains(&status);
        match described {
            Some(validator) => conforms(validator, &body),
            None if is_error => conforms(&self.error, &body),
            None => Err("nothing is said of it".to_owned()),
        }
    }

    /// Holds what was taken to what is said of it.
    pub fn check_body(&self, method: &Method, path: &str, body: &str) -> Result<(), String> {
        let path = self.path(path).unwrap_or_default();
        let key = (method.clone(), path.to_owned(), "body".to_owned());
        match (self.validators.get(&key), body.parse()) {
            (Some(validator), Ok(body)) => conforms(validator, &body),
            _ => Ok(()),
        }
    }

    /// The described path that `path` is one of.
    fn path(&self, path: &str) -> Option<&str> {
        let mut paths = self.document["paths"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str);
        // A word in the place of a name comes first.
        if self.document["paths"][path].is_object() {
            return paths.find(|described| *described == path);
        }
        paths.find(|described| {
            let (described, asked) = (described.split('/'), path.split('/'));
            described.clone().count() == asked.clone().count()
                && described
                    .zip(asked)
                    .all(|(described, asked)| described.starts_with('{') || described == asked)
        })
    }
}

fn validator(document: &Value, schema: &Value) -> Validator {
    let mut whole = json!({"$schema": "https://json-schema.org/draft/2020-12/schema"});
    whole["components"] = document["components"].clone();
    whole["$ref"] = schema["$ref"].clone();
    jsonschema::options()
        .should_validate_formats(true)
        .build(&whole)
        .unwrap()
}

fn conforms(validator: &Validator, body: &Value) -> Result<(), String> {
    let errors = validator.iter_errors(body);
    let errors: Vec<_> = errors
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    match errors.is_empty() {
        true => Ok(()),
        false => Err(format!("{errors:#?} in {body:#}")),
    }
}
