//! The page of recent exchanges.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use askama::Template;
use axum::extract::{RawQuery, State};
use http::StatusCode;
use serde_json::Value;

use super::{
    super::{
        answer::Answer,
        callers_url::CallersUrl,
        clock::Clock,
        fault::Fault,
        hosts::Hosts,
        organization::OrganizationStore,
        projects::Projects,
        time::rfc3339,
        traces::{Traces as Records, wanted},
    },
    filters::{Chip, Filters},
    form::Form,
    page::{Frame, Section, page},
    text::Shown,
    title::subject,
    when::{When, span},
};
use crate::{
    chat,
    registry::{Filter, Page},
    trace::{Outcome, StoppedBy, Trace},
};

/// The members that a list can be narrowed by.
const NAMES: [&str; 8] = [
    "project", "server", "model", "outcome", "failed", "from", "to", "q",
];
/// Spans of time that a list can be narrowed to, up to the present.
const SINCE: [(u64, &str); 4] = [
    (60 * 60, "Last hour"),
    (24 * 60 * 60, "Last 24 hours"),
    (3 * 24 * 60 * 60, "Last 3 days"),
    (7 * 24 * 60 * 60, "Last 7 days"),
];
/// A menu of more is no help; others are typed.
const CHOICES: usize = 40;

#[derive(Template)]
#[template(path = "traces.html")]
struct Traces {
    frame: Frame,
    filters: Filters,
    /// The filters that a search keeps.
    others: Filters,
    gateway: CallersUrl,
    chips: Vec<Chip>,
    rows: Vec<Row>,
    next: Option<String>,
    is_first: bool,
    /// A server to try, where there is nothing yet.
    example: Option<String>,
}

struct Row {
    id: String,
    subject: Shown,
    figures: Figures,
}

/// An exchange in one line.
pub(super) struct Figures {
    pub(super) when: When,
    pub(super) project: Shown,
    pub(super) model: Option<Shown>,
    pub(super) servers: Vec<Shown>,
    pub(super) rounds: u64,
    pub(super) calls: u64,
    pub(super) failed_calls: u64,
    pub(super) tokens: Option<u64>,
    pub(super) cost: Option<String>,
    pub(super) took: String,
    pub(super) tone: &'static str,
    pub(super) outcome: String,
    pub(super) is_answered: bool,
    /// The reason why the loop ended without a final answer.
    pub(super) stopped: Option<&'static str>,
}

/// `GET /traces`
pub(super) async fn list(
    State(hosts): State<Arc<Hosts>>,
    State(records): State<Records>,
    State(projects): State<Projects>,
    State(store): State<OrganizationStore>,
    State(clock): State<Clock>,
    State(gateway): State<CallersUrl>,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = query.unwrap_or_default();
    let form = Form::parse(query.as_bytes())?;
    let filters = Filters::of(&NAMES, |name| form.text(name));
    let cursor = form.trimmed("cursor");
    let asked = match cursor {
        "" => filters.query(),
        cursor => filters.link("cursor", cursor)[1..].to_owned(),
    };
    let (filter, part) = wanted(&asked)?;
    let listing = records.list(&filter, &part).await?;
    let now = clock.now();
    let rows = listing.traces.iter().map(|trace| Row {
        id: trace.id.to_string(),
        subject: Shown::short(&subject(trace), 120),
        figures: Figures::of(trace, now),
    });
    let rows: Vec<_> = rows.collect();
    let content = Traces {
        frame: Frame::of(&hosts, Section::Traces),
        chips: chips(&projects, &filters, now).await?,
        next: listing
            .next
            .map(|next| filters.link("cursor", &next.to_string())),
        is_first: cursor.is_empty(),
        example: match rows.is_empty() && filters.is_empty() {
            true => example(&store).await?,
            false => None,
        },
        rows,
        others: filters.without("q"),
        gateway,
        filters,
    };
    page(StatusCode::OK, &content)
}

async fn chips(
    projects: &Projects,
    filters: &Filters,
    now: SystemTime,
) -> Result<Vec<Chip>, Fault> {
    let projects = projects.choices().await?;
    let projects = projects.iter().take(CHOICES);
    let projects = projects.map(|project| (project.as_str(), project.as_str()));
    let outcomes = OUTCOMES.map(|(outcome, words, _)| (outcome.as_str(), words));
    let since = SINCE.map(|(seconds, words)| {
        let from = now.checked_sub(Duration::from_secs(seconds));
        (rfc3339(from.unwrap_or(SystemTime::UNIX_EPOCH)), words)
    });
    let since = since.iter().map(|(from, words)| (&**from, *words));
    Ok(vec![
        filters.open_chip("from", "From", since),
        filters.open_chip("to", "To", []),
        filters.chip("failed", "Failures", [("tools", "With failed tools")]),
        filters.open_chip("project", "Project", projects),
        filters.open_chip("server", "Server", []),
        filters.open_chip("model", "Model", []),
        filters.chip("outcome", "Outcome", outcomes),
    ])
}

/// The name of some server.
async fn example(store: &OrganizationStore) -> Result<Option<String>, Fault> {
    let (all, page) = (
        Filter::default(),
        Page {
            limit: 1,
            ..Page::default()
        },
    );
    let first = store.list(&all, &page).await?.servers.into_iter().next();
    Ok(first.map(|server| server.name.to_string()))
}

/// Outcomes in words, with their tone.
const OUTCOMES: [(Outcome, &str, &str); 5] = [
    (Outcome::Ok, "Answered", "good"),
    (Outcome::UpstreamError, "Model's error", "bad"),
    (Outcome::UpstreamFailed, "Model failed", "bad"),
    (Outcome::Refused, "Refused", "warn"),
    (Outcome::Cancelled, "Caller hung up", "warn"),
];

impl Figures {
    pub(super) fn of(trace: &Trace, now: SystemTime) -> Self {
        let usage = |name| trace.usage.as_ref().and_then(|usage| usage.get(name));
        let known = OUTCOMES.iter().find(|(other, ..)| *other == trace.outcome);
        Self {
            when: When::of(trace.started_at, now),
            project: Shown::short(&trace.project, 40),
            model: trace.model.as_deref().map(|model| Shown::short(model, 60)),
            servers: trace
                .servers
                .iter()
                .map(|server| Shown::short(server, 40))
                .collect(),
            rounds: trace.rounds,
            calls: trace.calls,
            failed_calls: trace.failed_calls,
            tokens: usage("total_tokens").and_then(chat::tokens),
            cost: usage("cost").and_then(Value::as_f64).map(cost),
            took: span(trace.duration),
            tone: known.map_or("", |(_, _, tone)| tone),
            outcome: known
                .map_or(trace.outcome.as_str(), |(_, words, _)| words)
                .to_owned(),
            is_answered: trace.outcome == Outcome::Ok,
            stopped: trace.stopped_by.and_then(stopped),
        }
    }
}

/// The reason, in words, why a loop was left before there was a final answer.
fn stopped(reason: StoppedBy) -> Option<&'static str> {
    match reason {
        StoppedBy::Final => None,
        StoppedBy::MaxRounds => Some("out of rounds"),
        StoppedBy::CallerTools => Some("handed back for the caller's own tools"),
        StoppedBy::AskFirst => Some("handed back for approval"),
        StoppedBy::Deadline => Some("out of time"),
    }
}

/// Formats a cost with as many digits as are significant.
fn cost(cost: f64) -> String {
    let text = format!("{cost:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
