//! Takes up the open turn that a caller sends back: `mcp.resume_tool_calls`.
//!
//! A resumed turn counts as round 1. The receipt's `messages` are exactly those that the caller has
//! to append: whole executed turns, but only our tool messages of a resumed batch. Without
//! auto-execution, or in a stream that is not looped, a resume is one round, and a turn with calls
//! after it stops with `max_rounds`.

use bytes::Bytes;

use crate::{
    catalog::Owner,
    chat::{ChatRequest, OpenTurn, ToolCall},
    name::short,
    refusal::Refusal,
    settings::Limits,
};

/// The open turn at the end of `request`: answered by the caller in part, by us for the rest.
pub(crate) fn open_turn(request: &ChatRequest, limits: &Limits) -> Result<OpenTurn, Refusal> {
    let turn = OpenTurn::of(request, limits.turn_calls);
    turn.map_err(|fault| Refusal::invalid_option(&fault.param, &fault.reason))
}

/// The open turn at the end of these messages.
pub(crate) fn open_turn_of(messages: &[Bytes], limits: &Limits) -> Result<OpenTurn, Refusal> {
    let turn = OpenTurn::of_messages(messages, limits.turn_calls);
    turn.map_err(|fault| Refusal::invalid_option(&fault.param, &fault.reason))
}

/// The calls that nobody has answered yet.
///
/// # Errors
/// One of them is not ours: the turn would not be whole once ours are answered.
pub(crate) fn open_calls<'t, 'a>(
    turn: &'t OpenTurn,
    owners: Vec<Owner<'a>>,
) -> Result<Vec<(&'t ToolCall, Owner<'a>)>, Refusal> {
    let calls = turn.calls.iter().zip(owners).zip(&turn.answered);
    let open: Vec<_> = calls
        .filter(|(_, answer)| answer.is_none())
        .map(|(call, _)| call)
        .collect();
    if let Some((call, _)) = open
        .iter()
        .find(|(_, owner)| !matches!(owner, Owner::Ours(_)))
    {
        let name = short(call.function.as_deref().unwrap_or("a call"));
        let fault = format!(
            "has no tool message for {name} ({}), which is not a tool of the servers named",
            short(&call.id)
        );
        return Err(Refusal::invalid_option("messages", &fault));
    }
    Ok(open)
}

/// All answers, in the order of the calls: the caller's, and `ours` for the open ones.
pub(crate) fn answers(turn: &OpenTurn, ours: impl IntoIterator<Item = Bytes>) -> Vec<Bytes> {
    let mut ours = ours.into_iter();
    let answers = turn.answered.iter();
    answers
        .filter_map(|callers| callers.clone().or_else(|| ours.next()))
        .collect()
}
