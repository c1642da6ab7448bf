//! Default servers: for requests that ask for none, and are none the worse for them.
//!
//! Nobody who sends such a request knows of tools. So a default is left out wherever it could make a
//! request fail, or changes what one asks for: what can be seen in the request is a row here, and
//! whatever else is refused because of it goes on without (`tool_loop/without_default.rs`).

use std::time::Duration;

use super::{OptIn, names::wanted};
use crate::{
    chat::ChatRequest,
    json::{Object, array},
    refusal::{Kind, Refusal},
    registry::DefaultServers,
};

/// The place in a request, for faults: it is in none.
pub(crate) const PARAM: &str = "a default";

/// The time that its servers have to list their tools. Listings go on, and the next request has them; one
/// that nobody expects to wait is not held up for as long as one that asks.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The fewest tokens of an answer that a call of a tool fits into. Clients that ask for less probe a
/// model, or want a title.
const TOKENS: f64 = 256.0;

/// Members, besides `response_format`, that constrain the answer so that no tool can be called: those of
/// llama.cpp's server and of vLLM.
const CONSTRAINTS: [&str; 7] = [
    "grammar",
    "guided_choice",
    "guided_grammar",
    "guided_json",
    "guided_regex",
    "json_schema",
    "structured_outputs",
];

/// How front ends begin the prompts of their own calls, each with the front end. Nothing else tells these
/// from a person's turn: Open WebUI takes its `metadata` off before it sends them.
const PROMPTS: [(&str, &str); 6] = [
    ("### Task:", "Open WebUI"),
    // Has the model choose among tools of its own: ours would run here, and in the turn that follows again.
    ("Available Tools: [", "Open WebUI"),
    (
        "You have been provided with a set of responses from various models",
        "Open WebUI",
    ),
    ("You are Open WebUI's private memory reviewer", "Open WebUI"),
    ("Provide a concise, 5-word-or-less title", "LibreChat"),
    ("You are a professional conversation summarizer", "LobeChat"),
];

/// The most messages of such a call: a system prompt, and the prompt itself.
const MESSAGES: usize = 2;

/// How a default opts in.
pub(super) fn opt_in(default: &DefaultServers) -> OptIn {
    let names = default.servers.iter().map(ToString::to_string);
    OptIn::servers(PARAM, wanted(names.collect(), PARAM))
}

/// Checks that a default is something for this request, as far as that shows in it.
///
/// # Errors
/// The reason why it is not.
pub(crate) fn check(request: &ChatRequest) -> Result<(), Refusal> {
    let refuse = |reason| Err(Refusal::new(Kind::InvalidMcpOptions, reason));
    unfit(request).map_or(Ok(()), refuse)
}

fn unfit(request: &ChatRequest) -> Option<String> {
    let text = std::str::from_utf8(request.bytes()).ok()?;
    let object = Object::parse(text).ok()?;
    let has = |name: &str| object.present(name).is_some();
    let because = |reason: &str| Some(reason.to_owned());
    let choice = object.present("tool_choice");
    let has_list = |choice| Object::parse(choice).is_ok_and(|all| all.count("allowed_tools") > 0);
    if choice.is_some_and(|choice| !request.may_choose() || has_list(choice)) {
        return because("tool_choice forbids or forces tools");
    }
    if let Some(old) = ["functions", "function_call"].iter().find(|name| has(name)) {
        return Some(format!(
            "{old} is the old form of tools, and goes with no other"
        ));
    }
    if !request.one_choice {
        return because("n asks for several choices");
    }
    if !request.has_messages() {
        return because("messages is not an array");
    }
    let format = object.present("response_format");
    let format = format.and_then(|format| Object::parse(format).ok()?.string("type"));
    if format.is_some_and(|format| format != "text") {
        return because("response_format constrains the answer");
    }
    if let Some(constraint) = CONSTRAINTS.iter().find(|name| has(name)) {
        return Some(format!("{constraint} constrains the answer"));
    }
    if object.get("logprobs") == Some("true") {
        return because("logprobs asks for the model's own words");
    }
    if has("prediction") {
        return because("prediction says what the answer is");
    }
    let limits = ["max_tokens", "max_completion_tokens"];
    let is_short = |name: &&str| {
        let tokens = object.present(name).and_then(|text| text.parse().ok());
        tokens.is_some_and(|tokens: f64| tokens < TOKENS)
    };
    if let Some(limit) = limits.iter().find(|name| is_short(name)) {
        return Some(format!("{limit} has no room for a call of a tool"));
    }
    let task = object
        .present("metadata")
        .and_then(|text| Object::parse(text).ok());
    if task.is_some_and(|metadata| metadata.present("task").is_some()) {
        return because("metadata.task says that it is a front end's own call");
    }
    let front_end = object.get("messages").and_then(front_end)?;
    Some(format!(
        "it is a call of {front_end}'s own, and no turn of a conversation"
    ))
}

