//! Rejections of the model's service: the members that they name, and whether they say that the
//! messages are too long.
//!
//! Services say in many ways that they do not take a member, but all of them name it: in `param`, in
//! the `loc` of a validator, or in a sentence. A member counts only where one of these says that it
//! is rejected, at the place where it stands, or names what can be nothing else; a service that
//! repeats what a user or a tool said can at worst make one turn be asked again without it.

mod said;
mod too_long;

use http::StatusCode;

use self::said::{Said, Word};
pub(crate) use self::too_long::{is_too_long, may_be_too_long};
use crate::chat::{OPTIONAL, Omitted, Optional, Place};

/// Returns `true` for a status that may be about media in the messages: any of 4xx, but those that say
/// who asks, how often or how slowly.
pub(crate) fn may_be_media(status: StatusCode) -> bool {
    status.is_client_error() && !matches!(status.as_u16(), 401 | 402 | 407 | 408 | 425 | 429)
}

/// The longest rejection that is read.
pub(crate) const READ: usize = 64 << 10;

/// The most words between a member and what is said of it, all of them [`BETWEEN`].
const APART: usize = 6;

/// Words that end right before a member's name, where it is rejected.
const BEFORE: [&[&str]; 9] = [
    // OpenAI: "Unsupported parameter: 'x'" (microsoft/semantic-kernel#10365).
    &["unsupported"],
    // "Unknown parameter", "unknown field" (Databricks, Cohere: OpenRouterTeam/openrouter-examples#71),
    // "Unknown name" (Gemini: jackmpcollins/magentic#382).
    &["unknown"],
    // "Unrecognized request argument supplied: x" (Azure/azure-rest-api-specs#29545).
    &["unrecognized"],
    // "got an unexpected keyword argument".
    &["unexpected"],
    // "extraneous key [x] is not permitted" (BerriAI/litellm#9916).
    &["extraneous"],
    // "Extra inputs are not permitted, field: 'x'" (can1357/oh-my-pi#1157).
    &["not", "permitted"],
    // "Thinking mode does not support this x" (deepseek-ai/DeepSeek-V3#1376).
    &["not", "support"],
    // "No endpoints found that support the provided 'x' value" (zed-industries/zed#36094).
    &["found", "that", "support"],
    // "Invalid x type: 'object'" (lmstudio-ai/lmstudio-bug-tracker#670).
    &["invalid"],
];

/// Words that begin right behind it.
const BEHIND: [&[&str]; 11] = [
    // "('x' was unexpected)", of JSON Schema's validators.
    &["unexpected"],
    // "property 'x' is unsupported" (karthink/gptel#774).
    &["unsupported"],
    &["not", "supported"],
    &["not", "allowed"],
    &["not", "permitted"],
    &["not", "a", "valid"],
    // "x: Extra inputs are not permitted" (gpustack/gpustack#429).
    &["extra", "inputs"],
    // "The x parameter does not support being set to …" (cloudwego/eino#994).
    &["does", "not", "support"],
    // "x 'required' is incompatible with thinking enabled" (AstrBotDevs/AstrBot#7805).
    &["incompatible"],
    // "The 'x' parameter is only allowed when …" (BerriAI/litellm#5803).
    &["only", "allowed"],
    // "`x` must either be …" (pydantic/pydantic-ai#728).
    &["must", "either", "be"],
];

/// Words that may stand between the two.
const BETWEEN: [&str; 36] = [
    "and",
    "any",
    "are",
    "argument",
    "arguments",
    "assistant",
    "auto",
    "body",
    "currently",
    "field",
    "function",
    "is",
    "key",
    "keyword",
    "message",
    "messages",
    "msg",
    "name",
    "none",
    "object",
    "of",
    "option",
    "parameter",
    "property",
    "provided",
    "request",
    "required",
    "specified",
    "supplied",
    "the",
    "this",
    "tool",
    "type",
    "value",
    "was",
    "were",
];

/// Words of a sentence that names a member because it is missing, or for another one's sake. Any other
/// sentence with a name that is no word of a language is about that member, however it is put.
const WANTED: [&str; 9] = [
    "empty", "expected", "mean", "missing", "must", "need", "needs", "require", "requires",
];

/// Returns `true` if an answer with this status may be a rejection of a member.
pub(crate) fn may_name(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY
    )
}

/// The members that the rejection `body` says are not taken.
pub(crate) fn named(body: &[u8]) -> Omitted {
    let said = Said::of(body);
    Omitted::of(|row| rejects(&said, row))
}

/// The members that the rejection `body` mentions at all.
pub(crate) fn mentioned(body: &[u8]) -> Omitted {
    let said = Said::of(body);
    Omitted::of(|row| mentions(&said, row))
}

