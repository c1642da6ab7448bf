//! Rejections of requests whose messages are longer than a model takes.

use http::StatusCode;

use super::said::{Said, Word};

/// The codes of such a rejection; some gateways have them in a text.
const CODES: [&str; 3] = [
    // OpenAI, Azure, Groq (chathub-dev/chathub#126, thepersonalaicompany/amurex-backend#51).
    "context_length_exceeded",
    // llama.cpp (ggml-org/llama.cpp#15780).
    "exceed_context_size_error",
    // GitHub Copilot (microsoft/copilot-intellij-feedback#94).
    "model_max_prompt_tokens_exceeded",
];

/// The most other words between two of a row.
const BETWEEN: usize = 4;

/// Words that come one after the other in such a rejection.
const SAID: [&[&str]; 22] = [
    // OpenAI, DeepSeek, vLLM: "This model's maximum context length is 4097 tokens"
    // (evalstate/fast-agent#621, earendil-works/pi#5929); OpenRouter: "This endpoint's …"
    // (refly-ai/refly#1177); Mistral: "too large for model with 32768 maximum context length"
    // (jin-bo/agentao#88).
    &["maximum", "context", "length"],
    // OpenAI: "Your input exceeds the context window of this model" (anomalyco/opencode#6071), or
    // "the model's context window" (code-yeongyu/senpi#1466).
    &["exceeds", "context", "window"],
    // Groq, Cerebras: "Please reduce the length of the messages or completion" (cline/cline#5140).
    &["reduce", "length", "messages"],
    // Anthropic: "prompt is too long: 208310 tokens > 200000 maximum" (anthropics/claude-code#12186);
    // oMLX (ValueCell-ai/ClawX#658).
    &["prompt", "too", "long"],
    // Bedrock: "Input is too long for requested model" (aws-samples/bedrock-chat#95).
    &["input", "too", "long"],
    // Bedrock behind OpenRouter: "input length and `max_tokens` exceed context limit"
    // (egoist/chatwise-releases#917).
    &["exceed", "context", "limit"],
    // Gemini: "The input token count (1200293) exceeds the maximum number of tokens allowed"
    // (google-gemini/gemini-cli#6678).
    &["token", "count", "exceeds", "maximum"],
    // GitHub Copilot: "prompt token count of 146270 exceeds the limit of 128000"
    // (opencode-ai/opencode#305).
    &["token", "count", "exceeds", "limit"],
    // xAI: "This model's maximum prompt length is 131072" (cline/cline#3120).
    &["maximum", "prompt", "length"],
    // vLLM: "The decoder prompt (length 15983) is longer than the maximum model length"
    // (linagora/openrag#128).
    &["longer", "maximum", "model", "length"],
    // SGLang: "The input (61709 tokens) is longer than the model's context length" (QwenLM/Qwen3#1321),
    // "Input length (160062 tokens) exceeds the maximum allowed length" (sgl-project/sglang#4048).
    &["longer", "context", "length"],
    &["input", "length", "exceeds", "maximum"],
    // llama.cpp: "request (4390 tokens) exceeds the available context size", and while it writes:
    // "Context size has been exceeded" (ggml-org/llama.cpp#19774).
    &["exceeds", "context", "size"],
    &["context", "size", "exceeded"],
    // Ollama: "the input length exceeds the context length" (nano-step/nano-brain#208), "context
    // length exceeded" (openclaw/openclaw#58839).
    &["exceeds", "context", "length"],
    &["context", "length", "exceeded"],
    // LM Studio: "tokens to keep from the initial prompt is greater than the context length"
    // (anomalyco/opencode#2259), "when context the overflows" (lmstudio-ai/lmstudio-bug-tracker#546).
    &["greater", "context", "length"],
    &["when", "context", "overflows"],
    // Qwen: "Range of input length should be [1, 204800]" (QwenLM/qwen-code#98).
    &["range", "input", "length"],
    // Kimi: "Your request exceeded model token limit: 262144" (MoonshotAI/kimi-cli#2011).
    &["exceeded", "token", "limit"],
    // MiniMax: "invalid params, context window exceeds limit" (NousResearch/hermes-agent#14743).
    &["context", "window", "exceeds"],
    // Cohere: "too many tokens: size limit exceeded by 19296 tokens" (pydantic/pydantic-ai#4221). A
    // rate is told so as well, with another status.
    &["too", "many", "tokens"],
];

/// Returns `true` if an answer with this status may be such a rejection. 500 is what llama.cpp says.
pub(crate) fn may_be_too_long(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY
            | StatusCode::INTERNAL_SERVER_ERROR
    )
}

/// Returns `true` if the rejection `body` says that the messages are too long.
pub(crate) fn is_too_long(body: &[u8]) -> bool {
    let said = Said::of(body);
    let is_code = |code: &String| CODES.contains(&&**code);
    said.codes.iter().any(is_code) || said.sentences.iter().any(|words| is_told(words))
}

