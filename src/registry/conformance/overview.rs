//! The contract of [`OverviewStore`], a function per clause; each needs an empty store.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{clauses, traces::trace};
use crate::registry::overview::{
    Breakdown, Figures, Grain, Overview, OverviewRange, OverviewSink, OverviewSpan, OverviewStore,
    Sums,
};
use crate::trace::TraceSink;

clauses! {
    /// Runs every clause, each with an empty store from `make`.
    all(OverviewStore) {
        what_was_never_put_is_nothing
        what_is_put_is_read_as_it_is
        sums_that_are_put_again_replace_themselves
        sums_of_several_writers_are_added
        a_span_has_the_buckets_that_begin_in_it
        organizations_projects_and_grains_are_not_mixed_up
        what_is_removed_is_gone_and_the_rest_stays
        odd_names_do_no_harm
    }
}

/// The hour that has begun last, and whole hours before it.
fn hour(before: u64) -> SystemTime {
    let now = Grain::Hour.start_of(SystemTime::now());
    now - Duration::from_secs(before * 60 * 60)
}

/// Sums of so many exchanges.
pub fn sums(project: Option<&str>, grain: Grain, time: SystemTime, exchanges: u64) -> Sums {
    let mut sums = Sums::new("default", project.map(Arc::from), grain, time);
    sums.figures = figures(exchanges);
    sums
}

fn figures(exchanges: u64) -> Figures {
    let mut figures = Figures {
        exchanges,
        ..Figures::default()
    };
    figures.durations.add(Duration::from_millis(40));
    figures
}

/// Sums with something in every part of them, as a sink makes them of an exchange.
async fn whole(project: &str) -> (Figures, Breakdown) {
    let store = crate::registry::overview::MemoryOverview::default();
    let sink = OverviewSink::new(store.clone());
    let mut trace = trace(0);
    (trace.started_at, trace.project) = (SystemTime::now(), project.into());
    sink.record(&Arc::new(trace));
    sink.flush().await;
    let now = SystemTime::now();
    let range = OverviewRange::new(now - Duration::from_secs(60 * 60), now, now);
    let read = Overview::read(&store, "default", None, &range, now).await;
    let read = read.unwrap();
    (read.totals, read.breakdown)
}

fn span(grain: Grain, from: SystemTime, to: SystemTime) -> OverviewSpan<'static> {
    OverviewSpan::new("default", None, grain, from, to)
}

/// The exchanges of each bucket of the last ten hours.
async fn counts(store: &impl OverviewStore) -> Vec<u64> {
    let found = store.figures(span(Grain::Hour, hour(10), hour(0))).await;
    let found = found.unwrap().into_iter();
    found.map(|(_, figures)| figures.exchanges).collect()
}

/// An empty store has no figures, and that is no error.
pub async fn what_was_never_put_is_nothing(store: impl OverviewStore) {
    assert_eq!(counts(&store).await, [0; 0]);
    let breakdown = store.breakdown(span(Grain::Hour, hour(10), hour(0))).await;
    assert_eq!(breakdown.unwrap(), Breakdown::default());
    store.put(&[]).await.unwrap();
    store.remove_before(Grain::Day, hour(0)).await.unwrap();
}

/// Every figure comes back, by the beginning of its bucket, and by its name.
pub async fn what_is_put_is_read_as_it_is(store: impl OverviewStore) {
    let mut put = sums(None, Grain::Hour, hour(2) + Duration::from_secs(7), 0);
    (put.figures, put.breakdown) = whole("web").await;
    store.put(std::slice::from_ref(&put)).await.unwrap();
    let all = span(Grain::Hour, hour(10), hour(0));
    assert_eq!(
        store.figures(all).await.unwrap(),
        [(hour(2), put.figures.clone())]
    );
    assert_eq!(store.breakdown(all).await.unwrap(), put.breakdown);
}

/// Whoever does not know whether sums were put puts them again; they count once, as they are now.
pub async fn sums_that_are_put_again_replace_themselves(store: impl OverviewStore) {
    let mut growing = sums(None, Grain::Hour, hour(1), 1);
    for exchanges in [1, 1, 5] {
        growing.figures = figures(exchanges);
        store.put(std::slice::from_ref(&growing)).await.unwrap();
        assert_eq!(counts(&store).await, [exchanges]);
    }
}

