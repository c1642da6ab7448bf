//! The overview over REST: figures over time and by name, and ranges that are none.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mcp_layer::registry::overview::{
    Breakdown, Figures, Grain, MemoryOverview, OverviewSink, OverviewSpan, OverviewStore, Sums,
};
use mcp_layer::registry::{BoxFuture, Error, MemoryRegistry};
use mcp_layer::trace::{CallOutcome, CallStep, Outcome, Step, Timing, Trace, TraceId, TraceSink};
use serde_json::{Value, json};

use super::support::admin::Operator;

const OVERVIEW: &str = "/api/v1/overview";

/// An exchange that began so many seconds ago.
fn exchange(project: &str, ago: u64, outcome: Outcome) -> Trace {
    let at = SystemTime::now() - Duration::from_secs(ago);
    let mut trace = Trace::new(TraceId::new(at), "default", project, at, outcome);
    trace.model = Some("m".into());
    trace.servers = vec!["docs".to_owned()];
    trace.duration = Duration::from_millis(200);
    let usage = json!({"prompt_tokens": 30, "completion_tokens": 4, "cost": 0.25});
    trace.usage = usage.as_object().cloned();
    let timing = Timing {
        start: Duration::ZERO,
        duration: Duration::from_millis(80),
    };
    let mut call = CallStep::new(timing, "call", "docs__find", CallOutcome::Error);
    (call.server, call.tool) = (Some("docs".to_owned()), Some("find".to_owned()));
    trace.with_steps(vec![Step::Call(call)])
}

/// Sums of any time: a store in memory forgets those of long ago.
struct Fixed(Vec<Sums>);

impl OverviewStore for Fixed {
    fn put<'a>(&'a self, _: &'a [Sums]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn figures<'a>(
        &'a self,
        span: OverviewSpan<'a>,
    ) -> BoxFuture<'a, Result<Vec<(SystemTime, Figures)>, Error>> {
        let found = self.0.iter().filter(|sums| span.has(sums));
        let found = found
            .map(|sums| (sums.start, sums.figures.clone()))
            .collect();
        Box::pin(async { Ok(found) })
    }

    fn breakdown<'a>(&'a self, _: OverviewSpan<'a>) -> BoxFuture<'a, Result<Breakdown, Error>> {
        Box::pin(async { Ok(Breakdown::default()) })
    }

    fn remove_before(&self, _: Grain, _: SystemTime) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }
}

/// An operator's side over the figures of these exchanges.
async fn over(exchanges: impl IntoIterator<Item = Trace>) -> Operator {
    let overview = MemoryOverview::default();
    let sink = OverviewSink::new(overview.clone());
    for exchange in exchanges {
        sink.record(&Arc::new(exchange));
    }
    sink.flush().await;
    Operator::with(MemoryRegistry::default(), |admin| {
        admin.with_overview(overview)
    })
}

fn sum<'a>(list: &'a Value, member: &str) -> Vec<&'a Value> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|row| &row[member])
        .collect()
}

#[tokio::test]
async fn figures_come_over_time_and_by_name() {
    let operator = over([
        exchange("web", 60, Outcome::Ok),
        exchange("web", 2 * 60 * 60, Outcome::Refused),
        exchange("batch", 3 * 60 * 60, Outcome::Cancelled),
    ])
    .await;
    let read = operator.get(OVERVIEW).await;
    assert_eq!(
        (&read["bucket"], &read["project"]),
        (&json!("minute"), &json!(null))
    );
    let totals = &read["totals"];
    for (member, expected) in [
        ("exchanges", json!(3)),
        ("errors", json!(1)),
        ("refused", json!(1)),
        ("cancelled", json!(1)),
        ("calls", json!(3)),
        ("failed_calls", json!(3)),
        ("input_tokens", json!(90)),
        ("output_tokens", json!(12)),
        ("cost", json!(0.75)),
        ("unpriced", json!(0)),
    ] {
        assert_eq!(totals[member], expected, "{member}");
    }
    let p95 = totals["p95_ms"].as_u64().unwrap();
    assert!((190..=210).contains(&p95), "{p95}");
    assert_eq!(sum(&read["series"], "exchanges"), [1, 1, 1]);
    assert_eq!(sum(&read["projects"], "name"), ["web", "batch"]);
    assert_eq!(sum(&read["projects"], "exchanges"), [2, 1]);
    assert_eq!(sum(&read["models"], "name"), ["m"]);
    assert_eq!(sum(&read["servers"], "calls"), [3]);
    let tool = &read["tools"][0];
    assert_eq!(
        (&tool["server"], &tool["tool"]),
        (&json!("docs"), &json!("find"))
    );
    assert_eq!(
        (&tool["calls"], &tool["failed_calls"]),
        (&json!(3), &json!(3))
    );

    let web = operator.get(&format!("{OVERVIEW}?project=web")).await;
    assert_eq!(
        (&web["project"], &web["totals"]["exchanges"]),
        (&json!("web"), &json!(2))
    );
    assert_eq!(sum(&web["projects"], "name"), ["web"]);
    let none = operator.get(&format!("{OVERVIEW}?project=unknown")).await;
    assert_eq!(none["totals"]["exchanges"], 0);
    assert_eq!(
        (&none["totals"]["p50_ms"], &none["totals"]["cost"]),
        (&json!(null), &json!(null))
    );
    assert_eq!(none["tools"], json!([]));
}

