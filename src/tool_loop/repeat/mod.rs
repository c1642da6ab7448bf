//! A request that may be a repeat: finds what is kept of the first, and claims it once.
//!
//! | what is there | what is done |
//! |---|---|
//! | nothing | the exchange runs |
//! | steps that nobody holds | it goes on from the last one |
//! | a batch that was lost while it ran, and may not run twice | `outcome_unknown` |
//! | steps that another exchange holds | a request that says that it repeats waits; others run, once it is seen that the holder lives |
//! | an answer, with a key | that answer |

pub(crate) mod again;
pub(crate) mod taken;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use tokio::time::{Instant, sleep};

use super::{
    gateway::Gateway,
    journal::{ExchangeJournal, KEYED_LIFE, LIFE},
    running::{Near, Runs},
    store::{After, Lease, PATIENCE, PAUSES, Place, READING, owner_of},
};
use crate::{
    apart,
    caller::Caller,
    hex::hex,
    kept::{DoneSteps, Journal, KeptAnswer},
    keyed::{Digest, Keyed},
    name::short,
    refusal::{Kind, Refusal},
    registry::{ExchangeId, ExchangeOwner, ExchangeStore, StoredExchange},
    within::within,
};

/// The header with a name of the caller's own for a request.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The header in which SDKs count their repeats.
const RETRIES: HeaderName = HeaderName::from_static("x-stainless-retry-count");

/// The longest key in bytes, as in other APIs with such a header.
const KEY_LEN: usize = 255;

/// The attempts to store the journal of a key once more: where one failed, another request may have
/// it.
const ATTEMPTS: u32 = 2;

/// The headers that say something about repeats.
#[derive(Debug, Default)]
pub(crate) struct RepeatHeaders {
    key: Option<Vec<u8>>,
    /// An SDK says that it sends the request again.
    is_retry: bool,
}

/// A request as it is found again.
pub(crate) struct Repeat {
    exchanges: Arc<dyn ExchangeStore>,
    owner: ExchangeOwner,
    topic: [u8; 32],
    /// A hash of path and body.
    request: String,
    is_keyed: bool,
    /// It waits for an equal request that still runs.
    waits: bool,
    near: Near,
}

/// Equal requests that were seen to run.
#[derive(Default)]
struct Awaited {
    ids: Vec<ExchangeId>,
    /// One in this process, of which nothing was stored yet.
    is_near: bool,
    /// Those of other processes, as they were first seen: a holder that lives renews its lease, and
    /// with it the version.
    seen: Vec<(ExchangeId, u64)>,
    /// They are told that somebody waits.
    is_told: bool,
}

/// What a request gets.
pub(crate) enum Claimed {
    /// It runs, from its beginning or from where another ended.
    Run(Box<ExchangeJournal>),
    /// The answer that there is.
    Answer(KeptAnswer),
    /// An error, with what was done.
    Refused(Refusal, Option<DoneSteps>),
}

/// What is to be done about what was found.
enum Found {
    Nothing,
    Steps(StoredExchange, Journal),
    Answer(KeptAnswer),
    /// These run.
    Running(Vec<ExchangeId>),
    /// These are held by processes that may be dead.
    Doubtful(Vec<(ExchangeId, u64)>),
    Refused(Refusal, Option<DoneSteps>),
}

impl RepeatHeaders {
    /// Reads them, and takes off the key: what it stands for is this request and not its turns.
    ///
    /// # Errors
    /// A key that is none.
    pub(crate) fn take(headers: &mut HeaderMap) -> Result<Self, Refusal> {
        let retries = headers.get(RETRIES).and_then(|count| count.to_str().ok());
        let is_retry = retries.and_then(|count| count.trim().parse().ok()) > Some(0_u64);
        let is_once = headers.get_all(KEY).iter().count() < 2;
        let key = headers.remove(KEY).map(|key| key.as_bytes().to_vec());
        let is_good = key
            .as_ref()
            .is_none_or(|key| (1..=KEY_LEN).contains(&key.len()));
        if !is_once || !is_good {
            let fault = format!("must be given once, with 1 to {KEY_LEN} bytes");
            return Err(Refusal::invalid_option(KEY.as_str(), &fault));
        }
        Ok(Self { key, is_retry })
    }
}

impl Awaited {
    fn see(&mut self, found: Vec<(ExchangeId, u64)>) {
        for (id, version) in found {
            if !self.seen.iter().any(|(seen, _)| *seen == id) {
                self.seen.push((id, version));
            }
        }
    }

    /// Returns `true` unless the holder has written since the record was first seen.
    fn may_be_dead(&self, stored: &StoredExchange) -> bool {
        let seen = self.seen.iter().find(|(id, _)| *id == stored.id);
        seen.is_none_or(|(_, version)| *version == stored.version)
    }
}