fn rejects(said: &Said, row: &Optional) -> bool {
    let is_path = |path: &Vec<String>| is_path_of(row, path);
    let is_rejected = |words: &Vec<Word>| {
        let others = row.others.iter().any(|other| has_phrase(words, other));
        others
            || (is_meant(row, words) && is_rejected(row.name, words))
            || is_told_of(row.name, words)
            || row.others.iter().any(|other| is_rejected(other, words))
    };
    said.paths.iter().any(is_path) || said.sentences.iter().any(is_rejected)
}

fn mentions(said: &Said, row: &Optional) -> bool {
    let is_said = |words: &Vec<Word>| words.iter().any(|word| word.text == row.name);
    said.paths.iter().any(|path| is_path_of(row, path)) || said.sentences.iter().any(is_said)
}

/// Returns `true` if a member of this row stands at `path`.
fn is_path_of(row: &Optional, path: &[String]) -> bool {
    let is_inside = |step: &String| matches!(&**step, "content" | "function" | "tool_calls");
    match (row.place, path) {
        (Place::Request, [first, ..]) => first == row.name,
        (Place::Turn | Place::ToolMessage, [first, between @ .., last]) => {
            first == "messages" && last == row.name && !between.iter().any(is_inside)
        }
        _ => false,
    }
}

fn has_phrase(words: &[Word], phrase: &str) -> bool {
    let phrase: Vec<&str> = phrase.split(' ').collect();
    phrase.len() > 1
        && words
            .windows(phrase.len())
            .any(|words| is_phrase(words, &phrase))
}

fn is_phrase(words: &[Word], phrase: &[&str]) -> bool {
    words.len() == phrase.len()
        && words
            .iter()
            .zip(phrase)
            .all(|(word, said)| word.text == *said)
}

/// Returns `true` if a sentence can be about the member of this row: `name` is also one of a tool's,
/// or of nothing at all. One of a turn's is left out only once the service has taken the request
/// without the turn, so it is not the request's own.
fn is_meant(row: &Optional, words: &[Word]) -> bool {
    let is_message = |word: &Word| matches!(&*word.text, "message" | "messages");
    row.place != Place::ToolMessage || words.iter().any(is_message)
}

/// Returns `true` if a sentence says that the member `name` is rejected.
fn is_rejected(name: &str, words: &[Word]) -> bool {
    // It is a word of many sentences.
    let is_name = |word: &Word| word.text == name && (word.is_marked || name != "name");
    let mut places = (0..words.len()).filter(|place| is_name(&words[*place]));
    places
        .any(|place| is_rejected_before(&words[..place]) || is_rejected_behind(&words[place + 1..]))
}

/// Returns `true` if a sentence names `name`, which is a member and nothing else, and does not want it.
fn is_told_of(name: &str, words: &[Word]) -> bool {
    let is_wanted = |word: &Word| WANTED.contains(&&*word.text);
    name.contains('_') && words.iter().any(|word| word.text == name) && !words.iter().any(is_wanted)
}

fn is_rejected_before(words: &[Word]) -> bool {
    (0..=APART.min(words.len())).any(|apart| {
        let (words, between) = words.split_at(words.len() - apart);
        let ends = |phrase: &&[&str]| {
            let start = words.len().checked_sub(phrase.len());
            start.is_some_and(|start| is_phrase(&words[start..], phrase))
        };
        between.iter().all(is_between) && BEFORE.iter().any(ends)
    })
}

fn is_rejected_behind(words: &[Word]) -> bool {
    (0..=APART.min(words.len())).any(|apart| {
        let (between, words) = words.split_at(apart);
        let begins = |phrase: &&[&str]| {
            let words = words.get(..phrase.len());
            words.is_some_and(|words| is_phrase(words, phrase))
        };
        between.iter().all(is_between) && BEHIND.iter().any(begins)
    })
}

