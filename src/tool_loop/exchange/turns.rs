//! The turns of an exchange: asks the model, once more without what its service rejects, and again
//! where a turn failed after tools had run.

use std::sync::Arc;

use http::{Response, StatusCode, response};
use tokio::time::sleep;
use tracing::{Instrument, Span};

use super::{Exchange, Stop, ends::ending};
use crate::{
    body::{self, McpBody, Read},
    chat::{Omitted, Turn},
    inner::InnerBody,
    name::short,
    tool_loop::{
        claim,
        delivery::{Delivery, NoTurn, Reading, Reply, is_readable, relay, reply},
        failure::{Failure, rejected, remembered::Asked, retry::Retries},
        headers,
        media::Takes,
        receipt::mark_incomplete,
        record::{Ending, TurnSummary},
        upstream::Upstream,
    },
    trace::StoppedBy,
};

/// What the model's service says to a turn.
enum Answered {
    /// Anything else, still to be read, and what was changed before it came.
    Fully(Response<InnerBody>, Changed),
    /// A rejection, as far as it was read.
    Rejected(response::Parts, Read<InnerBody>),
}

/// How a turn differs from what was asked for first.
#[derive(Clone, Default)]
struct Changed {
    /// Members are left out or put back, or old results.
    is_request: bool,
    /// These media of results are left out, and may be what the service does not take.
    refused_media: Option<Arc<[u64]>>,
}

/// Why one attempt at a turn gave none.
enum Missed {
    /// The exchange ends with this.
    Stop(Stop),
    /// The model's service failed, after tools had run.
    Failed(Failure),
}

impl Exchange {
    /// Asks the model, and reads its answer. Once tools have run, asks again where that can help.
    pub(crate) async fn turn(
        &mut self,
        upstream: &mut Upstream,
        delivery: &mut impl Delivery,
    ) -> Result<Turn, Stop> {
        let most = self.gateway.settings.turn_retries;
        let mut retries = Retries::new(most, self.budget.deadline());
        loop {
            let mut failure = match self.attempt(upstream, delivery).await {
                Ok(turn) => return Ok(turn),
                Err(Missed::Stop(stop)) => return Err(stop),
                Err(Missed::Failed(failure)) => failure,
            };
            self.count_failed(&mut failure);
            let wait = retries.wait(&failure);
            let Some(wait) = wait.filter(|_| self.receipt.tools_ran()) else {
                return Err(self.fail(failure, delivery).await);
            };
            tracing::info!(
                model = self.request.model.as_deref().map(short),
                status = failure.status.map(|status| status.as_u16()),
                wait_ms = wait.as_millis() as u64,
                "a turn failed after tools had run, and is asked for again"
            );
            delivery.alive(sleep(wait)).await;
        }
    }

    /// Asks the model once, and reads its answer.
    async fn attempt(
        &mut self,
        upstream: &mut Upstream,
        delivery: &mut impl Delivery,
    ) -> Result<Turn, Missed> {
        let is_late = self.is_late(delivery);
        let (mut response, changed) = match self.asked(upstream, delivery).await? {
            Answered::Fully(response, changed) => (response, changed),
            Answered::Rejected(mut parts, read) => {
                if self.is_incomplete {
                    mark_incomplete(&mut parts.headers);
                }
                return Err(self.no_turn(parts, read, delivery));
            }
        };
        if self.is_incomplete {
            mark_incomplete(response.headers_mut());
        }
        let is_success = response.status().is_success();
        let reading = Reading {
            limit: self.gateway.settings.limits.body_bytes,
            room: upstream.room(),
            tools_ran: is_late,
            asked: self.request.asked(),
        };
        let is_read = is_late || is_success && self.reads;
        let is_relayed = is_success && self.relays && headers::is_stream(response.headers());
        if is_success && (!is_read || is_relayed) {
            // Nobody here will see whether it is an error all the same.
            self.remember(&changed, upstream.path());
        }
        if !is_read {
            let reply = self.passed_on(response, reading);
            return Err(Missed::Stop(Stop::Reply(reply)));
        }
        if is_relayed {
            let (usage, last_words) = (self.request.include_usage, self.last_words());
            self.is_answered = true;
            let adds_usage = self.request.adds_usage();
            let chunk = (usage, adds_usage);
            let reply = relay::with_receipt(response, &self.record, reading, chunk, last_words);
            return Err(Missed::Stop(Stop::Reply(reply)));
        }
        match delivery.read(response, reading).await {
            Ok(mut turn) => {
                self.remember(&changed, upstream.path());
                self.count(&mut turn);
                turn.calls = claim::meant(turn.calls, &self.catalog);
                Ok(turn)
            }
            Err(NoTurn::Stream(failure)) => Err(Missed::Failed(failure)),
            Err(NoTurn::Whole(parts, read)) => Err(self.no_turn(parts, read, delivery)),
        }
    }

