//! Takes up what is there before the first turn: the steps of an equal request, the open calls of
//! kept turns, or the turn that the caller sends back.

use std::sync::Arc;

use bytes::Bytes;

use super::{Exchange, rounds::may_run_again};
use crate::{
    catalog::Catalog,
    chat::{Conversation, OpenTurn, ToolCall, is_media_message},
    kept::{Answers, OpenCall, Part, Restored},
    refusal::Refusal,
    registry::ExchangeId,
    tool_loop::{
        call_result::CallResult,
        claim,
        delivery::Delivery,
        execute::Approval,
        kept_turns::restore::{self, Whole},
        media::{self, MediaRoom},
        resolve, resume,
        store::{self, NotKept},
    },
};

/// The open calls of a kept turn, once they have run.
#[derive(Default)]
struct Opened {
    /// The tool messages, in the order of the calls.
    texts: Vec<Bytes>,
    /// What shows the media of its results, earlier ones first.
    media: Vec<Bytes>,
    /// What ran for this request.
    ran: Vec<CallResult>,
    /// The part of `media` that is of these.
    ran_media: Option<Bytes>,
    is_kept: bool,
}

impl Exchange {
    /// Takes up the figures of an equal request that ended before its answer; returns the turns that
    /// were executed for it.
    pub(crate) fn take_up(&mut self) -> Vec<Bytes> {
        let journal = self.journal.as_mut();
        let Some(done) = journal.and_then(|journal| journal.take_done()) else {
            return Vec::new();
        };
        self.receipt.go_on_from(done);
        self.budget.take_calls(self.receipt.calls());
        self.receipt.executed().to_vec()
    }

    /// Appends turns that were executed for an equal request.
    pub(crate) fn append(&mut self, done: Vec<Bytes>) {
        self.keeper.add(&done);
        self.conversation.extend(done);
    }

    /// Ends the batch that an equal request had begun: what has a result does not run again.
    pub(crate) async fn finish_open(&mut self, delivery: &mut impl Delivery) {
        let journal = self.journal.as_mut();
        let Some(open) = journal.and_then(|journal| journal.take_open()) else {
            return;
        };
        let Some(message) = open.message else {
            return;
        };
        let message = Bytes::from(Box::<str>::from(message).into_string());
        let catalog = self.catalog.clone();
        let calls = claim::meant(ToolCall::of_turn(&message, open.is_cut), &catalog);
        let owners = claim::owners(&calls, &catalog, &self.request.tools);
        self.known = known(&open.calls);
        let round = self.round(Some(message), &calls, owners);
        delivery.alive(round).await;
    }

    /// Says that a part of what earlier requests left is gone.
    pub(crate) fn tell_incomplete(&mut self) {
        self.is_incomplete = true;
        self.receipt.tell_incomplete();
        if let Some(events) = &self.events {
            events.tell_incomplete();
        }
    }

    /// Goes on from a restored history, and runs what is open in it: the first round.
    pub(crate) async fn restore(
        &mut self,
        whole: Whole,
        resumes: bool,
        mut done: Vec<Bytes>,
    ) -> Result<(), Refusal> {
        let Restored {
            parts,
            untouched,
            last,
            is_incomplete,
        } = whole.restored;
        if is_incomplete {
            self.tell_incomplete();
        }
        if !self.keeper.offers() {
            // A caller who has not asked for tools of ours is told nothing of them.
            self.receipt.kept(true);
        }
        let (exchanges, sent) = (whole.exchanges, whole.sent);
        let mut messages = sent[..untouched].to_vec();
        let is_open = matches!(parts.last(), Some(Part::Answers(_)));
        let resumed = match resumes && !is_open {
            true => Some(self.resumable(&restore::without_open(&messages, &parts))?),
            false => None,
        };
        self.keeper
            .restored(exchanges, whole.kept, whole.versions, last, sent);
        self.run_all_open(&mut messages, parts, resumes).await?;
        if let Some((turn, behind)) = resumed {
            let media = restore::take_last_media(&mut messages);
            messages.truncate(messages.len() - behind);
            messages.extend(self.run_resumed(&turn, &mut done).await?);
            messages.extend(media);
        }
        let untouched = untouched.min(messages.len());
        let tools = self.catalog.definitions();
        self.conversation = Conversation::restored(&self.request, &tools, &messages[..untouched]);
        self.conversation.extend(messages.split_off(untouched));
        self.append(done);
        self.park_sessions();
        Ok(())
    }

