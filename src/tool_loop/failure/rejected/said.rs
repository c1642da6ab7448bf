//! What a rejection says: sentences and paths, in whatever JSON they come.

use serde_json::Value;

/// The levels of JSON within texts of JSON that are looked into: gateways wrap what they got.
const LEVELS: usize = 6;

/// What a rejection says.
#[derive(Default)]
pub(super) struct Said {
    pub(super) sentences: Vec<Vec<Word>>,
    /// The paths of members, from the request's top.
    pub(super) paths: Vec<Vec<String>>,
    /// The codes and types of errors.
    pub(super) codes: Vec<String>,
}

/// A word of a sentence.
pub(super) struct Word {
    pub(super) text: String,
    /// It is quoted, or the end of a path.
    pub(super) is_marked: bool,
}

impl Said {
    pub(super) fn of(body: &[u8]) -> Self {
        let mut said = Self::default();
        match serde_json::from_slice(body) {
            Ok(value) => said.read(&value, LEVELS),
            Err(_) => said.add(&String::from_utf8_lossy(body)),
        }
        said
    }

    /// Reads the members of an error that its service has written. What it repeats of the request
    /// (`input`, `failed_generation`, …) is not read.
    fn read(&mut self, value: &Value, levels: usize) {
        let Some(levels) = levels.checked_sub(1) else {
            return;
        };
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.read(item, levels)),
            Value::String(text) => match serde_json::from_str(text) {
                Ok(inner @ (Value::Object(_) | Value::Array(_))) => self.read(&inner, levels),
                _ => self.add(text),
            },
            Value::Object(members) => {
                for (name, value) in members {
                    match (&**name, value) {
                        ("param" | "field", Value::String(path)) => self.paths.push(steps(path)),
                        ("code" | "type", Value::String(code)) => self.codes.push(code.clone()),
                        ("loc", Value::Array(path)) => self.paths.push(location(path)),
                        (
                            "error" | "errors" | "message" | "msg" | "detail" | "details"
                            | "description" | "fieldViolations" | "metadata" | "raw",
                            value,
                        ) => self.read(value, levels),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, text: &str) {
        self.sentences.push(words(text));
    }
}

/// The steps of a path such as `messages[2].name` or `body.messages.2.assistant.name`.
fn steps(path: &str) -> Vec<String> {
    let steps = path.split(['.', '[', ']', '/', '\'', '"']);
    steps
        .filter(|step| !step.is_empty() && *step != "body")
        .map(str::to_owned)
        .collect()
}

fn location(path: &[Value]) -> Vec<String> {
    let steps = path.iter().filter_map(|step| match step {
        Value::String(text) if text != "body" => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    steps.collect()
}

fn words(text: &str) -> Vec<Word> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut words = Vec::new();
    let mut before = ' ';
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        before = rest[..start].chars().next_back().unwrap_or(before);
        rest = &rest[start..];
        let end = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        words.push(Word {
            text: word.to_ascii_lowercase(),
            is_marked: matches!(before, '"' | '\'' | '`' | '.' | '[' | '/'),
        });
        rest = behind;
        before = ' ';
    }
    words
}
