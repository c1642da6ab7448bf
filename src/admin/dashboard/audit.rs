//! The page of what operators did.

use std::{sync::Arc, time::SystemTime};

use askama::Template;
use axum::extract::{RawQuery, State};
use http::StatusCode;
use serde_json::Value;

use super::{
    super::{
        answer::Answer,
        audit::{Audit as Records, wanted},
        clock::Clock,
        hosts::Hosts,
        operators::Roster,
    },
    diff::{self, Line},
    filters::{Chip, Filters},
    form::Form,
    page::{Frame, Section, page},
    text::Shown,
    when::When,
};
use crate::registry::AuditEntry;

/// The members that the list can be narrowed by.
const NAMES: [&str; 5] = ["operator", "action", "target", "from", "to"];
/// A menu of more is no help; others are typed.
const CHOICES: usize = 40;
/// The most lines of a difference that are shown; REST has all of it.
const LINES: usize = 400;
/// Kinds of actions, by the beginning that their names have in common.
const KINDS: [(&str, &str); 9] = [
    ("server.", "Servers"),
    ("tools.", "Tools"),
    ("models.", "Models"),
    ("budget.", "Budgets"),
    ("api_key.", "API keys"),
    ("oauth.", "Authorizations"),
    ("operator.", "Signing in and out"),
    ("session.", "Sessions"),
    ("sign_in.", "Refused"),
];

#[derive(Template)]
#[template(path = "audit.html")]
struct Page {
    frame: Frame,
    filters: Filters,
    chips: Vec<Chip>,
    rows: Vec<Row>,
    next: Option<String>,
    is_first: bool,
}

struct Row {
    id: String,
    when: When,
    operator: Option<Shown>,
    /// The role, and how and from where the operator came.
    how: Vec<Shown>,
    action: Shown,
    tone: &'static str,
    target: Option<Shown>,
    lines: Vec<(&'static str, &'static str, Shown)>,
    is_cut: bool,
}

/// `GET /audit`
pub(super) async fn list(
    State(hosts): State<Arc<Hosts>>,
    State(records): State<Records>,
    State(operators): State<Roster>,
    State(clock): State<Clock>,
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
    let content = Page {
        frame: Frame::of(&hosts, Section::Audit),
        chips: chips(&operators, &filters),
        rows: listing
            .entries
            .iter()
            .map(|entry| Row::of(entry, now))
            .collect(),
        next: listing
            .next
            .map(|next| filters.link("cursor", &next.to_string())),
        is_first: cursor.is_empty(),
        filters,
    };
    page(StatusCode::OK, &content)
}

fn chips(operators: &Roster, filters: &Filters) -> Vec<Chip> {
    let operators = operators.all();
    let operators = operators.iter().take(CHOICES);
    let operators = operators.map(|operator| (&**operator.name(), &**operator.name()));
    vec![
        filters.open_chip("operator", "Operator", operators),
        filters.open_chip("action", "Action", KINDS),
        filters.open_chip("target", "Target", []),
        filters.open_chip("from", "From", []),
        filters.open_chip("to", "Before", []),
    ]
}

impl Row {
    fn of(entry: &AuditEntry, now: SystemTime) -> Self {
        let some = |text: &str, longest| (!text.is_empty()).then(|| Shown::short(text, longest));
        let how = [&entry.role, &entry.via, &entry.from];
        let (old, new) = (text(entry.before.as_ref()), text(entry.after.as_ref()));
        let mut lines = changed(&old, &new);
        let is_cut = lines.len() > LINES;
        lines.truncate(LINES);
        let is_bad = entry.action.ends_with("_failed") || entry.action.ends_with(".refused");
        Self {
            id: entry.id.to_string(),
            when: When::of(entry.at, now),
            operator: some(&entry.operator, 64),
            how: how.into_iter().filter_map(|text| some(text, 64)).collect(),
            action: Shown::short(&entry.action, 64),
            tone: if is_bad { "bad" } else { "" },
            target: some(&entry.target, 80),
            lines,
            is_cut,
        }
    }
}

fn text(state: Option<&Value>) -> String {
    let text = state.map(|state| serde_json::to_string_pretty(state).unwrap_or_default());
    text.unwrap_or_default()
}

/// What has changed, with nothing around it; where there is no before or no after, all of it.
fn changed(old: &str, new: &str) -> Vec<(&'static str, &'static str, Shown)> {
    let lines = diff::lines(old, new).into_iter();
    let lines = lines.filter_map(|line| match line {
        Line::Same(_) => None,
        Line::Gone(text) => Some(("del", "−", Shown::of(text))),
        Line::Come(text) => Some(("ins", "+", Shown::of(text))),
    });
    lines.collect()
}