    /// Adds what was restored to `messages`, and runs all that is open in it: one round.
    async fn run_all_open(
        &mut self,
        messages: &mut Vec<Bytes>,
        parts: Vec<Part>,
        resumes: bool,
    ) -> Result<(), Refusal> {
        let all = parts.len();
        let (mut results, mut media, mut all_kept) = (Vec::new(), Vec::new(), true);
        for (place, part) in parts.into_iter().enumerate() {
            match part {
                // This request may be for another model.
                Part::Message(message) if is_media_message(&message) && !self.takes.any() => {}
                Part::Message(message) => messages.push(message),
                Part::Answers(answers) => {
                    let approves = resumes && place + 1 == all;
                    let opened = self.run_open(&answers, approves).await?;
                    all_kept &= opened.is_kept;
                    restore::add_answers(messages, answers, opened.texts);
                    if self.takes.any() {
                        messages.extend(opened.media);
                    }
                    results.extend(opened.ran);
                    media.extend(opened.ran_media);
                }
            }
        }
        match all_kept {
            true if results.is_empty() => {}
            true => self.receipt.add_kept_round(&results),
            false => {
                self.receipt.add_round(None, &results, &media);
                self.receipt.kept(false);
            }
        }
        Ok(())
    }

    /// Runs the open calls of a kept turn, under all checks, and keeps their results.
    ///
    /// # Errors
    /// They cannot be claimed at the moment: nothing of them has run.
    async fn run_open(&mut self, answers: &Answers, approves: bool) -> Result<Opened, Refusal> {
        let open = restore::open_calls(answers);
        if open.is_empty() || answers.asks_first && !approves {
            return Ok(Opened {
                media: self.keeper.media(answers.record),
                is_kept: true,
                ..Opened::default()
            });
        }
        let (places, calls): (Vec<usize>, Vec<ToolCall>) = open
            .into_iter()
            .map(|(place, call)| (place, call.clone()))
            .unzip();
        let (record, catalog) = (answers.record, self.catalog_of(answers.record).await);
        // Whether the model searches now or not, what it said may be from when it did.
        let catalog = Arc::new(Catalog::clone(&catalog).searched(Vec::new()));
        let calls = claim::meant(calls, &catalog);
        let owners = claim::owners(&calls, &catalog, &self.request.tools);
        let begin = places.iter().copied().zip(owners.iter().map(may_run_again));
        let begin: Vec<_> = begin.collect();
        let ends = self.budget.deadline();
        let begun = self.keeper.claim_open(record, &begin, ends).await;
        let (lease, journal) = begun.ok_or_else(|| store::unavailable(NotKept))?;
        // Another request may have answered some of them since.
        let known = places
            .iter()
            .map(|place| self.keeper.result(record, *place));
        let known: Vec<Option<Bytes>> = known.collect();
        let calls = calls.iter().zip(owners).zip(&known);
        let calls = calls.filter(|(_, known)| known.is_none());
        let calls: Vec<_> = calls.map(|(call, _)| call).collect();
        let approval = match answers.asks_first {
            true => Approval::Given,
            false => Approval::Needed,
        };
        let mut ran = match calls.is_empty() {
            true => Vec::new(),
            false => {
                let room = MediaRoom::new(self.takes, &self.gateway.settings.limits, &[]);
                self.run_calls(&catalog, &calls, approval, room, Some(journal))
                    .await
            }
        };
        let mut media = self.keeper.media(record);
        let ran_media = media::message(ran.iter_mut());
        media.extend(ran_media.clone());
        let mut results = ran.iter().map(|result| result.message.clone());
        let texts = known
            .into_iter()
            .map(|known| known.or_else(|| results.next()));
        let texts: Vec<Bytes> = texts.flatten().collect();
        let results = places.into_iter().zip(texts.iter().cloned());
        let results: Vec<_> = results.collect();
        let is_kept = self
            .keeper
            .take_results(record, &results, ran_media.as_ref(), &lease);
        let is_kept = is_kept.await;
        Ok(Opened {
            texts,
            media,
            ran,
            ran_media,
            is_kept,
        })
    }