/// Sums of several writers are one bucket, and their names one.
pub async fn sums_of_several_writers_are_added(store: impl OverviewStore) {
    let (figures, breakdown) = whole("web").await;
    let writer = || {
        let mut sums = sums(None, Grain::Hour, hour(1), 0);
        (sums.figures, sums.breakdown) = (figures.clone(), breakdown.clone());
        sums
    };
    store.put(&[writer(), writer()]).await.unwrap();
    store.put(&[writer()]).await.unwrap();
    assert_eq!(counts(&store).await, [3]);
    let all = span(Grain::Hour, hour(10), hour(0));
    let read = store.breakdown(all).await.unwrap();
    let projects: Vec<_> = read.projects.iter().collect();
    assert_eq!((projects[0].0, projects[0].1.exchanges), ("web", 3));
    assert_eq!(projects[0].1.durations.count(), 3);
}

/// Buckets come by time; the one at the beginning is part of a span, and the one at its end is not.
pub async fn a_span_has_the_buckets_that_begin_in_it(store: impl OverviewStore) {
    let put: Vec<_> = [3, 1, 4, 2]
        .map(|ago| sums(None, Grain::Hour, hour(ago), ago))
        .into();
    store.put(&put).await.unwrap();
    assert_eq!(counts(&store).await, [4, 3, 2, 1]);
    for (from, to, expected) in [(3, 1, 2), (4, 3, 1), (3, 3, 0), (1, 3, 0)] {
        let found = store.figures(span(Grain::Hour, hour(from), hour(to)));
        assert_eq!(found.await.unwrap().len(), expected, "{from} {to}");
    }
}

/// Each organization, project and grain has its own; those of all projects are apart, too.
pub async fn organizations_projects_and_grains_are_not_mixed_up(store: impl OverviewStore) {
    let mut other = sums(None, Grain::Hour, hour(1), 1);
    other.organization = "other".into();
    let put = [
        other,
        sums(None, Grain::Hour, hour(1), 2),
        sums(Some("web"), Grain::Hour, hour(1), 3),
        sums(Some("batch"), Grain::Hour, hour(1), 4),
        sums(None, Grain::Minute, hour(1), 5),
    ];
    store.put(&put).await.unwrap();
    for (organization, project, grain, expected) in [
        ("other", None, Grain::Hour, 1),
        ("default", None, Grain::Hour, 2),
        ("default", Some("web"), Grain::Hour, 3),
        ("default", Some("batch"), Grain::Hour, 4),
        ("default", None, Grain::Minute, 5),
    ] {
        let span = OverviewSpan::new(organization, project, grain, hour(2), hour(0));
        let found = store.figures(span).await.unwrap();
        assert_eq!(found.len(), 1, "{span:?}");
        assert_eq!(found[0].1.exchanges, expected, "{span:?}");
    }
    for (organization, project) in [("", None), ("default", Some("")), ("default", Some("w"))] {
        let span = OverviewSpan::new(organization, project, Grain::Hour, hour(2), hour(0));
        assert!(store.figures(span).await.unwrap().is_empty(), "{span:?}");
    }
}

/// Of a grain goes what begins before a time; other grains keep it.
pub async fn what_is_removed_is_gone_and_the_rest_stays(store: impl OverviewStore) {
    let put = [3, 2, 1].map(|ago| sums(None, Grain::Hour, hour(ago), ago));
    let minute = sums(None, Grain::Minute, hour(3), 9);
    store.put(&put).await.unwrap();
    store.put(&[minute]).await.unwrap();
    store.remove_before(Grain::Hour, hour(2)).await.unwrap();
    assert_eq!(counts(&store).await, [2, 1]);
    let minutes = span(Grain::Minute, hour(10), hour(0));
    assert_eq!(store.figures(minutes).await.unwrap().len(), 1);
}

/// Odd names of projects and models do no harm: callers make them up.
pub async fn odd_names_do_no_harm(store: impl OverviewStore) {
    let long = "x".repeat(5000);
    let odd = [
        "a%b_c\\",
        "\u{1f}",
        "\0",
        "'; --",
        "*",
        "=web",
        &long,
        "\u{202e}é\u{1f511}",
    ];
    for (number, name) in (1..).zip(odd) {
        let (_, breakdown) = whole(name).await;
        let mut all = sums(None, Grain::Hour, hour(1), 1);
        all.breakdown = breakdown;
        let own = sums(Some(name), Grain::Hour, hour(1), 1);
        store.put(&[all, own]).await.unwrap();
        assert_eq!(counts(&store).await, [number], "{name:?}");
    }
    let web = OverviewSpan::new("default", Some("web"), Grain::Hour, hour(2), hour(0));
    assert!(store.figures(web).await.unwrap().is_empty());
    let all = span(Grain::Hour, hour(10), hour(0));
    let projects = store.breakdown(all).await.unwrap().projects;
    let named: u64 = projects.iter().map(|(_, figures)| figures.exchanges).sum();
    assert_eq!((named, projects.other().exchanges), (7, 1));
}
