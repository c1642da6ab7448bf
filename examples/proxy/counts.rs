//! What the proxy counts beside what the library counts of exchanges: requests as callers see them, and
//! answers of the upstream.

use std::{
    fmt::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use http::StatusCode;
use prometheus_client::{
    encoding::prometheus_text::encode,
    metrics::{family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::process;

/// The bounds of durations in seconds, from an answer of the proxy's own to the upstream's timeout.
const BUCKETS: [f64; 14] = [
    0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0,
];

/// All kinds, each at its number.
const KINDS: [Kind; 3] = [Kind::Exchange, Kind::PassThrough, Kind::Own];

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

/// How often each status was answered; the first is for none. They are counted for each request, so
/// without a lock and without a look at names.
struct Statuses([AtomicU64; 1000]);

impl Statuses {
    const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; 1000])
    }

    fn count(&self, status: Option<StatusCode>) {
        let status = status.map_or(0, |status| usize::from(status.as_u16()));
        // A status has three digits.
        if let Some(count) = self.0.get(status) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes those that were counted; `begins` is the name, with the labels before the status.
    fn write(&self, text: &mut String, begins: &str) {
        for (status, count) in self.0.iter().enumerate() {
            let count = count.load(Ordering::Relaxed);
            let status: &dyn fmt::Display = if status == 0 { &"" } else { &status };
            if count > 0 {
                // Writing into a string does not fail.
                let _ = writeln!(text, "{begins}status=\"{status}\"}} {count}");
            }
        }
    }
}

/// The counts. Clones count together.
#[derive(Clone)]
pub struct Counts(Arc<All>);

struct All {
    requests: [Statuses; 3],
    upstream: Statuses,
    durations: [Histogram; 3],
    /// The durations with their names.
    registry: Registry,
}

impl Default for Counts {
    fn default() -> Self {
        let family = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> _);
        let durations = KINDS.map(|kind| family.get_or_create_owned(&[("kind", kind.word())]));
        let mut registry = Registry::with_prefix("mcp_proxy");
        registry.register_with_unit(
            "request_duration",
            "From the head of a request to the end of its answer",
            Unit::Seconds,
            family,
        );
        Self(Arc::new(All {
            requests: KINDS.map(|_| Statuses::new()),
            upstream: Statuses::new(),
            durations,
            registry,
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
        self.0.upstream.count(status);
    }

    /// Writes all counts, what was built, and what the process uses.
    pub fn write(&self, text: &mut String) {
        text.push_str(REQUESTS);
        for kind in KINDS {
            let begins = format!("mcp_proxy_requests_total{{kind=\"{}\",", kind.word());
            self.0.requests[kind as usize].write(text, &begins);
        }
        text.push_str(UPSTREAM);
        self.0
            .upstream
            .write(text, "mcp_proxy_upstream_answers_total{");
        if let Err(error) = encode(text, &self.0.registry) {
            tracing::error!(%error, "the proxy's durations cannot be written");
        }
        text.push_str(BUILD);
        process::write(text);
    }
}

const REQUESTS: &str = "\
# HELP mcp_proxy_requests_total Requests of callers, by what they were for and the status of their answers.
# TYPE mcp_proxy_requests_total counter
";
const UPSTREAM: &str = "\
# HELP mcp_proxy_upstream_answers_total Answers of the model's service by status; none where there was none.
# TYPE mcp_proxy_upstream_answers_total counter
";
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
    status: Option<StatusCode>,
}

impl Counted {
    /// The answer has begun.
    pub fn answered(&mut self, kind: Kind, status: StatusCode) {
        (self.kind, self.status) = (kind, Some(status));
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let kind = self.kind as usize;
        self.counts.0.requests[kind].count(self.status);
        let took = self.begun.elapsed().as_secs_f64();
        self.counts.0.durations[kind].observe(took);
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").finish_non_exhaustive()
    }
}
