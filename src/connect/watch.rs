//! Tells a store what became of looking at servers, for all replicas and for the operator.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::future::BoxFuture;
use tokio::time::timeout;

use crate::{
    inactive::Inactive,
    offer::Offer,
    registry::{
        Definition, Error, Failure, Gate, Observation, ObservationStore, Pins, Server, ServerId,
        Stage,
    },
};

/// How long an answer of the store may take: a request waits for it.
const ANSWER: Duration = Duration::from_secs(3);
/// How often one tries again after another replica was faster.
const TRIES: usize = 5;
/// How old the time of the last listing may get where nothing else has changed: a write that
/// says no more than that is not worth one for each listing.
const TOLD: Duration = Duration::from_secs(10 * 60);

/// [`ObservationStore`] behind a pointer.
trait Observations: Send + Sync {
    fn load<'a>(
        &'a self,
        organization: &'a str,
        server: &'a ServerId,
    ) -> BoxFuture<'a, Result<Option<Observation>, Error>>;

    fn save<'a>(
        &'a self,
        organization: &'a str,
        server: &'a ServerId,
        observation: &'a Observation,
    ) -> BoxFuture<'a, Result<bool, Error>>;
}

impl<S: ObservationStore> Observations for S {
    fn load<'a>(
        &'a self,
        organization: &'a str,
        server: &'a ServerId,
    ) -> BoxFuture<'a, Result<Option<Observation>, Error>> {
        Box::pin(self.observation(organization, server))
    }

    fn save<'a>(
        &'a self,
        organization: &'a str,
        server: &'a ServerId,
        observation: &'a Observation,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(self.observe(organization, server, observation))
    }
}

#[derive(Clone)]
pub(super) struct Watch(Arc<dyn Observations>);

impl Watch {
    pub(super) fn new(store: impl ObservationStore) -> Self {
        Self(Arc::new(store))
    }

    /// Notes what `server` has listed; what was accepted of it, by now.
    ///
    /// # Errors
    /// Where the store fails, and nobody has said what was accepted: what is to be withheld until
    /// somebody accepts it must not be offered because nobody could be asked.
    pub(super) async fn listed(
        &self,
        server: &Server,
        offers: &[Offer],
    ) -> Result<Option<Arc<Pins>>, Error> {
        let tools: Vec<(String, Definition)> = offers
            .iter()
            .map(|offer| (offer.tool.clone(), offer.listed.clone()))
            .collect();
        let noted = self.note(server, |observation, now| {
            observation.listed(server, &tools, now);
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
    pub(super) async fn failed(&self, server: &Server, failure: Failure) {
        let noted = self.note(server, |observation, _| {
            observation.failed(server, failure.clone());
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
            let known = in_time(self.0.load(organization, id)).await?;
            let known = known.unwrap_or_default();
            let mut now = known.clone();
            change(&mut now, SystemTime::now());
            if says_the_same(&known, &now) || in_time(self.0.save(organization, id, &now)).await? {
                return Ok(now);
            }
        }
        Err(Error::unavailable("others were faster each time"))
    }
}

/// Whether `now` says no more than that the tools were listed again, and soon after.
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

async fn in_time<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(ANSWER, answer)
        .await
        .unwrap_or_else(|elapsed| Err(Error::unavailable(elapsed)))
}

fn log(server: &Server, error: &Error) {
    let source = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(server = %server.name, %error, source, "what was seen of the server is not kept");
}

/// Notes that `server` could not be used, unless it is a caller's token that was at fault: what
/// one token is worth says nothing about the server.
pub(super) async fn note_failure(
    watch: Option<&Watch>,
    server: &Server,
    stage: Stage,
    reason: &Inactive,
) {
    if let (Some(watch), false) = (watch, reason.is_callers()) {
        let failure = Failure::new(stage, reason.clone(), SystemTime::now());
        watch.failed(server, failure).await;
    }
}