impl Repeat {
    /// A request with this path, body and hash of what is asked for outside of it; `None` where nothing
    /// is kept.
    pub(crate) async fn of(
        gateway: &Gateway,
        caller: &Caller,
        headers: RepeatHeaders,
        path: &str,
        (body, asked): (Bytes, Option<Digest>),
    ) -> Option<Self> {
        let exchanges = gateway.exchanges.clone()?;
        let size = body.len();
        let Ok(Ok(key)) = within(PATIENCE, exchanges.key()).await else {
            return None;
        };
        let hash = Keyed::with_key(&key, "request").with(path);
        let hash = move || match (hash.with_long(&key, &body), asked) {
            (hash, Some(asked)) => hash.with(asked).finish(),
            (hash, None) => hash.finish(),
        };
        let hash = apart::read(size, hash).await?;
        let owner = owner_of(caller, &key);
        let topic = match &headers.key {
            Some(name) => {
                let topic = Keyed::with_key(&key, "idempotency key");
                topic.with(owner.caller).with(name).finish()
            }
            None => hash,
        };
        let near = Keyed::without_key("near").with(owner.caller).with(topic);
        let near = Near {
            running: gateway.running.clone(),
            request: near.finish(),
        };
        Some(Self {
            exchanges,
            owner,
            topic,
            request: hex(&hash),
            is_keyed: headers.key.is_some(),
            waits: headers.key.is_some() || headers.is_retry,
            near,
        })
    }

    /// Claims what is kept of an equal request, and waits until `ends` for one that still runs.
    pub(crate) async fn claim(&self, ends: Instant) -> Claimed {
        let [mut pause, longest] = PAUSES;
        let mut awaited = Awaited::default();
        let mut failures = 0;
        // Whoever waits has what ends meanwhile and cannot be stored.
        let _awaits = self.waits.then(|| self.near.wait());
        if self.waits {
            self.await_end(&mut awaited, ends).await;
        }
        loop {
            if let Some(left) = self.left() {
                return left;
            }
            match self.find(&awaited).await {
                Some(Found::Answer(answer)) => return Claimed::Answer(answer),
                Some(Found::Refused(refusal, done)) => return Claimed::Refused(refusal, done),
                Some(Found::Steps(stored, journal)) => {
                    if let Some(journal) = self.take(stored, journal).await {
                        return Claimed::Run(journal);
                    }
                    // Another repeat was faster.
                }
                Some(Found::Running(ids)) => {
                    self.await_end(&mut awaited, ends).await;
                    awaited.ids = ids;
                }
                Some(Found::Doubtful(seen)) => awaited.see(seen),
                // The store is away: the request runs as without one, unless another runs.
                None if !awaited.ids.is_empty() => {}
                None if !self.waits => {
                    let runs = self.near.runs_anyway();
                    return Claimed::Run(self.unstored().running(runs));
                }
                None => match self.near.begin_unstored() {
                    Some(runs) => return Claimed::Run(self.unstored().running(runs)),
                    None => awaited.is_near = true,
                },
                Some(Found::Nothing) => match self.runs() {
                    None => awaited.is_near = true,
                    Some(runs) => match self.begin(runs).await {
                        Ok(journal) => return Claimed::Run(journal),
                        Err(journal) if failures == ATTEMPTS => return Claimed::Run(journal),
                        Err(_) => failures += 1,
                    },
                },
            }
            if Instant::now() + pause > ends {
                return Claimed::Refused(still_running(), None);
            }
            sleep(pause).await;
            pause = longest.min(pause * 2);
        }
    }

    /// Tells those who run, also at other processes, that somebody waits for their answers. Those with
    /// a key are always kept.
    async fn await_end(&self, awaited: &mut Awaited, ends: Instant) {
        if !(self.is_keyed || awaited.is_told) {
            awaited.is_told = true;
            let time = ends.saturating_duration_since(Instant::now());
            // The note has an id of its own, made from the topic.
            let place = self.place(self.keyed_id());
            place.await_end(time).await;
        }
    }

    /// What there is for one who has waited for these; `None` if the store does not say.
    async fn find(&self, awaited: &Awaited) -> Option<Found> {
        let found = self.exchanges.find(&self.owner, &self.topic);
        // Steps can be large, and one who repeats would run again what it does not hear of.
        let patience = if self.waits { READING } else { PATIENCE };
        let found = within(patience, found).await.ok()?;
        let found = found
            .inspect_err(|error| tracing::warn!(%error, "the store of exchanges failed"))
            .ok()?;
        let read = |stored: StoredExchange| {
            let journal = Journal::parse(&stored.data)?;
            Some((stored, journal))
        };
        let size = found.iter().map(|stored| stored.data.len()).sum();
        let read = apart::read(size, move || found.into_iter().filter_map(read).collect());
        let found: Vec<_> = read.await?;
        Some(self.choose(found, awaited))
    }

