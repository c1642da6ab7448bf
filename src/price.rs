//! Prices of models, for upstreams that send no cost.

use serde_json::{Map, Value};

use crate::chat::tidy;

/// The price of a model's tokens, in dollars (or any unit that `usage.cost` should have) per
/// million tokens.
///
/// The cost of a turn is `prompt_tokens` at the input price, of which
/// `prompt_tokens_details.cached_tokens` are charged at the cached one, and `completion_tokens` at
/// the output price. It is added to the turn's `usage` unless the upstream already sent a cost.
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
        let cached = usage
            .get("prompt_tokens_details")
            .and_then(|details| details.get("cached_tokens"))
            .and_then(Value::as_f64)
            .unwrap_or(0.0)
            .min(prompt);
        let dear =
            (prompt - cached) * self.input + cached * self.cached_input + completion * self.output;
        Some(tidy(dear / 1e6))
    }
}

/// Returns true if `text` matches `pattern`, in which `*` matches any text.
fn fits<'a>(pattern: &str, text: &'a str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    let between = text
        .strip_prefix(start)
        .and_then(|text| text.strip_suffix(end));
    // The first match of each part leaves most text to those behind it, so nothing is tried twice.
    let after = |text: &'a str, part: &str| Some(&text[text.find(part)? + part.len()..]);
    between
        .and_then(|text| middle.split('*').try_fold(text, after))
        .is_some()
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
    fn a_long_name_is_compared_in_no_time() {
        assert!(!fits("*a*a*b", &"a".repeat(100_000)));
    }
}
