//! Records of exchanges in SQLite: written in groups, and bounded.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mcp_layer::registry::{TraceFilter, TracePage, TraceStore, conformance::traces::trace};
use mcp_layer::secret::KeyRing;
use mcp_layer::trace::{Step, Trace, TraceId, TraceSink};
use serde_json::json;
use sqlx::Row;

use crate::support::directory::Directory;
use crate::support::evidence;
use crate::support::gateway::{Gateway, auto};
use crate::support::model::{calls, says};
use crate::support::sql::{intruder, open, run};
use crate::support::traces::tools;

async fn count(url: &str) -> i64 {
    counted(url, "mcp_traces").await
}

async fn counted(url: &str, table: &str) -> i64 {
    let mut connection = intruder(url).await;
    let count = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
    let row = sqlx::query(count).fetch_one(&mut connection).await.unwrap();
    row.try_get(0).unwrap()
}

/// The first page.
async fn listed(store: &impl TraceStore) -> Vec<Arc<Trace>> {
    let (filter, page) = (TraceFilter::default(), TracePage::default());
    store.list("default", &filter, &page).await.unwrap().traces
}

#[tokio::test]
async fn an_exchange_of_the_layer_is_there_after_a_restart() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("gateway.db");
    let registry = open(&url, &ring).await;
    let answers = [calls(&[("s__echo", json!({"text": "hi"}))]), says("done")];
    let gateway = Gateway::new(answers).await;
    let sink = Arc::new(registry.clone()) as Arc<dyn TraceStore>;
    let gateway = gateway.layered(|layer| layer.add_trace_sink(sink));
    gateway.send(&auto(json!({}))).await;
    drop(gateway);
    registry.flush_traces().await;
    drop(registry);

    let registry = open(&url, &ring).await;
    let id = listed(&registry).await[0].id;
    let trace = TraceStore::get(&registry, "default", id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(tools(&trace)[0].attributes["gen_ai.tool.call.result"], "hi");
    assert_eq!(
        (trace.calls, trace.rounds, trace.outcome.as_str()),
        (1, 1, "ok")
    );
    for entry in std::fs::read_dir(&directory.0).unwrap() {
        evidence::left("database", std::fs::read(entry.unwrap().path()).unwrap());
    }
}

#[tokio::test]
async fn what_was_said_is_sealed_at_rest_for_its_exchange() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("gateway.db");
    let registry = open(&url, &ring).await;
    let traces = [trace(1), trace(2)];
    for trace in &traces {
        registry.record(&Arc::new(said(trace, "the-argument-of-a-caller")));
    }
    registry.flush_traces().await;
    for entry in std::fs::read_dir(&directory.0).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let is_there = |text: &[u8]| bytes.windows(text.len()).any(|part| part == text);
        assert!(!is_there(b"the-argument-of-a-caller"));
    }
    let kept = registry.sealed_by_key().await.unwrap();
    assert_eq!(kept[&ring.newest()], 3, "with the check record: {kept:?}");

    // No row can be put in the place of another.
    let mut connection = intruder(&url).await;
    let [one, two] = [traces[0].id, traces[1].id];
    let swap = format!(
        "UPDATE mcp_traces SET sealed = (SELECT sealed FROM mcp_traces WHERE id = '{two}')
         WHERE id = '{one}'"
    );
    run(&mut connection, &swap).await;
    assert!(TraceStore::get(&registry, "default", one).await.is_err());
    let read = TraceStore::get(&registry, "default", two)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(*read, said(&traces[1], "the-argument-of-a-caller"));
}

#[tokio::test]
async fn traces_are_sealed_anew_and_older_plain_ones_are_read() {
    let (directory, old) = (Directory::new(), KeyRing::generate());
    let url = directory.url("gateway.db");
    let registry = open(&url, &old).await;
    let traces = [trace(1), trace(2)];
    for trace in &traces {
        registry.record(&Arc::new(trace.clone()));
    }
    registry.flush_traces().await;
    let mut connection = intruder(&url).await;
    let steps = serde_json::to_string(&*traces[0].steps()).unwrap();
    let plain = format!(
        "UPDATE mcp_traces SET sealed = NULL, sealed_by = NULL, spans = '{steps}' WHERE id = '{}'",
        traces[0].id
    );
    run(&mut connection, &plain).await;

    let mut ring = old.clone();
    ring.add().unwrap();
    registry.replace_ring(ring.clone()).await.unwrap();
    let done = registry.reseal(|_| {}).await.unwrap();
    assert_eq!((done.resealed, done.left, done.unreadable), (1, 0, 0));
    for trace in &traces {
        let read = TraceStore::get(&registry, "default", trace.id).await;
        assert_eq!(*read.unwrap().unwrap(), *trace);
    }
    registry.record(&Arc::new(trace(3)));
    registry.flush_traces().await;
    let kept = registry.sealed_by_key().await.unwrap();
    assert_eq!(kept[&ring.newest()], 3, "{kept:?}");
}

/// The exchange with these arguments.
fn said(trace: &Trace, arguments: &str) -> Trace {
    let mut steps = trace.steps().into_owned();
    if let Step::Call(call) = &mut steps[0] {
        call.arguments = Some(arguments.to_owned());
    }
    trace.clone().with_steps(steps)
}