    /// Returns `true` if the answer of the model's service cannot go through as it comes any more.
    fn is_late(&self, delivery: &impl Delivery) -> bool {
        self.receipt.tools_ran() || delivery.has_begun()
    }

    /// Asks the model, and once more without what its service rejects of the request, or without old
    /// results where it is too long, if something can be left out; and once more without media of
    /// results, if it has any. All of it is one turn.
    async fn asked(
        &mut self,
        upstream: &mut Upstream,
        delivery: &mut impl Delivery,
    ) -> Result<Answered, Missed> {
        let turn = self.record.turn();
        let mut changed = Changed::default();
        loop {
            let answer = self.ask(upstream, delivery, &turn).await?;
            let status = answer.status();
            let may_omit = self.may_omit() && rejected::may_name(status);
            let may_change = !changed.is_request && (may_omit || self.may_shorten(status));
            let may_drop = rejected::may_be_media(status) && self.conversation.has_media();
            if !(may_change || may_drop) {
                return Ok(Answered::Fully(answer, changed));
            }
            let (parts, body) = answer.into_parts();
            let limit = self.gateway.settings.limits.body_bytes;
            let read = delivery.alive(body::read(body, limit, upstream.room()));
            let read = read.await;
            if may_change
                && (may_omit && self.omit_rejected(&parts, &read) || self.shorten(&parts, &read))
            {
                changed.is_request = true;
            } else if may_drop {
                changed.refused_media = self.drop_media(&parts, &read);
            } else {
                return Ok(Answered::Rejected(parts, read));
            }
        }
    }

    /// Remembers what a service has been asked without that has answered.
    fn remember(&self, changed: &Changed, path: &str) {
        let model = self.request.model.as_deref();
        let remembered = &self.gateway.remembered;
        if changed.is_request {
            let omitted = self.conversation.omitted_for_long();
            remembered.set(path, model, omitted);
        }
        let project = &self.project;
        let asked = Asked {
            project,
            path,
            model,
        };
        if self.conversation.has_media() {
            remembered.took_media(asked);
        } else if let Some(media) = &changed.refused_media
            && remembered.refused_media(asked, media)
        {
            tracing::info!(
                project = project.name(),
                model = model.map(short),
                "the model's service has refused other media before, and is shown none for an hour"
            );
        }
    }

    /// Leaves out what shows media of results, from now on. Returns what was left out, unless the
    /// rejection is about its size: a smaller one would be taken.
    fn drop_media(
        &mut self,
        parts: &response::Parts,
        read: &Read<InnerBody>,
    ) -> Option<Arc<[u64]>> {
        tracing::info!(
            model = self.request.model.as_deref().map(short),
            status = parts.status.as_u16(),
            "the model's service refused a turn with media of results, and is asked once more without"
        );
        let media = (!is_about_size(parts, read)).then(|| {
            let media = self.conversation.media();
            self.gateway.remembered.hashes_of(media)
        });
        self.takes = Takes::default();
        self.conversation.drop_media();
        media
    }

    async fn ask(
        &mut self,
        upstream: &mut Upstream,
        delivery: &mut impl Delivery,
        turn: &Span,
    ) -> Result<Response<InnerBody>, Missed> {
        let body = self.conversation.turn(self.receipt.tools_ran());
        let meter = self.record.asking(&body);
        let asked = upstream.ask(body).instrument(turn.clone());
        let answer = delivery.alive(asked).await;
        let status = answer.as_ref().map(Response::status);
        self.record.answering(status.ok());
        match answer {
            Ok(response) => Ok(match meter {
                Some(meter) => response.map(|body| meter.reading(body)),
                None => response,
            }),
            Err(error) if !self.is_late(delivery) => {
                let stop = self.end(Ending::UpstreamFailed, Stop::Inner(error));
                Err(Missed::Stop(stop))
            }
            Err(error) => {
                let error = upstream.describe(error);
                tracing::warn!(error, "the model's service failed after tools had run");
                Err(Missed::Failed(Failure::unanswered()))
            }
        }
    }

    /// Returns `true` if turns leave out what the service rejects: those of the loop, and a request to
    /// which something was added that the caller knows nothing of.
    pub(crate) fn may_omit(&self) -> bool {
        self.reads || self.request.adds_usage()
    }

