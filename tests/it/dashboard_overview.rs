//! The first page of the dashboard.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use mcp_layer::registry::overview::{MemoryOverview, OverviewSink};
use mcp_layer::registry::{Auth, MemoryRegistry, MemoryTraces, OAuth2, Server};
use mcp_layer::trace::{CallOutcome, CallStep, Outcome, Step, Timing, Trace, TraceId, TraceSink};
use serde_json::json;

use super::support::admin::{Operator, TOKEN};
use super::support::pages::{Pages, cookie};

/// An exchange of a minute ago.
fn exchange(project: &str, model: &str, outcome: Outcome) -> Trace {
    let at = SystemTime::now() - Duration::from_secs(60);
    let mut trace = Trace::new(TraceId::new(at), "default", project, at, outcome);
    trace.model = Some(model.into());
    trace.servers = vec!["docs".to_owned()];
    trace.duration = Duration::from_millis(250);
    let usage = json!({"prompt_tokens": 3000, "completion_tokens": 400, "cost": 0.5});
    trace.usage = usage.as_object().cloned();
    let timing = Timing {
        start: Duration::ZERO,
        duration: Duration::from_millis(80),
    };
    let mut call = CallStep::new(timing, "call", "docs__find", CallOutcome::Error);
    (call.server, call.tool) = (Some("docs".to_owned()), Some("find".to_owned()));
    trace.with_steps(vec![Step::Call(call)])
}

/// The dashboard of these servers after these exchanges.
async fn after(servers: Vec<Server>, exchanges: Vec<Trace>) -> Pages {
    let (traces, overview) = (MemoryTraces::default(), MemoryOverview::default());
    let sink = OverviewSink::new(overview.clone());
    for exchange in exchanges.into_iter().map(Arc::new) {
        traces.record(&exchange);
        sink.record(&exchange);
    }
    sink.flush().await;
    let registry = MemoryRegistry::new(servers).unwrap();
    let operator = Operator::with(registry, |admin| {
        admin.with_traces(traces).with_overview(overview)
    });
    Pages::signed_in(operator).await
}

fn server() -> Server {
    Server::new("docs", "https://mcp.example.com/mcp").unwrap()
}

#[track_caller]
fn has(html: &str, parts: &[&str]) {
    for part in parts {
        assert!(html.contains(part), "{part}: {html}");
    }
}

#[tokio::test]
async fn it_is_the_first_page_and_the_first_in_the_navigation() {
    let pages = after(vec![], vec![]).await;
    let page = pages.get("/").await;
    let html = page.html(200);
    let links: Vec<_> = html
        .split("<nav aria-label=\"Main\">")
        .nth(1)
        .unwrap()
        .split("<li>")
        .collect();
    assert!(
        links[1].contains("href=\"/overview\" aria-current=\"page\">Overview"),
        "{}",
        links[1]
    );
    pages.get("/servers").await.html(200);
}

#[tokio::test]
async fn it_is_there_under_the_path_of_the_public_url() {
    let operator = Operator::with(MemoryRegistry::default(), |admin| {
        admin.with_public_url("http://127.0.0.1:8788/ops".parse().unwrap())
    });
    let nested = Router::new().nest("/ops", operator.0);
    let mut pages = Pages::of(Operator(nested));
    let answer = pages.post("/ops/sign-in", &[("token", TOKEN)]).await;
    assert_eq!(answer.place(), "/ops/overview");
    pages.cookie = Some(cookie(&answer.headers));
    let page = pages.get("/ops/overview").await;
    has(
        page.html(200),
        &[
            "href=\"/ops/overview\" aria-current",
            "href=\"/ops/create\"",
        ],
    );
}

#[tokio::test]
async fn where_nothing_has_happened_it_says_what_to_do_first() {
    let page = after(vec![], vec![]).await.get("/").await;
    let html = page.html(200);
    has(html, &["Two steps", "href=\"/create\"", "YOUR-SERVER"]);
    let page = after(vec![server()], vec![]).await.get("/").await;
    let html = page.html(200);
    has(
        html,
        &["Two steps", "class=\"done\"", "\"servers\": [\"docs\"]"],
    );
    assert!(!html.contains("href=\"/create\""));
    // Something has happened, and not in this project.
    let pages = after(vec![server()], vec![exchange("web", "m", Outcome::Ok)]).await;
    let page = pages.get("/?project=batch").await;
    let html = page.html(200);
    has(html, &["Nothing in this time"]);
    assert!(!html.contains("Two steps"));
}

