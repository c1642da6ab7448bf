//! A request that may be a repeat: finds what is kept of the first, and claims it once.
//!
//! | what is there | what is done |
//! |---|---|
//! | nothing | the exchange runs |
//! | steps that nobody holds | it goes on from the last one |
//! | a batch that was lost while it ran, and may not run twice | `outcome_unknown` |
//! | steps that another exchange holds | a request that says that it repeats waits; others run, where a replica holds them after another look |
//! | an answer, with a key | that answer |

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout};

use super::{
    exchanges::{READING, owner_of},
    gateway::Gateway,
    journal::{ExchangeJournal, KEYED_LIFE, LIFE},
    lease::{After, Lease, PATIENCE, PAUSES, Place},
    running::{Near, Runs},
};
use crate::{
    apart,
    caller::Caller,
    hex::hex,
    kept::{Journal, KeptAnswer, new_record},
    keyed::Keyed,
    name::short,
    refusal::{Kind, Refusal},
    registry::{ExchangeId, ExchangeOwner, ExchangeStore, StoredExchange},
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

/// The looks at an equal request of another replica, 0.3 s in all, before this one is taken for
/// another: whoever hangs up and asks again at once may be here before that replica has stored that
/// its caller is gone.
const LOOKS: u32 = 2;

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
    /// The looks at one of another replica.
    looks: u32,
}

/// What a request gets.
pub(crate) enum Claimed {
    /// It runs, from its beginning or from where another ended.
    Run(Box<ExchangeJournal>),
    /// The answer that there is.
    Answer(KeptAnswer),
    /// An error, with the figures of what was done.
    Refused(Refusal, Option<Box<RawValue>>),
}

/// What is to be done about what was found.
enum Found {
    Nothing,
    Steps(StoredExchange, Journal),
    Answer(KeptAnswer),
    /// These run.
    Running(Vec<ExchangeId>),
    /// One runs at another replica, where its caller may just have hung up.
    Elsewhere,
    Refused(Refusal, Option<Box<RawValue>>),
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
    fn is_none(&self) -> bool {
        self.ids.is_empty() && !self.is_near
    }
}

impl Repeat {
    /// A request with this path and body; `None` where nothing is kept.
    pub(crate) async fn of(
        gateway: &Gateway,
        caller: &Caller,
        headers: RepeatHeaders,
        path: &str,
        body: Bytes,
    ) -> Option<Self> {
        let exchanges = gateway.exchanges.clone()?;
        let Ok(Ok(key)) = timeout(PATIENCE, exchanges.key()).await else {
            return None;
        };
        let hash = Keyed::with_key(&key, "request").with(path);
        let hash = apart::read(body.len(), move || hash.with(body).finish()).await?;
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
        loop {
            match self.find(&awaited).await {
                Some(Found::Answer(answer)) => return Claimed::Answer(answer),
                Some(Found::Refused(refusal, done)) => return Claimed::Refused(refusal, done),
                Some(Found::Steps(stored, journal)) => {
                    if let Some(journal) = self.take(stored, journal).await {
                        return Claimed::Run(journal);
                    }
                    // Another repeat was faster.
                }
                Some(Found::Running(ids)) => awaited.ids = ids,
                Some(Found::Elsewhere) => awaited.looks += 1,
                // The store is away: the request runs as without one, unless another runs.
                None if awaited.is_none() => return Claimed::Run(self.unstored()),
                None => {}
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

    /// What there is for one who has waited for these; `None` if the store does not say.
    async fn find(&self, awaited: &Awaited) -> Option<Found> {
        let found = self.exchanges.find(&self.owner, &self.topic);
        // Steps can be large, and one who repeats would run again what it does not hear of.
        let patience = if self.waits { READING } else { PATIENCE };
        let found = timeout(patience, found).await.ok()?;
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
        let mut is_elsewhere = false;
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
                let is_awaited = self.waits || journal.is_forsaken;
                running.extend(is_awaited.then_some(stored.id));
                is_elsewhere |= !is_awaited && !self.near.runs();
            } else if journal.is_unknown() {
                unknown.get_or_insert(journal);
            } else {
                return Found::Steps(stored, journal);
            }
        }
        match unknown {
            _ if !running.is_empty() => Found::Running(running),
            Some(mut journal) => Found::Refused(outcome_unknown(&journal), journal.done.take()),
            None if is_elsewhere && awaited.looks < LOOKS => Found::Elsewhere,
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
        Some(self.journal(place, journal).held(lease))
    }

    /// Counts the exchange; `None` if it is to wait for another one.
    fn runs(&self) -> Option<Runs> {
        // Of those with one key one begins, by what is stored.
        self.near.begin(self.waits && !self.is_keyed)
    }

    /// A new journal. That of a key is stored at once, so that of many requests one begins; where it
    /// is not, the error is a journal that is not stored.
    async fn begin(&self, runs: Runs) -> Result<Box<ExchangeJournal>, Box<ExchangeJournal>> {
        let unstored = self.unstored().running(runs);
        if !self.is_keyed {
            return Ok(unstored);
        }
        let (place, journal) = (
            self.place(self.keyed_id()),
            Journal::of(self.request.clone()),
        );
        let Some(text) = journal.text() else {
            return Err(unstored);
        };
        let room = text.len();
        match Lease::take(place.clone(), None, text, room, After::Remove).await {
            Some(lease) => Ok(self.journal(place, journal).held(lease)),
            None => Err(unstored),
        }
    }

    /// A journal of which nothing is stored yet.
    fn unstored(&self) -> Box<ExchangeJournal> {
        let place = self.place(new_record());
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
    let message = "this idempotency-key came with another request before; a key stands for one request, so send this one with another";
    Refusal::new(Kind::IdempotencyKeyReused, message).at(KEY.as_str())
}

fn outcome_unknown(journal: &Journal) -> Refusal {
    let names: Vec<_> = journal.unknown().take(3).map(short).collect();
    let message = format!(
        "an equal request broke off while it ran {}, and nobody knows whether that was done; nothing has run again: look there, and then ask in other words",
        names.join(", ")
    );
    Refusal::new(Kind::OutcomeUnknown, message)
}

/// SDKs repeat this status, which is right here: nothing has run, and a repeat waits again.
fn still_running() -> Refusal {
    let message = "an equal request still runs; send this one again to wait for it";
    Refusal::new(Kind::Overloaded, message)
}
