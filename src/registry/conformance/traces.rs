//! The contract of [`TraceStore`], a function per clause; each needs an empty store.
//!
//! Clauses wait for what they record, since a store may write it a moment later.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use serde_json::json;

use super::clauses;
use crate::{
    registry::trace_store::{TraceFilter, TraceListing, TracePage, TraceStore},
    trace::{CallOutcome, CallStep, Outcome, Step, StoppedBy, Timing, Trace, TraceId},
};

clauses! {
    /// Runs every clause, each with an empty store from `make`.
    all(TraceStore) {
        the_latest_are_listed_first_whenever_they_ended
        lists_have_no_steps_and_all_else
        pages_have_every_exchange_once
        a_page_has_a_limit
        filters_find_what_they_say
        failed_tools_are_found
        a_span_of_time_is_found
        a_text_of_names_and_ids_is_found
        an_organization_sees_its_own_only
        one_exchange_is_found_with_its_steps
        what_is_not_there_is_none
        odd_texts_do_no_harm
    }
}

/// An exchange of the organization `default`, `number` milliseconds after midnight.
///
/// Its times are in whole milliseconds: a store need not keep more.
pub fn trace(number: u64) -> Trace {
    let now = UNIX_EPOCH.elapsed().unwrap().as_millis();
    let today = u64::try_from(now).unwrap() / 86_400_000 * 86_400_000;
    let started_at = UNIX_EPOCH + Duration::from_millis(today + number);
    let timing = Timing {
        start: Duration::from_millis(12),
        duration: Duration::from_millis(345),
    };
    let mut call = CallStep::new(timing, "call_1", "docs__search", CallOutcome::Ok);
    call.server = Some("docs".to_owned());
    call.round = Some(1);
    call.result = Some("\"é\"\n".to_owned());
    let id = TraceId::new(started_at);
    let mut trace = Trace::new(id, "default", "web", started_at, Outcome::Ok);
    trace.model = Some("m".into());
    trace.servers = vec!["docs".to_owned(), "files".to_owned()];
    trace.duration = Duration::from_millis(1234);
    (trace.rounds, trace.calls, trace.failed_calls) = (1, 2, 1);
    (trace.tools, trace.called) = (vec!["search".to_owned()], vec!["docs".to_owned()]);
    trace.stopped_by = Some(StoppedBy::Final);
    trace.usage = json!({"total_tokens": 7, "cost": 0.25})
        .as_object()
        .cloned();
    trace.with_steps(vec![Step::Call(call)])
}

