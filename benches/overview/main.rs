//! What the overview costs an exchange, and how long it takes to read over a million of them.
//!
//! ```text
//! cargo bench --bench overview
//! MCP_LAYER_DATABASE=postgres://user@host/database cargo bench --bench overview
//! ```
//!
//! `record` is the time of an exchange in the sink. Then a million of them over the last 90 days, of
//! twenty projects and models and of ten servers with five tools each, are written to SQLite, or to
//! the database of the variable, which must be empty; and each range is read, of all projects and of
//! one, as the page does: with what came before, over time, and by name.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on fails")]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mcp_layer::registry::overview::{
    Breakdown, Figures, Grain, MemoryOverview, Overview, OverviewRange, OverviewSink, OverviewSpan,
    OverviewStore, Sums,
};
use mcp_layer::registry::{BoxFuture, Error, SqlRegistry};
use mcp_layer::secret::KeyRing;
use mcp_layer::trace::{
    CallOutcome, CallStep, Outcome, Step, Timing, Trace, TraceId, TraceSink, TurnStep,
};
use serde_json::json;
use tokio::runtime::Runtime;

const EXCHANGES: u64 = 1_000_000;
const DAYS: u64 = 90;
const DAY: u64 = 24 * 60 * 60;
/// Exchanges between two writes.
const WRITE: u64 = 500;
/// Reads of each range, of which the median and the longest are told.
const READS: usize = 21;

/// An exchange with two turns and two calls, as many have.
fn exchange(number: u64, started_at: SystemTime) -> Arc<Trace> {
    let outcome = match number % 50 {
        0 => Outcome::UpstreamError,
        _ => Outcome::Ok,
    };
    let project = format!("project-{}", number % 20);
    let id = TraceId::new(started_at);
    let mut trace = Trace::new(id, "default", project, started_at, outcome);
    trace.model = Some(format!("model-{}", number / 7 % 20).into());
    trace.servers = vec![format!("server-{}", number / 3 % 10)];
    trace.duration = Duration::from_millis(number * 7919 % 20_000);
    let usage = json!({"prompt_tokens": 1200, "completion_tokens": 150, "cost": 0.0042});
    trace.usage = usage.as_object().cloned();
    let timing = Timing {
        start: Duration::ZERO,
        duration: Duration::from_millis(number * 31 % 4000),
    };
    let turn = |turn| Step::Turn(TurnStep::new(timing, turn));
    let call = |tool: u64| {
        let mut call = CallStep::new(timing, "call_1", "name", CallOutcome::Ok);
        call.server = Some(format!("server-{}", number / 3 % 10));
        call.tool = Some(format!("tool-{}", tool % 5));
        Step::Call(call)
    };
    Arc::new(trace.with_steps(vec![turn(1), call(number), call(number + 1), turn(2)]))
}

/// A store without the minutes of long ago, which a sweep would remove.
struct Recent(SqlRegistry, SystemTime);

impl OverviewStore for Recent {
    fn put<'a>(&'a self, sums: &'a [Sums]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let oldest = self.1 - Grain::Minute.life();
            let is_kept = |sums: &&Sums| sums.grain != Grain::Minute || sums.start >= oldest;
            let kept: Vec<_> = sums.iter().filter(is_kept).cloned().collect();
            self.0.put(&kept).await
        })
    }

    fn figures<'a>(
        &'a self,
        span: OverviewSpan<'a>,
    ) -> BoxFuture<'a, Result<Vec<(SystemTime, Figures)>, Error>> {
        self.0.figures(span)
    }

    fn breakdown<'a>(&'a self, span: OverviewSpan<'a>) -> BoxFuture<'a, Result<Breakdown, Error>> {
        self.0.breakdown(span)
    }

    fn remove_before(&self, grain: Grain, time: SystemTime) -> BoxFuture<'_, Result<(), Error>> {
        self.0.remove_before(grain, time)
    }
}

fn main() {
    Runtime::new().unwrap().block_on(async {
        record();
        let folder = std::env::temp_dir().join(format!("overview-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let sqlite = format!("sqlite://{}", folder.join("overview.db").display());
        let url = std::env::var("MCP_LAYER_DATABASE").unwrap_or(sqlite);
        let registry = SqlRegistry::open(&url, KeyRing::generate()).await.unwrap();
        let now = SystemTime::now();
        write(&registry, now).await;
        for (hours, said) in [
            (1, "1 h"),
            (24, "24 h"),
            (7 * 24, "7 d"),
            (720, "30 d"),
            (2160, "90 d"),
        ] {
            for project in [None, Some("project-7")] {
                read(&registry, project, hours, said, now).await;
            }
        }
        drop(registry);
        std::fs::remove_dir_all(&folder).unwrap();
    });
}

fn record() {
    let now = SystemTime::now();
    let exchanges: Vec<_> = (0..1000).map(|number| exchange(number, now)).collect();
    let sink = OverviewSink::new(MemoryOverview::default());
    let begun = Instant::now();
    for number in 0..EXCHANGES as usize {
        sink.record(&exchanges[number % exchanges.len()]);
    }
    println!(
        "record: {:?} an exchange",
        begun.elapsed() / EXCHANGES as u32
    );
}

async fn write(registry: &SqlRegistry, now: SystemTime) {
    let begun = Instant::now();
    let sink = OverviewSink::new(Recent(registry.clone(), now));
    let step = Duration::from_secs(DAYS * DAY) / EXCHANGES as u32;
    for number in 0..EXCHANGES {
        let ago = step * (EXCHANGES - number) as u32;
        sink.record(&exchange(number, now - ago));
        if number % WRITE == WRITE - 1 {
            sink.flush().await;
        }
    }
    sink.flush().await;
    println!("{EXCHANGES} exchanges written within {:?}", begun.elapsed());
}

async fn read(
    registry: &SqlRegistry,
    project: Option<&str>,
    hours: u64,
    said: &str,
    now: SystemTime,
) {
    let range = OverviewRange::new(now - Duration::from_secs(hours * 60 * 60), now, now);
    let mut times = Vec::new();
    let mut found = 0;
    for _ in 0..READS {
        let begun = Instant::now();
        let read = Overview::read(registry, "default", project, &range, now).await;
        times.push(begun.elapsed());
        found = read.unwrap().totals.exchanges;
    }
    times.sort_unstable();
    let (median, longest) = (times[READS / 2], times[READS - 1]);
    let of = project.unwrap_or("all projects");
    println!("read {said}, {of}: {median:?}, at most {longest:?}, {found} exchanges");
}
