//! The notes that connections leave in a store, for all replicas and for the operator.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    inactive::Inactive,
    offer::Offers,
    registry::{
        Definition, Error, Failure, Gate, Observation, ObservationStore, Pins, Server, Stage,
        Timeout,
    },
};

/// The number of attempts where another replica is faster.
const TRIES: usize = 5;
/// The age that the time of the last listing may reach while nothing else changes. It alone is not
/// worth a write for each listing: a store with thousands of servers would write all the time, to
/// say that nothing is new.
const TOLD: Duration = Duration::from_secs(10 * 60);

/// The store that receives every listing and every failure.
#[derive(Clone)]
pub(super) struct Watch(Arc<dyn ObservationStore>);

impl Watch {
    pub(super) fn new(store: impl ObservationStore) -> Self {
        Self(Arc::new(Timeout::new(store)))
    }

    /// Notes what `server` has listed; returns the accepted tools.
    ///
    /// # Errors
    /// The store's, unless the record says what was accepted, or that nothing is withheld: a tool
    /// that waits for approval must not be offered because of an outage.
    pub(super) async fn listed(
        &self,
        server: &Server,
        offers: &Offers,
    ) -> Result<Option<Arc<Pins>>, Error> {
        let tools: Vec<(String, Definition)> = offers
            .tools
            .iter()
            .map(|offer| (offer.tool.clone(), offer.listed.clone()))
            .collect();
        let said = offers.instructions.as_ref().map(|said| &*said.said);
        let noted = self.note(server, |observation, now| {
            observation.listed(server, &tools, now);
            observation.instructed(server, said);
        });
        match noted.await {
            Ok(observation) => Ok(observation.pins),
            Err(error) => {
                log(server, &error);
                let gates = [server.on_change, server.new_tools];
                let is_open = server.pins.is_some() || !gates.contains(&Some(Gate::Block));
                if is_open { Ok(None) } else { Err(error) }
            }
        }
    }

    /// Notes that `server` could not be used.
    async fn failed(&self, server: &Server, failure: Failure, effect: Effect) {
        let noted = self.note(server, |observation, _| match effect {
            Effect::Refused => observation.refused(server, failure.clone()),
            Effect::Counted => observation.failed(server, failure.clone()),
        });
        if let Err(error) = noted.await {
            log(server, &error);
        }
    }

    async fn note(
        &self,
        server: &Server,
        change: impl Fn(&mut Observation, SystemTime),
    ) -> Result<Observation, Error> {
        let (organization, id) = (&server.organization, &server.id);
        for _ in 0..TRIES {
            let known = self.0.observation(organization, id).await?;
            let known = known.unwrap_or_default();
            let mut now = known.clone();
            change(&mut now, SystemTime::now());
            if says_the_same(&known, &now) || self.0.observe(organization, id, &now).await? {
                return Ok(now);
            }
        }
        Err(Error::unavailable("others were faster each time"))
    }
}

/// Returns `true` if `now` says no more than that the tools were listed again, and soon after.
fn says_the_same(known: &Observation, now: &Observation) -> bool {
    let (Some(before), Some(at)) = (known.listed_at, now.listed_at) else {
        return false;
    };
    let is_soon = at.duration_since(before).is_ok_and(|since| since < TOLD);
    let later = Observation {
        listed_at: now.listed_at,
        ..known.clone()
    };
    is_soon && later == *now
}

fn log(server: &Server, error: &Error) {
    let source = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(server = %server.name, %error, source, "what was seen of the server is not kept");
}

/// What a failure means for callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// They are refused, until the server was listed again.
    Refused,
    /// They go on with the tools that are known.
    Counted,
}

/// Notes that `server` could not be used, unless it is a caller's token that was at fault: what
/// one token is worth says nothing about the server.
pub(super) async fn note_failure(
    watch: Option<&Watch>,
    server: &Server,
    stage: Stage,
    reason: &Inactive,
    detail: Option<&str>,
    effect: Effect,
) {
    if let (Some(watch), false) = (watch, reason.is_callers()) {
        let mut failure = Failure::new(stage, reason.clone(), SystemTime::now());
        failure.detail = detail.map(ToOwned::to_owned);
        watch.failed(server, failure, effect).await;
    }
}
