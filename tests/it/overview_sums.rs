//! The figures of the overview are those of the records, whatever happens.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mcp_layer::registry::MemoryTraces;
use mcp_layer::registry::overview::{MemoryOverview, OverviewSink, OverviewStore};
use mcp_layer::secret::KeyRing;
use mcp_layer::trace::{Trace, TraceSink};
use serde_json::json;

use crate::support::dice::Dice;
use crate::support::directory::Directory;
use crate::support::gateway::{Gateway, auto};
use crate::support::model::{calls, says};
use crate::support::overview::{Tally, exchange, exchanges, read, records};
use crate::support::sql::{intruder, open, run};

/// Holds the figures of all and of one project against the records.
async fn agree(overview: &impl OverviewStore, records: &[Trace]) {
    for hours in [24, 7 * 24, 90 * 24] {
        let read = read(overview, None, hours).await;
        assert_eq!(Tally::read(&read), Tally::of(records), "{hours}");
    }
    for project in ["web", "<b>&\"'"] {
        let of = |trace: &&Trace| &*trace.project == project;
        let records: Vec<_> = records.iter().filter(of).cloned().collect();
        let read = read(overview, Some(project), 24).await;
        assert_eq!(Tally::read(&read), Tally::of(&records), "{project}");
        let durations = &read.totals.durations;
        let mut exact: Vec<_> = records.iter().map(|trace| trace.duration).collect();
        exact.sort_unstable();
        for (of, rank) in [
            (0.5, exact.len().div_ceil(2)),
            (0.95, (exact.len() * 95).div_ceil(100)),
        ] {
            let exact = exact[rank - 1].as_secs_f64();
            let found = durations.quantile(of).unwrap().as_secs_f64();
            assert!(
                (found - exact).abs() <= exact * 0.05,
                "{of}: {found} {exact}"
            );
        }
    }
}

#[tokio::test]
async fn in_memory_figures_are_the_sums_of_the_records() {
    let (traces, overview) = (MemoryTraces::default(), MemoryOverview::default());
    let sink = OverviewSink::new(overview.clone());
    for exchange in exchanges(1, 900, 20) {
        traces.record(&exchange);
        sink.record(&exchange);
    }
    sink.flush().await;
    agree(&overview, &records(&traces).await).await;
}

#[tokio::test]
async fn in_a_database_figures_of_two_processes_are_the_sums_of_the_records() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let (one, other) = (open(&url, &ring).await, open(&url, &ring).await);
    let sinks = [one.clone(), other.clone()].map(OverviewSink::new);
    for (number, exchange) in exchanges(2, 900, 20).into_iter().enumerate() {
        one.record(&exchange);
        sinks[number % 2].record(&exchange);
        if number % 300 == 7 {
            sinks[number % 2].flush().await;
        }
    }
    for sink in &sinks {
        sink.flush().await;
    }
    one.flush_traces().await;
    agree(&other, &records(&one).await).await;
    drop((sinks, one, other));
    let again = open(&url, &ring).await;
    agree(&again, &records(&again).await).await;
}

#[tokio::test]
async fn what_is_counted_while_the_database_is_locked_is_written_afterwards() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let registry = open(&url, &ring).await;
    let sink = OverviewSink::new(registry.clone());
    let mut intruder = intruder(&url).await;
    run(&mut intruder, "BEGIN EXCLUSIVE").await;
    let exchanges = exchanges(3, 50, 20);
    let begun = Instant::now();
    exchanges.iter().for_each(|exchange| sink.record(exchange));
    assert!(begun.elapsed() < Duration::from_secs(1));
    tokio::time::sleep(Duration::from_millis(1200)).await;
    run(&mut intruder, "COMMIT").await;
    sink.flush().await;
    let found = read(&registry, None, 24).await.totals.exchanges;
    assert_eq!(found, 50);
}

#[tokio::test]
async fn old_figures_are_removed_by_their_grain() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let registry = open(&url, &ring).await;
    let now = SystemTime::now();
    let days = |days: u64| now - Duration::from_secs(days * 24 * 60 * 60);
    // The first write of a sink is followed by a removal.
    let sink = OverviewSink::new(registry.clone());
    for days in [days(0), days(3), days(100)] {
        sink.record(&Arc::new(exchange(&mut Dice(4), days)));
    }
    sink.flush().await;
    drop(sink);
    let rows = async |grain: u64| {
        let mut intruder = intruder(&url).await;
        let query =
            format!("SELECT COUNT(*) FROM mcp_overview WHERE project = '' AND grain = {grain}");
        let row = sqlx::query(sqlx::AssertSqlSafe(query)).fetch_one(&mut intruder);
        sqlx::Row::try_get::<i64, _>(&row.await.unwrap(), 0).unwrap()
    };
    for _ in 0..100 {
        if rows(86_400).await == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        (rows(60).await, rows(3600).await, rows(86_400).await),
        (1, 2, 2)
    );
}

#[tokio::test]
async fn an_exchange_of_the_layer_is_counted_within_two_seconds() {
    let (traces, overview) = (MemoryTraces::default(), MemoryOverview::default());
    let answers = [calls(&[("s__echo", json!({"text": "hi"}))]), says("done")];
    let gateway = Gateway::new(answers).await.layered(|layer| {
        let sink = OverviewSink::new(overview.clone());
        layer.add_trace_sink(traces.clone()).add_trace_sink(sink)
    });
    gateway.send_as("web", &auto(json!({}))).await;
    // Nobody asks for the server that this one names.
    let unknown = json!({"mcp": {"enabled": true, "servers": ["unknown"]}});
    gateway.send_as("web", &auto(unknown)).await;
    let ended = Instant::now();
    while read(&overview, None, 1).await.totals.exchanges < 2 {
        assert!(ended.elapsed() < Duration::from_secs(2), "not counted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let counted = Tally::read(&read(&overview, None, 1).await);
    assert_eq!(counted, Tally::of(&records(&traces).await));
    assert_eq!((counted.totals.errors, counted.totals.calls), (1, 1));
    assert_eq!(counted.by[3]["s echo"].calls, 1);
    assert_eq!(counted.by[2].get("unknown"), None);
}
