//! Prices of tools, for calls that cost something themselves.

use crate::pattern::fits;

/// The price of a call of tools, in the unit that `usage.cost` has.
///
/// It counts for each call that a server has answered, also with an error, or with what a guard
/// withholds, and is added to the cost of the model's turns in `usage.cost` of the answer. Where the cost of a turn is not known,
/// the sum is not either, and there is none.
///
/// ```
/// use mcp_layer::{McpLayer, Price, ToolPrice, registry::MemoryRegistry};
///
/// let layer = McpLayer::new(MemoryRegistry::default())
///     .with_prices([Price::new("gpt-5*", 1.75, 14.0)])
///     .with_tool_prices([ToolPrice::new("search__*", 0.01)]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ToolPrice {
    tool: String,
    per_call: f64,
}

impl ToolPrice {
    /// Creates the price of a call of tools whose offered name, `{server}__{tool}`, matches `tool`, in
    /// which `*` matches any text.
    pub fn new(tool: impl Into<String>, per_call: f64) -> Self {
        Self {
            tool: tool.into(),
            per_call,
        }
    }

    /// The pattern of offered names.
    pub fn tool(&self) -> &str {
        &self.tool
    }

    /// Returns `true` if the pattern matches `name`.
    pub fn is_for(&self, name: &str) -> bool {
        fits(&self.tool, name)
    }

    pub(crate) fn per_call(&self) -> f64 {
        self.per_call
    }
}
