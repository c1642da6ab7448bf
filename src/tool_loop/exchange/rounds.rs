//! The rounds of an exchange: runs batches of calls, with a journal of each.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use serde_json::value::RawValue;

use super::Exchange;
use crate::{
    catalog::{Catalog, Entry, Owner},
    chat::{ToolCall, executed},
    kept::{OpenBatch, OpenCall},
    name::short,
    to_its_end::in_a_task,
    tool_loop::{
        call_result::CallResult,
        claim,
        execute::{Approval, Batch},
        journal::{BatchJournal, hang_up},
        media::{self, MediaRoom},
    },
};

impl Exchange {
    /// Runs the calls of a turn: one more round.
    pub(crate) async fn round(
        &mut self,
        message: Option<Bytes>,
        calls: &[ToolCall],
        owners: Vec<Owner<'_>>,
    ) {
        let calls: Vec<_> = calls.iter().zip(owners).collect();
        let catalog = self.catalog.clone();
        let batch = self.batch(&catalog, message.as_ref(), &calls, Approval::Needed);
        let mut results = batch.await;
        let media = Vec::from_iter(media::message(results.iter_mut()));
        let calls = calls.iter().map(|(call, _)| *call);
        let message = message.map(|message| executed(message, calls));
        self.receipt.add_round(message.as_ref(), &results, &media);
        self.ran();
        let results = results.into_iter().map(|result| result.message);
        let messages = message.into_iter().chain(results).chain(media);
        let messages: Vec<Bytes> = messages.collect();
        self.keeper.add(&messages);
        self.conversation.extend(messages);
    }

    /// Tells the journal of a batch that is over.
    pub(super) fn ran(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.ran(|| self.receipt.done());
        }
    }

    /// Runs the calls of a turn, but those whose results are known, and writes its journal.
    pub(super) async fn batch(
        &mut self,
        catalog: &Arc<Catalog>,
        message: Option<&Bytes>,
        calls: &[(&ToolCall, Owner<'_>)],
        approval: Approval,
    ) -> Vec<CallResult> {
        let mut known = std::mem::take(&mut self.known);
        known.resize_with(calls.len(), || None);
        let open = calls.iter().zip(&known);
        let open: Vec<_> = open.filter(|(_, known)| known.is_none()).collect();
        let open: Vec<_> = open.into_iter().map(|(call, _)| *call).collect();
        if open.is_empty() {
            return known.into_iter().flatten().collect();
        }
        let journal = self.opens(message, calls, &known).await;
        let approval = match &self.journal {
            Some(journal) if journal.is_taken_over().await => Approval::Withdrawn,
            _ => approval,
        };
        let room = MediaRoom::new(self.takes, &self.gateway.settings.limits, &known);
        let results = self.run_calls(catalog, &open, approval, room, journal);
        let results = results.await;
        let mut results = results.into_iter();
        let known = known.into_iter();
        known
            .filter_map(|known| known.or_else(|| results.next()))
            .collect()
    }

    /// Writes that a batch begins; returns what writes its end.
    async fn opens(
        &mut self,
        message: Option<&Bytes>,
        calls: &[(&ToolCall, Owner<'_>)],
        known: &[Option<CallResult>],
    ) -> Option<BatchJournal> {
        let journal = self.journal.as_mut()?;
        let done = self.receipt.done()?;
        let message = match message {
            Some(message) => {
                let text = String::from_utf8(message.to_vec()).ok()?;
                Some(RawValue::from_string(text).ok()?)
            }
            None => None,
        };
        let call =
            |((call, owner), known): (&(&ToolCall, Owner<'_>), &Option<CallResult>)| OpenCall {
                name: short(call.function.as_deref().unwrap_or_default()),
                may_run_again: may_run_again(owner),
                result: known.as_ref().and_then(CallResult::kept),
                media: known
                    .as_ref()
                    .map_or_else(Vec::new, |known| known.media.clone()),
            };
        let open = OpenBatch {
            message,
            is_cut: calls.iter().any(|(call, _)| call.is_cut()),
            calls: calls.iter().zip(known).map(call).collect(),
        };
        journal.opens(done, open).await
    }

    /// Runs calls; where a journal takes the results, also to their end if the caller hangs up.
    pub(super) async fn run_calls(
        &mut self,
        catalog: &Arc<Catalog>,
        calls: &[(&ToolCall, Owner<'_>)],
        approval: Approval,
        media: MediaRoom,
        journal: Option<BatchJournal>,
    ) -> Vec<CallResult> {
        let turn_calls = self.gateway.settings.limits.turn_calls;
        let ends = self.budget.batch_ends();
        let allowed = self.budget.take_calls(calls.len().min(turn_calls));
        let parallel = self.request.parallel;
        let is_search = calls.iter().all(|(_, owner)| owner.is_search());
        let round = match self.receipt.is_round(is_search) {
            true => self.record.round(),
            false => self.record.next_round(),
        };
        // A repeat goes on counting where the first ended, as the receipt does.
        let events = self.events.as_ref();
        let events = events.map(|events| events.of_round(self.receipt.rounds() + 1));
        let runs_on = journal.as_ref().map(|journal| {
            let detached = self.gateway.detached.clone();
            (detached, journal.owner().clone())
        });
        let (waits, hang_up) = hang_up::waits(runs_on);
        // All of it is its own, since it may outlive the exchange.
        let (gateway, catalog) = (self.gateway.clone(), catalog.clone());
        let (caller, project) = (self.caller.clone(), self.project.clone());
        let (sessions, record) = (self.sessions.clone(), self.record.clone());
        let own = self.request.tools.clone();
        let cleared = std::mem::take(&mut self.cleared);
        let calls: Vec<ToolCall> = calls.iter().map(|(call, _)| (*call).clone()).collect();
        let told = hang_up.clone();
        let is_told_of = events.is_some();
        let batch = async move {
            let owners = claim::owners(&calls, &catalog, &own);
            let calls: Vec<_> = calls.iter().zip(owners).collect();
            let batch = Batch {
                gateway: &gateway,
                project: &project,
                caller: &caller,
                sessions: &sessions,
                ends,
                allowed,
                parallel,
                approval,
                is_searched: catalog.is_searched(),
                cleared: &cleared,
                media: &media,
                hang_up: &told,
                record: &record,
                round,
                events: events.as_ref(),
            };
            batch.run(&calls).await
        };
        // Who is told of calls while they run may read slowly; the calls do not wait for that.
        let batch = match is_told_of {
            true => in_a_task(batch).boxed(),
            false => batch.boxed(),
        };
        let results = match journal {
            Some(journal) => waits.for_batch(journal.keeps(hang_up, batch)).await,
            None => waits.here(batch).await,
        };
        results.into_iter().flatten().collect()
    }
}

/// Returns `true` if a call with this owner changes nothing.
pub(super) fn may_run_again(owner: &Owner<'_>) -> bool {
    owner.entry().is_none_or(Entry::is_read_only)
}