fn is_between(word: &Word) -> bool {
    let is_number = word.text.bytes().all(|byte| byte.is_ascii_digit());
    let is_row = || OPTIONAL.iter().any(|row| row.name == word.text);
    is_number || BETWEEN.contains(&&*word.text) || is_row()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(body: &str) -> Vec<&'static str> {
        named(body.as_bytes()).rows().map(|row| row.name).collect()
    }

    #[test]
    fn rejections_are_understood_as_services_word_them() {
        for (body, expected) in [
            // OpenAI and Azure.
            (
                r#"{"error":{"message":"Unsupported parameter: 'parallel_tool_calls' is not supported with this model.","type":"invalid_request_error","param":"parallel_tool_calls","code":"unsupported_parameter"}}"#,
                "parallel_tool_calls",
            ),
            (
                r#"{"error":{"message":"Unrecognized request argument supplied: parallel_tool_calls. Please contact us","param":null,"code":null}}"#,
                "parallel_tool_calls",
            ),
            (
                r#"{"error":{"message":"litellm.BadRequestError: AzureException BadRequestError - {\n \"error\": {\n \"message\": \"Unknown parameter: 'stream_options.include_usage'.\",\n \"param\": \"stream_options.include_usage\"}}","param":null,"code":"400"}}"#,
                "stream_options",
            ),
            // Databricks, in JSON and as text.
            (
                r#"{"error_code":"BAD_REQUEST","message":"Bad request: json: unknown field \"stream_options\"\n"}"#,
                "stream_options",
            ),
            (
                "Bad request: json: unknown field \"parallel_tool_calls\"",
                "parallel_tool_calls",
            ),
            // Bedrock.
            (
                r##"{"message":"Malformed input request: #: extraneous key [include_usage] is not permitted, please reformat your input and try again."}"##,
                "stream_options",
            ),
            // Mistral, in three forms.
            (
                r#"{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","messages",31,"assistant","reasoning_content"],"msg":"Extra inputs are not permitted","input":"\n"}]},"type":"invalid_request_error","param":null}"#,
                "reasoning_content",
            ),
            (
                r#"{"detail":[{"type":"extra_forbidden","msg":"Extra inputs are not permitted","loc":["body","stream_options"],"input":{"include_usage":true}}]}"#,
                "stream_options",
            ),
            (
                r#"{"object":"error","message":"{\"detail\":[{\"type\":\"extra_forbidden\",\"loc\":[\"body\",\"messages\",2,\"tool\",\"name\"],\"msg\":\"Extra inputs are not permitted\"}]}"}"#,
                "name",
            ),
            // vLLM.
            (
                r#"{"object":"error","message":"[{'type': 'extra_forbidden', 'loc': ('body', 'stream_options'), 'msg': 'Extra inputs are not permitted', 'input': {'include_usage': True}}]","type":"BadRequestError","param":null,"code":400}"#,
                "stream_options",
            ),
            // Groq.
            (
                r#"{"error":{"message":"'messages.2' : for 'role:assistant' the following must be satisfied[('messages.2' : property 'reasoning' is unsupported, did you mean 'role'?)]","type":"invalid_request_error"}}"#,
                "reasoning",
            ),
            // Cerebras.
            (
                r#"{"message":"messages.2.assistant.reasoning_content: property 'messages.2.assistant.reasoning_content' is unsupported","type":"invalid_request_error","param":"validation_error"}"#,
                "reasoning_content",
            ),
            // Fireworks and Kimi.
            (
                r#"{"error":{"message":"Error from provider: Extra inputs are not permitted, field: 'messages[8].reasoning', value: 'Now I need'"}}"#,
                "reasoning",
            ),
            // Gemini, whose errors are in a list.
            (
                r#"[{"error":{"code":400,"message":"Invalid JSON payload received. Unknown name \"stream_options\": Cannot find field.","status":"INVALID_ARGUMENT","details":[{"fieldViolations":[{"description":"Unknown name \"stream_options\": Cannot find field."}]}]}}]"#,
                "stream_options",
            ),
            (
                r#"[{"error":{"message":"Invalid JSON payload received. Unknown name \"reasoning\" at 'messages[1]': Cannot find field."}}]"#,
                "reasoning",
            ),
            // Cohere.
            (
                r#"{"message":"unknown field: parameter 'parallel_tool_calls' is not a valid field. For proper usage, please refer to …"}"#,
                "parallel_tool_calls",
            ),
            // DeepSeek, Qwen and Claude.
            (
                r#"{"error":{"message":"Thinking mode does not support this tool_choice","type":"invalid_request_error","param":null}}"#,
                "tool_choice",
            ),
            (
                r#"{"error":{"message":"<400> InternalError.Algo.InvalidParameter: The tool_choice parameter does not support being set to required or object in thinking mode","param":null}}"#,
                "tool_choice",
            ),
            (
                r#"{"error":{"message":"tool_choice: type \"tool\" and \"any\" are not supported for this model."}}"#,
                "tool_choice",
            ),
            (
                r#"{"error":{"message":"tool_choice 'specified' is incompatible with thinking enabled","type":"invalid_request_error"}}"#,
                "tool_choice",
            ),
            // OpenRouter, LM Studio, vLLM's two ways.
            (
                r#"{"error":{"message":"No endpoints found that support the provided 'tool_choice' value. To learn more about provider routing, visit: …","code":404}}"#,
                "tool_choice",
            ),
            (
                r#"{"error":"Invalid tool_choice type: 'object'. Supported string values: none, auto, required"}"#,
                "tool_choice",
            ),
            (
                r#"{"object":"error","message":"[{'type': 'value_error', 'loc': ('body',), 'msg': 'Value error, `tool_choice` must either be a named tool, "auto", or "none".', 'input': {'stream': True}}]","code":400}"#,
                "tool_choice",
            ),
            (
                r#"{"code":400,"message":"2 validation errors for ChatCompletionRequest
tool_choice
  Extra inputs are not permitted [type=extra_forbidden, input_value='auto', input_type=str]","object":"error"}"#,
                "tool_choice",
            ),
            // A stream that is none at the other side of a gateway.
            (
                r#"{"error":{"message":"litellm.BadRequestError: OpenAIException - Error code: 400 - {'error': {'message': "The 'stream_options' parameter is only allowed when 'stream' is enabled."}}","param":null}}"#,
                "stream_options",
            ),
            // OpenCode's relay and xAI.
            (
                r#"{"error":{"message":"Error from provider (Console Go): Upstream request failed: [invalid_request_error] messages[3]: \"name\" is not supported by this endpoint"}}"#,
                "name",
            ),
            (
                r#"{"code":"Client specified an invalid argument","error":"Only messages of role 'user' can have a name."}"#,
                "name",
            ),
        ] {
            assert_eq!(names(body), [expected], "{body}");
        }
    }

    #[test]
    fn all_that_a_rejection_names_is_found() {
        let gemini = r#"[{"error":{"message":"Invalid JSON payload received. Unknown name \"stream_options\": Cannot find field.\nInvalid JSON payload received. Unknown name \"parallel_tool_calls\": Cannot find field."}}]"#;
        assert_eq!(names(gemini), ["stream_options", "parallel_tool_calls"]);
        let azure = r#"{"error":{"message":"Unrecognized request arguments supplied: parallel_tool_calls, tool_choice"}}"#;
        assert_eq!(names(azure), ["parallel_tool_calls", "tool_choice"]);
    }

    #[test]
    fn a_name_that_can_be_nothing_else_is_understood_however_it_is_put() {
        for (text, expected) in [
            ("stream_options cannot be used here", "stream_options"),
            (
                "This endpoint ignores no parallel_tool_calls: remove it",
                "parallel_tool_calls",
            ),
            ("property 'reasoning' is unsupported", "reasoning"),
            ("unknown field reasoning", "reasoning"),
            ("reasoning is not allowed in input messages", "reasoning"),
            (
                "Additional properties are not allowed ('reasoning' was unexpected) - 'messages.1'",
                "reasoning",
            ),
            (
                "Additional properties are not allowed ('name' was unexpected) - 'messages.2'",
                "name",
            ),
        ] {
            let body = format!(r#"{{"error":{{"message":"{text}"}}}}"#);
            assert_eq!(names(&body), [expected], "{text}");
        }
    }

    #[test]
    fn what_names_a_member_for_another_reason_rejects_nothing() {
        for body in [
            // DeepSeek wants them back.
            r#"{"error":{"message":"The reasoning_content in the thinking mode must be passed back to the API.","param":null}}"#,
            r#"{"error":{"message":"Missing `reasoning_content` field in the assistant message at message index 2."}}"#,
            r#"{"error":{"message":"thinking is enabled but reasoning_content is missing in assistant tool call message at index 2"}}"#,
            // No model with tools at all.
            r#"{"error":{"message":"No endpoints found that support tool use. To learn more about provider routing, visit: …","code":404}}"#,
            // Another member, with one of ours as a guess.
            r#"{"error":{"message":"'messages.2' : for 'role:assistant' the following must be satisfied[('messages.2' : property 'status' is unsupported, did you mean 'name'?)]"}}"#,
            r#"{"error":{"message":"'messages.1' : property 'tool_calls' is unsupported, did you mean 'tool_call_id'?"}}"#,
            // A tool's name, and the name of a call.
            r#"{"error":{"message":"Invalid 'tools[0].function.name': string does not match pattern.","param":"tools[0].function.name"}}"#,
            r#"{"error":{"message":"Invalid","param":"messages[1].tool_calls[0].function.name"}}"#,
            // Part of another word.
            r#"{"error":{"message":"Unknown parameter: 'my_tool_choice'."}}"#,
            // A server without a parser of calls.
            r#"{"object":"error","message":"\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set","code":400}"#,
            // The request, repeated.
            r#"{"detail":[{"type":"missing","loc":["body","model"],"msg":"Field required","input":{"tool_choice":"auto","stream_options":{},"note":"unknown field tool_choice"}}]}"#,
            r#"{"error":{"message":"Failed to call a function.","failed_generation":"Unknown parameter: 'tool_choice'"}}"#,
            "",
            "<html>",
            "7",
        ] {
            assert_eq!(names(body), [""; 0], "{body}");
        }
    }

    #[test]
    fn a_member_that_is_wanted_back_is_mentioned() {
        let body = br#"{"error":{"message":"The reasoning_content in the thinking mode must be passed back to the API."}}"#;
        let names: Vec<_> = mentioned(body).rows().map(|row| row.name).collect();
        assert_eq!(names, ["reasoning_content"]);
    }
}
