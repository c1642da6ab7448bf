//! Prices of models, for upstreams that send no cost.

use serde_json::{Map, Value};

use crate::{chat::tidy, pattern::fits};

/// The price of a model's tokens, in dollars (or any unit that `usage.cost` should have) per
/// million tokens.
///
/// The cost of a turn is `prompt_tokens` at the input price, of which
/// `prompt_tokens_details.cached_tokens` are charged at the cached one, and `completion_tokens` at
/// the output price. Other names that providers give cached tokens are known as well. It is added to the turn's `usage` unless the upstream already sent a cost.
///
/// ```
/// use mcp_layer::{McpLayer, Price, registry::MemoryRegistry};
///
/// let layer = McpLayer::new(MemoryRegistry::default())
///     .with_prices([Price::new("gpt-5*", 1.75, 14.0).with_cached_input(0.175)]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    model: String,
    input: f64,
    cached_input: f64,
    output: f64,
}

impl Price {
    /// Creates the price of models whose name matches `model`, in which `*` matches any text.
    ///
    /// Cached input costs as much as other input unless [`Price::with_cached_input`] is used.
    pub fn new(model: impl Into<String>, input: f64, output: f64) -> Self {
        Self {
            model: model.into(),
            input,
            cached_input: input,
            output,
        }
    }

    /// Replaces the price of input tokens that the provider read from its cache.
    #[must_use]
    pub fn with_cached_input(mut self, cached_input: f64) -> Self {
        self.cached_input = cached_input;
        self
    }

    /// Returns true if this is the price of `model`.
    pub(crate) fn is_for(&self, model: &str) -> bool {
        fits(&self.model, model)
    }

    /// Returns the cost of one turn with this `usage`; `None` if it counts no tokens.
    pub(crate) fn cost(&self, usage: &Map<String, Value>) -> Option<f64> {
        let count = |name: &str| usage.get(name).and_then(Value::as_f64);
        let prompt = count("prompt_tokens")?;
        let completion = count("completion_tokens").unwrap_or(0.0);
        let (prompt, cached) = with_cached(usage, prompt);
        let dear =
            (prompt - cached) * self.input + cached * self.cached_input + completion * self.output;
        Some(tidy(dear / 1e6))
    }
}

/// The names of tokens that were read from a cache. Where there are several they count the same
/// tokens, since gateways add OpenAI's to the provider's own.
const CACHED: [&[&str]; 6] = [
    // OpenAI, Mistral, xAI, Groq, Gemini, OpenRouter, vLLM.
    &["prompt_tokens_details", "cached_tokens"],
    // Mistral's documentation (vercel/ai#14382).
    &["prompt_token_details", "cached_tokens"],
    &["num_cached_tokens"],
    // DeepSeek, whose `prompt_tokens` are these and `prompt_cache_miss_tokens`.
    &["prompt_cache_hit_tokens"],
    // Moonshot (rikkahub/rikkahub#1576).
    &["cached_tokens"],
    // Anthropic's name, behind a gateway (BerriAI/litellm#28009).
    &[READ],
];

const READ: &str = "cache_read_input_tokens";

/// The tokens of a prompt, and those of them that were read from a cache.
///
/// Anthropic does not count them in the prompt. Most gateways add them to it; where there are more
/// of them than the prompt has, this one did not.
fn with_cached(usage: &Map<String, Value>, prompt: f64) -> (f64, f64) {
    let count = |path: &&[&str]| {
        let (first, rest) = path.split_first()?;
        let value = usage.get(*first)?;
        let value = rest.iter().try_fold(value, |value, name| value.get(name));
        value?.as_f64()
    };
    let cached = CACHED.iter().filter_map(count).fold(0.0, f64::max);
    match usage.get(READ).and_then(Value::as_f64) {
        Some(read) if read > prompt => (prompt + read, read),
        _ => (prompt, cached.min(prompt)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, model, expected) in [
            ("gpt-5*", "gpt-5.2", true),
            ("gpt-5*", "gpt-5", true),
            ("gpt-5*", "gpt-4", false),
            ("*/gpt-5*", "openai/gpt-5.2", true),
            ("*", "", true),
            ("gpt-5", "gpt-5.2", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*a*b*", "xbxaxbx", true),
            ("*a*b*", "xbxax", false),
            ("a**b", "ab", true),
            ("*a*a", "aba", true),
        ] {
            assert_eq!(fits(pattern, model), expected, "{pattern} {model}");
        }
    }

    #[test]
    fn a_turn_costs_what_the_product_page_says() {
        let price = Price::new("gpt-5.2", 1.75, 14.0).with_cached_input(0.0);
        let usage = |value: Value| value.as_object().unwrap().clone();
        let turn = usage(json!({"prompt_tokens": 323, "completion_tokens": 63}));
        assert_eq!(price.cost(&turn), Some(0.00144725));
        let cached = usage(
            json!({"prompt_tokens": 323, "completion_tokens": 0, "prompt_tokens_details": {"cached_tokens": 323}}),
        );
        assert_eq!(price.cost(&cached), Some(0.0));
        assert_eq!(price.cost(&usage(json!({}))), None);
    }

    #[test]
    fn cached_tokens_are_priced_once_under_each_of_their_names() {
        let price = Price::new("*", 10.0, 0.0).with_cached_input(1.0);
        let cost = |usage: Value| price.cost(usage.as_object().unwrap());
        for usage in [
            json!({"prompt_tokens_details": {"cached_tokens": 900_000}}),
            json!({"prompt_token_details": {"cached_tokens": 900_000}}),
            json!({"num_cached_tokens": 900_000}),
            json!({"prompt_cache_hit_tokens": 900_000, "prompt_cache_miss_tokens": 100_000}),
            json!({"cached_tokens": 900_000}),
            json!({"cache_read_input_tokens": 900_000, "cache_creation_input_tokens": 0}),
            json!({"prompt_cache_hit_tokens": 900_000, "prompt_tokens_details": {"cached_tokens": 900_000}}),
            json!({"cached_tokens": 900_000, "prompt_tokens_details": {"cached_tokens": 0}}),
            json!({"cached_tokens": 900_000, "prompt_tokens_details": null}),
        ] {
            let mut whole = usage.clone();
            whole["prompt_tokens"] = 1_000_000.into();
            assert_eq!(cost(whole), Some(1.9), "{usage}");
        }
        // More than the prompt has: no part of it.
        let beside = json!({"prompt_tokens": 100_000, "cache_read_input_tokens": 900_000});
        assert_eq!(cost(beside), Some(1.9));
        let impossible = json!({"prompt_tokens": 100_000, "cached_tokens": 900_000});
        assert_eq!(cost(impossible), Some(0.1));
        for odd in [json!("x"), json!(-5), json!(null), json!({})] {
            assert_eq!(
                cost(json!({"prompt_tokens": 100_000, "cached_tokens": odd})),
                Some(1.0)
            );
        }
    }

    #[test]
    fn a_long_name_is_compared_in_no_time() {
        assert!(!fits("*a*a*b", &"a".repeat(100_000)));
    }
}