/// Records these exchanges, and waits until they are stored.
async fn record(store: &impl TraceStore, traces: &[Trace]) {
    for trace in traces {
        store.record(&Arc::new(trace.clone()));
    }
    for trace in traces {
        let mut looks = 0;
        while get(store, trace).await.is_none() {
            looks += 1;
            assert!(looks < 1000, "an exchange is not there after 10 s");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn get(store: &impl TraceStore, trace: &Trace) -> Option<Arc<Trace>> {
    store.get(&trace.organization, trace.id).await.unwrap()
}

async fn list(store: &impl TraceStore, filter: &TraceFilter, page: &TracePage) -> TraceListing {
    store.list("default", filter, page).await.unwrap()
}

async fn all_ids(store: &impl TraceStore, filter: &TraceFilter) -> Vec<TraceId> {
    let listing = list(store, filter, &TracePage::default()).await;
    assert!(listing.next.is_none());
    listing.traces.iter().map(|trace| trace.id).collect()
}

/// A list has the exchange that began last first, whenever it ended.
pub async fn the_latest_are_listed_first_whenever_they_ended(store: impl TraceStore) {
    let traces = [trace(2), trace(1), trace(3)];
    record(&store, &traces).await;
    let expected = [traces[2].id, traces[0].id, traces[1].id];
    assert_eq!(all_ids(&store, &TraceFilter::default()).await, expected);
}

/// A list is short; what is in a record but its steps is in it.
pub async fn lists_have_no_steps_and_all_else(store: impl TraceStore) {
    let mut bare = trace(1);
    (bare.model, bare.stopped_by, bare.usage) = (None, None, None);
    bare.servers = Vec::new();
    let traces = [trace(2), bare];
    record(&store, &traces).await;
    let listing = list(&store, &TraceFilter::default(), &TracePage::default()).await;
    for (listed, meant) in listing.traces.iter().zip(&traces) {
        assert_eq!(**listed, meant.without_steps());
    }
}

/// The cursor `next` leads from the first page to every exchange once.
pub async fn pages_have_every_exchange_once(store: impl TraceStore) {
    let traces: Vec<_> = (0..25).map(trace).collect();
    record(&store, &traces).await;
    let mut page = TracePage {
        limit: 10,
        ..TracePage::default()
    };
    let mut found = Vec::new();
    loop {
        let listing = list(&store, &TraceFilter::default(), &page).await;
        found.extend(listing.traces.iter().map(|trace| trace.id));
        if listing.next.is_none() {
            break;
        }
        assert_eq!(listing.traces.len(), 10);
        page.before = listing.next;
    }
    let latest_first: Vec<_> = traces.iter().rev().map(|trace| trace.id).collect();
    assert_eq!(found, latest_first);
}

/// A page has at least one exchange, and at most 200.
pub async fn a_page_has_a_limit(store: impl TraceStore) {
    let traces: Vec<_> = (0..201).map(trace).collect();
    record(&store, &traces).await;
    for (limit, expected) in [(0, 1), (200, 200), (usize::MAX, 200)] {
        let page = TracePage {
            limit,
            ..TracePage::default()
        };
        let listing = list(&store, &TraceFilter::default(), &page).await;
        assert_eq!(listing.traces.len(), expected);
        assert!(listing.next.is_some());
    }
}

/// A filter for project, server, model or outcome compares whole names, each alone and together.
pub async fn filters_find_what_they_say(store: impl TraceStore) {
    let mut other = trace(1);
    other.project = "batch".into();
    other.model = Some("n".into());
    other.servers = vec!["docs-old".to_owned()];
    other.outcome = Outcome::Refused;
    let traces = [trace(2), other];
    record(&store, &traces).await;
    let is = |text: &str| Some(text.to_owned());
    let none = TraceFilter::default;
    let filters = |project, server, model, outcome| {
        [
            TraceFilter {
                project: is(project),
                ..none()
            },
            TraceFilter {
                server: is(server),
                ..none()
            },
            TraceFilter {
                model: is(model),
                ..none()
            },
            TraceFilter {
                outcome: is(outcome),
                ..none()
            },
            TraceFilter {
                project: is(project),
                server: is(server),
                model: is(model),
                outcome: is(outcome),
                ..none()
            },
        ]
    };
    for filter in filters("web", "docs", "m", "ok") {
        assert_eq!(all_ids(&store, &filter).await, [traces[0].id], "{filter:?}");
    }
    for filter in filters("batch", "docs-old", "n", "refused") {
        assert_eq!(all_ids(&store, &filter).await, [traces[1].id], "{filter:?}");
    }
    for filter in filters("we", "doc", "M", "") {
        assert_eq!(all_ids(&store, &filter).await, [], "{filter:?}");
    }
    let mixed = TraceFilter {
        project: is("web"),
        outcome: is("refused"),
        ..none()
    };
    assert_eq!(all_ids(&store, &mixed).await, []);
}

/// `failed_tools` finds exchanges in which a call failed, whatever their outcome.
pub async fn failed_tools_are_found(store: impl TraceStore) {
    let mut well = trace(1);
    well.failed_calls = 0;
    let traces = [trace(2), well];
    record(&store, &traces).await;
    let failed = TraceFilter {
        failed_tools: true,
        ..TraceFilter::default()
    };
    assert_eq!(all_ids(&store, &failed).await, [traces[0].id]);
}

/// `from` and `to` find what began in between; the end does not belong to it.
pub async fn a_span_of_time_is_found(store: impl TraceStore) {
    let traces: Vec<_> = (0..4).map(trace).collect();
    record(&store, &traces).await;
    let at = |number: usize| Some(traces[number].started_at);
    for (from, to, found) in [
        (at(1), None, vec![3, 2, 1]),
        (None, at(2), vec![1, 0]),
        (at(1), at(3), vec![2, 1]),
        (at(3), at(1), vec![]),
    ] {
        let filter = TraceFilter {
            from,
            to,
            ..TraceFilter::default()
        };
        let found: Vec<_> = found
            .into_iter()
            .map(|number: usize| traces[number].id)
            .collect();
        assert_eq!(all_ids(&store, &filter).await, found, "{filter:?}");
    }
    // A page ends where the one before did, within the time.
    let filter = TraceFilter {
        from: at(1),
        ..TraceFilter::default()
    };
    let page = TracePage {
        before: Some(traces[2].id),
        ..TracePage::default()
    };
    let listing = list(&store, &filter, &page).await;
    assert_eq!(listing.traces.len(), 1);
    assert_eq!(listing.traces[0].id, traces[1].id);
}

/// `text` finds a part of any name or id, in whatever case, and nothing else.
pub async fn a_text_of_names_and_ids_is_found(store: impl TraceStore) {
    let mut other = trace(1);
    (other.model, other.servers) = (Some("gpt-Ä".into()), vec!["wiki".to_owned()]);
    let other = other.with_steps(Vec::new());
    let traces = [trace(2), other];
    record(&store, &traces).await;
    let find = async |text: &str| {
        let text = Some(text.to_owned());
        let filter = TraceFilter {
            text,
            ..TraceFilter::default()
        };
        all_ids(&store, &filter).await
    };
    let (first, second) = (traces[0].id, traces[1].id);
    for text in ["docs__SEARCH", "all_1", "files", "s__s", &first.to_string()] {
        assert_eq!(find(text).await, [first], "{text}");
    }
    for text in ["GPT-ä", "wiki"] {
        assert_eq!(find(text).await, [second], "{text}");
    }
    assert_eq!(find("").await, [first, second]);
    for text in [
        "web",
        "\"é\"",
        "docsfiles",
        "100%",
        "_",
        "'; --",
        "\0",
        "\\",
    ] {
        let found = match text {
            "_" => vec![first],
            _ => Vec::new(),
        };
        assert_eq!(find(text).await, found, "{text:?}");
    }
}

/// An organization sees its own exchanges only, by list and by id.
pub async fn an_organization_sees_its_own_only(store: impl TraceStore) {
    let mut other = trace(2);
    other.organization = "other".into();
    let traces = [trace(1), other];
    record(&store, &traces).await;
    assert_eq!(
        all_ids(&store, &TraceFilter::default()).await,
        [traces[0].id]
    );
    assert!(store.get("default", traces[1].id).await.unwrap().is_none());
    assert!(store.get("other", traces[0].id).await.unwrap().is_none());
}

/// A record comes back as it went in.
pub async fn one_exchange_is_found_with_its_steps(store: impl TraceStore) {
    let trace = trace(1);
    record(&store, std::slice::from_ref(&trace)).await;
    assert_eq!(*get(&store, &trace).await.unwrap(), trace);
}

/// An id that is not stored, or not any more, is `None` and no error.
pub async fn what_is_not_there_is_none(store: impl TraceStore) {
    assert!(get(&store, &trace(1)).await.is_none());
    assert_eq!(all_ids(&store, &TraceFilter::default()).await, []);
}

/// Odd names of models and servers do no harm: callers make them up.
pub async fn odd_texts_do_no_harm(store: impl TraceStore) {
    let odd = ["a%b_c\\", "\u{1f}", "\0", "'; --", "", "\u{202e}é\u{1f511}"];
    let mut found = Vec::new();
    for (number, text) in (0..).zip(odd) {
        let mut odd = trace(number);
        (odd.model, odd.servers) = (Some(text.into()), vec![text.to_owned()]);
        record(&store, std::slice::from_ref(&odd)).await;
        let filter = TraceFilter {
            server: Some("docs".to_owned()),
            ..TraceFilter::default()
        };
        assert_eq!(all_ids(&store, &filter).await, []);
        found.insert(0, odd.id);
    }
    assert_eq!(all_ids(&store, &TraceFilter::default()).await, found);
}
