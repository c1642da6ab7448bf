//! Runs our calls; every result becomes one `tool` message.

use std::{borrow::Cow, pin::pin, sync::Arc, time::Duration};

use futures_util::{
    FutureExt, StreamExt,
    future::{Either, select},
    stream,
};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout};
use tracing::Instrument;

use super::{
    call_result::{CallFault, CallResult},
    clearance::{Clearance, Clearing},
    events::{CallEvents, RoundEvents},
    gateway::Gateway,
    journal::hang_up::HangUp,
    media::MediaRoom,
    quotas::{self, NotTaken, Slot},
    record::{CallRecord, CallReply, Checked, Record},
};
use crate::{
    caller::Caller,
    catalog::{Entry, Owner},
    chat::{MediaPart, ToolCall, tool_message},
    connect::{CallToolRequest, ExchangeSessions},
    name::short,
    project::Project,
    registry::{Server, ToolPolicy},
    settings::LAST_TURN,
    unseen::cleaned,
    within::within,
};

const CANCELLED: &str = "Error: cancelled: the caller hung up while this call ran, as others did whose calls still run; it may have been carried out, so look before calling again";

const UNAPPROVED: &str = "not run: this call needs an approval, which nobody has given";
#[cfg(feature = "admin")]
const UNREAD: &str = "not run: a guard wants this call approved; read the tool's definition in GET .../servers/{name}/tools, and send its fingerprint as \"fingerprint\" with the call";

/// A batch: the terms on which its calls are run.
#[derive(Clone, Copy)]
pub(crate) struct Batch<'a> {
    pub(crate) gateway: &'a Gateway,
    pub(crate) project: &'a Project,
    pub(crate) caller: &'a Caller,
    /// The sessions that end with the exchange.
    pub(crate) sessions: &'a ExchangeSessions,
    pub(crate) ends: Instant,
    /// The number of calls that may still be run; the model is told about the rest.
    pub(crate) allowed: usize,
    /// Several calls at once.
    pub(crate) parallel: bool,
    pub(crate) approval: Approval,
    /// The model searches for its tools.
    pub(crate) is_searched: bool,
    /// What checks and guards have made of the calls, by their places, as far as that is known.
    pub(crate) cleared: &'a [Option<Clearance>],
    /// The room for what results have beside text.
    pub(crate) media: &'a MediaRoom,
    /// Tells when the caller hangs up.
    pub(crate) hang_up: &'a HangUp,
    pub(crate) record: &'a Record,
    /// The number of the round.
    pub(crate) round: u64,
    /// Tells the caller of each call; `None` if it does not want to know.
    pub(crate) events: Option<&'a RoundEvents>,
}

/// What a tool gave.
struct CallReturn {
    is_error: bool,
    text: String,
    media: Vec<MediaPart>,
}

/// The caller's approval of tools that are marked *ask first*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Approval {
    Given,
    Needed,
    /// Needed by an operator's call, which gives it by the fingerprint of the definition that was read.
    #[cfg(feature = "admin")]
    NeedsFingerprint,
    /// Nothing runs any more: a repeat of the request goes on in its place.
    Withdrawn,
}