#[tokio::test]
async fn a_registry_that_is_dropped_writes_what_waits() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("gateway.db");
    let registry = open(&url, &ring).await;
    for number in 0..250 {
        registry.record(&Arc::new(trace(number)));
    }
    drop(registry);
    for _ in 0..500 {
        if count(&url).await == 250 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} of 250", count(&url).await);
}

#[tokio::test]
async fn what_cannot_be_written_fast_enough_is_dropped_and_nobody_waits() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("gateway.db");
    let registry = open(&url, &ring).await;
    // Without a pause in between: nobody writes meanwhile.
    for number in 0..5000 {
        registry.record(&Arc::new(trace(number)));
    }
    registry.flush_traces().await;
    assert_eq!(count(&url).await, 1024);
    let mut steps = trace(6000).steps().into_owned();
    if let Step::Call(call) = &mut steps[0] {
        call.result = Some("x".repeat(1 << 20));
    }
    let large = trace(6000).with_steps(steps);
    for number in 6001..6101 {
        let mut trace = Trace::clone(&large);
        trace.id = TraceId::new(SystemTime::now() + Duration::from_millis(number));
        registry.record(&Arc::new(trace));
    }
    registry.flush_traces().await;
    let kept = count(&url).await - 1024;
    assert!((20..32).contains(&kept), "{kept} of 1 MiB each");
}

#[tokio::test]
async fn the_oldest_go_by_age_and_by_number() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("gateway.db");
    let registry = open(&url, &ring).await;
    let mut old = trace(0);
    old.started_at = SystemTime::now() - Duration::from_secs(8 * 24 * 60 * 60);
    old.id = TraceId::new(old.started_at);
    registry.record(&Arc::new(old.clone()));
    let mut other = trace(1);
    other.organization = "other".into();
    registry.record(&Arc::new(other.clone()));
    for group in 0..22 {
        for number in 0..500 {
            registry.record(&Arc::new(trace(10 + group * 500 + number)));
        }
        registry.flush_traces().await;
    }
    assert!(
        TraceStore::get(&registry, "default", old.id)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        TraceStore::get(&registry, "other", other.id)
            .await
            .unwrap()
            .is_some()
    );
    let kept = count(&url).await;
    assert_eq!(counted(&url, "mcp_trace_names").await, kept);
    assert!((10_000..=10_501).contains(&kept), "{kept}");
    let latest = listed(&registry).await;
    assert_eq!(latest[0].started_at, trace(10 + 22 * 500 - 1).started_at);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_left_out_of_lists() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("gateway.db");
    let registry = open(&url, &ring).await;
    let traces: Vec<_> = (0..3).map(trace).collect();
    for trace in &traces {
        registry.record(&Arc::new(trace.clone()));
    }
    registry.flush_traces().await;
    let mut connection = intruder(&url).await;
    let broken = format!(
        "UPDATE mcp_traces SET record = '{{' WHERE id = '{}'",
        traces[1].id
    );
    run(&mut connection, &broken).await;
    assert_eq!(listed(&registry).await.len(), 2);
    assert!(
        TraceStore::get(&registry, "default", traces[1].id)
            .await
            .is_err()
    );
}

/// A figure, not a test: `cargo test --all-features -p mcp-layer-tests --test it -- --ignored
/// --nocapture lists_of_a_million`; three minutes.
#[tokio::test]
#[ignore = "a figure"]
async fn lists_of_a_million_exchanges_take_milliseconds() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("gateway.db");
    let registry = open(&url, &ring).await;
    registry.record(&Arc::new(trace(1)));
    registry.flush_traces().await;
    let mut connection = intruder(&url).await;
    for statement in [
        "CREATE TABLE made AS WITH RECURSIVE n(n) AS
             (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1000000)
         SELECT printf('%012x', 1700000000000 + n) || lower(hex(randomblob(10))) AS id,
             'org-' || (n % 100) AS organization FROM n",
        "INSERT INTO mcp_traces SELECT made.id, made.organization, '', '', '', '', record, '',
             sealed_by, randomblob(700) FROM made, (SELECT record, sealed_by FROM mcp_traces)",
        "INSERT INTO mcp_trace_names SELECT made.organization, made.id, project, model, outcome, 0,
             servers, made.id || search || made.id FROM made,
             (SELECT project, model, outcome, servers, search FROM mcp_trace_names)",
        "DROP TABLE made",
    ] {
        run(&mut connection, statement).await;
    }
    let (mut text, mut server, mut failed) = <(TraceFilter, TraceFilter, TraceFilter)>::default();
    text.text = Some("nobody".to_owned());
    server.server = Some("nowhere".to_owned());
    failed.failed_tools = true;
    let asked = [
        ("all", TraceFilter::default()),
        ("a text", text),
        ("a server", server),
        ("failed", failed),
    ];
    for (name, filter) in asked {
        for _ in 0..3 {
            let begun = std::time::Instant::now();
            let page = TracePage::default();
            let listing = TraceStore::list(&registry, "org-7", &filter, &page);
            let found = listing.await.unwrap().traces.len();
            println!("{name}: {found} in {:?}", begun.elapsed());
        }
    }
}
