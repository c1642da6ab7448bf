//! What a project may use of its models in a day.

use std::num::NonZeroU64;

use super::error::Error;

/// The parts of a unit of cost that are counted, as the overview does.
const NANOS: f64 = 1e9;
/// The rules for the two limits.
pub(crate) const TOKENS: &str = "must be a whole number from 1: leave it out for no limit";
pub(crate) const COST: &str =
    "must be a number above 0, at least a billionth: leave it out for no limit";

/// What the requests of a project that opt in may use of their models in a day, by UTC.
///
/// What a request uses is added at its end, also if it fails or its caller hangs up; a turn that is
/// under way is asked to its end. So the last requests of a day may go beyond it. Where the model's
/// service does not say what an answer has used, or its caller hangs up before it does, an estimate
/// counts: a token for each four bytes of the request, and for each four that the answer says. Costs
/// that are not known are not counted: where prices are missing, limit the tokens.
///
/// ```
/// use mcp_layer::registry::{Budget, ModelRules};
///
/// let budget = Budget::new("web").with_tokens_per_day(1_000_000)?.with_cost_per_day(2.5)?;
/// let rules = ModelRules::default().with_budgets([budget])?;
/// assert_eq!(rules.budget("web").and_then(Budget::cost_per_day), Some(2.5));
/// assert!(rules.budget("batch").is_none());
/// # Ok::<(), mcp_layer::registry::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    project: String,
    tokens: Option<NonZeroU64>,
    cost_nanos: Option<NonZeroU64>,
}

impl Budget {
    /// Creates a budget of `project` that limits nothing yet.
    pub fn new(project: impl Into<String>) -> Self {
        Self {
            project: project.into(),
            tokens: None,
            cost_nanos: None,
        }
    }

    /// Replaces the most tokens, of prompts and answers together.
    ///
    /// # Errors
    /// [`Error::Invalid`] for 0.
    pub fn with_tokens_per_day(mut self, tokens: u64) -> Result<Self, Error> {
        let tokens = NonZeroU64::new(tokens);
        self.tokens = Some(tokens.ok_or_else(|| Error::invalid("tokens_per_day", TOKENS))?);
        Ok(self)
    }

    /// Replaces the highest cost, in the unit of `usage.cost`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is not above 0, and for less than a billionth.
    pub fn with_cost_per_day(mut self, cost: f64) -> Result<Self, Error> {
        let nanos = NonZeroU64::new(nanos(cost)).filter(|_| cost.is_finite());
        self.cost_nanos = Some(nanos.ok_or_else(|| Error::invalid("cost_per_day", COST))?);
        Ok(self)
    }

    /// The project that it is of.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// The most tokens; `None` if they are not limited.
    pub fn tokens_per_day(&self) -> Option<u64> {
        self.tokens.map(NonZeroU64::get)
    }

    /// The highest cost; `None` if it is not limited.
    pub fn cost_per_day(&self) -> Option<f64> {
        self.cost_nanos.map(|nanos| cost(nanos.get()))
    }

    /// The same in billionths.
    pub(crate) fn cost_nanos(&self) -> Option<u64> {
        self.cost_nanos.map(NonZeroU64::get)
    }
}

/// A cost in billionths; 0 for what is no cost.
pub(crate) fn nanos(cost: f64) -> u64 {
    // Saturates, and is 0 for what is below, or not a number.
    (cost * NANOS).round() as u64
}

/// So many billionths of a cost.
pub(crate) fn cost(nanos: u64) -> f64 {
    nanos as f64 / NANOS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_of_nothing_is_refused() {
        assert!(Budget::new("web").with_tokens_per_day(0).is_err());
        for cost in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-10] {
            assert!(
                Budget::new("web").with_cost_per_day(cost).is_err(),
                "{cost}"
            );
        }
        let budget = Budget::new("web").with_cost_per_day(0.1).unwrap();
        assert_eq!(budget.cost_per_day(), Some(0.1));
    }
}
