//! Tools, servers, models and projects, those with most of something first.

use super::{
    super::{super::overview::ranked, text::Shown},
    figure::{cost, count, percent, quantile, tokens},
    links::Links,
};
use crate::registry::overview::{Figures, Names, Overview};

/// The rows of a list of tools, and of a table.
const TOOLS: usize = 5;
const ROWS: usize = 8;

/// Tools that stand out in one respect.
pub(super) struct ToolList {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) rows: Vec<ToolRow>,
    /// What to say where there are none.
    pub(super) none: &'static str,
}

pub(super) struct ToolRow {
    pub(super) server: Shown,
    pub(super) tool: Shown,
    pub(super) value: String,
    pub(super) about: String,
    pub(super) link: String,
    /// The length of its bar, in percent of the greatest.
    pub(super) share: u64,
    pub(super) tone: &'static str,
}

/// A table of figures by name.
pub(super) struct Ranking {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) column: &'static str,
    pub(super) rows: Vec<Row>,
}

pub(super) struct Row {
    /// The name; `None` for all others together.
    pub(super) name: Option<Shown>,
    pub(super) link: Option<String>,
    pub(super) exchanges: String,
    pub(super) errors: String,
    pub(super) has_errors: bool,
    pub(super) p95: String,
    pub(super) tokens: String,
    pub(super) cost: String,
    pub(super) share: u64,
}

pub(super) fn tool_lists(overview: &Overview, links: &Links) -> Vec<ToolList> {
    let tools = &overview.breakdown.tools;
    let p95 = |figures: &Figures| {
        let quantile = figures.durations.quantile(0.95).unwrap_or_default();
        u64::try_from(quantile.as_millis()).unwrap_or(u64::MAX)
    };
    let calls = |figures: &Figures| match figures.calls {
        1 => "of 1 call".to_owned(),
        calls => format!("of {} calls", count(calls)),
    };
    let list = |id,
                title,
                none,
                filter: &[(&'static str, &'static str)],
                tone,
                measure: &dyn Fn(&Figures) -> u64,
                value: &dyn Fn(&Figures) -> String,
                about: &dyn Fn(&Figures) -> String| {
        let (ranked, _) = ranked(tools, TOOLS, measure);
        let greatest = ranked.first().map_or(0, |(_, figures)| measure(figures));
        let some = ranked
            .into_iter()
            .filter(|(_, figures)| measure(figures) > 0);
        let rows = some.map(|(name, figures)| {
            let (server, tool) = Names::tool(name);
            let mut filters = vec![("server", server), ("q", tool)];
            filters.extend_from_slice(filter);
            ToolRow {
                server: Shown::short(server, 40),
                tool: Shown::short(tool, 60),
                value: value(figures),
                about: about(figures),
                link: links.with(&filters),
                share: share(measure(figures), greatest),
                tone,
            }
        });
        ToolList {
            id,
            title,
            rows: rows.collect(),
            none,
        }
    };
    vec![
        list(
            "most-used",
            "Most used tools",
            "No tool was called.",
            &[],
            "plain",
            &|figures| figures.calls,
            &|figures| count(figures.calls),
            &|figures| if figures.calls == 1 { "call" } else { "calls" }.to_owned(),
        ),
        list(
            "slowest",
            "Slowest tools",
            "No tool was called.",
            &[],
            "plain",
            &p95,
            &|figures| quantile(figures, 0.95),
            &|_| "p95".to_owned(),
        ),
        list(
            "failing",
            "Failing tools",
            "No call failed.",
            &[("failed", "tools")],
            "bad",
            &|figures| figures.failed_calls,
            &|figures| percent(figures.failed_calls, figures.calls),
            &calls,
        ),
    ]
}

pub(super) fn rankings(overview: &Overview, links: &Links) -> Vec<Ranking> {
    let by = &overview.breakdown;
    let ranking = |id, title, column, filter, names| Ranking {
        id,
        title,
        column,
        rows: rows(names, filter, links),
    };
    vec![
        ranking("by-model", "By model", "Model", "model", &by.models),
        ranking("by-server", "By server", "Server", "server", &by.servers),
        ranking(
            "by-project",
            "By project",
            "Project",
            "project",
            &by.projects,
        ),
    ]
}

fn rows(names: &Names, filter: &'static str, links: &Links) -> Vec<Row> {
    let (ranked, other) = ranked(names, ROWS, |figures| figures.exchanges);
    let greatest = ranked.first().map_or(0, |(_, figures)| figures.exchanges);
    let row = |name, link, figures: &Figures| Row {
        name,
        link,
        exchanges: count(figures.exchanges),
        errors: percent(figures.errors(), figures.exchanges),
        has_errors: figures.errors() > 0,
        p95: quantile(figures, 0.95),
        tokens: count(tokens(figures)),
        cost: cost(figures),
        share: share(figures.exchanges, greatest),
    };
    let mut rows: Vec<_> = ranked
        .into_iter()
        .map(|(name, figures)| match name {
            // An address cannot ask for those without a name.
            "" => row(Some(Shown::of("none")), None, figures),
            name => {
                let link = links.with(&[(filter, name)]);
                row(Some(Shown::short(name, 60)), Some(link), figures)
            }
        })
        .collect();
    if !other.is_empty() {
        rows.push(row(None, None, &other));
    }
    rows
}

fn share(part: u64, whole: u64) -> u64 {
    (part as f64 / whole.max(1) as f64 * 100.0).round() as u64
}