#[tokio::test]
async fn a_range_is_rounded_outward_and_compared_with_the_one_before() {
    // 2026-11-30T12:41:07Z
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_042_467);
    let sums = [60, 3600 + 60, 2 * 3600].map(|ago| {
        let mut sums = Sums::new(
            "default",
            None,
            Grain::Minute,
            now - Duration::from_secs(ago),
        );
        sums.figures.exchanges = 1;
        sums
    });
    let operator = Operator::with(MemoryRegistry::default(), |admin| {
        admin
            .with_overview(Fixed(sums.into()))
            .with_clock(move || now)
    });
    let query = "?from=2026-11-30T11:41:07Z&to=2026-11-30T12:41:07Z";
    let read = operator.get(&format!("{OVERVIEW}{query}")).await;
    assert_eq!(read["from"], "2026-11-30T11:41:00.000Z");
    assert_eq!(read["to"], "2026-11-30T12:42:00.000Z");
    assert_eq!(read["totals"]["exchanges"], 1);
    assert_eq!(read["before"]["exchanges"], 2);
}

#[tokio::test]
async fn long_ranges_come_in_hours_and_have_the_same_exchanges() {
    let operator = over([
        exchange("web", 60, Outcome::Ok),
        exchange("web", 7200, Outcome::Ok),
    ])
    .await;
    let to = operator.get(OVERVIEW).await["to"]
        .as_str()
        .unwrap()
        .to_owned();
    let (year, month): (u64, u64) = (to[..4].parse().unwrap(), to[5..7].parse().unwrap());
    let before = match month {
        1 => format!("{}-12-28", year - 1),
        _ => format!("{year}-{:02}-28", month - 1),
    };
    let read = operator
        .get(&format!("{OVERVIEW}?from={before}T00:00:00Z"))
        .await;
    assert_eq!(read["bucket"], "hour");
    assert_eq!(read["totals"]["exchanges"], 2);
    assert_eq!(read["models"][0]["exchanges"], 2);
}

#[tokio::test]
async fn what_is_no_range_is_refused_by_its_name() {
    let operator = over([]).await;
    for (query, param) in [
        ("?from=yesterday", "from"),
        ("?to=1", "to"),
        ("?from=2026-02-30T00:00:00Z", "from"),
        ("?from=1970-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "from"),
        ("?from=2000-01-01T00:00:00Z", "from"),
        ("?from=9000-01-01T00:00:00Z", "from"),
        ("?to=9000-01-01T00:00:00Z", "to"),
        ("?from=2020-01-02T00:00:00Z&to=2020-01-01T00:00:00Z", "from"),
        ("?range=1h", "range"),
        ("?project=a&project=b", "project"),
    ] {
        let answer = operator
            .ask("GET", &format!("{OVERVIEW}{query}"), None)
            .await;
        assert_eq!(answer.error(400).1.as_deref(), Some(param), "{query}");
    }
}

#[tokio::test]
async fn another_organizations_figures_are_not_there_and_odd_projects_do_no_harm() {
    let mut other = exchange("web", 60, Outcome::Ok);
    other.organization = "other".into();
    let odd = ["\u{202e}<script>", "a=b&c", "%", ""];
    let own = odd.map(|project| exchange(project, 60, Outcome::Ok));
    let operator = over(own.into_iter().chain([other])).await;
    let read = operator.get(OVERVIEW).await;
    assert_eq!(read["totals"]["exchanges"], 4);
    assert_eq!(sum(&read["projects"], "exchanges"), [1, 1, 1, 1]);
    let odd = operator.get(&format!("{OVERVIEW}?project=a%3Db%26c")).await;
    assert_eq!(odd["totals"]["exchanges"], 1);
}

#[tokio::test]
async fn names_beyond_a_hundred_share_a_row() {
    let many = (0..150).map(|number| {
        let mut exchange = exchange("web", 60, Outcome::Ok);
        exchange.model = Some(format!("model-{number:03}").into());
        exchange
    });
    let read = over(many).await.get(OVERVIEW).await;
    let models = read["models"].as_array().unwrap();
    assert_eq!(models.len(), 101);
    let last = &models[100];
    assert_eq!(
        (&last["name"], &last["other"]),
        (&json!(null), &json!(true))
    );
    assert_eq!(last["exchanges"], 50);
}