    /// Leaves out what this rejection names, or puts back what it misses; returns `false` where the
    /// next turn would be the same.
    fn omit_rejected(&mut self, parts: &response::Parts, read: &Read<InnerBody>) -> bool {
        if !is_readable(parts, read) {
            return false;
        }
        let (body, tools_ran) = (read.bytes(), self.receipt.tools_ran());
        if body.len() > rejected::READ {
            return false;
        }
        let rejected = rejected::named(&body);
        let rejected = self.conversation.has(&self.request, rejected, tools_ran);
        let omitted = self.conversation.omitted();
        let wanted = match rejected.is_empty() && !omitted.is_empty() {
            true => rejected::mentioned(&body).common(omitted),
            false => Omitted::default(),
        };
        if rejected.is_empty() && wanted.is_empty() {
            return false;
        }
        tracing::info!(
            model = self.request.model.as_deref().map(short),
            left_out = names(rejected),
            put_back = names(wanted),
            status = parts.status.as_u16(),
            "the model's service rejected the request, and is asked once more"
        );
        self.omit(omitted.and(rejected).without(wanted));
        true
    }

    pub(crate) fn omit(&mut self, omitted: Omitted) {
        let tools = self.catalog.definitions();
        let tools_ran = self.receipt.tools_ran();
        self.conversation
            .omit(&self.request, &tools, omitted, tools_ran);
    }

    /// Passes on an answer that has nothing of ours in it, and is nothing to go on with.
    fn passed_on(&self, response: Response<InnerBody>, reading: Reading) -> Reply {
        if self.record.counts() {
            let adds_usage = self.request.adds_usage();
            return relay::passed_on(response, &self.record, reading, adds_usage);
        }
        self.record.end(match response.status().is_success() {
            true => Ending::PassedOn,
            false => Ending::UpstreamError,
        });
        response.map(McpBody::through)
    }

    /// The receipt of an exchange whose last turn goes to the caller as it comes.
    fn last_words(&self) -> relay::LastWords {
        let (catalog, own) = (self.catalog.clone(), self.request.tools.clone());
        let (budget, mut receipt) = (self.budget.spent(), self.receipt.clone());
        Box::new(move |turn| {
            let owners = claim::owners(&turn.calls, &catalog, &own);
            let reason = budget.stop(receipt.rounds(), &owners);
            let reason = reason.unwrap_or(StoppedBy::MaxRounds);
            receipt.add_usage(turn.usage.clone());
            let closing = match reason {
                StoppedBy::Final => receipt.closing(reason),
                _ => receipt.handed_back(reason),
            };
            (reason, closing.receipt.member)
        })
    }

    /// What an answer that is no turn comes to: before tools have run it goes through, then it is a
    /// failure.
    fn no_turn(
        &mut self,
        parts: response::Parts,
        read: Read<InnerBody>,
        delivery: &impl Delivery,
    ) -> Missed {
        if self.is_late(delivery) {
            return Missed::Failed(Failure::answered(parts, &read));
        }
        let ending = match parts.status.is_success() {
            true => Ending::Unreadable,
            false => Ending::UpstreamError,
        };
        let reply = reply::untouched(parts, read);
        Missed::Stop(Stop::Reply(self.end(ending, reply)))
    }

    /// Counts a turn that failed, though it may have cost something.
    fn count_failed(&mut self, failure: &mut Failure) {
        let usage = failure.usage.take();
        let has_usage = usage.is_some();
        if has_usage {
            let models = [self.request.model.as_deref(), None];
            self.receipt.add_turn(usage, models, &self.gateway.settings);
        }
        let summary = TurnSummary {
            usage: self.receipt.last_usage().filter(|_| has_usage),
            ..TurnSummary::default()
        };
        self.record.turn_failed(summary, ending(failure));
    }

    /// Counts a turn of the model, whose usage goes into the receipt.
    fn count(&mut self, turn: &mut Turn) {
        let models = [self.request.model.as_deref(), turn.model.as_deref()];
        let settings = &self.gateway.settings;
        self.receipt.add_turn(turn.usage.take(), models, settings);
        self.record.turn_ended(TurnSummary {
            model: turn.model.as_deref(),
            usage: self.receipt.last_usage(),
            finish_reason: turn.finish_reason.as_deref(),
            message: turn.message.as_deref(),
        });
    }
}

/// Returns `true` if a rejection says that there is too much of something.
fn is_about_size(parts: &response::Parts, read: &Read<InnerBody>) -> bool {
    let is_too_long = || {
        let body = read.bytes();
        body.len() <= rejected::READ && rejected::is_too_long(&body)
    };
    parts.status == StatusCode::PAYLOAD_TOO_LARGE || is_readable(parts, read) && is_too_long()
}

/// The names of these members; `None` if there are none.
fn names(members: Omitted) -> Option<String> {
    let names: Vec<_> = members.rows().map(|row| row.name).collect();
    (!names.is_empty()).then(|| names.join(", "))
}