    fn choose(&self, found: Vec<(StoredExchange, Journal)>, awaited: &Awaited) -> Found {
        let mut unknown = None;
        let mut running = Vec::new();
        let mut doubtful = Vec::new();
        let is_here = self.near.is_here();
        for (stored, journal) in found {
            if journal.request != self.request {
                return Found::Refused(reused(), None);
            }
            if let Some(answer) = journal.answer {
                // Without a key, an equal request after a finished one is another.
                if self.is_keyed || awaited.is_near || awaited.ids.contains(&stored.id) {
                    return Found::Answer(answer);
                }
            } else if stored.is_leased {
                if self.waits || journal.is_forsaken {
                    running.push(stored.id);
                } else if !is_here && awaited.may_be_dead(&stored) {
                    doubtful.push((stored.id, stored.version));
                }
            } else if journal.is_unknown() {
                unknown.get_or_insert(journal);
            } else {
                return Found::Steps(stored, journal);
            }
        }
        match unknown {
            _ if !running.is_empty() => Found::Running(running),
            _ if !doubtful.is_empty() => Found::Doubtful(doubtful),
            Some(mut journal) => Found::Refused(outcome_unknown(&journal), journal.done.take()),
            None => Found::Nothing,
        }
    }

    /// Takes the steps that nobody holds.
    async fn take(&self, stored: StoredExchange, journal: Journal) -> Option<Box<ExchangeJournal>> {
        let journal = journal.taken_over();
        let text = journal.text()?;
        let place = self.place(stored.id);
        let (version, room) = (Some(stored.version), text.len());
        let lease = Lease::take(place.clone(), version, text, room, After::Release).await?;
        let held = self.journal(place, journal).held(lease);
        Some(held.running(self.near.runs_anyway()))
    }

    /// What an exchange of this process has left that could not be stored.
    fn left(&self) -> Option<Claimed> {
        let (mut journal, runs) = self.near.left(&self.request)?;
        Some(match (journal.answer.take(), runs) {
            _ if journal.request != self.request => Claimed::Refused(reused(), None),
            (Some(answer), _) => Claimed::Answer(answer),
            (None, Some(runs)) => {
                let goes_on = self.journal(self.place(ExchangeId::random()), journal.taken_over());
                Claimed::Run(goes_on.running(runs))
            }
            (None, None) => Claimed::Refused(outcome_unknown(&journal), journal.done.take()),
        })
    }

    /// Counts the exchange; `None` if it is to wait for another one.
    fn runs(&self) -> Option<Runs> {
        self.near.begin(self.waits)
    }

    /// A new journal. That of a key is stored at once, so that of many requests one begins; where it
    /// is not, the error is a journal that is not stored.
    async fn begin(&self, runs: Runs) -> Result<Box<ExchangeJournal>, Box<ExchangeJournal>> {
        if !self.is_keyed {
            return Ok(self.unstored().running(runs));
        }
        let (place, journal) = (
            self.place(self.keyed_id()),
            Journal::of(self.request.clone()),
        );
        let text = journal.text();
        let lease = match text {
            Some(text) => {
                let room = text.len();
                Lease::take(place.clone(), None, text, room, After::Remove).await
            }
            None => None,
        };
        match lease {
            Some(lease) => Ok(self.journal(place, journal).held(lease).running(runs)),
            None => Err(self.unstored().running(runs)),
        }
    }

    /// A journal of which nothing is stored yet.
    fn unstored(&self) -> Box<ExchangeJournal> {
        let place = self.place(ExchangeId::random());
        self.journal(place, Journal::of(self.request.clone()))
    }

    fn journal(&self, place: Place, journal: Journal) -> Box<ExchangeJournal> {
        ExchangeJournal::new(place, journal, self.is_keyed, self.near.clone())
    }

    /// The one id of a key.
    fn keyed_id(&self) -> ExchangeId {
        let mut id = ExchangeId([0; 12]);
        id.0.copy_from_slice(&self.topic[..12]);
        id
    }

    fn place(&self, id: ExchangeId) -> Place {
        Place {
            exchanges: self.exchanges.clone(),
            owner: self.owner.clone(),
            id,
            topic: Some(self.topic),
            life: Some(if self.is_keyed { KEYED_LIFE } else { LIFE }),
        }
    }
}

fn reused() -> Refusal {
    let message = "this idempotency-key came with another request before; send each request with a key of its own";
    Refusal::new(Kind::IdempotencyKeyReused, message).at(KEY.as_str())
}

fn outcome_unknown(journal: &Journal) -> Refusal {
    let names: Vec<_> = journal.unknown().take(3).map(short).collect();
    let message = format!(
        "an equal request was lost while it ran {}, and nobody knows whether that took effect; nothing was run again: check, and to run it anew send the request with a new idempotency-key",
        names.join(", ")
    );
    Refusal::new(Kind::OutcomeUnknown, message)
}

/// SDKs repeat this status, which is right here: nothing has run, and a repeat waits again.
fn still_running() -> Refusal {
    let message = "an equal request still runs; send this one again to wait for it";
    Refusal::new(Kind::Overloaded, message)
}