/// The front end that sends these messages of its own.
fn front_end(messages: &str) -> Option<&'static str> {
    let messages = array(messages, MESSAGES + 1)?;
    if messages.len() > MESSAGES {
        return None;
    }
    let texts: Vec<String> = messages.into_iter().filter_map(text).collect();
    let begins = |prompt: &str| {
        texts
            .iter()
            .any(|text| text.trim_start().starts_with(prompt))
    };
    let of = PROMPTS.iter().find(|(prompt, _)| begins(prompt));
    of.map(|(_, front_end)| *front_end)
}

/// The text of a message, or the first of its parts.
fn text(message: &str) -> Option<String> {
    let message = Object::parse(message).ok()?;
    let content = message.present("content")?;
    let part = || {
        let first = *array(content, 1)?.first()?;
        Object::parse(first).ok()?.string("text")
    };
    message.string("content").or_else(part).map(Into::into)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn unfit_with(members: Value) -> Option<String> {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        let body_members = body.as_object_mut().unwrap();
        body_members.extend(members.as_object().unwrap().clone());
        let request = ChatRequest::parse(body.to_string().into()).unwrap();
        unfit(&request)
    }

    fn message(content: Value) -> Value {
        json!({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": content}]})
    }

    #[test]
    fn what_forbids_forces_or_constrains_gets_no_default() {
        for members in [
            json!({"tool_choice": "none"}),
            json!({"tool_choice": "required"}),
            json!({"tool_choice": {"type": "function", "function": {"name": "f"}}}),
            json!({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}}),
            json!({"tool_choice": "whatever"}),
            json!({"functions": [{"name": "f"}]}),
            json!({"function_call": "auto"}),
            json!({"n": 2}),
            json!({"n": "2"}),
            json!({"messages": "hi"}),
            json!({"response_format": {"type": "json_object"}}),
            json!({"response_format": {"type": "json_schema", "json_schema": {}}}),
            json!({"grammar": "root ::= \"a\""}),
            json!({"guided_json": {}}),
            json!({"logprobs": true}),
            json!({"prediction": {"type": "content", "content": "x"}}),
            json!({"max_tokens": 75}),
            json!({"max_completion_tokens": 1}),
            json!({"metadata": {"task": "title_generation"}}),
            message(json!("### Task:\nGenerate a concise, 3-5 word title")),
            message(json!([{"type": "text", "text": "\n### Task:\nSuggest"}])),
            json!({"messages": [
                {"role": "system", "content": "Available Tools: [{\"name\": \"weather\"}]\n\nYour task is"},
                {"role": "user", "content": "Query: Is it raining?"},
            ]}),
            message(json!(
                "Provide a concise, 5-word-or-less title for the conversation"
            )),
        ] {
            assert!(unfit_with(members.clone()).is_some(), "{members}");
        }
    }

    #[test]
    fn a_usual_turn_of_a_conversation_gets_it() {
        for members in [
            json!({}),
            json!({"tool_choice": null, "functions": null, "response_format": null, "n": 1}),
            json!({"tool_choice": "auto", "response_format": {"type": "text"}}),
            json!({"logprobs": false, "max_tokens": 256, "max_completion_tokens": null}),
            json!({"metadata": {"user": "u"}, "temperature": 0.7, "stream": true}),
            json!({"tools": [{"type": "function", "function": {"name": "f"}}], "parallel_tool_calls": true}),
            message(json!("What does ### Task: mean?")),
            message(json!(
                "Available Tools: a hammer and a saw. What can I build?"
            )),
            json!({"messages": vec![json!({"role": "user", "content": "### Task: x"}); 3]}),
        ] {
            assert_eq!(unfit_with(members.clone()), None, "{members}");
        }
    }
}
