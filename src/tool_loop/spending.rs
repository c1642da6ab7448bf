//! What a project may use of its models in a day: checked before the first turn, and counted when the
//! exchange has ended.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value};
use tokio::runtime::Handle;

use super::gateway::Gateway;
use crate::{
    chat,
    project::Project,
    refusal::{Kind, Refusal},
    registry::{
        self, Budget, budget_nanos,
        usage::{QuotaOf, UsageId, UsageStore},
    },
    within::within,
};

/// What an exchange uses goes here.
pub(crate) struct Spending {
    usage: Arc<dyn UsageStore>,
    tokens: UsageId,
    cost: UsageId,
    /// Where it is counted: an exchange may end anywhere.
    runtime: Handle,
}

/// Checks that `project` has something left of its budget; `None` if it has no budget.
///
/// # Errors
/// It has nothing left, or nobody can tell.
pub(crate) async fn check(
    gateway: &Gateway,
    project: &Project,
) -> Result<Option<Spending>, Refusal> {
    let rules = gateway.models.rules(project.organization());
    let Some(budget) = rules.budget(project.name()) else {
        return Ok(None);
    };
    let whose = (project.organization(), project.name());
    let spending = Spending {
        usage: gateway.usage.clone(),
        tokens: UsageId::of_models(whose, "tokens"),
        cost: UsageId::of_models(whose, "cost"),
        runtime: Handle::current(),
    };
    let ids = [spending.tokens, spending.cost].map(|id| (id, QuotaOf::Day));
    let limit = gateway.settings.limits.resolve;
    let used = within(limit, gateway.usage.used(&ids)).await;
    let used = used.unwrap_or_else(|elapsed| Err(registry::Error::unavailable(elapsed)));
    let used = used.map_err(|error| {
        tracing::error!(%error, "the store of budgets failed");
        let message = "the gateway cannot tell what is left of the project's budget";
        Refusal::new(Kind::Registry, message)
    })?;
    let limits = [budget.tokens_per_day(), budget.cost_nanos()];
    let mut spent = limits.into_iter().zip(&used);
    match spent.position(|(limit, used)| limit.is_some_and(|limit| used.amount >= limit)) {
        None => Ok(Some(spending)),
        Some(which) => Err(exceeded(budget, which, used[which].ends_in)),
    }
}

/// The refusal of a project that has used up its tokens, or what they may cost.
fn exceeded(budget: &Budget, which: usize, ends_in: Duration) -> Refusal {
    let most = match which {
        0 => format!("{} tokens", budget.tokens_per_day().unwrap_or_default()),
        _ => format!("a cost of {}", budget.cost_per_day().unwrap_or_default()),
    };
    let seconds = ends_in.as_millis().div_ceil(1000);
    let message = format!(
        "the project has used up its budget for a day, {most}; there is a new one in {seconds} s"
    );
    Refusal::new(Kind::BudgetExceeded, message).with_retry_after(ends_in)
}

impl Spending {
    /// Counts what an exchange has used: as far as its model's service said so, and for the rest by an
    /// estimate; and what was `paid` for calls.
    pub(crate) fn add(&self, used: [&Map<String, Value>; 2], paid: f64) {
        let sum = |[said, estimated]: [u64; 2]| said.saturating_add(estimated);
        let tokens = (self.tokens, sum(used.map(tokens)));
        let cost = sum(used.map(cost)).saturating_add(budget_nanos(paid));
        let amounts = [tokens, (self.cost, cost)];
        let amounts: Vec<_> = amounts.into_iter().filter(|(_, used)| *used > 0).collect();
        if amounts.is_empty() {
            return;
        }
        let usage = self.usage.clone();
        self.runtime.spawn(async move {
            if let Err(error) = usage.add(&amounts).await {
                tracing::error!(%error, "what an exchange used does not count");
            }
        });
    }
}

/// The tokens of prompts and answers.
fn tokens(used: &Map<String, Value>) -> u64 {
    let count = |name| used.get(name).and_then(chat::tokens);
    match (count("prompt_tokens"), count("completion_tokens")) {
        (None, None) => count("total_tokens").unwrap_or_default(),
        (prompt, answer) => {
            let prompt = prompt.unwrap_or_default();
            prompt.saturating_add(answer.unwrap_or_default())
        }
    }
}

/// The cost in billionths; 0 if it is not known.
fn cost(used: &Map<String, Value>) -> u64 {
    let cost = used.get("cost").and_then(Value::as_f64);
    budget_nanos(cost.unwrap_or_default())
}
