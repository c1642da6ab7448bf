//! The first page: whether things go well, what they cost, and what needs attention.
//!
//! ```text
//! span ──▶ Overviews, Statuses ──▶ cards (over charts), rankings, attention ──▶ overview.html
//! ```
//!
//! Every figure leads to the exchanges behind it. The part of the page that the script replaces by
//! itself is the same markup, so nothing here knows that it does.

mod attention;
mod cards;
mod chart;
mod figure;
mod links;
mod rankings;
mod span;

use std::sync::Arc;

use askama::Template;
use axum::extract::{RawQuery, State};
use http::StatusCode;

pub(super) use self::figure::{count, fraction};
use self::{
    attention::{Attention, First, Item},
    cards::{Card, cards},
    chart::{Moment, Steps, moments},
    links::Links,
    rankings::{Ranking, ToolList, rankings, tool_lists},
    span::{Choice, Custom, Span},
};
use super::{
    super::{
        answer::Answer,
        callers_url::CallersUrl,
        hosts::Hosts,
        overview::{Asked, Overviews},
        projects::Projects,
    },
    filters::{Chip, Filters},
    form::Form,
    page::{Frame, Section, page},
    text::Shown,
};

/// A menu of more projects is no help; others are typed.
const CHOICES: usize = 40;

#[derive(Template)]
#[template(path = "overview.html")]
struct Page {
    frame: Frame,
    choices: Vec<Choice>,
    custom: Custom,
    chips: Vec<Chip>,
    /// What is wrong with the range.
    wrong: Option<Shown>,
    /// The range in words.
    said: String,
    attention: Vec<Item>,
    /// What to do where there is nothing yet.
    first: Option<First>,
    gateway: CallersUrl,
    is_empty: bool,
    cards: Vec<Card>,
    moments: Vec<Moment>,
    tools: Vec<ToolList>,
    rankings: Vec<Ranking>,
    /// Where all exchanges of the range are.
    traces: String,
}

/// `GET /` and `GET /overview`
pub(in super::super) async fn show(
    State(hosts): State<Arc<Hosts>>,
    State(overviews): State<Overviews>,
    State(projects): State<Projects>,
    State(attention): State<Attention>,
    State(gateway): State<CallersUrl>,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = query.unwrap_or_default();
    let form = Form::parse(query.as_bytes())?;
    let filters = Filters::of(&["range", "from", "to", "project"], |name| form.text(name));
    let now = overviews.now();
    let (span, wrong) = match Span::read(&filters, now) {
        Ok(span) => (span, None),
        Err(fault) => (Span::usual(now), Some(fault)),
    };
    let project = Some(filters.get("project")).filter(|project| !project.is_empty());
    let asked = Asked {
        range: span.range,
        project: project.map(str::to_owned),
    };
    let overview = overviews.read(&asked).await?;
    let frame = Frame::of(&hosts, Section::Overview);
    let links = Links::new(&frame.base, &asked);
    let steps = Steps::of(&asked.range, now);
    let known = projects.choices().await?;
    let known = known.iter().take(CHOICES);
    let known = known.map(|project| (project.as_str(), project.as_str()));
    let is_empty = overview.totals.is_empty();
    let content = Page {
        choices: span.choices(&filters),
        custom: span.custom(&filters),
        chips: vec![filters.open_chip("project", "Project", known)],
        said: span.said.clone(),
        attention: attention.items(&overview, &links, frame.may_edit()).await?,
        first: match is_empty {
            true => attention.first().await?,
            false => None,
        },
        gateway,
        is_empty,
        cards: cards(&overview, &span, &steps, &links, now),
        moments: moments(&overview, &steps, &links),
        tools: tool_lists(&overview, &links),
        rankings: rankings(&overview, &links),
        traces: links.all(),
        wrong: wrong
            .as_ref()
            .map(|fault| Shown::of(&super::text::sentence(fault.message()))),
        frame,
    };
    let status = wrong.map_or(StatusCode::OK, |fault| fault.status());
    page(status, &content)
}