#[tokio::test]
async fn figures_have_charts_a_table_and_lead_to_their_exchanges() {
    let exchanges = vec![
        exchange("web", "m", Outcome::Ok),
        exchange("web", "n", Outcome::Ok),
        exchange("batch", "n", Outcome::Refused),
    ];
    let page = after(vec![server()], exchanges).await.get("/").await;
    let html = page.html(200);
    has(
        html,
        &[
            // Of so few, a figure per minute would say nothing.
            ">3 in 24 h<",
            "33 %",
            "1 refused",
            "10.2k",
            "9,000 in, 1,200 out",
            "1.50",
            "<svg",
            "<title>",
            "3 exchanges, 1 error</title>",
            "<caption class=\"unheard\">Figures over time",
            "outcome=refused",
            "&#38;model=n",
            "&#38;project=batch",
            "&#38;failed=tools",
            "find</bdi>",
            "100 %",
        ],
    );
    // Every address of exchanges says of which time.
    for link in html.split("/traces?").skip(1) {
        assert!(link.starts_with("from=20"), "{link}");
    }
    let web = after(vec![], vec![exchange("web", "m", Outcome::Ok)]).await;
    let page = web.get("/?project=web&range=7d").await;
    let html = page.html(200);
    has(html, &["Last 7 days", "&#38;project=web", ">1 in 7 days<"]);
}

#[tokio::test]
async fn names_by_others_are_text() {
    let hostile = "\"><script>alert(1)</script>\u{202e}";
    let mut trace = exchange(hostile, hostile, Outcome::Ok);
    trace.servers = vec![hostile.to_owned()];
    let page = after(vec![], vec![trace]).await.get("/").await;
    let html = page.html(200);
    assert!(!html.contains("<script>alert"), "{html}");
    has(html, &["&lt;script&gt;alert(1)", "U+202E"]);
}

#[tokio::test]
async fn what_needs_attention_leads_to_where_one_acts() {
    let oauth = Server::new("consent", "https://mcp.example.com/mcp").unwrap();
    let oauth = oauth.with_auth(Auth::oauth2(OAuth2::default()).unwrap());
    let mut off = Server::new("off", "https://mcp.example.com/mcp").unwrap();
    off.enabled = false;
    let mut limit = exchange("web", "m", Outcome::Ok);
    limit.stopped_by = Some(mcp_layer::trace::StoppedBy::MaxRounds);
    let mut unpriced = exchange("web", "free", Outcome::Ok);
    unpriced.usage = json!({"prompt_tokens": 3}).as_object().cloned();
    let page = after(vec![oauth, off], vec![limit, unpriced])
        .await
        .get("/")
        .await;
    let html = page.html(200);
    has(
        html,
        &[
            "Needs attention",
            "Has to be connected by an operator",
            "href=\"/servers/consent\"",
            "1 exchange ended at a limit",
            "The cost of free is not known",
        ],
    );
    assert!(!html.contains("href=\"/servers/off"));
}

#[tokio::test]
async fn a_range_that_is_none_is_said_on_the_page() {
    let pages = after(vec![], vec![exchange("web", "m", Outcome::Ok)]).await;
    for (query, said) in [
        ("from=2026-11-30T12:00&to=2026-11-30T11:00", "before to"),
        ("from=9000-01-01T00:00", "future"),
        ("from=2000-01-01T00:00&to=2001-01-01T00:00", "90 days"),
        ("from=%3Cb%3E", "must be a time"),
        ("range=1y", "1h, 24h"),
    ] {
        let page = pages.get(&format!("/?{query}")).await;
        let html = page.html(400);
        assert!(
            html.contains("role=\"alert\"") && html.contains(said),
            "{query}: {html}"
        );
        // The figures of the usual range are there all the same.
        assert!(
            html.contains(">Exchanges</h2>") && !html.contains("<b>"),
            "{query}"
        );
    }
}
