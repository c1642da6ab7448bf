//! Takes up the open turn that a caller sends back: `mcp.resume_tool_calls`.

use bytes::Bytes;

use super::{
    claim::{Owner, owners},
    execute::Outcome,
    options::invalid,
};
use crate::{
    catalog::Catalog,
    chat::{ChatRequest, OpenTurn, ToolCall},
    name::short,
    refusal::Refusal,
    settings::Limits,
};

/// The open turn at the end of a request: answered by the caller in part, by us for the rest.
#[derive(Debug)]
pub(crate) struct Resumed<'a> {
    turn: OpenTurn,
    owners: Vec<Owner<'a>>,
}

/// The open turn at the end of `request`.
pub(crate) fn open_turn(request: &ChatRequest, limits: &Limits) -> Result<OpenTurn, Refusal> {
    let turn = OpenTurn::of(request, limits.turn_calls);
    turn.map_err(|fault| invalid(&fault.param, &fault.reason))
}

impl<'a> Resumed<'a> {
    /// Reads the turn, and makes sure that it is whole once our calls are answered.
    pub(crate) fn of(
        request: &ChatRequest,
        catalog: &'a Catalog,
        limits: &Limits,
    ) -> Result<Self, Refusal> {
        let turn = open_turn(request, limits)?;
        let owners = owners(&turn.calls, catalog, &request.tools);
        let resumed = Self { turn, owners };
        if let Some((call, _)) = resumed
            .open()
            .find(|(_, owner)| !matches!(owner, Owner::Ours(_)))
        {
            let name = short(call.function.as_deref().unwrap_or("a call"));
            let fault = format!(
                "has no tool message for {name} ({}), which is not a tool of the servers named",
                short(&call.id)
            );
            return Err(invalid("messages", &fault));
        }
        Ok(resumed)
    }

    /// How many of the request's messages come before the answers.
    pub(crate) fn kept(&self) -> usize {
        self.turn.kept
    }

    /// The calls that nobody has answered yet.
    pub(crate) fn open(&self) -> impl Iterator<Item = (&ToolCall, Owner<'a>)> {
        let calls = self
            .turn
            .calls
            .iter()
            .zip(&self.owners)
            .zip(&self.turn.answered);
        calls
            .filter(|(_, answer)| answer.is_none())
            .map(|((call, owner), _)| (call, *owner))
    }

    /// All answers, in the order of the calls.
    pub(crate) fn answers(&self, outcomes: &[Outcome]) -> Vec<Bytes> {
        let mut ours = outcomes.iter().map(|outcome| outcome.message.clone());
        let answers = self.turn.answered.iter();
        answers
            .filter_map(|callers| callers.clone().or_else(|| ours.next()))
            .collect()
    }
}
