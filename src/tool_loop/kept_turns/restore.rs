//! Restores the history of a request: what earlier requests of the same caller have kept replaces
//! the ids that the caller sends back.

use std::collections::HashMap;

use bytes::Bytes;

use crate::{
    apart,
    caller::Caller,
    chat::{ChatRequest, ToolCall, is_media_message, tool_message},
    kept::{Answers, History, KeptTurn, Part, Restored, has_id, may_have_id},
    refusal::{Kind, Refusal},
    registry::ExchangeId,
    tool_loop::{
        gateway::Gateway,
        limits::after,
        store::{Exchanges, unavailable},
    },
};

const NOT_APPROVED: &str = "not run: this call waits for an approval that was not given";

/// The restored history of a request.
pub(crate) struct Whole {
    pub(crate) exchanges: Exchanges,
    /// What the caller sent.
    pub(crate) sent: Vec<Bytes>,
    pub(crate) restored: Restored,
    /// What was kept for it, with the versions that were read.
    pub(crate) kept: HashMap<ExchangeId, KeptTurn>,
    pub(crate) versions: HashMap<ExchangeId, u64>,
    /// It has too many messages to be read, and stays as it came.
    pub(crate) is_too_long: bool,
}

impl Whole {
    /// A history with ids of ours that is not made whole.
    fn too_long(exchanges: Exchanges) -> Self {
        Self {
            exchanges,
            sent: Vec::new(),
            restored: Restored::default(),
            kept: HashMap::new(),
            versions: HashMap::new(),
            is_too_long: true,
        }
    }

    /// The bytes of what was kept for it.
    pub(crate) fn bytes(&self) -> usize {
        self.kept.values().map(KeptTurn::size).sum()
    }
}

/// Restores the history of `request`; `None` if it has no id of ours.
///
/// # Errors
/// The store cannot be asked at the moment.
pub(crate) async fn whole(
    gateway: &Gateway,
    caller: &Caller,
    request: &ChatRequest,
) -> Result<Option<Whole>, Refusal> {
    if !may_have_id(request.messages_text()) {
        return Ok(None);
    }
    let exchanges = Exchanges::of(gateway, caller).await.map_err(unavailable)?;
    let Some(exchanges) = exchanges.filter(|_| request.has_messages()) else {
        return Ok(None);
    };
    let size = request.bytes().len();
    let Some(sent) = request.messages() else {
        let (request, ids) = (request.bytes().clone(), exchanges.ids().clone());
        let has_id = apart::read(size, move || has_id(&request, &ids)).await;
        return Ok((has_id == Some(true)).then(|| Whole::too_long(exchanges)));
    };
    let (ids, messages) = (exchanges.ids().clone(), sent.clone());
    let history = apart::read(size, move || History::of(&messages, &ids)).await;
    let Some(history) = history.ok_or_else(unreadable)? else {
        return Ok(None);
    };
    let (mut kept, mut versions) = (HashMap::new(), HashMap::new());
    let ends = after(gateway.settings.limits.deadline);
    let found = exchanges.settled(&history.records(), ends).await;
    for stored in found.map_err(unavailable)? {
        versions.insert(stored.id, stored.version);
        kept.insert(stored.id, stored.turn);
    }
    let most = gateway.settings.limits.body_bytes;
    let restore = move || (history.restore(&kept, most), kept);
    let restored = apart::read(size, restore).await;
    let (restored, kept) = restored.ok_or_else(unreadable)?;
    Ok(Some(Whole {
        exchanges,
        sent,
        restored,
        kept,
        versions,
        is_too_long: false,
    }))
}

fn unreadable() -> Refusal {
    Refusal::new(Kind::InvalidJson, "the request could not be read")
}

/// The messages of a history in which open calls have no answers, without what shows media of the
/// last ones.
pub(crate) fn without_open(sent: &[Bytes], parts: &[Part]) -> Vec<Bytes> {
    let mut messages = sent.to_vec();
    for part in parts {
        match part {
            Part::Message(message) => messages.push(message.clone()),
            Part::Answers(answers) => messages.extend(answers.answers.iter().flatten().cloned()),
        }
    }
    take_last_media(&mut messages);
    messages
}

/// Takes the messages at the end that show media of results.
pub(crate) fn take_last_media(messages: &mut Vec<Bytes>) -> Vec<Bytes> {
    let last = messages.iter().rev();
    let media = last.take_while(|message| is_media_message(message)).count();
    messages.split_off(messages.len() - media)
}

/// The calls that nobody has answered, each with its place in the turn.
pub(crate) fn open_calls(answers: &Answers) -> Vec<(usize, &ToolCall)> {
    let calls = answers.calls.iter().enumerate().zip(&answers.answers);
    let open = calls.filter(|(_, answer)| answer.is_none());
    open.map(|(call, _)| call).collect()
}

/// Adds a turn's answers, with the results of its open calls in their order.
pub(crate) fn add_answers(
    messages: &mut Vec<Bytes>,
    answers: Answers,
    results: impl IntoIterator<Item = Bytes>,
) {
    let mut results = results.into_iter();
    let all = answers.calls.iter().zip(answers.answers);
    messages.extend(all.map(|(call, answer)| {
        let result = answer.or_else(|| results.next());
        result.unwrap_or_else(|| tool_message(call, NOT_APPROVED))
    }));
}
