//! Figures in JSON.

use serde::Serialize;

use super::{super::time::Time, asked::Asked};
use crate::registry::overview::{Figures, Grain, Names, Overview};

/// The most rows by name: more are a table that nobody reads, and the rest is in a row of its own.
const ROWS: usize = 100;

#[derive(Serialize)]
pub(super) struct View<'a> {
    from: Time,
    to: Time,
    bucket: &'static str,
    project: Option<&'a str>,
    totals: Sum,
    before: Option<Sum>,
    series: Vec<Point>,
    projects: Vec<Of<'a>>,
    models: Vec<Of<'a>>,
    servers: Vec<Of<'a>>,
    tools: Vec<OfTool<'a>>,
}

#[derive(Serialize)]
struct Sum {
    exchanges: u64,
    errors: u64,
    upstream_errors: u64,
    upstream_failures: u64,
    refused: u64,
    cancelled: u64,
    out_of_rounds: u64,
    out_of_time: u64,
    p50_ms: Option<u64>,
    p95_ms: Option<u64>,
    calls: u64,
    failed_calls: u64,
    input_tokens: u64,
    output_tokens: u64,
    cost: Option<f64>,
    unpriced: u64,
}

#[derive(Serialize)]
struct Point {
    at: Time,
    #[serde(flatten)]
    sum: Sum,
}

/// The figures of a name; `other` has those of all names without a row.
#[derive(Serialize)]
struct Of<'a> {
    name: Option<&'a str>,
    other: bool,
    #[serde(flatten)]
    sum: Sum,
}

#[derive(Serialize)]
struct OfTool<'a> {
    server: Option<&'a str>,
    tool: Option<&'a str>,
    other: bool,
    calls: u64,
    failed_calls: u64,
    p50_ms: Option<u64>,
    p95_ms: Option<u64>,
}

impl<'a> View<'a> {
    pub(super) fn of(asked: &'a Asked, overview: &'a Overview) -> Self {
        let series = overview.series.iter().map(|(at, figures)| Point {
            at: Time(*at),
            sum: Sum::of(figures),
        });
        let by = &overview.breakdown;
        Self {
            from: Time(asked.range.from()),
            to: Time(asked.range.to()),
            bucket: match asked.range.grain() {
                Grain::Minute => "minute",
                Grain::Hour => "hour",
                Grain::Day => "day",
            },
            project: asked.project.as_deref(),
            totals: Sum::of(&overview.totals),
            before: overview.before.as_ref().map(Sum::of),
            series: series.collect(),
            projects: rows(&by.projects),
            models: rows(&by.models),
            servers: rows(&by.servers),
            tools: tools(&by.tools),
        }
    }
}

impl Sum {
    fn of(figures: &Figures) -> Self {
        Self {
            exchanges: figures.exchanges,
            errors: figures.errors(),
            upstream_errors: figures.upstream_errors,
            upstream_failures: figures.upstream_failures,
            refused: figures.refused,
            cancelled: figures.cancelled,
            out_of_rounds: figures.out_of_rounds,
            out_of_time: figures.out_of_time,
            p50_ms: millis(figures, 0.5),
            p95_ms: millis(figures, 0.95),
            calls: figures.calls,
            failed_calls: figures.failed_calls,
            input_tokens: figures.input_tokens,
            output_tokens: figures.output_tokens,
            cost: figures.cost(),
            unpriced: figures.unpriced,
        }
    }
}

fn millis(figures: &Figures, of: f64) -> Option<u64> {
    let quantile = figures.durations.quantile(of)?;
    u64::try_from(quantile.as_millis()).ok()
}

/// The names that `count` has most of, and what the others add up to.
pub(in super::super) fn ranked(
    names: &Names,
    most: usize,
    count: impl Fn(&Figures) -> u64,
) -> (Vec<(&str, &Figures)>, Figures) {
    let mut ranked: Vec<_> = names.iter().collect();
    ranked.sort_by(|(a, of_a), (b, of_b)| count(of_b).cmp(&count(of_a)).then(a.cmp(b)));
    let mut other = names.other().clone();
    for (_, figures) in ranked.iter().skip(most) {
        other.add(figures);
    }
    ranked.truncate(most);
    (ranked, other)
}

fn rows(names: &Names) -> Vec<Of<'_>> {
    let (ranked, other) = ranked(names, ROWS, |figures| figures.exchanges);
    let rows = ranked.into_iter().map(|(name, figures)| Of {
        name: Some(name).filter(|name| !name.is_empty()),
        other: false,
        sum: Sum::of(figures),
    });
    let rest = (!other.is_empty()).then(|| Of {
        name: None,
        other: true,
        sum: Sum::of(&other),
    });
    rows.chain(rest).collect()
}

fn tools(names: &Names) -> Vec<OfTool<'_>> {
    let (ranked, other) = ranked(names, ROWS, |figures| figures.calls);
    let row = |server, tool, other, figures: &Figures| OfTool {
        server,
        tool,
        other,
        calls: figures.calls,
        failed_calls: figures.failed_calls,
        p50_ms: millis(figures, 0.5),
        p95_ms: millis(figures, 0.95),
    };
    let rows = ranked.into_iter().map(|(name, figures)| {
        let (server, tool) = Names::tool(name);
        row(Some(server), Some(tool), false, figures)
    });
    let rest = (!other.is_empty()).then(|| row(None, None, true, &other));
    rows.chain(rest).collect()
}