    /// The tools for the open calls of a kept turn: those of this request, or, if it asks for none,
    /// of the one that has kept it.
    async fn catalog_of(&self, record: ExchangeId) -> Arc<Catalog> {
        if self.keeper.offers() {
            return self.catalog.clone();
        }
        let (servers, tools) = self.keeper.offered(record);
        let (gateway, tokens) = (&self.gateway, &self.caller.tokens);
        let wanted = (&*servers, tools.as_deref());
        let usable = resolve::usable(gateway, &self.project, tokens, wanted, &self.record);
        Arc::new(usable.await)
    }

    /// The turn at the end of these messages that the caller resumes, and the number of messages
    /// behind it.
    fn resumable(&self, messages: &[Bytes]) -> Result<(OpenTurn, usize), Refusal> {
        let turn = resume::open_turn_of(messages, &self.gateway.settings.limits)?;
        let owners = claim::owners(&turn.calls, &self.catalog, &self.request.tools);
        resume::open_calls(&turn, owners)?;
        let behind = messages.len() - turn.kept;
        Ok((turn, behind))
    }

    /// Runs the open calls of the turn that the caller sends back: the first round.
    pub(crate) async fn resume(&mut self, mut done: Vec<Bytes>) -> Result<(), Refusal> {
        let turn = resume::open_turn(&self.request, &self.gateway.settings.limits)?;
        let answers = self.run_resumed(&turn, &mut done).await?;
        let tools = self.catalog.definitions();
        self.conversation = Conversation::resumed(&self.request, &tools, turn.kept);
        self.conversation.extend(answers);
        self.append(done);
        Ok(())
    }

    /// Runs the open calls of a turn that is resumed, and returns all answers to it; those that are
    /// done already are taken from there.
    async fn run_resumed(
        &mut self,
        turn: &OpenTurn,
        done: &mut Vec<Bytes>,
    ) -> Result<Vec<Bytes>, Refusal> {
        let catalog = self.catalog.clone();
        let owners = claim::owners(&turn.calls, &catalog, &self.request.tools);
        let open = resume::open_calls(turn, owners)?;
        if !done.is_empty() {
            let ours: Vec<_> = done.drain(..open.len().min(done.len())).collect();
            let has_media = done.first().is_some_and(|first| is_media_message(first));
            let media: Vec<_> = done.drain(..usize::from(has_media)).collect();
            return Ok([resume::answers(turn, ours), media].concat());
        }
        let begun = self
            .journal
            .as_mut()
            .and_then(|journal| journal.take_resumed());
        self.known = begun.map(|begun| known(&begun.calls)).unwrap_or_default();
        let mut results = self.batch(&catalog, None, &open, Approval::Given).await;
        let media = Vec::from_iter(media::message(results.iter_mut()));
        if !open.is_empty() {
            self.receipt.add_round(None, &results, &media);
            self.ran();
        }
        let results = results.into_iter().map(|result| result.message);
        let results: Vec<_> = results.collect();
        self.keeper.add(&results);
        self.keeper.add(&media);
        Ok([resume::answers(turn, results), media].concat())
    }
}

/// The results that these calls have.
fn known(calls: &[OpenCall]) -> Vec<Option<CallResult>> {
    let known = calls.iter();
    let known = known.map(|call| CallResult::of_kept(call.result.as_deref()?, call.media.clone()));
    known.collect()
}