fn is_told(words: &[Word]) -> bool {
    let is_code = |word: &Word| CODES.contains(&&*word.text);
    words.iter().any(is_code) || SAID.iter().any(|row| has(words, row))
}

/// Returns `true` if these words have all of `row`, in its order and not far apart.
fn has(words: &[Word], row: &[&str]) -> bool {
    let [first, rest @ ..] = row else {
        return true;
    };
    let begins = words
        .iter()
        .enumerate()
        .filter(|(_, word)| word.text == *first);
    begins.into_iter().any(|(place, _)| {
        let mut place = Some(place);
        for next in rest {
            place = place.and_then(|place| {
                let near = words.iter().enumerate().skip(place + 1).take(BETWEEN + 1);
                near.into_iter()
                    .find(|(_, word)| word.text == *next)
                    .map(|(place, _)| place)
            });
        }
        place.is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_services_say_of_messages_that_are_too_long_is_understood() {
        for body in [
            r#"{"error":{"message":"This model's maximum context length is 4097 tokens. However, your messages resulted in 4294 tokens. Please reduce the length of the messages.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
            r#"{"error":{"message":"","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
            r#"{"error":{"message":"litellm.ContextWindowExceededError: {'error': {'message': 'x', 'code': 'context_length_exceeded'}}","type":null,"param":null,"code":"400"}}"#,
            r#"{"error":{"message":"Your input exceeds the context window of this model. Please adjust your input and try again.","param":"input"}}"#,
            r#"{"error":{"message":"This endpoint's maximum context length is 32768 tokens. However, you requested about 42832 tokens (42832 of text input).","code":400}}"#,
            r#"{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\"message\":\"input length and `max_tokens` exceed context limit: 149674 + 64000 > 204658, decrease input length or `max_tokens` and try again\"}","provider_name":"Amazon Bedrock"}}}"#,
            r#"{"object":"error","message":"Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length","type":"invalid_request_error","param":null,"code":"3051"}"#,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 208310 tokens > 200000 maximum"},"request_id":"req_1"}"#,
            r#"{"message":"Input is too long for requested model."}"#,
            r#"[{"error":{"code":400,"message":"The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}]"#,
            r#"{"error":{"message":"prompt token count of 138898 exceeds the limit of 64000","code":"model_max_prompt_tokens_exceeded"}}"#,
            r#"{"code":"Client specified an invalid argument","error":"This model's maximum prompt length is 131072 but the request contains 136973 tokens."}"#,
            r#"{"object":"error","message":"The decoder prompt (length 15983) is longer than the maximum model length of 8192. Make sure that `max_model_len` is no smaller","type":"BadRequestError","param":null,"code":400}"#,
            r#"{"object":"error","message":"The input (61709 tokens) is longer than the model's context length (40960 tokens).","type":"BadRequestError","param":null,"code":400}"#,
            r#"{"object":"error","message":"Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens)."}"#,
            r#"{"error":{"code":400,"message":"request (4390 tokens) exceeds the available context size (4096 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":4390,"n_ctx":4096}}"#,
            r#"{"error":{"code":500,"message":"Context size has been exceeded.","type":"server_error"}}"#,
            r#"{"error":"the input length exceeds the context length"}"#,
            r#"{"error":"The number of tokens to keep from the initial prompt is greater than the context length (n_keep: 13055>= n_ctx: 4096). Try to load the model with a larger context length, or provide a shorter input."}"#,
            r#"{"error":"Trying to keep the first 15857 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens, which is not enough."}"#,
            r#"{"error":{"message":"<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 204800]","code":"invalid_parameter_error"}}"#,
            r#"{"error":{"message":"Invalid request: Your request exceeded model token limit: 262144 (requested: 269030)","type":"invalid_request_error"}}"#,
            r#"{"error":{"message":"invalid params, context window exceeds limit (2013)"}}"#,
            r#"{"message":"too many tokens: size limit exceeded by 19296 tokens. Try using shorter or fewer inputs."}"#,
            r#"{"message":"Please reduce the length of the messages or completion. Current length is 42328 while limit is 40000","type":"invalid_request_error","param":"messages"}"#,
        ] {
            assert!(is_too_long(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn what_else_is_rejected_is_not_too_long() {
        for body in [
            "",
            "<html>",
            r#"{"error":{"message":"Unsupported parameter: 'tool_choice' is not supported with this model.","code":"unsupported_parameter"}}"#,
            r#"{"error":{"message":"max_tokens is too large: 5000. This model supports at most 4096 completion tokens","code":"invalid_value"}}"#,
            r#"{"error":{"message":"Invalid 'tools[0].function.description': string too long. Expected a string with maximum length 1024","code":"string_above_max_length"}}"#,
            r#"{"error":{"message":"Internal server error","type":"server_error"}}"#,
            r#"{"detail":[{"msg":"Field required","input":"prompt is too long"}]}"#,
            r#"{"error":{"message":"Failed to call a function.","failed_generation":"context_length_exceeded"}}"#,
        ] {
            assert!(!is_too_long(body.as_bytes()), "{body}");
        }
    }
}