impl Batch<'_> {
    /// Runs the calls, and returns the results in the order of the calls. Once the caller has hung
    /// up no call starts, those that only read are cancelled, and there is no result of either.
    ///
    /// # Cancellation
    /// Running calls are cancelled, and no others start.
    pub(crate) async fn run(self, calls: &[(&ToolCall, Owner<'_>)]) -> Vec<Option<CallResult>> {
        let width = if self.parallel {
            self.gateway.settings.limits.concurrent_calls.max(1)
        } else {
            1
        };
        // A future is large beside a call, so only what may run gets one.
        let (run, beyond) = calls.split_at(self.allowed.min(calls.len()));
        let results = self.run_all(run, width).await;
        let limits = &self.gateway.settings.limits;
        let in_turn = limits.turn_calls.saturating_sub(run.len());
        let (beyond, uncounted) = beyond.split_at(in_turn.min(beyond.len()));
        let beyond = beyond.iter().map(|&(call, owner)| {
            let text = format!(
                "not run: a request may make {} tool calls, and this one is beyond them",
                limits.calls
            );
            let record = self.record.call(self.round, call, owner.entry());
            let fault = CallFault::new("call_limit", text);
            self.result((record, None), call, owner, Err(fault))
        });
        let beyond = beyond.chain(uncounted.iter().map(|(call, _)| self.beyond(call)));
        self.record.beyond(self.round, uncounted.len());
        results.into_iter().chain(beyond.map(Some)).collect()
    }

    /// Runs these calls, so many at once, and returns their results in the order of the calls.
    async fn run_all(
        self,
        calls: &[(&ToolCall, Owner<'_>)],
        width: usize,
    ) -> Vec<Option<CallResult>> {
        // Boxed, since a future of kilobytes would be moved a dozen times on its way into a batch.
        let run = move |place: usize| self.run_for_caller(calls[place], place).boxed();
        if calls.len() == 1 {
            return vec![run(0).await];
        }
        // Collected, since the compiler cannot see that a lazy iterator's futures are `Send`.
        let runs: Vec<_> = self
            .lanes(calls)
            .into_iter()
            .map(|lane| async move {
                let mut results = Vec::with_capacity(lane.len());
                for place in lane {
                    results.push((place, run(place).await));
                }
                results
            })
            .collect();
        let runs = stream::iter(runs).buffer_unordered(width);
        let results = runs.collect::<Vec<_>>().await;
        let mut results: Vec<_> = results.into_iter().flatten().collect();
        results.sort_by_key(|(place, _)| *place);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// The places of calls that run one after the other; each of these lists runs beside the others.
    fn lanes(self, calls: &[(&ToolCall, Owner<'_>)]) -> Vec<Vec<usize>> {
        let is_serial = |place: &usize| {
            let entry = calls[*place].1.entry();
            let writes = entry.is_some_and(|entry| !entry.is_read_only());
            self.gateway.settings.serial_writes && self.parallel && writes
        };
        let (serial, others): (Vec<_>, Vec<_>) = (0..calls.len()).partition(is_serial);
        let serial = (!serial.is_empty()).then_some(serial);
        let others = others.into_iter().map(|place| vec![place]);
        serial.into_iter().chain(others).collect()
    }

    /// The result of a call beyond those of a turn: a message, since providers want one
    /// for each call, and nothing else.
    fn beyond(self, call: &ToolCall) -> CallResult {
        let limit = self.gateway.settings.limits.turn_calls;
        let text = format!("Error: not run: a turn may make {limit} tool calls");
        CallResult {
            message: tool_message(call, &text),
            media: Vec::new(),
            id: String::new(),
            server: None,
            tool: String::new(),
            duration: Duration::ZERO,
            is_error: true,
            result_bytes: 0,
            truncated: false,
            is_cleaned: false,
            is_denied: false,
            is_search: false,
            is_beyond: true,
            limit: None,
            cost: None,
        }
    }

    /// The result of a call that its caller waits for, or that has to end.
    async fn run_for_caller(
        self,
        (call, owner): (&ToolCall, Owner<'_>),
        place: usize,
    ) -> Option<CallResult> {
        if self.hang_up.is_told() {
            return None;
        }
        let begun = Instant::now();
        let is_read_only = owner.entry().is_some_and(Entry::is_read_only);
        let is_cancelled = async {
            match is_read_only {
                true => self.hang_up.told().await,
                false => self.hang_up.cancels().await,
            }
        };
        match select(pin!(self.run_one(call, owner, place)), pin!(is_cancelled)).await {
            Either::Left((result, _)) => Some(result),
            Either::Right(_) if is_read_only => None,
            Either::Right(_) => Some(cancelled(call, owner, begun.elapsed())),
        }
    }

    async fn run_one(self, call: &ToolCall, owner: Owner<'_>, place: usize) -> CallResult {
        let mut record = self.record.call(self.round, call, owner.entry());
        let (events, result) = match owner {
            Owner::Ours(entry) => {
                let made;
                let cleared = match self.cleared.get(place).and_then(Option::as_ref) {
                    Some(cleared) => cleared,
                    None => {
                        let cleared = self.clearing().before(entry, call);
                        made = cleared.instrument(record.span()).await;
                        &made
                    }
                };
                let arguments = self.approved(cleared);
                let read = cleared.arguments.as_ref().ok();
                let events = self.begins(call, owner, read.map(Checked::text));
                let result = match arguments {
                    Ok(arguments) => {
                        record.reads(arguments);
                        let called =
                            pin!(self.call(entry, call, arguments.text(), events.as_ref()));
                        called.instrument(record.span()).await
                    }
                    Err(fault) => Err(fault),
                };
                (events, result)
            }
            Owner::Search(search) => {
                let events = self.begins(call, owner, None);
                let found = search.answer(&call.arguments).instrument(record.span());
                let found = found.await.map(CallReturn::of_text);
                let fault = |text: String| CallFault::new("invalid_arguments", text);
                (events, found.map_err(fault))
            }
            Owner::Caller | Owner::Unknown => {
                let name = short(call.function.as_deref().unwrap_or_default());
                let instead = match self.is_searched {
                    true => "search for one with mcp_search_tools",
                    false => "use one of the tools offered",
                };
                let text = format!("there is no tool named {name:?}; {instead}");
                let fault = CallFault::new("unknown_tool", text);
                (self.begins(call, owner, None), Err(fault))
            }
        };
        self.result((record, events), call, owner, result)
    }

    /// The terms on which calls are cleared. A guard may take some of the last turn's time, which a
    /// result has to wait for.
    fn clearing(&self) -> Clearing<'_> {
        Clearing {
            gateway: self.gateway,
            project: self.project,
            caller: self.caller,
            record: self.record,
            ends: self.ends.checked_add(LAST_TURN).unwrap_or(self.ends),
        }
    }

    /// The arguments of a call that may run, as far as it needs no approval, or has it.
    fn approved(self, cleared: &Clearance) -> Result<&Checked, CallFault> {
        match &cleared.arguments {
            Ok(arguments) => {
                let unapproved = match self.approval {
                    Approval::Given | Approval::Withdrawn => None,
                    Approval::Needed => Some(UNAPPROVED),
                    #[cfg(feature = "admin")]
                    Approval::NeedsFingerprint => Some(UNREAD),
                };
                match unapproved.filter(|_| cleared.asks) {
                    Some(text) => Err(CallFault::new("needs_approval", text)),
                    None => Ok(arguments),
                }
            }
            Err(fault) => Err(fault.clone()),
        }
    }

    /// Tells the caller that a call begins, where it wants to know: with the arguments as they were
    /// read, if they could be.
    fn begins(
        self,
        call: &ToolCall,
        owner: Owner<'_>,
        arguments: Option<&RawValue>,
    ) -> Option<CallEvents> {
        let events = self.events?;
        let entry = owner.entry();
        let read = arguments.map(RawValue::get);
        let text = read.or_else(|| call.arguments.text());
        let title = entry.and_then(|entry| entry.offer().listed.title());
        let credentials = || self.record.credentials(entry);
        Some(events.begin(&call.id, named(call, owner), title, text, credentials))
    }

    fn result(
        self,
        (record, events): (CallRecord<'_>, Option<CallEvents>),
        call: &ToolCall,
        owner: Owner<'_>,
        result: Result<CallReturn, CallFault>,
    ) -> CallResult {
        let (server, tool) = named(call, owner);
        let mut limit = None;
        let cost = || self.cost(owner.entry()?);
        let answered = result
            .as_ref()
            .map_or_else(|fault| fault.answered, |_| true);
        let cost = answered.then(cost).flatten();
        let (error, text, media) = match result {
            Ok(CallReturn {
                is_error,
                text,
                media,
            }) => (is_error.then_some("tool_error"), text, media),
            Err(fault) => {
                limit = fault.limit;
                (Some(fault.kind), fault.text, Vec::new())
            }
        };
        let is_error = error.is_some();
        let is_denied = matches!(error, Some(CallFault::DENIED | CallFault::GUARD_FAILED));
        let result_bytes = text.len();
        let text = if is_error {
            format!("Error: {text}")
        } else {
            text
        };
        let (text, truncated) = cut(text, self.gateway.settings.limits.result_bytes);
        let text = cleaned(&text);
        let is_cleaned = matches!(text, Cow::Owned(_));
        let duration = record.end(CallReply {
            error,
            text: &text,
            result_bytes,
            truncated,
        });
        let result = CallResult {
            message: tool_message(call, &text),
            media,
            id: call.id.clone(),
            server,
            tool,
            duration,
            is_error,
            result_bytes,
            truncated,
            is_cleaned,
            is_denied,
            is_search: owner.is_search(),
            is_beyond: false,
            limit,
            cost,
        };
        if let Some(events) = events {
            events.finish(&result, &text);
        }
        result
    }

    /// Calls the tool. Of its result only the text stays, and what the model is shown besides.
    async fn call(
        self,
        entry: &Entry,
        of: &ToolCall,
        arguments: &RawValue,
        events: Option<&CallEvents>,
    ) -> Result<CallReturn, CallFault> {
        if self.approval == Approval::Withdrawn {
            let text = "not run: a repeat of this request has taken over";
            return Err(CallFault::new("taken_over", text));
        }
        let limits = &self.gateway.settings.limits;
        let out_of_time = || CallFault::new("deadline", "not run: the request's time is up");
        let left = |limit| call_time(self.ends, limit).ok_or_else(out_of_time);
        let server = timeout(left(limits.call)?, self.still_offered(entry)).await;
        let server = server.unwrap_or_else(|_| Err(out_of_time()))?;
        let trace = self.gateway.trace_of(self.caller);
        let clearing = self.clearing();
        let mut call = CallToolRequest::new(&entry.offer().tool, arguments);
        let (silence, whole) = server.call_time(limits.call, limits.call_max);
        call.silence = silence;
        let slot = self.slot(&server, entry, left(whole)?);
        let slot = within(left(limits.call)?, slot).await;
        let slot = slot.unwrap_or_else(|_| Err(out_of_time()))?;
        call.timeout = left(whole)?;
        call.trace = trace.as_ref();
        call.exchange = Some(self.sessions);
        let has_texts = !clearing.sees_results(entry);
        let on_progress = events.map(|events| events.on_progress(has_texts));
        call.on_progress = on_progress.as_ref();
        let connections = &self.gateway.connections;
        let called = (entry, of);
        let result = connections.call(&server, &self.caller.tokens, call).await;
        let answered = result
            .as_ref()
            .map_or_else(|error| error.is_servers_word(), |_| true);
        // Before anything is waited for: a caller who hangs up makes it no cheaper.
        if let Some(cost) = answered.then(|| self.cost(entry)).flatten() {
            self.record.pay(cost);
        }
        if let Some(slot) = slot {
            slot.give_back().await;
        }
        match result {
            Ok(result) => {
                let said = (&*result.text, result.is_error);
                let rewritten = clearing.after(called, arguments, said).await?;
                Ok(CallReturn {
                    is_error: result.is_error,
                    media: self.media.take(of, &result),
                    text: rewritten.unwrap_or(result.text),
                })
            }
            Err(error) => {
                let text = error.to_string();
                // The others are our own words.
                let rewritten = match answered {
                    true => clearing.after(called, arguments, (&text, true)).await?,
                    false => None,
                };
                Err(CallFault {
                    answered,
                    ..CallFault::new(error.as_str(), rewritten.unwrap_or(text))
                })
            }
        }
    }

    /// What a call of this tool costs once its server has answered.
    fn cost(&self, entry: &Entry) -> Option<f64> {
        self.gateway.settings.call_cost(&entry.offer().name)
    }

    /// Takes a call of the project's limits, just before it is made.
    async fn slot(
        self,
        server: &Server,
        entry: &Entry,
        time: Duration,
    ) -> Result<Option<Slot>, CallFault> {
        let what = (server, &*entry.offer().tool);
        let whose = (self.project, self.caller);
        let taken = quotas::take(self.gateway, whose, what, time).await;
        taken.map_err(|not_taken| match not_taken {
            NotTaken::Reached(reached) => CallFault {
                limit: Some(reached.note()),
                ..CallFault::new("limit_exceeded", reached.to_string())
            },
            NotTaken::Unknown(error) => {
                tracing::error!(%error, "the store of limits failed");
                let text = "not run: the gateway cannot check the limits of this tool";
                CallFault::new("registry", text)
            }
        })
    }

    /// The server's record as it is now: what was taken away since the request began is not
    /// called any more.
    async fn still_offered(self, entry: &Entry) -> Result<Arc<Server>, CallFault> {
        let name = &entry.server.name;
        let found = self
            .gateway
            .registry
            .find(self.project, std::slice::from_ref(name))
            .await;
        let found = found.map_err(|error| {
            tracing::error!(%error, "the registry failed");
            let text = "not run: the gateway cannot check whether this tool may be used";
            CallFault::new("registry", text)
        })?;
        let server = found.into_iter().find(|server| {
            server.id == entry.server.id && server.enabled && server.is_usable_by(self.project)
        });
        let policy = server
            .as_ref()
            .and_then(|server| entry.policy_now(server, self.project.name()));
        // A caller may ask for more than the record does.
        let policy = policy.map(|now| match entry.policy {
            ToolPolicy::AskFirst => ToolPolicy::AskFirst,
            ToolPolicy::Auto => now,
        });
        match (server, policy) {
            (Some(server), Some(ToolPolicy::Auto)) => Ok(server),
            (Some(server), Some(ToolPolicy::AskFirst)) if self.approval == Approval::Given => {
                Ok(server)
            }
            _ => {
                let text = "not run: this tool is no longer available";
                Err(CallFault::new("tool_unavailable", text))
            }
        }
    }
}

impl CallReturn {
    fn of_text(text: String) -> Self {
        Self {
            is_error: false,
            text,
            media: Vec::new(),
        }
    }
}

/// The time that a call has in a batch that ends so, of at most `limit`; `None` when it is up.
fn call_time(batch_ends: Instant, limit: Duration) -> Option<Duration> {
    let left = batch_ends.saturating_duration_since(Instant::now());
    (!left.is_zero()).then(|| left.min(limit))
}

/// The result of a call that was cancelled, though nobody knows what it has done.
fn cancelled(call: &ToolCall, owner: Owner<'_>, duration: Duration) -> CallResult {
    let (server, tool) = named(call, owner);
    CallResult {
        message: tool_message(call, CANCELLED),
        media: Vec::new(),
        id: call.id.clone(),
        server,
        tool,
        duration,
        is_error: true,
        result_bytes: 0,
        truncated: false,
        is_cleaned: false,
        is_denied: false,
        is_search: owner.is_search(),
        is_beyond: false,
        limit: None,
        cost: None,
    }
}

/// The server and the tool of a call, as far as it has them.
fn named(call: &ToolCall, owner: Owner<'_>) -> (Option<String>, String) {
    match owner {
        Owner::Ours(entry) => (
            Some(entry.server.name.to_string()),
            entry.offer().tool.clone(),
        ),
        Owner::Search(search) => (None, search.name().to_owned()),
        Owner::Caller | Owner::Unknown => {
            (None, short(call.function.as_deref().unwrap_or_default()))
        }
    }
}

/// Truncates `text` to `limit` bytes, and says so in the text; returns `true` if something was cut.
fn cut(mut text: String, limit: usize) -> (String, bool) {
    if text.len() <= limit {
        return (text, false);
    }
    let whole = text.len();
    let kept = text.floor_char_boundary(limit);
    text.truncate(kept);
    text.push_str(&format!(
        "\n[cut: this is the first {kept} of {whole} bytes]"
    ));
    (text, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_announced_and_splits_no_character() {
        assert_eq!(cut("short".into(), 5), ("short".into(), false));
        let (text, truncated) = cut("äöü".into(), 3);
        assert_eq!(text, "ä\n[cut: this is the first 2 of 6 bytes]");
        assert!(truncated);
    }
}
