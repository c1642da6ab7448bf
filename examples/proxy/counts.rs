//! What the proxy counts beside what the library counts of exchanges: requests as callers see them, and
//! answers of the upstream.

use std::{fmt, sync::Arc, time::Instant};

use http::StatusCode;
use prometheus_client::{
    encoding::prometheus_text::encode,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::process;

/// The bounds of durations in seconds, from an answer of the proxy's own to the upstream's timeout.
const BUCKETS: [f64; 14] = [
    0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0,
];

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Tools: the request opts in, or tried to.
    Exchange,
    /// The upstream, and nothing of ours.
    PassThrough,
    /// What the proxy answers alone: the list of servers, and requests that it refuses.
    Own,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Exchange => "exchange",
            Self::PassThrough => "pass_through",
            Self::Own => "own",
        }
    }
}

type Word = [(&'static str, &'static str); 1];
/// A status; none where there was no answer.
type Status = [(&'static str, Option<u16>); 1];

/// The counts. Clones count together.
#[derive(Clone)]
pub struct Counts(Arc<Families>);

struct Families {
    /// All of the following, with names.
    registry: Registry,
    requests: Family<(Word, Status), Counter>,
    durations: Family<Word, Histogram, fn() -> Histogram>,
    upstream: Family<Status, Counter>,
}

impl Default for Counts {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("mcp_proxy");
        let requests = Family::default();
        registry.register(
            "requests",
            "Requests of callers, by what they were for and the status of their answers",
            requests.clone(),
        );
        let durations = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> _);
        registry.register_with_unit(
            "request_duration",
            "From the head of a request to the end of its answer",
            Unit::Seconds,
            durations.clone(),
        );
        let upstream = Family::default();
        registry.register(
            "upstream_answers",
            "Answers of the model's service, by their status; none where it did not answer",
            upstream.clone(),
        );
        Self(Arc::new(Families {
            registry,
            requests,
            durations,
            upstream,
        }))
    }
}

impl Counts {
    /// Begins to count a request, which is counted when this is dropped.
    pub fn request(&self) -> Counted {
        Counted {
            counts: self.clone(),
            begun: Instant::now(),
            kind: Kind::Own,
            status: None,
        }
    }

    /// Counts an answer of the upstream; `None` if there was none.
    pub fn upstream(&self, status: Option<StatusCode>) {
        let status = status.map(|status| status.as_u16());
        self.0.upstream.get_or_create(&[("status", status)]).inc();
    }

    /// Writes all counts, what was built, and what the process uses.
    pub fn write(&self, text: &mut String) {
        if let Err(error) = encode(text, &self.0.registry) {
            tracing::error!(%error, "the proxy's metrics cannot be written");
        }
        text.push_str(BUILD);
        process::write(text);
    }
}

const BUILD: &str = concat!(
    "# HELP mcp_proxy_build_info The version of the program.\n",
    "# TYPE mcp_proxy_build_info gauge\n",
    "mcp_proxy_build_info{version=\"",
    env!("CARGO_PKG_VERSION"),
    "\"} 1\n"
);

/// A request that is being answered.
pub struct Counted {
    counts: Counts,
    begun: Instant,
    kind: Kind,
    status: Option<u16>,
}

impl Counted {
    /// The answer has begun.
    pub fn answered(&mut self, kind: Kind, status: StatusCode) {
        (self.kind, self.status) = (kind, Some(status.as_u16()));
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let families = &*self.counts.0;
        let kind = [("kind", self.kind.word())];
        let labels = (kind, [("status", self.status)]);
        families.requests.get_or_create(&labels).inc();
        let took = self.begun.elapsed().as_secs_f64();
        families.durations.get_or_create(&kind).observe(took);
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").finish_non_exhaustive()
    }
}
