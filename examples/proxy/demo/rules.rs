//! Rules of the demo model: the tools that a question needs, and their arguments.
//!
//! A tool matches a clause of the question that contains a word of the tool's name, or a synonym.
//! Its arguments are the numbers and the quoted text of that clause, by the types in the tool's
//! schema. So the model can use other tools than the demo's, if their names say what they do.

use serde_json::{Map, Value, json};

/// Words in names of tools that say nothing about their purpose.
const EMPTY_WORDS: [&str; 9] = [
    "get", "list", "read", "current", "all", "new", "search", "ask", "the",
];

/// Words of questions, and the word in a tool's name that they stand for.
const MEANINGS: [(&str, &str); 8] = [
    ("die", "dice"),
    ("throw", "roll"),
    ("clock", "time"),
    ("date", "time"),
    ("sum", "add"),
    ("plus", "add"),
    ("total", "add"),
    ("+", "add"),
];

/// A call that a question needs.
#[derive(PartialEq)]
pub struct Call {
    pub name: String,
    pub arguments: Value,
}

/// Returns the calls of `tools`, elements of a request's `tools`, that `question` needs.
pub fn calls(question: &str, tools: &[Value]) -> Vec<Call> {
    let mut calls = Vec::new();
    for clause in clauses(question) {
        let words = words(&clause);
        for tool in tools {
            let function = &tool["function"];
            let Some(name) = function["name"].as_str() else {
                continue;
            };
            if !fits(name, &words) {
                continue;
            }
            let Some(arguments) = arguments(&function["parameters"], &clause) else {
                continue;
            };
            let call = Call {
                name: name.to_owned(),
                arguments,
            };
            if !calls.contains(&call) {
                calls.push(call);
            }
        }
    }
    calls
}

/// Returns the tool's own name, without its server's.
pub fn short(name: &str) -> &str {
    name.split_once("__").map_or(name, |(_, tool)| tool)
}

/// Splits a question at the end of sentences, and at `and` or a comma if another topic begins.
/// Quoted text is never split.
fn clauses(question: &str) -> Vec<String> {
    let mut clauses = vec![String::new()];
    let mut quote = None;
    let mut tokens = question.split_whitespace().peekable();
    while let Some(token) = tokens.next() {
        let joins = quote.is_none() && token.eq_ignore_ascii_case("and");
        let another = tokens.peek().is_some_and(|next| starts_matter(next));
        if joins && another {
            clauses.push(String::new());
            continue;
        }
        for character in token.chars().filter(|c| matches!(c, '"' | '“' | '”')) {
            quote = match quote {
                Some(_) => None,
                None => Some(character),
            };
        }
        if let Some(clause) = clauses.last_mut() {
            clause.push_str(token);
            clause.push(' ');
        }
        let ends = token.ends_with(['.', '?', '!', ';']) || token.ends_with(',') && another;
        if quote.is_none() && ends {
            clauses.push(String::new());
        }
    }
    clauses
}

/// Returns true if a word begins another topic: numbers continue a list.
fn starts_matter(word: &str) -> bool {
    !word.starts_with(|c: char| c.is_ascii_digit() || c == '-')
}

/// Returns the words outside of quotes, in lower case and without a plural's `s`.
fn words(clause: &str) -> Vec<String> {
    let outside = clause.split(['"', '“', '”']).step_by(2);
    outside
        .flat_map(|part| part.split(|c: char| !c.is_alphanumeric() && c != '+'))
        .filter(|word| !word.is_empty())
        .map(|word| {
            let word = word.to_lowercase();
            let means = MEANINGS.iter().find(|(said, _)| *said == word);
            match means {
                Some((_, meant)) => (*meant).to_owned(),
                None => singular(&word).to_owned(),
            }
        })
        .collect()
}

fn fits(name: &str, words: &[String]) -> bool {
    short(name)
        .split(['_', '-', '.'])
        .map(str::to_lowercase)
        .filter(|part| part.len() > 2 && !EMPTY_WORDS.contains(&part.as_str()))
        .any(|part| words.iter().any(|word| word == singular(&part)))
}

fn singular(word: &str) -> &str {
    match word.strip_suffix('s') {
        Some(stem) if stem.len() > 2 && !stem.ends_with('s') => stem,
        _ => word,
    }
}

/// Returns arguments by the schema's types; `None` if a required one is not in the clause.
fn arguments(schema: &Value, clause: &str) -> Option<Value> {
    let empty = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    let is_required = |name: &str| {
        let required = schema["required"].as_array();
        required.is_some_and(|names| names.iter().any(|other| other == name))
    };
    let mut numbers = numbers(clause).into_iter();
    let mut text = quoted(clause);
    let mut arguments = Map::new();
    for (name, property) in properties {
        let value = match property["type"].as_str() {
            Some("integer") => numbers.next().map(|number| json!(number as i64)),
            Some("number") => numbers.next().map(Value::from),
            Some("array") => {
                let all: Vec<f64> = numbers.by_ref().collect();
                (!all.is_empty()).then(|| json!(all))
            }
            Some("string") => text
                .take()
                .or_else(|| is_required(name).then(|| clause.trim().to_owned()))
                .map(Value::from),
            _ => None,
        };
        match value {
            Some(value) => drop(arguments.insert(name.clone(), value)),
            None if is_required(name) => return None,
            None => {}
        }
    }
    Some(arguments.into())
}

/// Returns the text in quotes, or after a colon.
fn quoted(clause: &str) -> Option<String> {
    let mut parts = clause.split(['"', '“', '”']);
    let text = match (parts.next(), parts.next()) {
        (_, Some(inside)) => inside,
        _ => clause.split_once(':')?.1,
    };
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Returns the numbers outside of quotes: `20-sided` and `d20` are 20, `2-3` are 2 and 3.
fn numbers(clause: &str) -> Vec<f64> {
    let outside: Vec<_> = clause.split(['"', '“', '”']).step_by(2).collect();
    let mut found = Vec::new();
    for token in outside.join(" ").split_whitespace() {
        let negative = token.starts_with('-');
        let parts = token.split(|c: char| !c.is_ascii_digit() && c != '.');
        let parsed = parts.filter_map(|part| part.trim_matches('.').parse::<f64>().ok());
        found.extend(parsed.enumerate().map(|(index, number)| {
            if negative && index == 0 {
                -number
            } else {
                number
            }
        }));
    }
    found
}
